"""How are events looked up by their names, each of them by the primary key, whatever a task holds?

Nothing is left to the planners. For a list of row values SQLite reads the whole task, and PostgreSQL does if
its statistics are old. So SQLite gets the names as one JSON text and looks up the rowid of each; PostgreSQL
gets them as arrays, and LIMIT has it look up one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import BigInteger, Integer, Text, and_, bindparam, func, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY

from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, FromClause, ReadOnlyColumnCollection, TextClause

    from maia_sync.store.database import Transaction

RowName: TypeAlias = tuple[str, int, int]
"""What names an event within its task: group_id, timestamp, ordinal."""


class NamedRows(NamedTuple):
    """The rows of the names asked for, as a query reads them; `name_values` are its parameters."""

    columns: ReadOnlyColumnCollection[str, Any]
    """Those of task_event."""
    origin: FromClause
    condition: ColumnElement[bool] | TextClause


def _on_sqlite() -> NamedRows:
    of_key = "".join(
        f" AND named.{column} = json_extract(name.value, '$[{at}]')"
        for at, column in enumerate(("group_id", "timestamp", "ordinal"))
    )
    rowid = f"SELECT named.rowid FROM task_event AS named WHERE named.task_id = :of_task{of_key}"  # noqa: S608
    condition = text(f"task_event.rowid IN (SELECT ({rowid}) FROM json_each(:of_names) AS name)")
    return NamedRows(task_event.c, task_event, condition)


def _on_postgresql() -> NamedRows:
    arrays = (
        bindparam("of_groups", type_=ARRAY(Text)),
        bindparam("of_timestamps", type_=ARRAY(BigInteger)),
        bindparam("of_ordinals", type_=ARRAY(Integer)),
    )
    names = (
        func.unnest(*arrays).table_valued("group_id", "timestamp", "ordinal", name="name").render_derived()
    )
    of_key = (task_event.c[name] == names.c[name] for name in ("group_id", "timestamp", "ordinal"))
    of_name = and_(task_event.c.task_id == bindparam("of_task"), *of_key)
    found = select(task_event).where(of_name).limit(1).lateral("found")
    return NamedRows(found.c, names.join(found, true()), true())


NAMED_ROWS: Mapping[bool, NamedRows] = {False: _on_sqlite(), True: _on_postgresql()}
"""By whether the database is PostgreSQL."""


def name_values(tx: Transaction, task_id: str, names: Sequence[RowName]) -> dict[str, Any]:
    """Return the parameters of a query that reads the rows of these names, of one task."""
    if not tx.is_postgresql:
        return {"of_task": task_id, "of_names": msgspec.json.encode(names).decode()}
    groups, timestamps, ordinals = zip(*names, strict=True) if names else ((), (), ())
    return {
        "of_task": task_id,
        "of_groups": list(groups),
        "of_timestamps": list(timestamps),
        "of_ordinals": list(ordinals),
    }
