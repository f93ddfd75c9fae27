"""Who wants a task tracked, and what becomes of it when a source lists it no more?

`task_source` has a row for each source that lists a task, and one named `hand` for a person who tracks it
(tasks that were tracked before there were sources may have none: an active one without any is a person's).

- A listed task that is not known is tracked. One that had been paused because no source listed it is
  active again. Whatever a person has decided stays: a task paused or untracked by hand is only noted as
  listed, and a `forbidden` or `missing` one waits for its next poll as before.
- A task that a source lists no more is paused as soon as nobody wants it any more, neither another
  source nor a person; it is never deleted.
- Its label follows the source that was read last. The label of a task that a person tracks is the person's:
  a source only gives it one where it has none.

What has not changed is not written, and not even locked. What has is locked first, in the order of the ids,
and then changed: two workers that take over the same list wait for each other, and the second one finds
nothing to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, bindparam, delete, exists, or_, select, update

from maia_sync.model import WALKED_STATUSES, PausedBy, TaskSource
from maia_sync.store.schema import task, task_source
from maia_sync.store.tasks import (
    BY_HAND,
    NEVER_DUE,
    activate_tasks,
    adopt_tasks,
    chunks,
    insert_source,
    insert_tasks,
    set_labels,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Row

    from maia_sync.store.database import Transaction

_any = task_source.alias("any_source")
_OF_TASK = _any.c.task_id == task.c.task_id
_BY_HAND = or_(
    exists().where(_OF_TASK, _any.c.source == BY_HAND),
    and_(task.c.status.in_(WALKED_STATUSES), ~exists().where(_OF_TASK)),
)
_KNOWN = select(task.c.task_id, task.c.label, task.c.paused_by, _BY_HAND.label("by_hand"))
_LISTED = _KNOWN.join(task_source, task_source.c.task_id == task.c.task_id).where(
    task_source.c.source == bindparam("of_source")
)


class SourceDifference(msgspec.Struct, frozen=True, kw_only=True):
    """What a source lists otherwise than is noted."""

    source: TaskSource
    listed: tuple[tuple[str, str | None], ...]
    """Tasks that it was not known to list, or not with this label."""
    gone: tuple[str, ...]
    """Tasks that it lists no more."""

    def parts(self, most: int) -> Iterator[SourceDifference]:
        """Yield it in parts of so many tasks, so that no transaction takes long."""
        for at in range(0, len(self.listed), most):
            yield SourceDifference(source=self.source, listed=self.listed[at : at + most], gone=())
        for at in range(0, len(self.gone), most):
            yield SourceDifference(source=self.source, listed=(), gone=self.gone[at : at + most])


class SourceChange(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks changed because of what a source lists."""

    added: int = 0
    """They were not known before."""
    resumed: int = 0
    paused: int = 0

    def __add__(self, other: SourceChange) -> SourceChange:
        return SourceChange(
            added=self.added + other.added,
            resumed=self.resumed + other.resumed,
            paused=self.paused + other.paused,
        )


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """What of a task decides about it."""

    task_id: str
    label: str | None
    paused_by: PausedBy | None
    by_hand: bool

    def takes(self, label: str) -> bool:
        """Tell whether a source's label is to be the task's."""
        return label != self.label and (self.label is None or not self.by_hand)


def read_difference(
    tx: Transaction, source: TaskSource, listed: Iterable[tuple[str, str | None]], *, complete: bool
) -> SourceDifference:
    """Return what is to be noted of a source that lists these tasks (ids, and labels or None).

    `complete`: the list is all of it, so that what it does not name is not listed any more. A task that it
    names twice has the last label that it is given.
    """
    labels: dict[str, str | None] = {}
    for task_id, label in listed:
        labels[task_id] = label or labels.get(task_id)
    before = {row.task_id: _from_row(row) for row in tx.connection.execute(_LISTED, {"of_source": source})}
    fresh = labels.keys() - before.keys()
    gone = before.keys() - labels.keys() if complete else set()
    return SourceDifference(
        source=source,
        listed=tuple((each, labels[each]) for each in sorted(fresh | _new_labels(before, labels).keys())),
        gone=tuple(sorted(gone)),
    )


def apply_difference(tx: Transaction, difference: SourceDifference) -> SourceChange:
    """Take over what a source lists otherwise than before, or a part of it."""
    labels = dict(difference.listed)
    known = _lock(tx, {*labels, *difference.gone})
    adopt_tasks(tx, labels, task.c.status.in_(WALKED_STATUSES))
    added = insert_tasks(tx, {task_id: labels[task_id] for task_id in labels.keys() - known})
    insert_source(tx, difference.source, labels)
    set_labels(tx, _new_labels(known, labels))
    missed = [task_id for task_id in labels.keys() & known if known[task_id].paused_by == "source"]
    resumed = activate_tasks(tx, missed)
    paused = _unlist(tx, difference.source, difference.gone)
    return SourceChange(added=added, resumed=resumed, paused=paused)


def read_sources(tx: Transaction) -> dict[str, tuple[str, ...]]:
    """Return who wants each task tracked: `hand`, or sources; a task that nobody wants is left out."""
    statement = select(task_source.c.task_id, task_source.c.source).order_by(
        task_source.c.task_id, task_source.c.source
    )
    sources: dict[str, tuple[str, ...]] = {}
    for task_id, source in tx.connection.execute(statement):
        sources[task_id] = (*sources.get(task_id, ()), source)
    return sources


def _new_labels(known: Mapping[str, _Known], labels: Mapping[str, str | None]) -> dict[str, str]:
    """Return the labels that known tasks are to be given."""
    return {
        task_id: label
        for task_id, each in known.items()
        if (label := labels.get(task_id)) is not None and each.takes(label)
    }


def _lock(tx: Transaction, task_ids: Iterable[str]) -> dict[str, _Known]:
    """Return those of the tasks that are known, as they stay until the transaction ends."""
    known: dict[str, _Known] = {}
    for chunk in chunks(task_ids):
        these = _KNOWN.where(task.c.task_id.in_(chunk)).order_by(task.c.task_id).with_for_update(of=task)
        known |= {row.task_id: _from_row(row) for row in tx.connection.execute(these)}
    return known


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
