"""How does what is new get into the archive, so that a death at any moment breaks nothing?

The place has the old checkpoint or the new one: files first, the checkpoint last. The database knows of the
new checkpoint before it stands, so that whoever comes next can tell what became of it (recovery.py).
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from maia_sync.archive.chunk import Chunk
from maia_sync.archive.creating import CreateProgress, CreateReport
from maia_sync.archive.entry import encode_entry, segment_entry
from maia_sync.archive.layout import CHECKPOINT, UNFINISHED, Unfinished, checkpoint_path
from maia_sync.archive.log_writer import LogWriter, delete_old_partials
from maia_sync.archive.manifest import MANIFEST, Sum, encode_manifest
from maia_sync.archive.note import sign_checkpoint
from maia_sync.archive.recovery import recover
from maia_sync.archive.segment import require_pyarrow, write_segments
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError, MaiaSyncError
from maia_sync.store import archive_log
from maia_sync.store.archive_reading import open_unarchived

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.archive.creating import Anchor, AnchorOutcome, Observe, Stopped
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place
    from maia_sync.clock import Clock
    from maia_sync.store.archive_log import CheckpointRow, Marks
    from maia_sync.store.archived import Record
    from maia_sync.store.database import Database, Transaction

_MOST_RECORDS: Final = 500_000
"""Then a checkpoint is made, and the next round begins with a new snapshot of the database."""
_ENROLLED_AT_ONCE: Final = 500
_LEASE_SECONDS: Final = 900.0
"""More than the longest chunk takes on a slow line."""


def _never() -> None:
    return None


def create(
    database: Database,
    place: Place,
    signer: Signer,
    *,
    worker: str,
    clock: Clock,
    anchor: Anchor | None = None,
    observers: Sequence[Observe] = (),
    stopped: Stopped = _never,
) -> CreateReport:
    """Archive whatever the database holds that the archive does not; return what it came to.

    It ends after the chunk in hand once `stopped` says so, and leaves what a death would. Raises ArchiveBusy
    if another process is at it, ArchiveDiffers if the archive is not what this database has written, and
    ArchiveError and DatabaseError; the next create puts in order what was left.
    """
    begun = clock.monotonic()
    outcome: AnchorOutcome = "interrupted"
    anchor_error = None
    with _leased(database, place, signer.name, worker) as lease:
        work = _Create(database, place, signer, lease)
        enrolled = work.enrol(stopped)
        is_more = True
        while is_more and stopped() is None:
            is_more = work.archive_round(stopped, observers)
            if stopped() is None:
                outcome, anchor_error = work.hand_over(anchor)
        newest = work.newest()
        work.end()
    return CreateReport(
        place=place.name,
        origin=signer.name,
        entries=dict(sorted(work.entries.items())),
        size_before=work.size_before,
        size_after=work.size,
        checkpoints=work.checkpoints,
        checkpoint=None if newest is None else newest.note,
        segments=work.segments,
        segment_bytes=work.segment_bytes,
        enrolled=enrolled,
        was_cut_off=work.was_cut_off,
        anchor=outcome,
        anchor_error=anchor_error,
        interrupted_by=stopped(),
        seconds=clock.monotonic() - begun,
    )


class _Lease:
    """Keeps other writers out, also of another place; tells who verifies the archive that one is at work."""

    def __init__(self, database: Database, origin: str, worker: str) -> None:
        self._database = database
        self._origin = origin
        self._worker = worker

    def take(self, *, is_locked: bool) -> None:
        """Take the lease. Raises ArchiveBusy if another process has it.

        One of our own name that has it, and not the lock of a place that can be locked, has died.
        """
        with self._database.transaction() as tx:
            owner = archive_log.read_writer(tx, self._origin)
            is_dead = is_locked and owner is not None and _name_in(owner) == _name_in(self._worker)
            self._hold(tx, _LEASE_SECONDS, dead=owner if is_dead else None)

    def keep(self) -> None:
        """Keep the lease for longer. Raises ArchiveBusy if another process has it by now."""
        with self._database.transaction() as tx:
            self._hold(tx, _LEASE_SECONDS)

    def give_back(self) -> None:
        """Give it back: whatever was written belongs to a checkpoint."""
        with self._database.transaction() as tx:
            archive_log.release_writer(tx, self._origin, self._worker)

    def leave(self) -> None:
        """Let others have it, and its owner be known: something lies there that belongs to no checkpoint."""
        with self._database.transaction() as tx:
            self._hold(tx, 0)

    def _hold(self, tx: Transaction, seconds: float, *, dead: str | None = None) -> None:
        if archive_log.acquire_writer(tx, self._origin, self._worker, seconds, dead=dead):
            return
        raise ArchiveBusy(
            f"another process, {archive_log.read_writer(tx, self._origin)}, is writing the archive of "
            f"{self._origin}; if it has died, another may go on {_LEASE_SECONDS / 60:.0f} minutes later"
        )


def _name_in(worker: str) -> str:
    """Return what a worker is called without what is new with each start."""
    return worker.rsplit(":", 2)[0]


@contextmanager
def _leased(database: Database, place: Place, origin: str, worker: str) -> Iterator[_Lease]:
    """Be the only writer while the block lasts. Raises ArchiveBusy if there is another one."""
    with place.lock() as is_locked:
        with database.transaction() as tx:
            archive_log.start_log(tx, origin)
        lease = _Lease(database, origin, worker)
        lease.take(is_locked=is_locked)
        try:
            yield lease
        except MaiaSyncError:
            with suppress(MaiaSyncError):
                place.settle()  # what is on its way must not arrive among the next writer's files
            with suppress(MaiaSyncError):
                lease.leave()
            raise


class _Written(NamedTuple):
    """What lies at the place beyond the checkpoint, and waits to be published."""

    entries: Counter[str]
    sums: list[Sum]
    segment_bytes: int


class _Create:
    """One create, with what it has come to so far."""

    def __init__(self, database: Database, place: Place, signer: Signer, lease: _Lease) -> None:
        self._database = database
        self._place = place
        self._signer = signer
        self._lease = lease
        self.head, self.was_cut_off = recover(database, place, signer.verifier)
        self.size_before = self.size
        self._log = LogWriter.open(place, self.head)
        self.entries: Counter[str] = Counter()
        self.segments = 0
        self.segment_bytes = 0
        self.checkpoints = 0

    @property
    def size(self) -> int:
        """How many entries the log has, up to its checkpoint."""
        return 0 if self.head is None else self.head.size

    def enrol(self, stopped: Stopped) -> int:
        """Have the changes of all tasks noted from now on; return how many are new to it."""
        enrolled = 0
        while stopped() is None:
            with self._database.transaction() as tx:
                more = archive_log.enrol_tasks(tx, _ENROLLED_AT_ONCE)
            enrolled += more
            if not more:
                break
        return enrolled

    def archive_round(self, stopped: Stopped, observers: Sequence[Observe]) -> bool:
        """Make one checkpoint of what is new, if anything is; tell whether there may be more."""
        with open_unarchived(self._database, most=_MOST_RECORDS) as unarchived:
            written = self._write(unarchived.records(), stopped, observers)
            if written is None:
                return False
            marks = unarchived.marks
        self._publish(self._log.finish(), marks, written)
        return written.entries.total() >= _MOST_RECORDS

    def _publish(self, head: TreeHead, marks: Marks, written: _Written) -> None:
        note = sign_checkpoint(head, self._signer)
        self._place.settle()
        number = self._note_pending(head, note, marks)
        self._place.replace(MANIFEST, self._lengthened_manifest(written.sums))
        self._place.write_new(checkpoint_path(head.size), note.encode())
        self._place.settle()
        self._lease.keep()
        self._place.replace(CHECKPOINT, note.encode())
        self._note_done(number)
        delete_old_partials(self._place, head.size, since=self.size)
        self._place.delete([UNFINISHED])
        self._count(head, written)

    def _note_pending(self, head: TreeHead, note: str, marks: Marks) -> int:
        with self._database.transaction(durable=True) as tx:
            return archive_log.open_checkpoint(
                tx, origin=self._signer.name, head=head, note=note, marks=marks
            )

    def _note_done(self, number: int) -> None:
        with self._database.transaction(durable=True) as tx:
            archive_log.complete_checkpoint(tx, number)

    def _lengthened_manifest(self, sums: Iterable[Sum]) -> bytes:
        held = self._place.read(MANIFEST)
        if held is None and self.head is not None:
            raise ArchiveDiffers(f"{self._place.name}: {MANIFEST} is missing: bring it back from a copy")
        return (held or b"") + encode_manifest(sums)

    def _count(self, head: TreeHead, written: _Written) -> None:
        self.head = head
        self.entries += written.entries
        self.segments += len(written.sums)
        self.segment_bytes += written.segment_bytes
        self.checkpoints += 1

    def _write(
        self, batches: Iterable[list[Record]], stopped: Stopped, observers: Sequence[Observe]
    ) -> _Written | None:
        """Write records to the log and their payloads beside it; None if there are none, or if stopped."""
        entries: Counter[str] = Counter()
        sums: list[Sum] = []
        size = 0
        for chunk in self._chunks(batches, stopped):
            self._lease.keep()
            for segment in write_segments(chunk):
                self._place.write_new(segment.path, segment.content)
                self._log.append([encode_entry(segment_entry(segment.facts))])
                sums.append(Sum(segment.facts.sha256, segment.path))
                size += len(segment.content)
            entries += chunk.types
            self._tell(observers, entries, sums, size)
        return _Written(entries, sums, size) if entries and stopped() is None else None

    def _chunks(self, batches: Iterable[list[Record]], stopped: Stopped) -> Iterator[Chunk]:
        """Yield chunks whose entries have been appended to the log."""
        chunk = Chunk(self._log.size)
        for records in batches:
            left = records
            while left:
                if stopped() is not None:
                    return
                left = left[self._append(chunk, left) :]
                if chunk.is_full:
                    yield chunk
                    chunk = Chunk(self._log.size)
        if chunk.types:
            yield chunk

    def _append(self, chunk: Chunk, records: Sequence[Record]) -> int:
        """Append as many records as a chunk has room for; return how many."""
        if self._log.size == self.size:
            require_pyarrow()
            unfinished = Unfinished(since=self.size, origin=self._signer.name)
            self._place.replace(UNFINISHED, msgspec.json.encode(unfinished))
        entries = chunk.take(records)
        self._log.append(entries)
        return len(entries)

    def _tell(self, observers: Sequence[Observe], entries: Counter[str], sums: list[Sum], size: int) -> None:
        progress = CreateProgress(
            entries=self.entries.total() + entries.total(),
            segments=self.segments + len(sums),
            segment_bytes=self.segment_bytes + size,
        )
        for observe in observers:
            observe(progress)

    def hand_over(self, anchor: Anchor | None) -> tuple[AnchorOutcome, str | None]:
        """Hand the newest checkpoint to whoever keeps it, unless that was done; return what became of it."""
        newest = self.newest()
        if newest is None:
            return "no checkpoint", None
        if newest.anchored_at is not None:
            return "anchored", None
        if anchor is None:
            return "none configured", None
        trouble = _trouble_of(anchor, newest)
        with self._database.transaction() as tx:
            archive_log.note_anchored(tx, newest.id, trouble)
        return ("anchored" if trouble is None else "failed"), trouble

    def end(self) -> None:
        """Let the next writer in."""
        self._place.settle()
        if self._log.size == self.size:
            self._lease.give_back()
        else:
            self._lease.leave()

    def newest(self) -> CheckpointRow | None:
        """Return the newest checkpoint, as the database knows it."""
        with self._database.transaction(write=False) as tx:
            return archive_log.last_checkpoint(tx, self._signer.name, "done")


def _trouble_of(anchor: Anchor, checkpoint: CheckpointRow) -> str | None:
    """Anchor a checkpoint; return why that failed, or None."""
    try:
        anchor(checkpoint.note, checkpoint.head.size)
    except ArchiveError as error:
        return str(error)
    return None
