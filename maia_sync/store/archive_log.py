"""Which checkpoints has this database's archive, what do they cover, and who writes it now?

A checkpoint is written here as `pending` together with the marks on what it covers, before others can see
it, and becomes `done` once it lies in the archive. So whatever cuts a create off, the archive's own
checkpoint tells whether the marks of a pending one stand (`complete_checkpoint`) or not (`drop_pending`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import (
    bindparam,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    true,
    update,
)

from maia_sync.errors import ArchiveDiffers, ArchiveError, Bug
from maia_sync.store.archive_numbered import QUARANTINE, RUNS, SENT
from maia_sync.store.schema import (
    archive_checkpoint,
    archive_journal,
    archive_log,
    quarantine,
    sent_message,
    sync_run,
    task,
    task_event,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sqlalchemy import ColumnElement, Table

    from maia_sync.store.archive_numbered import Numbered
    from maia_sync.store.database import Transaction

CheckpointStatus: TypeAlias = Literal["pending", "done"]
JOURNAL_KEPT: Final = timedelta(days=1)
"""How long a journal's row outlives its checkpoint: who verifies the archive meanwhile compares with it."""
_CHUNK: Final = 500
_MARKED: Final = (archive_journal, quarantine, sent_message, sync_run)
_IDS: Any = bindparam("ids", expanding=True)
_columns = archive_checkpoint.c


class Head(NamedTuple):
    """How many entries a log has, and the root of its tree (RFC 6962, 2.1)."""

    size: int
    root: bytes


class CheckpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint of an archive's log, as the database knows it."""

    id: int
    origin: str
    head: Head
    note: str
    """The signed checkpoint (C2SP tlog-checkpoint)."""
    status: CheckpointStatus
    created_at: datetime
    completed_at: datetime | None
    anchored_at: datetime | None
    anchor_error: str | None


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Which rows a checkpoint covers. Filled while they are read (see `archive_reading.py`)."""

    journal: list[int] = field(default_factory=list)
    quarantine: dict[int, int] = field(default_factory=dict)
    """By id, what tells the row from what it may become: one that has changed since is archived again."""
    sent: dict[int, int] = field(default_factory=dict)
    runs: dict[int, int] = field(default_factory=dict)


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits to be archived."""

    changes: int
    """Events, revisions and marks of tasks that are enrolled."""
    whole_tasks: int
    """Tasks that are to be archived as a whole; how many events they have is not counted."""
    tasks_unknown: int
    """Tasks that no create has met yet."""
    quarantined: int
    sent: int
    runs: int
    last_done_at: datetime | None
    """When the newest checkpoint was done."""

    @property
    def rows(self) -> int:
        """How many things wait, a whole task counting as one."""
        return self.changes + self.whole_tasks + self.tasks_unknown + self.quarantined + self.sent + self.runs


def start_log(tx: Transaction, origin: str) -> None:
    """Note which log this database is archived in. Raises ArchiveError if that is another one."""
    if tx.is_postgresql:  # two that start at once see one another's row
        tx.connection.execute(text("LOCK TABLE archive_log IN SHARE ROW EXCLUSIVE MODE"))
    found = tx.connection.execute(select(archive_log.c.origin)).scalar()
    if found is None:
        tx.connection.execute(insert(archive_log).values(origin=origin, started_at=tx.now))
    elif found != origin:
        raise ArchiveError(
            f"this database is archived as {found}, not as {origin}: a database has one archive; "
            "name the key with which it was begun as archive.key_file"
        )


def read_origin(tx: Transaction) -> str | None:
    """Return in which log this database is archived; None if it is not."""
    origin: str | None = tx.connection.execute(select(archive_log.c.origin)).scalar()
    return origin


# Who writes


def read_writer(tx: Transaction, origin: str) -> str | None:
    """Return who has taken the log's lease and has not given it back, however long ago."""
    owner: str | None = tx.connection.execute(
        select(archive_log.c.lease_owner).where(archive_log.c.origin == origin)
    ).scalar()
    return owner


def acquire_writer(
    tx: Transaction, origin: str, owner: str, seconds: float, *, dead: str | None = None
) -> bool:
    """Take the log's lease, or keep it for longer; False if another process holds it.

    `dead` is an owner who is known to write no more.
    """
    columns = archive_log.c
    free = or_(
        columns.lease_owner.is_(None),
        columns.lease_owner == owner,
        columns.lease_owner == dead,
        columns.lease_expires_at < tx.now,
    )
    statement = (
        update(archive_log)
        .where(columns.origin == origin, free)
        .values(lease_owner=owner, lease_expires_at=tx.now + timedelta(seconds=seconds))
    )
    return tx.connection.execute(statement).rowcount == 1


