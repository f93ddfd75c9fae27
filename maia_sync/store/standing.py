"""How does the copy stand: what is due, stale, held, failing? A few numbers and short lists.

An index leads to each of them, so that 100,000 idle tasks cost next to nothing: each counts for one index
entry where tasks are counted by status, and only the rows of tasks that are listed are read. Tables
that can be distributed (`checkpoint`, `task_event`) are asked apart from `task`, for single tasks.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec
from sqlalchemy import bindparam, func, or_, select, text

from maia_sync.model import Task, TaskStatus
from maia_sync.store.column_types import UtcTimestamp
from maia_sync.store.reading import TaskFigures, Totals, read_figures_of
from maia_sync.store.schema import checkpoint, quarantine, task, task_event, task_event_revision
from maia_sync.store.tasks import COLUMNS_OF_TASK, count_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import ColumnElement, FromClause, Select

    from maia_sync.store.database import Transaction

FirstRead: TypeAlias = Literal["not begun", "under way"]
"""Of a task whose log has never been read to its end: whether some of it is stored."""

_STATUSES: tuple[TaskStatus, ...] = get_args(TaskStatus)
_NOT_FAILING: tuple[TaskStatus, ...] = ("paused", "forbidden", "missing", "untracked")
"""Said the other way round than `status = 'active'`, which would lead SQLite to the wrong index."""
_EXTREMES = 5
_MOST_WORKERS = 100
_MOST_LEASES = 1000
_CHUNK = 500


class Staleness(msgspec.Struct, frozen=True, kw_only=True):
    """How many active tasks are behind the lag bound, and how many tasks have none."""

    tasks: int
    """Active tasks that were last complete, or tracked if they never were, longer ago than it."""
    never_complete: int
    """How many of them never were."""
    forbidden: int
    missing: int


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits to be polled and reconciled, without what a worker holds."""

    due: int
    due_since: datetime | None
    """Since when the first of them has been waiting."""
    next_poll_at: datetime | None
    """When the next task will be due that is not yet."""
    reconciles_due: int
    next_reconcile_at: datetime | None
    """The earliest of all, also one that has passed."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A worker and what it holds."""

    worker: str
    tasks: int
    since: datetime | None
    """Since when it has held the first of them."""
    until: datetime
    """When the last of its leases ends; in the past if the worker died."""


