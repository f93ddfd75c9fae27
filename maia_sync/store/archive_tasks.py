"""How is each task tracked, as the archive tells it? And of which tasks is that not what it has told last?

Told are a task's status, label and sources, and its log's order: what a database that is restored from the
archive goes on with. `task.archived_as` says what was told last.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from sqlalchemy import bindparam, func, select, true, update

from maia_sync.store.archived import Record, TaskFacts
from maia_sync.store.moments import as_given, require_row
from maia_sync.store.schema import checkpoint, task, task_source

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from maia_sync.store.database import Transaction

_AT_ONCE: Final = 1_000
_LONGEST_LABEL: Final = 8_000
"""Characters, so that an entry of the log has room for it."""
_columns = task.c
_OF_TASK: Final = (
    _columns.task_id,
    _columns.label,
    _columns.status,
    _columns.tracked_at,
    _columns.paused_by,
    _columns.archived_as,
)
_SOURCES = (
    select(func.aggregate_strings(task_source.c.source, ","))
    .where(task_source.c.task_id == _columns.task_id)
    .scalar_subquery()
)
_ORDER = select(checkpoint.c.log_order).where(checkpoint.c.task_id == _columns.task_id).scalar_subquery()
_TOLD = update(task).where(_columns.task_id == bindparam("of_task")).values(archived_as=bindparam("told_as"))


class TrackedTask(NamedTuple):
    """A task, and what of it the archive tells."""

    task_id: str
    facts: TaskFacts
    archived_as: bytes | None
    """What was told last, as `told_as` tells it; None: nothing was, or it is to be told again."""


def told_as(facts: TaskFacts) -> bytes:
    """Return what `task.archived_as` holds once these facts are archived."""
    return hashlib.sha256(msgspec.json.encode(facts)).digest()


def read_tracked(tx: Transaction, task_id: str | None = None) -> Iterator[TrackedTask]:
    """Yield the tasks that are archived, by id; or only the one that is named.

    Raises DatabaseError if a row cannot be read.
    """
    given = [as_given(tx, column) for column in _OF_TASK]
    statement = select(*given, _SOURCES, _ORDER).where(_columns.archived.is_(true()))
    if task_id is not None:
        statement = statement.where(_columns.task_id == task_id)
    rows = tx.connection.execute(
        statement.order_by(_columns.task_id), execution_options={"yield_per": _AT_ONCE}
    )
    for *row, sources, log_order in rows:
        yield _tracked(row, sources, log_order)


def read_retold(tx: Transaction, told: Container[str]) -> Iterator[list[Record]]:
    """Yield records of the tasks that are not as they were told last; but for those in `told`."""
    records: list[Record] = []
    for tracked in read_tracked(tx):
        record = record_of(tx, tracked) if tracked.task_id not in told else None
        if record is not None:
            records.append(record)
        if len(records) >= _AT_ONCE:
            yield records
            records = []
    if records:
        yield records


def record_of(tx: Transaction, tracked: TrackedTask, *, again: bool = False) -> Record | None:
    """Return a task's record; None if it is what was told last, unless it is to be told `again`."""
    if told_as(tracked.facts) == tracked.archived_as and not again:
        return None
    return Record(type="task", received_at=tx.now, task_id=tracked.task_id, facts=tracked.facts)


def mark_told(tx: Transaction, told: Mapping[str, bytes | None]) -> None:
    """Note what was told of tasks. In the order of their ids, as whoever locks several."""
    values = [{"of_task": task_id, "told_as": told[task_id]} for task_id in sorted(told)]
    for at in range(0, len(values), _AT_ONCE):
        tx.connection.execute(_TOLD, values[at : at + _AT_ONCE])


def _tracked(row: Any, sources: str | None, log_order: str | None) -> TrackedTask:
    read = require_row(_OF_TASK, row)
    facts = TaskFacts(
        label=None if read.label is None else read.label[:_LONGEST_LABEL],
        status=read.status,
        tracked_at=read.tracked_at,
        paused_by=read.paused_by,
        sources=tuple(sorted(sources.split(","))) if sources else (),
        log_order=log_order,
    )
    return TrackedTask(read.task_id, facts, read.archived_as)