def renew_writer(tx: Transaction, origin: str, owner: str, seconds: float) -> bool:
    """Keep the log's lease for longer; False if it is no longer this process's.

    In the transaction of what only the lease's owner may do: its row stays locked until the end.
    """
    columns = archive_log.c
    statement = (
        update(archive_log)
        .where(columns.origin == origin, columns.lease_owner == owner)
        .values(lease_expires_at=tx.now + timedelta(seconds=seconds))
    )
    return tx.connection.execute(statement).rowcount == 1


def release_writer(tx: Transaction, origin: str, owner: str) -> None:
    """Give the log's lease back, if it is still this process's."""
    columns = archive_log.c
    statement = (
        update(archive_log)
        .where(columns.origin == origin, columns.lease_owner == owner)
        .values(lease_owner=None, lease_expires_at=None)
    )
    tx.connection.execute(statement)


# Which tasks


def enrol_tasks(tx: Transaction, limit: int) -> int:
    """Have the changes of so many more tasks noted from now on; returns how many there were.

    What is stored of each is noted to be archived as a whole, in the same transaction and under the lock
    that its pages are written under. In the order of their ids, in which whoever else locks several does so.
    """
    new = (
        select(task.c.task_id)
        .where(task.c.archived.is_(false()))
        .order_by(task.c.task_id)
        .limit(limit)
        .with_for_update()
    )
    enrolled = list(tx.connection.execute(new).scalars())
    for at in range(0, len(enrolled), _CHUNK):
        some = enrolled[at : at + _CHUNK]
        noted_from = update(task).where(task.c.task_id.in_(some)).values(archived=true())
        tx.connection.execute(noted_from)
        is_stored = exists().where(task_event.c.task_id == task.c.task_id)
        whole = select(task.c.task_id, literal(tx.now, type_=archive_journal.c.noted_at.type), true()).where(
            task.c.task_id.in_(some), is_stored
        )
        tx.connection.execute(
            insert(archive_journal).from_select(
                ["task_id", "noted_at", "whole"], whole.order_by(task.c.task_id)
            )
        )
    return len(enrolled)


# Checkpoints


def last_checkpoint(tx: Transaction, origin: str, status: CheckpointStatus) -> CheckpointRow | None:
    """Return the newest checkpoint of this status; None if there is none."""
    condition = (_columns.origin == origin) & (_columns.status == status)
    statement = select(archive_checkpoint).where(condition).order_by(_columns.id.desc()).limit(1)
    row = tx.connection.execute(statement).one_or_none()
    return None if row is None else _from_row(row)


def checkpoints(tx: Transaction, origin: str, limit: int) -> list[CheckpointRow]:
    """Return the newest checkpoints that are done, the newest first."""
    condition = (_columns.origin == origin) & (_columns.status == "done")
    statement = select(archive_checkpoint).where(condition).order_by(_columns.id.desc()).limit(limit)
    return [_from_row(row) for row in tx.connection.execute(statement)]


def open_checkpoint(tx: Transaction, *, origin: str, head: tuple[int, bytes], note: str, marks: Marks) -> int:
    """Note a checkpoint that others do not see yet, and mark what it covers; returns its id.

    Raises ArchiveDiffers if the log has grown meanwhile, by another process.
    """
    size, root = head
    for status in ("done", "pending"):
        found = last_checkpoint(tx, origin, status)
        if found is not None and (status == "pending" or found.head.size >= size):
            raise ArchiveDiffers(
                f"the log of {origin} has come to {found.head.size:,} entries, written by another process: "
                f"what was to make it {size:,} entries is not added; run `maia-sync archive create` again"
            )
    values = {
        "origin": origin,
        "tree_size": size,
        "root_hash": root,
        "note": note,
        "status": "pending",
        "created_at": tx.now,
    }
    statement = insert(archive_checkpoint).values(values).returning(_columns.id)
    number = int(tx.connection.execute(statement).scalar_one())
    _mark(tx, archive_journal, marks.journal, number)
    for kind, read in ((QUARANTINE, marks.quarantine), (SENT, marks.sent), (RUNS, marks.runs)):
        _mark_unchanged(tx, kind, read, number)
    return number