class Leases(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds which tasks."""

    held: int
    expired: int
    """Not given back in time: any worker may take these tasks."""
    holders: tuple[Holder, ...]
    """At most a hundred."""
    tasks: tuple[Task, ...]
    """By worker, at most a thousand."""


class ListedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is listed, and what of it is stored."""

    figures: TaskFigures
    first_read: FirstRead | None
    """None: its log has been read to the end before."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the copy stands at one moment."""

    now: datetime
    by_status: dict[TaskStatus, int]
    """Only statuses that some task has."""
    totals: Totals
    backlog: Backlog
    staleness: Staleness
    failing: int
    """Active tasks whose latest walk failed."""
    leases: Leases
    freshest: tuple[Task, ...]
    """A few active tasks, the freshest first."""
    stalest: tuple[Task, ...]
    """A few active tasks, those first that were never read to their end."""
    listed: tuple[ListedTask, ...]
    """Those that need a look first: failing, withheld, then from stale to fresh."""


def read_standing(tx: Transaction, *, max_lag: float, most: int, with_untracked: bool) -> Standing:
    """Return how the copy stands; `max_lag` in seconds, `most` bounds each list of tasks."""
    with _led_by_indexes(tx):
        counts = count_tasks(tx)
        staleness = _read_staleness(tx, max_lag)
        numbers = tx.connection.execute(_NUMBERS, {"moment": tx.now}).one()._mapping  # noqa: SLF001 - public name
        leases = _read_leases(tx, held=numbers["held"], expired=numbers["expired"])
        freshest = _read_tasks(tx, _FRESHEST, "active", _EXTREMES)
        stalest = read_stalest(tx, "active", _EXTREMES)
        tasks = _read_worth_a_look(tx, most, with_untracked=with_untracked)
    return Standing(
        now=tx.now,
        by_status={status: counts[status] for status in _STATUSES if status in counts},
        totals=count_stored(tx),
        backlog=Backlog(**{name: numbers[name] for name in Backlog.__struct_fields__}),
        staleness=staleness,
        failing=numbers["failing"],
        leases=leases,
        freshest=tuple(freshest),
        stalest=tuple(stalest),
        listed=_with_figures(tx, tasks),
    )


def read_staleness(tx: Transaction, *, max_lag: float) -> Staleness:
    """Return how many active tasks were last complete more than so many seconds ago: one query."""
    with _led_by_indexes(tx):
        return _read_staleness(tx, max_lag)


def read_stale_ids(tx: Transaction, *, max_lag: float, most: int) -> list[str]:
    """Return at most so many of these tasks, those first that were never read to their end."""
    cutoff = tx.now - timedelta(seconds=max_lag)
    never = [*_never("active"), task.c.tracked_at < cutoff]
    polled = [task.c.status == "active", task.c.last_polled_at < cutoff]
    found: list[str] = []
    with _led_by_indexes(tx):
        for conditions in (never, polled):
            statement = select(task.c.task_id).where(*conditions).order_by(*_BY_AGE)
            found += tx.connection.execute(statement.limit(most - len(found))).scalars()
    return found


def read_stalest(tx: Transaction, status: TaskStatus, most: int) -> list[Task]:
    """Return tasks of a status, never completed ones first, then by when they were last complete."""
    found = _read_tasks(tx, _NEVER_COMPLETE, status, most)
    return found + _read_tasks(tx, _STALEST, status, most - len(found))


def read_failing(tx: Transaction, most: int) -> list[Task]:
    """Return active tasks whose latest walk failed, the latest failure first."""
    statement = select(*COLUMNS_OF_TASK).where(*_FAILING).order_by(task.c.last_error_at.desc()).limit(most)
    return [_from_row(row) for row in tx.connection.execute(statement)]


def count_stored(tx: Transaction) -> Totals:
    """Return how much is stored of all tasks together."""
    counts = [
        _count(task_event),
        _count(task_event, task_event.c.vanished_at.is_not(None)),
        _count(task_event_revision),
        _count(quarantine),
    ]
    events, vanished, revisions, quarantined = (
        int(tx.connection.execute(statement).scalar_one()) for statement in counts
    )
    removed, erased = tx.connection.execute(_REMOVED).one()
    return Totals(
        events=events,
        vanished=vanished,
        revisions=revisions,
        quarantined=quarantined,
        pruned=removed - erased,
        erased=erased,
    )


@contextmanager
def _led_by_indexes(tx: Transaction) -> Iterator[None]:
    """Keep PostgreSQL from reading the whole table where an index suffices but seems no cheaper."""
    if tx.is_postgresql:
        tx.connection.execute(text("SET LOCAL enable_seqscan = off"))
    yield
    if tx.is_postgresql:
        tx.connection.execute(text("SET LOCAL enable_seqscan = DEFAULT"))


def _read_staleness(tx: Transaction, max_lag: float) -> Staleness:
    row = tx.connection.execute(_STALENESS, {"cutoff": tx.now - timedelta(seconds=max_lag)}).one()
    return Staleness(
        tasks=row.polled_before + row.never_complete,
        never_complete=row.never_complete,
        forbidden=row.forbidden,
        missing=row.missing,
    )


def _read_leases(tx: Transaction, *, held: int, expired: int) -> Leases:
    columns = task.c
    is_held = columns.lease_owner.is_not(None)
    first, last = func.min(columns.lease_acquired_at), func.max(columns.lease_expires_at)
    by_worker = (
        select(columns.lease_owner, func.count(), first, last)
        .where(is_held)
        .group_by(columns.lease_owner)
        .order_by(columns.lease_owner)
        .limit(_MOST_WORKERS)
    )
    in_order = (
        select(*COLUMNS_OF_TASK)
        .where(is_held)
        .order_by(columns.lease_owner, columns.lease_acquired_at)
        .limit(_MOST_LEASES)
    )
    holders = tx.connection.execute(by_worker).all()
    return Leases(
        held=held,
        expired=expired,
        holders=tuple(Holder(worker=row[0], tasks=row[1], since=row[2], until=row[3]) for row in holders),
        tasks=tuple(_from_row(row) for row in tx.connection.execute(in_order)),
    )


def _read_worth_a_look(tx: Transaction, most: int, *, with_untracked: bool) -> list[Task]:
    """Return at most so many tasks: a share for what fails and what is withheld, the rest by age."""
    reads: list[tuple[Callable[[int], list[Task]], int]] = [(partial(read_failing, tx), most // 3)]
    by_age: tuple[TaskStatus, ...] = ("active", "forbidden", "missing", "paused")
    if with_untracked:
        by_age = (*by_age, "untracked")
    reads += [(partial(read_stalest, tx, status), most // 6) for status in ("forbidden", "missing")]
    reads += [(partial(read_stalest, tx, status), most) for status in by_age]
    found: dict[str, Task] = {}
    for read, share in reads:
        if len(found) >= most:
            break
        for one in read(share):
            found.setdefault(one.task_id, one)
    return list(found.values())[:most]


def _with_figures(tx: Transaction, tasks: Sequence[Task]) -> tuple[ListedTask, ...]:
    never = [one.task_id for one in tasks if one.last_polled_at is None]
    begun: set[str] = set()
    for at in range(0, len(never), _CHUNK):
        some = select(checkpoint.c.task_id).where(checkpoint.c.task_id.in_(never[at : at + _CHUNK]))
        begun.update(tx.connection.execute(some).scalars())
    return tuple(
        ListedTask(figures=figures, first_read=_first_read(figures.task, begun))
        for figures in read_figures_of(tx, tasks)
    )


def _first_read(one: Task, begun: set[str]) -> FirstRead | None:
    if one.last_polled_at is not None:
        return None
    return "under way" if one.task_id in begun else "not begun"


def _read_tasks(tx: Transaction, statement: Any, status: TaskStatus, most: int) -> list[Task]:
    if most <= 0:
        return []
    rows = tx.connection.execute(statement, {"of_status": status, "most": most})
    return [_from_row(row) for row in rows]


def _from_row(row: Any) -> Task:
    return Task(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping


def _count(table: FromClause, *conditions: ColumnElement[bool]) -> Select[Any]:
    return select(func.count()).select_from(table).where(*conditions)


def _number(name: str, *conditions: ColumnElement[bool]) -> Any:
    return _count(task, *conditions).scalar_subquery().label(name)


def _first(name: str, column: Any, *conditions: ColumnElement[bool]) -> Any:
    in_order = select(column).where(column.is_not(None), *conditions).order_by(column).limit(1)
    return in_order.scalar_subquery().label(name)


def _never(status: Any) -> tuple[ColumnElement[bool], ...]:
    return (task.c.status == status, task.c.last_polled_at.is_(None))


# By the partial index alone: all its columns are in it.
_REMOVED = select(func.count(), func.count(task_event.c.erased_at)).where(task_event.c.pruned_at.is_not(None))
_FAILING = (task.c.last_error_at.is_not(None), task.c.status.not_in(_NOT_FAILING))
_MOMENT: Any = bindparam("moment", type_=UtcTimestamp)
_CUTOFF: Any = bindparam("cutoff", type_=UtcTimestamp)
_OF_STATUS: Any = bindparam("of_status")
_FREE = or_(task.c.lease_owner.is_(None), task.c.lease_expires_at < _MOMENT)
_LEASED = task.c.lease_owner.is_not(None)

_NUMBERS = select(
    _number("due", task.c.next_poll_at <= _MOMENT, _FREE),
    _first("due_since", task.c.next_poll_at, task.c.next_poll_at <= _MOMENT, _FREE),
    _first("next_poll_at", task.c.next_poll_at, task.c.next_poll_at > _MOMENT),
    _number("reconciles_due", task.c.next_reconcile_at <= _MOMENT, _FREE),
    _first("next_reconcile_at", task.c.next_reconcile_at, _FREE),
    _number("failing", *_FAILING),
    _number("held", _LEASED, task.c.lease_expires_at >= _MOMENT),
    _number("expired", _LEASED, task.c.lease_expires_at < _MOMENT),
)
_STALENESS = select(
    _number("polled_before", task.c.status == "active", task.c.last_polled_at < _CUTOFF),
    _number("never_complete", *_never("active"), task.c.tracked_at < _CUTOFF),
    _number("forbidden", task.c.status == "forbidden"),
    _number("missing", task.c.status == "missing"),
)

# By the index's own columns: PostgreSQL does not see that those that are NULL are all equal.
_BY_AGE = (task.c.last_polled_at, task.c.tracked_at)
_POLLED = select(*COLUMNS_OF_TASK).where(task.c.status == _OF_STATUS, task.c.last_polled_at.is_not(None))
_NEVER_COMPLETE = (
    select(*COLUMNS_OF_TASK).where(*_never(_OF_STATUS)).order_by(*_BY_AGE).limit(bindparam("most"))
)
_STALEST = _POLLED.order_by(*_BY_AGE).limit(bindparam("most"))
_FRESHEST = _POLLED.order_by(*(column.desc() for column in _BY_AGE)).limit(bindparam("most"))
