"""Which checkpoints has this database's archive, what do they cover, and who writes it now?

A checkpoint is written here as `pending` together with the marks on what it covers, before others can see
it, and becomes `done` once it lies in the archive. It is signed by then: whatever cuts a create off, the next
one completes it (`complete_checkpoint`), and its marks stand.
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

from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError, Bug
from maia_sync.store.archive_numbered import HOLDS, QUARANTINE, RUNS, SENT
from maia_sync.store.archive_tasks import mark_told
from maia_sync.store.moments import as_given, require_row
from maia_sync.store.schema import (
    archive_checkpoint,
    archive_erasure,
    archive_hold,
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

ANEW: Final = (
    "have everything archived anew in another log, with a new key at an empty place: "
    "`maia-sync archive create --new-log`"
)
"""What helps where the archive and the database have come apart."""
CheckpointStatus: TypeAlias = Literal["pending", "done"]
JOURNAL_KEPT: Final = timedelta(days=1)
"""How long a journal's row outlives its checkpoint: who verifies the archive meanwhile compares with it."""
_CHUNK: Final = 500
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
    holds: dict[int, int] = field(default_factory=dict)
    tasks: dict[str, bytes | None] = field(default_factory=dict)
    """By id, how tasks were told to be tracked (archive_tasks.told_as); None: they are to be told again."""


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
    holds: int = 0
    last_done_at: datetime | None
    """When the newest checkpoint was done."""

    @property
    def rows(self) -> int:
        """How many things wait, a whole task counting as one."""
        of_tasks = self.changes + self.whole_tasks + self.tasks_unknown
        return of_tasks + self.quarantined + self.sent + self.runs + self.holds


def start_log(tx: Transaction, origin: str, *, anew: bool = False) -> str | None:
    """Note which log this database is archived in; return the name of the one whose place it takes, if any.

    One that has no checkpoint yet may be replaced by any other, one that has by a new one, if `anew`. Raises
    ArchiveError if it may not be, and ArchiveBusy if it is being written.
    """
    if tx.is_postgresql:  # two that start at once see one another's row
        tx.connection.execute(text("LOCK TABLE archive_log IN SHARE ROW EXCLUSIVE MODE"))
    found = read_origin(tx)
    if found is None:
        tx.connection.execute(insert(archive_log).values(origin=origin, started_at=tx.now))
        return None
    if found == origin:
        if anew and last_checkpoint(tx, origin, "done") is not None:
            raise ArchiveError(
                f"{origin} is the name of the log that there is, and a new one needs a key of another name: "
                "`maia-sync archive keygen --name NAME --output FILE` makes one, for archive.key_file"
            )
        return None
    if has_checkpoint(tx, origin):
        raise ArchiveError(
            f"{origin} is the name of an earlier log of this database, which is archived as {found} since: "
            "name the key of that one as archive.key_file"
        )
    if has_checkpoint(tx, found) and not anew:
        raise ArchiveError(
            f"this database is archived as {found}, not as {origin}: name the key with which that was begun "
            f"as archive.key_file, or {ANEW}"
        )
    _require_finished(tx, found)
    _replace_log(tx, found, origin)
    return found


def _require_finished(tx: Transaction, origin: str) -> None:
    """Raise ArchiveError if files of a log's archive may hold what was erased: nobody would delete them."""
    erased = archive_erasure.c
    left = (
        select(erased.erased_at)
        .join(archive_checkpoint, _columns.id == erased.checkpoint_id)
        .where(erased.scrubbed_at.is_(None), _columns.origin == origin)
    )
    moment = tx.connection.execute(left.order_by(erased.id).limit(1)).scalar()
    if moment is not None:
        raise ArchiveError(
            f"an erasure of {moment:%Y-%m-%d %H:%M:%S} UTC is not finished in the archive of {origin}: run "
            "`maia-sync archive create` with the key and at the place of that log first (archive.key_file, "
            "archive.url); README says what to do if that archive is lost"
        )


def _replace_log(tx: Transaction, found: str, origin: str) -> None:
    columns = archive_log.c
    free = or_(columns.lease_owner.is_(None), columns.lease_expires_at <= tx.now)
    statement = (
        update(archive_log)
        .where(columns.origin == found, free)
        .values(origin=origin, started_at=tx.now, lease_owner=None, lease_expires_at=None)
    )
    if tx.connection.execute(statement).rowcount != 1:
        raise ArchiveBusy(f"{tell_writer(tx, found)}: if it has died, another log may be begun then")


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


def read_writer_at_work(tx: Transaction) -> str | None:
    """Return who holds the log's lease just now; None if it is free, or has run out."""
    columns = archive_log.c
    held = columns.lease_owner.is_not(None) & (columns.lease_expires_at > tx.now)
    owner: str | None = tx.connection.execute(select(columns.lease_owner).where(held)).scalar()
    return owner


