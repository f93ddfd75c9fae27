"""Which tasks are tracked, in what status, and how did their last walk end?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import bindparam, delete, exists, func, literal, select, update

from maia_sync.model import WALKED_STATUSES, Task
from maia_sync.store.schema import task, task_source
from maia_sync.store.upserting import upserting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Row

    from maia_sync.model import TaskStatus
    from maia_sync.store.database import Transaction

ChosenStatus: TypeAlias = Literal["active", "paused", "untracked"]
"""What a person can say about a task; the others are found out."""
BY_HAND = "hand"
"""What `task_source` names as the source of a task that a person has tracked."""
NEVER_DUE: dict[str, None] = {"next_poll_at": None, "next_reconcile_at": None}
"""How a task stands that is not polled."""
COLUMNS_OF_TASK = tuple(task.c[name] for name in Task.__struct_fields__)
_CHUNK = 500
_RELABEL = update(task).where(task.c.task_id == bindparam("of_task")).values(label=bindparam("new_label"))


def upsert_tasks(tx: Transaction, task_ids: Sequence[str], *, label: str | None = None) -> int:
    """Track tasks by hand, all with one label; see `upsert_labelled_tasks`."""
    return upsert_labelled_tasks(tx, dict.fromkeys(task_ids, label))


def upsert_labelled_tasks(tx: Transaction, labels: Mapping[str, str | None]) -> int:
    """Track tasks by hand: known ones become active again, and keep their label unless one is given.

    Returns how many were not tracked before.
    """
    known = {found.task_id: found for found in read_tasks(tx, task_ids=list(labels))}
    insert_tasks(tx, {task_id: label for task_id, label in labels.items() if task_id not in known})
    activate_tasks(tx, known)
    set_labels(tx, {task_id: label for task_id in known if (label := labels[task_id]) is not None})
    insert_source(tx, BY_HAND, labels)
    return len(labels) - sum(found.status != "untracked" for found in known.values())


def set_status(tx: Transaction, task_ids: Sequence[str], status: ChosenStatus) -> int:
    """Give tasks a status because a person says so; returns how many are known.

    A task that no source lists any more is tracked by hand from when it is resumed.
    """
    if status == "active":
        changed = activate_tasks(tx, task_ids)
        adopt_tasks(tx, task_ids)
        return changed
    paused_by = "hand" if status == "paused" else None
    changed = _update(tx, task_ids, {"status": status, "paused_by": paused_by, **NEVER_DUE})
    if status == "untracked":
        for chunk in chunks(task_ids):
            by_hand = (task_source.c.source == BY_HAND) & task_source.c.task_id.in_(chunk)
            tx.connection.execute(delete(task_source).where(by_hand))
    return changed


def insert_tasks(tx: Transaction, labels: Mapping[str, str | None]) -> int:
    """Insert tasks that are not known, active and due at once; returns how many were not known."""
    if not labels:
        return 0
    insert = upserting(tx)
    rows = [{"task_id": task_id, "label": labels[task_id], "status": "active"} for task_id in sorted(labels)]
    due = {"tracked_at": tx.now, "next_poll_at": tx.now, "poll_interval": 0.0}
    statement = insert(task).on_conflict_do_nothing().returning(task.c.task_id)
    return len(tx.connection.execute(statement, [{**row, **due} for row in rows]).all())


def insert_source(tx: Transaction, source: str, task_ids: Iterable[str]) -> None:
    """Note that a source, or a person, wants these tasks tracked."""
    insert = upserting(tx)
    rows = [{"source": source, "task_id": task_id} for task_id in sorted(set(task_ids))]
    if rows:
        tx.connection.execute(insert(task_source).on_conflict_do_nothing(), rows)


def adopt_tasks(tx: Transaction, task_ids: Iterable[str], *conditions: ColumnElement[bool]) -> None:
    """Note that tasks which no source lists are tracked by hand."""
    insert = upserting(tx)
    listed = exists().where(task_source.c.task_id == task.c.task_id)
    ours = select(literal(BY_HAND), task.c.task_id).where(~listed, *conditions)
    for chunk in chunks(task_ids):
        rows = ours.where(task.c.task_id.in_(chunk))
        into = insert(task_source).from_select(["source", "task_id"], rows)
        tx.connection.execute(into.on_conflict_do_nothing())


def set_labels(tx: Transaction, labels: Mapping[str, str]) -> None:
    """Give known tasks their labels."""
    values = [{"of_task": task_id, "new_label": labels[task_id]} for task_id in sorted(labels)]
    if values:
        tx.connection.execute(_RELABEL, values)


def activate_tasks(tx: Transaction, task_ids: Iterable[str]) -> int:
    """Poll tasks again, from now on and as if they had not failed; returns how many are known.

    Why they failed last stays in `last_error` until they succeed.
    """
    fresh = {"status": "active", "paused_by": None, "failures": 0, "times_missing": 0}
    return _update(tx, task_ids, {**fresh, **_hot(tx)})


def heat(tx: Transaction, task_ids: Sequence[str]) -> int:
    """Make tasks due at once and polled often, if they are polled at all; returns how many are."""
    return _update(tx, task_ids, _hot(tx), task.c.status.in_(WALKED_STATUSES))


def chunks(task_ids: Iterable[str]) -> Iterator[list[str]]:
    """Yield the ids in such numbers as a statement can name, each once.

    Sorted: transactions that change several tasks do so in one order, lest each waits for the other.
    """
    ordered = sorted(set(task_ids))
    for at in range(0, len(ordered), _CHUNK):
        yield ordered[at : at + _CHUNK]


def _hot(tx: Transaction) -> dict[str, Any]:
    return {"next_poll_at": tx.now, "poll_interval": 0.0}


def _update(
    tx: Transaction, task_ids: Iterable[str], values: dict[str, Any], *conditions: ColumnElement[bool]
) -> int:
    statement = update(task).where(*conditions).values(values)
    return sum(
        tx.connection.execute(statement.where(task.c.task_id.in_(chunk))).rowcount
        for chunk in chunks(task_ids)
    )


def read_tasks(
    tx: Transaction, *, task_ids: Sequence[str] | None = None, statuses: Sequence[TaskStatus] | None = None
) -> list[Task]:
    """Return tasks by id or by status, in the order in which they were tracked."""
    statement = select(*COLUMNS_OF_TASK).order_by(task.c.tracked_at, task.c.task_id)
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


def _from_row(row: Row[tuple[object, ...]]) -> Task:
    return Task(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
