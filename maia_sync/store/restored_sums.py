"""What is made of events once all of them have come back? Canonical digests, and what summaries tell.

Each step may be done again: who goes on after a death begins with the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import bindparam, func, select, tuple_, update

from maia_sync.store.emptying import sum_task_again
from maia_sync.store.schema import task, task_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from maia_sync.store.database import Transaction

    Canonical: TypeAlias = Callable[[str | None, str | None, str | None], bytes]
    """Takes data, extra and the timestamp's text."""

KeyName: TypeAlias = tuple[str, str, int]
"""(task_id, group_id, timestamp)"""
_KEYS: Final = 500
_MOST_EVENTS: Final = 50_000
_TASKS: Final = 200
_columns = task_event.c
_KEY: Final = (_columns.task_id, _columns.group_id, _columns.timestamp)
_OF_KEY: Final = (
    (_columns.task_id == bindparam("of_task"))
    & (_columns.group_id == bindparam("of_group"))
    & (_columns.timestamp == bindparam("of_timestamp"))
)
_SHARED = select(*_KEY).where(_columns.canonical.is_not(None)).distinct().order_by(*_KEY).limit(_KEYS)
_BARE = select(_columns.data, _columns.extra, _columns.timestamp_text).where(
    _OF_KEY, _columns.ordinal == 0, _columns.canonical.is_(None)
)
_COUNT = select(func.count()).select_from(task_event).where(_columns.task_id == bindparam("of_task"))
_FILL = (
    update(task_event)
    .where(_OF_KEY, _columns.ordinal == 0, _columns.canonical.is_(None))
    .values(canonical=bindparam("new_canonical"))
)


def fill_canonicals(tx: Transaction, after: KeyName | None, canonical: Canonical) -> KeyName | None:
    """Give the first rows of some keys that have several rows their canonical digests, as the others have.

    Returns the last of these keys, behind which to go on; None if there were none.
    """
    shared = _SHARED if after is None else _SHARED.where(tuple_(*_KEY) > after)
    keys = [(row[0], row[1], row[2]) for row in tx.connection.execute(shared)]
    for key in keys:
        values: dict[str, Any] = dict(zip(("of_task", "of_group", "of_timestamp"), key, strict=True))
        bare = tx.connection.execute(_BARE, values).first()
        if bare is not None:
            tx.connection.execute(_FILL, {**values, "new_canonical": canonical(*bare)})
    return keys[-1] if keys else None


def sum_next_tasks(tx: Transaction, after: str) -> str:
    """Sum up the events of some tasks; returns the last of them, by id, and "" if there were none."""
    some = select(task.c.task_id).order_by(task.c.task_id).limit(_TASKS)
    if after:
        some = some.where(task.c.task_id > after)
    summed = ""
    events = 0
    for task_id in list(tx.connection.execute(some).scalars()):
        sum_task_again(tx, task_id)
        summed = str(task_id)
        of_task = {"of_task": task_id}
        events += tx.connection.execute(_COUNT, of_task).scalar_one()
        if events > _MOST_EVENTS:
            break
    return summed