def tell_writer(tx: Transaction, origin: str) -> str:
    """Return the beginning of a sentence: who writes the log, and until when its lease keeps others out."""
    columns = archive_log.c
    lease = select(columns.lease_owner, columns.lease_expires_at).where(columns.origin == origin)
    owner, expires_at = tx.connection.execute(lease).one()
    until = "" if expires_at is None else f", and has until {expires_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"another process, {owner}, is writing the archive of {origin}{until}"


def acquire_writer(
    tx: Transaction, origin: str, owner: str, seconds: float, *, dead: str | None = None
) -> bool:
    """Take the log's lease; False if another process holds it.

    `dead` is an owner who is known to write no more.
    """
    columns = archive_log.c
    free = or_(
        columns.lease_owner.is_(None),
        columns.lease_owner == owner,
        columns.lease_owner == dead,
        columns.lease_expires_at <= tx.now,
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


def has_checkpoint(tx: Transaction, origin: str) -> bool:
    """Tell whether a log has a checkpoint, be it a pending one."""
    statement = select(_columns.id).where(_columns.origin == origin).limit(1)
    return tx.connection.execute(statement).first() is not None


def last_checkpoint(tx: Transaction, origin: str, status: CheckpointStatus) -> CheckpointRow | None:
    """Return the newest checkpoint of this status; None if there is none."""
    condition = (_columns.origin == origin) & (_columns.status == status)
    return next(iter(_newest(tx, condition, 1)), None)


def checkpoints(tx: Transaction, origin: str, limit: int) -> list[CheckpointRow]:
    """Return the newest checkpoints that are done, the newest first."""
    condition = (_columns.origin == origin) & (_columns.status == "done")
    return _newest(tx, condition, limit)


def _newest(tx: Transaction, condition: ColumnElement[bool], limit: int) -> list[CheckpointRow]:
    columns = [*_columns]
    statement = select(*(as_given(tx, column) for column in columns)).where(condition)
    rows = tx.connection.execute(statement.order_by(_columns.id.desc()).limit(limit))
    return [_from_row(require_row(columns, row)) for row in rows]


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
    mark_told(tx, marks.tasks)
    numbered = (
        (QUARANTINE, marks.quarantine),
        (SENT, marks.sent),
        (RUNS, marks.runs),
        (HOLDS, marks.holds),
    )
    for kind, read in numbered:
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


def runs_without_notes(tx: Transaction, checkpoints: Collection[int]) -> list[int]:
    """Return which of the runs that these checkpoints cover have noted nothing for the archive.

    An older version has made them since the log was begun. Of those that were given up for lost nobody knows
    when they ended.
    """
    columns = sync_run.c
    begun = select(archive_log.c.started_at).scalar_subquery()
    since = (columns.started_at > begun) | ((columns.ended_at > begun) & (columns.status != "lost"))
    covered = columns.checkpoint_id.in_(checkpoints) & columns.version.is_(None)
    statement = select(columns.id).where(covered, since).order_by(columns.id)
    return list(tx.connection.execute(statement).scalars())


def note_anchored(tx: Transaction, number: int, error: str | None) -> None:
    """Note that a checkpoint was handed over to whoever keeps it, or why it could not be."""
    values: dict[str, Any] = {"anchor_error": error}
    if error is None:
        values["anchored_at"] = tx.now
    tx.connection.execute(update(archive_checkpoint).where(_columns.id == number).values(values))


def count_waiting(tx: Transaction, *, dated: bool = True) -> Waiting:
    """Return what waits to be archived; nothing that is archived is looked at.

    Unless `dated`, nobody needs to know when the newest checkpoint was done.
    """
    journal = archive_journal.c
    waits = journal.checkpoint_id.is_(None)
    changes = select(func.count(), func.coalesce(func.sum(journal.records), 0)).where(waits)
    notes, records = tx.connection.execute(changes).one()
    of_log = _columns.origin.in_(select(archive_log.c.origin))
    done = _newest(tx, of_log & (_columns.status == "done"), 1) if dated else []
    return Waiting(
        changes=int(records),
        whole_tasks=_count(tx, archive_journal, waits, journal.records == 0) if notes else 0,
        tasks_unknown=_count(tx, task, task.c.archived.is_(false())),
        quarantined=_count(tx, quarantine, quarantine.c.checkpoint_id.is_(None)),
        sent=_count(tx, sent_message, sent_message.c.checkpoint_id.is_(None)),
        runs=_count(tx, sync_run, sync_run.c.checkpoint_id.is_(None), sync_run.c.ended_at.is_not(None)),
        holds=_count(tx, archive_hold, archive_hold.c.checkpoint_id.is_(None)),
        last_done_at=done[0].completed_at if done else None,
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
