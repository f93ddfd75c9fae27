"""What must the database keep, what is it rid of, and what will go next? A few numbers, by indexes.

What is to be pruned cannot be told by the last prune: a backfill, a task that is tracked since, a hold that
was released, all bring events that are older. So those that are old enough are counted by one index, those of
them that were pruned by another, and the rest is to go. Above MOST_OLD only a lower bound is told.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import bindparam, func, select, text

from maia_sync.store.column_types import UtcTimestamp
from maia_sync.store.holds import count_holds, read_holds
from maia_sync.store.pruning import PruneRow, count_unscrubbed, read_last_prune
from maia_sync.store.schema import archive_hold, task_event

if TYPE_CHECKING:
    from sqlalchemy import TextClause

    from maia_sync.store.database import Transaction

MOST_OLD: Final = 3_000_000
"""More entries of an index are not counted; so many take a second at most."""
MOST_LOOKED_AT: Final = 10_000
"""So many rows are read where there are more: those that have come of age last."""
_columns = task_event.c


class Due(NamedTuple):
    """Events that are older than a limit and have not been pruned, whether on hold or not."""

    number: int
    is_all: bool
    """Otherwise there are so many at least."""


class RetentionStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How long payloads stay, and what became of those that are older."""

    retention_seconds: float | None
    """archive.retention; None: nothing is pruned by itself."""
    prunes_before: datetime | None
    """What is older than this would be pruned now."""
    come_of_age: int | None
    """Events that are older than that, by when they occurred, and were not pruned; also those on hold."""
    is_come_of_age_exact: bool | None
    """Whether there are just so many; else so many at least."""
    last_prune: PruneRow | None
    holds: int
    """Legal holds that are in force."""
    holds_all_tasks: bool
    """Whether one of them is on all tasks, so that nothing is pruned."""
    unfinished_erasures: int
    """Erasures after which free pages of the database may still hold what was erased."""


def read_retention_standing(tx: Transaction, retention: float | None) -> RetentionStanding:
    """Return how it stands; `retention` in seconds."""
    before = None if retention is None else tx.now - timedelta(seconds=retention)
    due = None if before is None else count_due(tx, before)
    return RetentionStanding(
        retention_seconds=retention,
        prunes_before=before,
        come_of_age=None if due is None else due.number,
        is_come_of_age_exact=None if due is None else due.is_all,
        last_prune=read_last_prune(tx),
        holds=count_holds(tx),
        holds_all_tasks=bool(read_holds(tx, archive_hold.c.task_id.is_(None), most=1)),
        unfinished_erasures=count_unscrubbed(tx),
    )


def count_due(tx: Transaction, before: datetime) -> Due:
    """Return how many events are older than a moment, by when they occurred, and not pruned.

    Those without a time of their own are not among them.
    """
    _lead_by_index(tx, is_on=True)
    values = {"before": before, "most": MOST_OLD}
    olds, gone = (
        int(tx.connection.execute(statement, values).scalar_one())
        for statement in (_OLD, _GONE_ON_POSTGRESQL if tx.is_postgresql else _GONE_ON_SQLITE)
    )
    number, is_all = max(olds - gone, 0), olds < MOST_OLD
    if not is_all:
        number = max(number, _count_newest(tx, before))
    _lead_by_index(tx, is_on=False)
    return Due(number, is_all)


def _lead_by_index(tx: Transaction, *, is_on: bool) -> None:
    """Keep PostgreSQL from ways to read that do not end where LIMIT says."""
    if tx.is_postgresql:
        for way in ("seqscan", "bitmapscan"):
            tx.connection.execute(text(f"SET LOCAL enable_{way} = {'off' if is_on else 'DEFAULT'}"))


def _count_newest(tx: Transaction, before: datetime) -> int:
    """Return how many were not pruned of those that have come of age last."""
    newest = (
        select(_columns.pruned_at)
        .where(_columns.occurred_at < before)
        .order_by(_columns.occurred_at.desc())
        .limit(MOST_LOOKED_AT)
        .subquery()
    )
    statement = select(func.count()).select_from(newest).where(newest.c.pruned_at.is_(None))
    return int(tx.connection.execute(statement).scalar_one())


def _counting(events: str, condition: str = "") -> TextClause:
    some = f"SELECT 1 FROM {events} WHERE occurred_at < :before{condition} LIMIT :most"
    statement = text(f"SELECT count(*) FROM ({some}) AS old")
    return statement.bindparams(bindparam("before", type_=UtcTimestamp))


_IS_GONE: Final = " AND pruned_at IS NOT NULL"
_OLD: Final = _counting("task_event")
_GONE_ON_POSTGRESQL: Final = _counting("task_event", _IS_GONE)
# SQLite would go by the other index, and read each row to find out whether it was pruned.
_GONE_ON_SQLITE: Final = _counting("task_event INDEXED BY ix_task_event_pruned", _IS_GONE)
