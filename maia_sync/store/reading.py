"""What is in the copy? Read-only queries for listings; none of them reads a whole log at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, func, literal, not_, or_, select, tuple_

from maia_sync.model import NO_TIMESTAMP, Task
from maia_sync.store.schema import task_event
from maia_sync.store.tasks import read_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Row, Select

    from maia_sync.model import TaskStatus
    from maia_sync.store.database import Transaction

_CHUNK = 500
_columns = task_event.c
# Two rows can share seq, moment and ordinal only with different keys; the key makes the order total.
_ORDER = (_columns.seq, _columns.first_seen_at, _columns.ordinal, _columns.group_id, _columns.timestamp)


class TaskFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A task and how much of it is stored."""

    task: Task
    events: int
    vanished: int

    def lag(self, now: datetime) -> timedelta | None:
        """Return how long ago the copy was last known complete; None where nobody polls, on purpose."""
        return lag_of(self.task, now)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """How much is stored of all tasks together."""

    events: int
    vanished: int
    revisions: int
    quarantined: int
    pruned: int = 0
    """Events whose payload is in the archive alone."""
    erased: int = 0
    """Events whose payload is nowhere any more."""


class LogRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One stored event, with every column but those read from its payload."""

    task_id: str
    group_id: str
    timestamp: int
    ordinal: int
    data: str | None
    extra: str | None
    occurred_at: datetime | None
    timestamp_text: str | None
    seq: int
    digest: bytes
    canonical: bytes | None
    revision: int
    first_seen_at: datetime
    last_changed_at: datetime
    vanished_at: datetime | None
    run_id: int | None
    pruned_at: datetime | None = None
    """When its payload was taken out of this database, if it was."""
    erased_at: datetime | None = None
    """... and out of the archive, too."""

    @property
    def position(self) -> Position:
        """Where this row stands in the reading order."""
        return (self.seq, self.first_seen_at, self.ordinal, self.group_id, self.timestamp)

    @property
    def has_instant(self) -> bool:
        """Tell whether the event has a timestamp of its own in the key."""
        return self.timestamp != NO_TIMESTAMP


Position = tuple[int, datetime, int, str, int]
"""A place in a task's reading order: seq, first_seen_at, ordinal, and the key."""


_OF_ROW = tuple(_columns[name] for name in LogRow.__struct_fields__)


def lag_of(task: Task, now: datetime) -> timedelta | None:
    """Return how long ago a task's copy was last known complete; None where nobody polls, on purpose.

    Of one that never was: how long it has been tracked.
    """
    if task.status in ("paused", "untracked"):
        return None
    return max(now - (task.last_polled_at or task.tracked_at), timedelta(0))


def read_task_figures(tx: Transaction, *, statuses: Sequence[TaskStatus] | None = None) -> list[TaskFigures]:
    """Return tasks with their numbers of events, in the order in which they were tracked."""
    counted = select(_columns.task_id, func.count()).group_by(_columns.task_id)
    events = _count_by_task(tx, counted)
    vanished = _count_by_task(tx, counted.where(_columns.vanished_at.is_not(None)))
    return [
        TaskFigures(task=task, events=events.get(task.task_id, 0), vanished=vanished.get(task.task_id, 0))
        for task in read_tasks(tx, statuses=statuses)
    ]


def read_figures_of(tx: Transaction, tasks: Sequence[Task]) -> list[TaskFigures]:
    """Return these tasks with their numbers of events; nothing else is counted."""
    task_ids = [task.task_id for task in tasks]
    events: dict[str, int] = {}
    vanished: dict[str, int] = {}
    for at in range(0, len(task_ids), _CHUNK):
        counted = (
            select(_columns.task_id, func.count())
            .where(_columns.task_id.in_(task_ids[at : at + _CHUNK]))
            .group_by(_columns.task_id)
        )
        events |= _count_by_task(tx, counted)
        vanished |= _count_by_task(tx, counted.where(_columns.vanished_at.is_not(None)))
    return [
        TaskFigures(task=task, events=events.get(task.task_id, 0), vanished=vanished.get(task.task_id, 0))
        for task in tasks
    ]


def read_log(
    tx: Transaction,
    task_id: str,
    *,
    after: Position | None = None,
    up_to: Position | None = None,
    since: datetime | None = None,
    with_vanished: bool = True,
    limit: int,
) -> list[LogRow]:
    """Return the next rows of a task's log behind a place, in reading order.

    `up_to` is the last place that counts; `since` leaves out what was first seen before (no index
    leads there: the rows in between are scanned).
    """
    statement = select(*_OF_ROW).where(_columns.task_id == task_id).order_by(*_ORDER).limit(limit)
    if after is not None:
        statement = statement.where(_is_behind(after))
    if up_to is not None:
        statement = statement.where(_columns.seq <= up_to[0], not_(_is_behind(up_to)))
    if since is not None:
        statement = statement.where(_columns.first_seen_at >= since)
    if not with_vanished:
        statement = statement.where(_columns.vanished_at.is_(None))
    return [_from_row(row) for row in tx.connection.execute(statement)]


def find_start_of_newest(
    tx: Transaction, task_id: str, number: int, *, with_vanished: bool = True
) -> Position | None:
    """Return the place behind which the newest `number` rows stand; None if there are no more than these."""
    condition = [] if with_vanished else [_columns.vanished_at.is_(None)]
    statement = (
        select(*_ORDER)
        .where(_columns.task_id == task_id, *condition)
        .order_by(*(column.desc() for column in _ORDER))
        .offset(number)
        .limit(1)
    )
    row = tx.connection.execute(statement).one_or_none()
    return None if row is None else (row[0], row[1], row[2], row[3], row[4])


def count_up_to(tx: Transaction, task_id: str, place: Position) -> int:
    """Return how many rows of a task stand at or before a place; nearly all are counted in an index alone."""
    of_task = select(func.count()).select_from(task_event).where(_columns.task_id == task_id)
    at_seq = of_task.where(_columns.seq == place[0], not_(_is_behind(place)))
    return _count(tx, of_task.where(_columns.seq < place[0])) + _count(tx, at_seq)


def _is_behind(place: Position) -> ColumnElement[bool]:
    """Compare by seq first, alone, so that the index on (task_id, seq) leads to the place."""
    seq, *rest = place
    others = [literal(value, type_=column.type) for value, column in zip(rest, _ORDER[1:], strict=True)]
    return and_(_columns.seq >= seq, or_(_columns.seq > seq, tuple_(*_ORDER[1:]) > tuple_(*others)))


def _count_by_task(tx: Transaction, statement: Select[Any]) -> dict[str, int]:
    return {str(task_id): int(count) for task_id, count in tx.connection.execute(statement)}


def _count(tx: Transaction, statement: Select[Any]) -> int:
    return int(tx.connection.execute(statement).scalar_one())


def _from_row(row: Row[Any]) -> LogRow:
    return LogRow(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
