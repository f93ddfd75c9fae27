"""What must not be removed? Legal holds: who has set them, why, and who has released them.

A hold is in force once its transaction has committed: whoever removes payloads renews the log's lease in the
same transaction, and reads the holds after that. Both lock `archive_log`, so that one waits for the other.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import func, insert, or_, select, text, update

from maia_sync.store.schema import archive_hold
from maia_sync.store.tasks import read_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement

    from maia_sync.store.database import Transaction

_columns = archive_hold.c
_IN_FORCE: Final = _columns.released_at.is_(None)
_CHUNK: Final = 500


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold, as its row tells of it."""

    id: int
    task_id: str | None
    """None: on all tasks, also on those that come later."""
    reason: str
    held_by: str
    held_at: datetime
    released_at: datetime | None
    """None: it is in force."""
    released_by: str | None
    release_reason: str | None


def lock_holds(tx: Transaction) -> None:
    """Wait until nobody removes anything, and keep others from it until this transaction has ended.

    On SQLite a transaction that writes is alone in any case.
    """
    if tx.is_postgresql:  # the table: also a log that is begun meanwhile waits
        tx.connection.execute(text("LOCK TABLE archive_log IN SHARE ROW EXCLUSIVE MODE"))


def insert_holds(tx: Transaction, task_ids: Iterable[str | None], *, reason: str, held_by: str) -> list[Hold]:
    """Put holds on tasks, on all of them for None, and return them.

    One that is there already, for the same reason, is left out; for another reason, a task may have several.
    To be called after `lock_holds`.
    """
    wanted = list(dict.fromkeys(task_ids))
    there = {hold.task_id for hold in read_holds(tx, _columns.reason == reason)}
    found: list[Hold] = []
    for task_id in wanted:
        if task_id in there:
            continue
        values = {"task_id": task_id, "reason": reason, "held_by": held_by, "held_at": tx.now}
        row = tx.connection.execute(insert(archive_hold).values(values).returning(*_of_hold())).one()
        found.append(_from_row(row))
    return found


def release_holds(tx: Transaction, holds: Sequence[Hold], *, reason: str, released_by: str) -> list[Hold]:
    """Release holds that are in force, and return them; each is archived again then.

    To be called after `lock_holds`.
    """
    released: list[Hold] = []
    for hold in holds:
        statement = (
            update(archive_hold)
            .where(_columns.id == hold.id, _IN_FORCE)
            .values(released_at=tx.now, released_by=released_by, release_reason=reason, checkpoint_id=None)
            .returning(*_of_hold())
        )
        released += map(_from_row, tx.connection.execute(statement))
    return released


def read_holds(tx: Transaction, *conditions: ColumnElement[bool], most: int | None = None) -> list[Hold]:
    """Return the holds that are in force, the oldest first."""
    statement = select(*_of_hold()).where(_IN_FORCE, *conditions).order_by(_columns.id).limit(most)
    return [_from_row(row) for row in tx.connection.execute(statement)]


def read_all_holds(tx: Transaction) -> list[Hold]:
    """Return all holds, those as well that were released, the oldest first."""
    return [_from_row(row) for row in tx.connection.execute(select(*_of_hold()).order_by(_columns.id))]


def read_holds_on(tx: Transaction, task_id: str) -> list[Hold]:
    """Return the holds in force that keep a task's payloads: its own, and those on all tasks."""
    return read_holds(tx, or_(_columns.task_id.is_(None), _columns.task_id == task_id))


def read_own_holds(tx: Transaction, task_ids: Sequence[str | None]) -> list[Hold]:
    """Return the holds in force on just these tasks; for None, those on all tasks."""
    found: list[Hold] = []
    if None in task_ids:
        found += read_holds(tx, _columns.task_id.is_(None))
    named = [task_id for task_id in dict.fromkeys(task_ids) if task_id is not None]
    for at in range(0, len(named), _CHUNK):
        found += read_holds(tx, _columns.task_id.in_(named[at : at + _CHUNK]))
    return found


def count_holds(tx: Transaction) -> int:
    """Return how many holds are in force."""
    statement = select(func.count()).select_from(archive_hold).where(_IN_FORCE)
    return int(tx.connection.execute(statement).scalar_one())


def read_unknown_tasks(tx: Transaction, task_ids: Sequence[str]) -> list[str]:
    """Return those of these tasks of which the database knows nothing."""
    known = {task.task_id for task in read_tasks(tx, task_ids=list(task_ids))}
    return [task_id for task_id in task_ids if task_id not in known]


def _of_hold() -> list[Any]:
    return [_columns[name] for name in Hold.__struct_fields__]


def _from_row(row: Any) -> Hold:
    return Hold(**row._mapping)  # noqa: SLF001 - public name
