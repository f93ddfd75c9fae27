"""How does a database begin another log, in which everything that it holds is archived anew?

The log's name is replaced first, in one small transaction (`archive_log.start_log`). What was noted of the
log before is then forgotten step by step, so much at a time, before anything is archived. Whoever comes next
after a death in between begins with the first step again: a log that has no checkpoint yet, while another
has, is one that takes its place. Checkpoints of the log before stay: they are its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import delete, false, select, true, update

from maia_sync.store.archive_log import has_checkpoint
from maia_sync.store.schema import (
    archive_checkpoint,
    archive_hold,
    archive_journal,
    quarantine,
    sent_message,
    sync_run,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Table

    from maia_sync.store.database import Transaction

Forget: TypeAlias = "Callable[[Transaction, Any], Any]"
"""Forgets some of it, behind what it returned the last time (None: from the start); None: that was all."""
_TASKS: Final = 500
_NOTES: Final = 500
_ROWS: Final = 5_000


def takes_a_place(tx: Transaction, origin: str) -> bool:
    """Tell whether a log has no checkpoint yet, and another log of this database has."""
    others = select(archive_checkpoint.c.id).where(archive_checkpoint.c.origin != origin).limit(1)
    return not has_checkpoint(tx, origin) and tx.connection.execute(others).first() is not None


def _unenrol(tx: Transaction, after: str | None) -> str | None:
    """Have the changes of tasks noted no more; in the order of their ids, as whoever locks several."""
    enrolled = (
        select(task.c.task_id).where(task.c.archived.is_(true())).order_by(task.c.task_id).limit(_TASKS)
    )
    if after is not None:
        enrolled = enrolled.where(task.c.task_id > after)
    some = list(tx.connection.execute(enrolled.with_for_update()).scalars())
    if not some:
        return None
    tx.connection.execute(
        update(task).where(task.c.task_id.in_(some)).values(archived=false(), archived_as=None)
    )
    return str(some[-1])


def _forget_journal(tx: Transaction, after: int | None) -> int | None:
    """Delete what was noted of tasks; nothing is added once none is enrolled."""
    ids = _some_ids(tx, archive_journal, after, _NOTES)
    if ids is None:
        return None
    first, last = ids
    tx.connection.execute(delete(archive_journal).where(archive_journal.c.id.between(first, last)))
    return last


def _take_marks_back(table: Table) -> Forget:
    columns = table.c

    def forget(tx: Transaction, after: int | None) -> int | None:
        ids = _some_ids(tx, table, after, _ROWS)
        if ids is None:
            return None
        marked = columns.id.between(*ids) & columns.checkpoint_id.is_not(None)
        tx.connection.execute(update(table).where(marked).values(checkpoint_id=None))
        return ids[1]

    return forget


def _some_ids(tx: Transaction, table: Table, after: int | None, most: int) -> tuple[int, int] | None:
    """Return the first and the last of the next ids; None if there are none."""
    ids = select(table.c.id).order_by(table.c.id).limit(most)
    if after is not None:
        ids = ids.where(table.c.id > after)
    found = list(tx.connection.execute(ids).scalars())
    return (found[0], found[-1]) if found else None


STEPS: Final[tuple[Forget, ...]] = (
    _unenrol,
    _forget_journal,
    *(_take_marks_back(table) for table in (quarantine, sent_message, sync_run, archive_hold)),
)
"""In this order: each to its end before the next."""
