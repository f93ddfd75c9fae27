"""Which queries look up stored rows by their keys, and what stands beside and behind each of them?

They are made once: to make one takes longer than to run it. Those that find a few rows put them in order by
`seq + 0`, which no index has: to find rows in the order of an index, SQLite would read the whole task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, exists, func, not_, select

from maia_sync.store.named_rows import NAMED_ROWS, NamedRows
from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, ColumnElement, Select

_columns = task_event.c
_NAME = ("group_id", "timestamp", "ordinal")
_AFTER: BindParameter[int] = bindparam("after_seq")
IDENTITY = tuple(_columns[name] for name in (*_NAME, "seq", "digest", "canonical", "vanished_at"))
READING_ORDER = (_columns.seq, _columns.first_seen_at, _columns.ordinal)
OF_KEY = and_(_columns.group_id == bindparam("of_group"), _columns.timestamp == bindparam("of_timestamp"))


def _looking_up(rows: NamedRows, *, newest_first: bool, order_by_index: bool = False) -> Select[Any]:
    """Make a query for rows, each with the place that follows it and whether others share its own."""
    columns = rows.columns
    other = task_event.alias()
    same_row = and_(*(other.c[name] == columns[name] for name in _NAME))
    of_task = other.c.task_id == bindparam("of_task")
    beside = exists().where(of_task, other.c.seq == columns.seq, not_(same_row))
    if newest_first:
        behind = select(func.max(other.c.seq)).where(of_task, other.c.seq < columns.seq)
    else:
        behind = select(func.min(other.c.seq)).where(of_task, other.c.seq > columns.seq)
    wanted = (columns[column.name] for column in IDENTITY)
    found = select(*wanted, beside.label("beside"), behind.scalar_subquery().label("behind"))
    seq = columns.seq if order_by_index else columns.seq + 0
    order = (seq, columns.first_seen_at, columns.ordinal)
    return (
        found.select_from(rows.origin)
        .where(rows.condition)
        .order_by(*(each.desc() if newest_first else each.asc() for each in order))
    )


def _looking_up_of_key(
    *conditions: ColumnElement[bool], newest_first: bool, order_by_index: bool = False
) -> Select[Any]:
    of_key = and_(_columns.task_id == bindparam("of_task"), OF_KEY, *conditions)
    rows = NamedRows(_columns, task_event, of_key)
    return _looking_up(rows, newest_first=newest_first, order_by_index=order_by_index)


def _looking_behind(*, newest_first: bool, order_by_index: bool) -> Select[Any]:
    seq = _columns.seq if order_by_index else _columns.seq + 0
    behind = (seq < _AFTER) if newest_first else (seq > _AFTER)
    rows = _looking_up_of_key(behind, newest_first=newest_first, order_by_index=order_by_index)
    return rows.limit(bindparam("most"))


LOOK_UP_NAMES = {
    kind: {back: _looking_up(rows, newest_first=back) for back in (False, True)}
    for kind, rows in NAMED_ROWS.items()
}
"""By whether the database is PostgreSQL, and then, as those below, by whether the log is newest-first."""
LOOK_UP_CANONICALS = {
    back: _looking_up_of_key(
        _columns.canonical.in_(bindparam("canonicals", expanding=True)), newest_first=back
    )
    for back in (False, True)
}
LOOK_UP_BEHIND = {back: _looking_behind(newest_first=back, order_by_index=True) for back in (False, True)}
"""For a key that most of a task's rows may have: the first of them are found in the task's order."""
LOOK_UP_BEHIND_OF_FEW = {
    back: _looking_behind(newest_first=back, order_by_index=False) for back in (False, True)
}
