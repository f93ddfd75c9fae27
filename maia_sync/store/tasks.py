"""Which tasks are tracked, in what status, and how did their last walk end?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from maia_sync.errors import LeaseLost
from maia_sync.model import Task
from maia_sync.store.schema import task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from maia_sync.model import Lease, TaskStatus
    from maia_sync.store.database import Transaction

_CHUNK = 500
_FINISH = (
    update(task)
    .where(
        task.c.task_id == bindparam("of_task"),
        task.c.lease_owner == bindparam("of_owner"),
        task.c.lease_epoch == bindparam("of_epoch"),
    )
    .values(
        last_polled_at=bindparam("moment"),
        failures=0,
        last_error=None,
        last_error_at=None,
        lease_owner=None,
        lease_expires_at=None,
    )
)
_FINISH_WITH_NEWS = _FINISH.values(last_news_at=bindparam("moment"))


def upsert_tasks(tx: Transaction, task_ids: Sequence[str], *, label: str | None = None) -> int:
    """Track tasks; ones known already become active again and keep their label unless one is given.

    Returns how many were not tracked before.
    """
    known = {known_task.task_id: known_task for known_task in read_tasks(tx, task_ids=task_ids)}
    insert = postgresql.insert if tx.is_postgresql else sqlite.insert
    fresh = [task_id for task_id in dict.fromkeys(task_ids) if task_id not in known]
    for at in range(0, len(fresh), _CHUNK):
        rows = [
            {"task_id": task_id, "label": label, "status": "active", "tracked_at": tx.now}
            for task_id in fresh[at : at + _CHUNK]
        ]
        tx.connection.execute(insert(task).values(rows).on_conflict_do_nothing())
    set_status(tx, list(known), "active")
    if label is not None and known:
        _update_each(tx, list(known), {"label": label})
    untracked = [found for found in known.values() if found.status == "untracked"]
    return len(fresh) + len(untracked)


def set_status(tx: Transaction, task_ids: Sequence[str], status: TaskStatus) -> int:
    """Give tasks a status; returns how many are known."""
    return _update_each(tx, task_ids, {"status": status})


def _update_each(tx: Transaction, task_ids: Sequence[str], values: dict[str, str | None]) -> int:
    if not task_ids:
        return 0
    statement = update(task).where(task.c.task_id == bindparam("of_task")).values(values)
    return sum(
        tx.connection.execute(statement, {"of_task": task_id}).rowcount for task_id in dict.fromkeys(task_ids)
    )


def read_tasks(
    tx: Transaction, *, task_ids: Sequence[str] | None = None, statuses: Sequence[TaskStatus] | None = None
) -> list[Task]:
    """Return tasks by id or by status, in the order in which they were tracked."""
    statement = select(task).order_by(task.c.tracked_at, task.c.task_id)
    if statuses is not None:
        statement = statement.where(task.c.status.in_(statuses))
    if task_ids is None:
        return [_from_row(row) for row in tx.connection.execute(statement)]
    found: list[Task] = []
    for at in range(0, len(task_ids), _CHUNK):
        chunk = statement.where(task.c.task_id.in_(task_ids[at : at + _CHUNK]))
        found += [_from_row(row) for row in tx.connection.execute(chunk)]
    return found


def read_task_ids(
    tx: Transaction, statuses: Sequence[TaskStatus], *, after: str | None, limit: int
) -> list[str]:
    """Return the next task ids of these statuses behind `after`, by id: one page of a keyset walk."""
    statement = (
        select(task.c.task_id).where(task.c.status.in_(statuses)).order_by(task.c.task_id).limit(limit)
    )
    if after is not None:
        statement = statement.where(task.c.task_id > after)
    return list(tx.connection.execute(statement).scalars())


def count_tasks(tx: Transaction) -> dict[str, int]:
    """Return how many tasks there are of each status."""
    statement = select(task.c.status, func.count()).group_by(task.c.status)
    return {str(status): int(count) for status, count in tx.connection.execute(statement)}


def finish_walk(tx: Transaction, lease: Lease, *, news: bool) -> None:
    """Note that a walk reached the end of its log, and give its lease back, in one statement."""
    named = {"of_task": lease.task_id, "of_owner": lease.owner, "of_epoch": lease.epoch, "moment": tx.now}
    if tx.connection.execute(_FINISH_WITH_NEWS if news else _FINISH, named).rowcount != 1:
        raise LeaseLost("another worker has taken this task in the meantime; it goes on there")


def record_failure(tx: Transaction, task_id: str, error: str) -> None:
    """Note why a walk of the task failed; `error` is a sentence without payload or secret."""
    values = {"failures": task.c.failures + 1, "last_error": error, "last_error_at": tx.now}
    tx.connection.execute(update(task).where(task.c.task_id == task_id).values(values))


def _from_row(row: Row[tuple[object, ...]]) -> Task:
    return Task(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
