"""Who wants a task tracked, and what becomes of it when a source lists it no more?

`task_source` has a row for each source that lists a task, and one named `hand` for a person who tracks it (of
the tasks that were tracked before there were sources, some have none: active ones without any are a person's).

- A listed task that is not known is tracked. One that had been paused because no source listed it is
  active again. Whatever a person has decided stays: a task paused or untracked by hand is only noted as
  listed, and a `forbidden` or `missing` one waits for its next poll as before.
- A task that a source lists no more is paused as soon as nobody wants it any more, neither another
  source nor a person; it is never deleted.
- Its label follows the sources that list it; the label of a task that a person tracks is theirs, so that a source
  only gives it one where it has none.

What has not changed is not written. What has is locked first, in the order of the ids, and then changed: two
workers that take over the same list wait for each other, and the second one finds nothing to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, bindparam, delete, exists, or_, select, update

from maia_sync.model import WALKED_STATUSES
from maia_sync.store.schema import task, task_source
from maia_sync.store.tasks import (
    BY_HAND,
    NEVER_DUE,
    activate_tasks,
    adopt_tasks,
    chunks,
    insert_source,
    insert_tasks,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Row

    from maia_sync.model import PausedBy, TaskSource, TaskStatus
    from maia_sync.store.database import Transaction

_any = task_source.alias("any_source")
_OF_TASK = _any.c.task_id == task.c.task_id
_BY_HAND = or_(
    exists().where(_OF_TASK, _any.c.source == BY_HAND),
    and_(task.c.status.in_(WALKED_STATUSES), ~exists().where(_OF_TASK)),
)
_KNOWN = select(task.c.task_id, task.c.label, task.c.status, task.c.paused_by, _BY_HAND.label("by_hand"))
_LISTED = _KNOWN.join(task_source, task_source.c.task_id == task.c.task_id).where(
    task_source.c.source == bindparam("of_source")
)
_RELABEL = update(task).where(task.c.task_id == bindparam("of_task")).values(label=bindparam("new_label"))


class SourceChange(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks changed because of what a source lists."""

    added: int = 0
    """They were not known before."""
    resumed: int = 0
    paused: int = 0


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """What of a task decides about it."""

    task_id: str
    label: str | None
    status: TaskStatus
    paused_by: PausedBy | None
    by_hand: bool

    def needs_label(self, label: str | None) -> bool:
        """Tell whether a source's label is to be the task's."""
        return label not in (None, self.label) and (self.label is None or not self.by_hand)


def apply_source(
    tx: Transaction, source: TaskSource, listed: Iterable[tuple[str, str | None]], *, complete: bool
) -> SourceChange:
    """Take over the tasks (ids, and labels or None) that a source lists.

    `complete`: the list is all of it, so that what it does not name is not listed any more.
    """
    labels = _labels(listed)
    before = {each.task_id: each for each in _read_listed(tx, source)}
    fresh = labels.keys() - before.keys()
    gone = before.keys() - labels.keys() if complete else set()
    renamed = {task_id for task_id, each in before.items() if each.needs_label(labels.get(task_id))}
    known = _lock(tx, fresh | gone | renamed)
    added = insert_tasks(tx, {task_id: labels[task_id] for task_id in fresh - known.keys()})
    adopt_tasks(tx, fresh & known.keys(), task.c.status.in_(WALKED_STATUSES))
    insert_source(tx, source, fresh)
    _relabel(tx, known, labels)
    missed = [task_id for task_id in fresh & known.keys() if known[task_id].paused_by == "source"]
    return SourceChange(added=added, resumed=activate_tasks(tx, missed), paused=_unlist(tx, source, gone))


def read_sources(tx: Transaction) -> dict[str, tuple[str, ...]]:
    """Return who wants each task tracked: `hand`, or sources; a task that nobody wants is left out."""
    statement = select(task_source.c.task_id, task_source.c.source).order_by(
        task_source.c.task_id, task_source.c.source
    )
    sources: dict[str, tuple[str, ...]] = {}
    for task_id, source in tx.connection.execute(statement):
        sources[task_id] = (*sources.get(task_id, ()), source)
    return sources


def _labels(listed: Iterable[tuple[str, str | None]]) -> dict[str, str | None]:
    """Return each task once, with the last label that the list gives it."""
    labels: dict[str, str | None] = {}
    for task_id, label in listed:
        labels[task_id] = label or labels.get(task_id)
    return labels


def _read_listed(tx: Transaction, source: TaskSource) -> Iterator[_Known]:
    for row in tx.connection.execute(_LISTED, {"of_source": source}):
        yield _from_row(row)


def _lock(tx: Transaction, task_ids: Iterable[str]) -> dict[str, _Known]:
    """Return those of the tasks that are known, as they stay until the transaction ends."""
    known: dict[str, _Known] = {}
    for chunk in chunks(task_ids):
        these = _KNOWN.where(task.c.task_id.in_(chunk)).order_by(task.c.task_id).with_for_update(of=task)
        known |= {row.task_id: _from_row(row) for row in tx.connection.execute(these)}
    return known


def _relabel(tx: Transaction, known: Mapping[str, _Known], labels: Mapping[str, str | None]) -> None:
    values = [
        {"of_task": task_id, "new_label": labels.get(task_id)}
        for task_id, each in known.items()
        if each.needs_label(labels.get(task_id))
    ]
    if values:
        tx.connection.execute(_RELABEL, values)


def _unlist(tx: Transaction, source: TaskSource, task_ids: Iterable[str]) -> int:
    """Note that a source lists tasks no more; pause those that nobody wants now, and return how many."""
    paused = 0
    wanted = exists().where(task_source.c.task_id == task.c.task_id)
    for chunk in chunks(task_ids):
        listed = (task_source.c.source == source) & task_source.c.task_id.in_(chunk)
        tx.connection.execute(delete(task_source).where(listed))
        unwanted = task.c.task_id.in_(chunk) & task.c.status.in_(WALKED_STATUSES) & ~wanted
        pause = update(task).where(unwanted).values(status="paused", paused_by="source", **NEVER_DUE)
        paused += tx.connection.execute(pause).rowcount
    return paused


def _from_row(row: Row[Any]) -> _Known:
    return _Known(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