def complete_checkpoint(tx: Transaction, number: int) -> None:
    """Note that a checkpoint lies in the archive, and forget the journal of those that have long done so."""
    done = (
        update(archive_checkpoint)
        .where(_columns.id == number, _columns.status == "pending")
        .values(status="done", completed_at=tx.now)
    )
    if tx.connection.execute(done).rowcount != 1:
        raise Bug("a checkpoint that was to be completed is not pending")
    old = (_columns.status == "done") & (_columns.completed_at < tx.now - JOURNAL_KEPT)
    newest_old = select(_columns.id).where(old).order_by(_columns.id.desc()).limit(1)
    last = tx.connection.execute(newest_old).scalar()
    if last is not None:
        tx.connection.execute(delete(archive_journal).where(archive_journal.c.checkpoint_id <= last))


def drop_pending(tx: Transaction, origin: str) -> None:
    """Forget a pending checkpoint: what it covered waits again."""
    pending = (_columns.origin == origin) & (_columns.status == "pending")
    number = tx.connection.execute(select(_columns.id).where(pending)).scalar()
    if number is None:
        return
    for table in _MARKED:
        statement = update(table).where(table.c.checkpoint_id == number).values(checkpoint_id=None)
        tx.connection.execute(statement)
    tx.connection.execute(delete(archive_checkpoint).where(_columns.id == number))


def note_anchored(tx: Transaction, number: int, error: str | None) -> None:
    """Note that a checkpoint was handed over to whoever keeps it, or why it could not be."""
    values: dict[str, Any] = {"anchor_error": error}
    if error is None:
        values["anchored_at"] = tx.now
    tx.connection.execute(update(archive_checkpoint).where(_columns.id == number).values(values))


def count_waiting(tx: Transaction) -> Waiting:
    """Return what waits to be archived; nothing that is archived is looked at."""
    journal = archive_journal.c
    waits = journal.checkpoint_id.is_(None)
    changes = select(func.count(), func.coalesce(func.sum(journal.records), 0)).where(waits)
    notes, records = tx.connection.execute(changes).one()
    newest = (
        select(_columns.completed_at).where(_columns.status == "done").order_by(_columns.id.desc()).limit(1)
    )
    return Waiting(
        changes=int(records),
        whole_tasks=_count(tx, archive_journal, waits, journal.records == 0) if notes else 0,
        tasks_unknown=_count(tx, task, task.c.archived.is_(false())),
        quarantined=_count(tx, quarantine, quarantine.c.checkpoint_id.is_(None)),
        sent=_count(tx, sent_message, sent_message.c.checkpoint_id.is_(None)),
        runs=_count(tx, sync_run, sync_run.c.checkpoint_id.is_(None), sync_run.c.ended_at.is_not(None)),
        last_done_at=tx.connection.execute(newest).scalar(),
    )


def _mark(tx: Transaction, table: Table, ids: Collection[int], number: int) -> None:
    """Mark rows with the checkpoint that covers them."""
    statement = update(table).where(table.c.id.in_(_IDS)).values(checkpoint_id=number)
    for some in _chunks(ids):
        tx.connection.execute(statement, {"ids": some})


def _mark_unchanged(tx: Transaction, kind: Numbered, read: Mapping[int, int], number: int) -> None:
    """Mark rows unless they have changed since they were read: then they are to be archived again."""
    columns = kind.table.c
    changing = (columns[name] for name in kind.changing)
    now = select(columns.id, *changing).where(columns.id.in_(_IDS)).order_by(columns.id).with_for_update()
    for some in _chunks(read):
        rows = tx.connection.execute(now, {"ids": some}).all()
        same = [row.id for row in rows if kind.state_of(row) == read[row.id]]
        _mark(tx, kind.table, same, number)


def _chunks(ids: Collection[int]) -> Iterator[list[int]]:
    ordered = sorted(ids)
    for at in range(0, len(ordered), _CHUNK):
        yield ordered[at : at + _CHUNK]


def _count(tx: Transaction, table: Table, *conditions: ColumnElement[bool]) -> int:
    statement = select(func.count()).select_from(table).where(*conditions)
    return int(tx.connection.execute(statement).scalar_one())


def _from_row(row: Any) -> CheckpointRow:
    return CheckpointRow(
        id=row.id,
        origin=row.origin,
        head=Head(row.tree_size, bytes(row.root_hash)),
        note=row.note,
        status=row.status,
        created_at=row.created_at,
        completed_at=row.completed_at,
        anchored_at=row.anchored_at,
        anchor_error=row.anchor_error,
    )
