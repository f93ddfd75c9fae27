"""What is erased, by whom and why, and is all of it done? Rows of `archive_erasure`, and what waits."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import case, func, insert, or_, select, update

from maia_sync.store.archive_log import Head
from maia_sync.store.digest_key import KEYED_BYTES
from maia_sync.store.schema import (
    archive_checkpoint,
    archive_erasure,
    archive_journal,
    quarantine,
    sent_message,
    task,
    task_event,
    task_event_revision,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table

    from maia_sync.store.database import Transaction

_KEY_ID_BYTES: Final = 4
_columns = archive_erasure.c


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased of a task."""

    id: int
    task_id: str
    before: datetime | None
    """Payloads that are older; None: all."""
    reason: str
    basis: str
    """The legal one."""
    erased_by: str
    erased_at: datetime
    payloads: int
    """How many of the log's entries lost theirs."""


class UnfinishedErasure(NamedTuple):
    """An erasure of which something may still lie somewhere."""

    id: int
    origin: str | None
    """The name of the log that tells of it; None if the database knows of none."""
    is_done: bool
    """Whether the checkpoint with which it was signed is the archive's by now."""
    head: Head
    """Of that checkpoint, and its text."""
    note: str
    since: int
    """The size of the checkpoint before that."""


def knows_task(tx: Transaction, task_id: str) -> bool:
    """Tell whether the database holds anything of a task."""
    tables = (task, task_event, task_event_revision, quarantine, sent_message)
    return any(_has_row(tx, table, task_id) for table in tables)


def _has_row(tx: Transaction, table: Table, task_id: str) -> bool:
    row = select(table.c.task_id).where(table.c.task_id == task_id).limit(1)
    return tx.connection.execute(row).first() is not None


def is_waiting(tx: Transaction, task_id: str) -> bool:
    """Tell whether anything of a task waits to be archived that has a payload.

    Nothing comes to it meanwhile if the caller holds the task's lock (`facets.lock_task`).
    """
    for table in (archive_journal, quarantine, sent_message):
        columns = table.c
        waits = select(columns.id).where(columns.task_id == task_id, columns.checkpoint_id.is_(None))
        if tx.connection.execute(waits.limit(1)).first() is not None:
            return True
    return False


def read_keyed_by(tx: Transaction, task_id: str) -> list[bytes]:
    """Return one keyed digest by each of the keys with which payloads of a task were taken out before."""
    found: list[bytes] = []
    for table in (task_event, task_event_revision, quarantine):
        columns = table.c
        of_key = func.substr(columns.digest, 1, _KEY_ID_BYTES)
        one = (
            select(func.min(columns.digest))
            if not tx.is_postgresql  # which has no least of bytes before version 18
            else select(func.min(func.encode(columns.digest, "hex")))
        )
        is_keyed = func.length(columns.digest) == KEYED_BYTES  # else it was gone when it was archived
        pruned = one.where(columns.task_id == task_id, columns.pruned_at.is_not(None), is_keyed)
        found += (
            bytes.fromhex(digest) if isinstance(digest, str) else bytes(digest)
            for digest in tx.connection.execute(pruned.group_by(of_key)).scalars()
        )
    return found


def last_erasure_id(tx: Transaction) -> int:
    """Return the number of the newest erasure; 0 if there is none."""
    return int(tx.connection.execute(select(func.coalesce(func.max(_columns.id), 0))).scalar_one())


def insert_erasure(tx: Transaction, erasure: Erasure, *, checkpoint_id: int) -> None:
    """Note an erasure, with the checkpoint by which it is signed."""
    values = msgspec.structs.asdict(erasure)
    values["before_at"] = values.pop("before")
    tx.connection.execute(insert(archive_erasure).values(**values, checkpoint_id=checkpoint_id))


def note_moment(tx: Transaction, task_id: str, moment: datetime) -> None:
    """Have the moment that the log tells, an earlier one, stand at what this transaction has erased."""
    for table in (task_event, task_event_revision, quarantine, sent_message):
        columns = table.c
        pruned_at = case((columns.pruned_at == tx.now, moment), else_=columns.pruned_at)
        tx.connection.execute(
            update(table)
            .where(columns.task_id == task_id, columns.erased_at == tx.now)
            .values(erased_at=moment, pruned_at=pruned_at)
        )


def read_unfinished_erasures(tx: Transaction) -> list[UnfinishedErasure]:
    """Return the erasures, of whichever log, that are signed and not finished; the oldest first."""
    checkpoints = archive_checkpoint.c
    earlier = archive_checkpoint.alias()
    since = (
        select(func.max(earlier.c.tree_size))
        .where(earlier.c.origin == checkpoints.origin, earlier.c.id < checkpoints.id)
        .scalar_subquery()
    )
    statement = (
        select(
            _columns.id,
            checkpoints.origin,
            checkpoints.status,
            checkpoints.tree_size,
            checkpoints.root_hash,
            checkpoints.note,
            since.label("since"),
        )
        .join(archive_checkpoint, checkpoints.id == _columns.checkpoint_id, isouter=True)
        .where(_columns.scrubbed_at.is_(None))
        .order_by(_columns.id)
    )
    return [
        UnfinishedErasure(
            id=row.id,
            origin=row.origin,
            is_done=row.status == "done",
            head=Head(row.tree_size or 0, bytes(row.root_hash or b"")),
            note=row.note or "",
            since=row.since or 0,
        )
        for row in tx.connection.execute(statement)
    ]


def note_scrubbed(tx: Transaction, ids: Sequence[int]) -> None:
    """Note that nothing of these erasures is left, in files of the archive or free pages of the database."""
    of_these = or_(*(_columns.id == number for number in ids))
    tx.connection.execute(update(archive_erasure).where(of_these).values(scrubbed_at=tx.now))


def read_earlier_logs(tx: Transaction, origin: str) -> list[str]:
    """Return the names of the logs in which this database was archived before this one."""
    columns = archive_checkpoint.c
    others = select(columns.origin).where(columns.origin != origin).distinct().order_by(columns.origin)
    return list(tx.connection.execute(others).scalars())
