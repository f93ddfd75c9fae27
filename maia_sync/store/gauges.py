"""How do the tasks stand, in a few numbers? Every one is led to by an index, none reads whole rows.

Idle tasks cost an index entry each where tasks are counted by status, and nothing elsewhere. Counts
that a hostile upstream could drive up are bounded.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from sqlalchemy import bindparam, func, or_, select, text

from maia_sync.model import WALKED_STATUSES, TaskStatus
from maia_sync.store.archive_standing import read_archive_standing
from maia_sync.store.column_types import UtcTimestamp
from maia_sync.store.schema import quarantine, task

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, ScalarSelect

    from maia_sync.store.database import Transaction

MOST_QUARANTINED = 1_000_000
"""More rows in quarantine are not counted."""
_STATUSES: tuple[TaskStatus, ...] = get_args(TaskStatus)


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """How the tasks and the database stand at one moment."""

    tasks: dict[TaskStatus, int]
    """How many have each status; every status is there."""
    due: int
    """Tasks that nobody walks though the time of their poll has come."""
    reconciles_due: int
    failing: int
    """Tasks that are polled and whose latest walk failed."""
    over_max_lag: int
    """Active tasks that were last known complete longer ago than allowed."""
    largest_lag_seconds: float
    """Of the active tasks; 0 if there are none."""
    leases_of_this_worker: int
    leases_of_others: int
    quarantined: int
    """At most MOST_QUARANTINED."""
    database_bytes: int
    """The whole database; of a distributed one, what this machine holds."""
    archive_waiting: int | None = None
    """What waits to be archived (see archive_log.py); None if the database is not archived."""
    archived_at: datetime | None = None
    """When the archive's newest checkpoint was made."""


def read_gauges(tx: Transaction, *, max_lag_seconds: float, worker: str) -> Gauges:
    """Return how things stand; `worker` is the name whose leases are this worker's."""
    values = {"moment": tx.now, "cutoff": tx.now - timedelta(seconds=max_lag_seconds), "worker": worker}
    if tx.is_postgresql:
        # To count many tasks the planner would read the table, rows and all, where an index suffices.
        tx.connection.execute(text("SET LOCAL enable_seqscan = off"))
    row = tx.connection.execute(_COUNTS, values).one()
    if tx.is_postgresql:
        tx.connection.execute(text("SET LOCAL enable_seqscan = DEFAULT"))
    archive = read_archive_standing(tx)
    return Gauges(
        tasks={status: getattr(row, status) for status in _STATUSES},
        due=row.due,
        reconciles_due=row.reconciles_due,
        failing=row.failing,
        over_max_lag=row.over_since_poll + row.over_never_polled,
        largest_lag_seconds=_lag(tx.now, row.oldest_poll, row.oldest_never_polled),
        leases_of_this_worker=row.leases_of_this_worker,
        leases_of_others=row.leases_of_others,
        quarantined=row.quarantined,
        database_bytes=_database_bytes(tx),
        archive_waiting=None if archive is None else archive.waiting.rows,
        archived_at=None if archive is None else archive.checkpoint_at,
    )


def _lag(now: datetime, *oldest: datetime | None) -> float:
    return max([0.0, *((now - moment).total_seconds() for moment in oldest if moment is not None)])


def _database_bytes(tx: Transaction) -> int:
    if tx.is_postgresql:
        size = tx.connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    else:
        pages = tx.connection.execute(text("PRAGMA page_count")).scalar_one()
        size = pages * tx.connection.execute(text("PRAGMA page_size")).scalar_one()
    return int(size)


def _number(name: str, *conditions: ColumnElement[bool]) -> Any:
    return select(func.count()).select_from(task).where(*conditions).scalar_subquery().label(name)


def _oldest(name: str, moment: Any, *conditions: ColumnElement[bool]) -> Any:
    # By the index's own columns: PostgreSQL does not see that those that are NULL are all equal.
    in_order = select(moment).where(*conditions).order_by(task.c.last_polled_at, task.c.tracked_at)
    first: ScalarSelect[Any] = in_order.limit(1).scalar_subquery()
    return first.label(name)


def _failing() -> Any:
    # As a filter, so that no planner is tempted by the index on status, which nearly all tasks share.
    walked = func.count().filter(task.c.status.in_(WALKED_STATUSES))
    return select(walked).select_from(task).where(task.c.last_error_at.is_not(None)).scalar_subquery()


def _counts() -> Any:
    """Return one statement that reads every number.

    Paused and untracked tasks have NULL for the times of their poll and reconcile, so that the
    partial indexes on these lead to what is due alone.
    """
    moment: Any = bindparam("moment", type_=UtcTimestamp)
    cutoff: Any = bindparam("cutoff", type_=UtcTimestamp)
    worker: Any = bindparam("worker")
    nobody = or_(task.c.lease_owner.is_(None), task.c.lease_expires_at < moment)
    held = (task.c.lease_owner.is_not(None), task.c.lease_expires_at >= moment)
    polled = (task.c.status == "active", task.c.last_polled_at.is_not(None))
    never = (task.c.status == "active", task.c.last_polled_at.is_(None))
    some = select(quarantine.c.task_id).limit(MOST_QUARANTINED).subquery()
    return select(
        *(_number(status, task.c.status == status) for status in _STATUSES),
        _number("due", task.c.next_poll_at <= moment, nobody),
        _number("reconciles_due", task.c.next_reconcile_at <= moment, nobody),
        _failing().label("failing"),
        _number("over_since_poll", *polled, task.c.last_polled_at < cutoff),
        _number("over_never_polled", *never, task.c.tracked_at < cutoff),
        _oldest("oldest_poll", task.c.last_polled_at, *polled),
        _oldest("oldest_never_polled", task.c.tracked_at, *never),
        _number("leases_of_this_worker", *held, task.c.lease_owner == worker),
        _number("leases_of_others", *held, task.c.lease_owner != worker),
        select(func.count()).select_from(some).scalar_subquery().label("quarantined"),
    )


_COUNTS = _counts()
