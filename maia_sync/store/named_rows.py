"""How are events looked up by their names, each of them by the primary key, whatever a task holds?

Nothing is left to the planners: for a list of row values SQLite reads the whole task, and PostgreSQL plans
for longer than it reads. So SQLite gets the names as one JSON text, and looks up the rowid of each;
PostgreSQL gets them as arrays, and LIMIT has it look up one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import ARRAY, BigInteger, Integer, Text, and_, bindparam, func, select, text, true

from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, FromClause, Select, TextClause
    from sqlalchemy.sql.base import ReadOnlyColumnCollection

    from maia_sync.store.database import Transaction

RowName: TypeAlias = tuple[str, int, int]
"""What names an event within its task: group_id, timestamp, ordinal."""

_NAME: Final = ("group_id", "timestamp", "ordinal")


class NamedRows(NamedTuple):
    """The rows of the names asked for, as a query reads them; `name_values` are its parameters."""

    columns: ReadOnlyColumnCollection[str, Any]
    """Those of task_event."""
    origin: FromClause
    condition: ColumnElement[bool] | TextClause


def _on_sqlite() -> NamedRows:
    of_key = "".join(
        f" AND named.{column} = json_extract(name.value, '$[{at}]')" for at, column in enumerate(_NAME)
    )
    rowid = f"SELECT named.rowid FROM task_event AS named WHERE named.task_id = :of_task{of_key}"
    condition = text(f"task_event.rowid IN (SELECT ({rowid}) FROM json_each(:of_names) AS name)")
    return NamedRows(task_event.c, task_event, condition)


def _on_postgresql() -> NamedRows:
    arrays = (
        bindparam("of_groups", type_=ARRAY(Text)),
        bindparam("of_timestamps", type_=ARRAY(BigInteger)),
        bindparam("of_ordinals", type_=ARRAY(Integer)),
    )
    names = func.unnest(*arrays).table_valued(*_NAME, name="name").render_derived()
    of_key = (task_event.c[column] == names.c[column] for column in _NAME)
    # A subquery, whose value the planner does not know: of a task that its statistics have not met it expects
    # no rows, and would read them all.
    of_task = select(bindparam("of_task", type_=task_event.c.task_id.type)).scalar_subquery()
    of_name = and_(task_event.c.task_id == of_task, *of_key)
    found = select(task_event).where(of_name).limit(1).lateral("found")
    return NamedRows(found.c, names.join(found, true()), true())


NAMED_ROWS: Mapping[bool, NamedRows] = {False: _on_sqlite(), True: _on_postgresql()}
"""By whether the database is PostgreSQL."""


def select_named(*columns: str) -> dict[bool, Select[Any]]:
    """Make the query for the names, and these columns, of named rows: by whether it is for PostgreSQL."""
    return {
        kind: select(*(rows.columns[name] for name in (*_NAME, *columns)))
        .select_from(rows.origin)
        .where(rows.condition)
        for kind, rows in NAMED_ROWS.items()
    }


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
