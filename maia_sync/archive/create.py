"""How does what is new get into the archive, so that a death at any moment breaks nothing?

The place has the old checkpoint or the new one: files first, the checkpoint last. The database knows of the
new checkpoint before it stands, so that whoever comes next can complete it (recovery.py).
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.archive.chunk import Chunk
from maia_sync.archive.creating import CreateProgress, CreateReport
from maia_sync.archive.entry import encode_entry, segment_entry
from maia_sync.archive.layout import UNFINISHED, Unfinished
from maia_sync.archive.lease import Lease
from maia_sync.archive.log_writer import LogWriter, delete_old_partials
from maia_sync.archive.manifest import Sum, encode_manifest
from maia_sync.archive.note import sign_checkpoint
from maia_sync.archive.publishing import Front, Written, publish
from maia_sync.archive.recovery import recover, require_begun, require_vacant
from maia_sync.archive.segment import require_pyarrow, write_segments
from maia_sync.errors import ArchiveError, MaiaSyncError
from maia_sync.store import archive_anew, archive_log
from maia_sync.store.archive_reading import open_unarchived

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.archive.creating import Anchor, AnchorOutcome, Observe, Stopped
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import Signer, VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.clock import Clock
    from maia_sync.store.archive_log import CheckpointRow, Marks
    from maia_sync.store.archived import Record
    from maia_sync.store.database import Database

_MOST_RECORDS: Final = 500_000
"""Then a checkpoint is made, and the next round begins with a new snapshot of the database."""
_ENROLLED_AT_ONCE: Final = 500


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
    new_log: bool = False,
    observers: Sequence[Observe] = (),
    stopped: Stopped = _never,
) -> CreateReport:
    """Archive whatever the database holds that the archive does not; return what it came to.

    With `new_log` it begins another log, that of another key, at an empty place, and archives everything anew
    there. It ends after the chunk in hand once `stopped` says so, and leaves what a death would. Raises
    ArchiveBusy if another process is at it, ArchiveDiffers if the archive is not what this database has
    written, and ArchiveError and DatabaseError; the next create puts in order what was left.
    """
    begun = clock.monotonic()
    outcome: AnchorOutcome = "interrupted"
    anchor_error = None
    with _leased(database, place, signer.verifier, worker, new_log=new_log) as (lease, replaced):
        work = _Create(database, place, signer, lease)
        work.begin_anew(stopped)
        enrolled = work.enrol(stopped)
        is_more = True
        while is_more and stopped() is None:
            is_more = work.archive_round(stopped, observers)
            if stopped() is None:
                outcome, anchor_error = work.hand_over(anchor)
        newest, older_runs = work.newest(), work.older_runs()
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
        replaced=replaced,
        enrolled=enrolled,
        older_runs=tuple(older_runs),
        was_cut_off=work.was_cut_off,
        anchor=outcome,
        anchor_error=anchor_error,
        interrupted_by=stopped(),
        seconds=clock.monotonic() - begun,
    )


@contextmanager
def _leased(
    database: Database, place: Place, key: VerifierKey, worker: str, *, new_log: bool
) -> Iterator[tuple[Lease, str | None]]:
    """Be the only writer while the block lasts. Raises ArchiveBusy if there is another one.

    Yields its lease, and the name of the log whose place this one takes, if any.
    """
    origin = key.name
    if not new_log:
        require_begun(database, place, key)
    with place.lock() as is_locked:
        with database.transaction(durable=True) as tx:
            replaced = archive_log.start_log(tx, origin, anew=new_log)
            if replaced is not None:
                require_vacant(place, origin)
        lease = Lease(database, origin, worker)
        lease.take(is_locked=is_locked)
        try:
            yield lease, replaced
        except MaiaSyncError:
            with suppress(MaiaSyncError):
                place.settle()  # what is on its way must not arrive among the next writer's files
            with suppress(MaiaSyncError):
                _leave(place, lease)
            raise


def _leave(place: Place, lease: Lease) -> None:
    """Let the next writer know that something lies there, also if another went on meanwhile."""
    if not lease.retake():
        return
    try:
        if lease.begun is not None and place.read(UNFINISHED) is None:
            place.replace(UNFINISHED, lease.begun)
    finally:
        lease.leave()


class _Create:
    """One create, with what it has come to so far."""

    def __init__(self, database: Database, place: Place, signer: Signer, lease: Lease) -> None:
        self._database = database
        self._place = place
        self._signer = signer
        self._lease = lease
        recovered = recover(database, place, signer.verifier, lease)
        self.head = recovered.before
        self.size_before = self.size
        self.was_cut_off = recovered.was_cut_off
        self.entries: Counter[str] = Counter()
        self.segments = 0
        self.segment_bytes = 0
        self.checkpoints = 0
        self._completed = [] if recovered.completed is None else [recovered.completed]
        self._front = recovered.front
        if recovered.head is not None and recovered.written is not None:
            self._count(recovered.head, recovered.written)
        self._log = LogWriter.open(place, self.head)

    @property
    def size(self) -> int:
        """How many entries the log has, up to its checkpoint."""
        return 0 if self.head is None else self.head.size

    def begin_anew(self, stopped: Stopped) -> None:
        """Forget what was archived in another log, if this one takes its place and has no checkpoint yet."""
        with self._database.transaction(write=False) as tx:
            if not archive_anew.takes_a_place(tx, self._signer.name):
                return
        for forget in archive_anew.STEPS:
            after, is_more = None, True
            while is_more and stopped() is None:
                with self._database.transaction() as tx:
                    self._lease.keep_in(tx)
                    after = forget(tx, after)
                is_more = after is not None

    def enrol(self, stopped: Stopped) -> int:
        """Have the changes of all tasks noted from now on; return how many are new to it."""
        enrolled = 0
        while stopped() is None:
            with self._database.transaction() as tx:
                self._lease.keep_in(tx)
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

    def _publish(self, head: TreeHead, marks: Marks, written: Written) -> None:
        self._place.settle()
        number, note = self._sign(head, marks)
        self._lease.begun = None
        manifest = (self._front.manifest or b"") + encode_manifest(written.sums)
        new = Front(note.encode(), manifest)
        publish(self._database, self._place, self._lease, number, head.size, old=self._front, new=new)
        self._completed.append(number)
        self._front = new
        delete_old_partials(self._place, head.size, since=self.size)
        self._place.delete([UNFINISHED])
        self._count(head, written)

    def _sign(self, head: TreeHead, marks: Marks) -> tuple[int, str]:
        """Sign a checkpoint, which whoever comes next completes if this process does not."""
        with self._database.transaction(durable=True) as tx:
            self._lease.keep_in(tx)
            note = sign_checkpoint(head, self._signer)
            number = archive_log.open_checkpoint(
                tx, origin=self._signer.name, head=head, note=note, marks=marks
            )
        return number, note

    def _count(self, head: TreeHead, written: Written) -> None:
        self.head = head
        self.entries += written.entries
        self.segments += len(written.sums)
        self.segment_bytes += written.segment_bytes
        self.checkpoints += 1

    def _write(
        self, batches: Iterable[list[Record]], stopped: Stopped, observers: Sequence[Observe]
    ) -> Written | None:
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
        return Written(entries, sums, size) if entries and stopped() is None else None

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
            self._lease.keep()
            unfinished = Unfinished(since=self.size, origin=self._signer.name)
            self._lease.begun = msgspec.json.encode(unfinished)
            self._place.replace(UNFINISHED, self._lease.begun)
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

    def older_runs(self) -> list[int]:
        """Return the runs among what was archived that have noted nothing for the archive."""
        with self._database.transaction(write=False) as tx:
            return archive_log.runs_without_notes(tx, self._completed)

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
