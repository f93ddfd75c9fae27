"""How does what is new get into the archive, so that a death at any moment breaks nothing? See writing.py."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from maia_sync.archive.chunk import Chunk
from maia_sync.archive.creating import CreateProgress, CreateReport
from maia_sync.archive.entry import encode_entry, segment_entry
from maia_sync.archive.manifest import Sum, encode_manifest
from maia_sync.archive.publishing import Front, Written
from maia_sync.archive.segment import write_segments
from maia_sync.archive.writing import Writing, leased
from maia_sync.store import archive_anew, archive_log
from maia_sync.store.archive_reading import open_unarchived

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.archive.creating import Anchor, AnchorOutcome, Observe, Stopped
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place
    from maia_sync.clock import Clock
    from maia_sync.store.archive_log import Marks
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
    finishing: bool = True,
) -> CreateReport:
    """Archive whatever the database holds that the archive does not; return what it came to.

    With `new_log` it begins another log, that of another key, at an empty place, and archives everything anew
    there. It ends after the chunk in hand once `stopped` says so, and leaves what a death would. Unless
    `finishing`, it does not try to scrub the database of what erasures before it have left there. Raises
    ArchiveBusy if another process is at it, ArchiveDiffers if the archive is not what this database has
    written, and ArchiveError and DatabaseError; the next create puts in order what was left.
    """
    begun = clock.monotonic()
    outcome: AnchorOutcome = "interrupted"
    anchor_error = None
    with leased(database, place, signer.verifier, worker, new_log=new_log) as (lease, replaced):
        work = Creation(database, place, signer, lease)
        work.begin_anew(stopped)
        enrolled = work.enrol(stopped)
        is_more = True
        while is_more and stopped() is None:
            is_more = work.archive_round(stopped, observers)
            if stopped() is None:
                outcome, anchor_error = work.hand_over(anchor)
        newest, older_runs = work.newest(), work.older_runs()
        unscrubbed = work.finish_erasures(stopped) if finishing else None
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
        unscrubbed=unscrubbed,
        interrupted_by=stopped(),
        seconds=clock.monotonic() - begun,
    )


class Creation(Writing):
    """One create, with what it has come to so far."""

    def begin_anew(self, stopped: Stopped) -> None:
        """Forget what was archived in another log, if this one takes its place and has no checkpoint yet."""
        with self.database.transaction(write=False) as tx:
            if not archive_anew.takes_a_place(tx, self.signer.name):
                return
        for forget in archive_anew.STEPS:
            after, is_more = None, True
            while is_more and stopped() is None:
                with self.database.transaction() as tx:
                    self.lease.keep_in(tx)
                    after = forget(tx, after)
                is_more = after is not None

    def enrol(self, stopped: Stopped) -> int:
        """Have the changes of all tasks noted from now on; return how many are new to it."""
        enrolled = 0
        while stopped() is None:
            with self.database.transaction() as tx:
                self.lease.keep_in(tx)
                more = archive_log.enrol_tasks(tx, _ENROLLED_AT_ONCE)
            enrolled += more
            if not more:
                break
        return enrolled

    def archive_all(self, stopped: Stopped) -> None:
        """Archive whatever there is now."""
        self.begin_anew(stopped)
        self.enrol(stopped)
        while self.archive_round(stopped, ()) and stopped() is None:
            pass

    def archive_round(self, stopped: Stopped, observers: Sequence[Observe]) -> bool:
        """Make one checkpoint of what is new, if anything is; tell whether there may be more."""
        with open_unarchived(self.database, most=_MOST_RECORDS) as unarchived:
            written = self._write(unarchived.records(), stopped, observers)
            if written is None:
                return False
            marks = unarchived.marks
        self._publish(self.log.finish(), marks, written)
        return written.entries.total() >= _MOST_RECORDS

    def _publish(self, head: TreeHead, marks: Marks, written: Written) -> None:
        self.place.settle()
        with self.database.transaction(durable=True) as tx:
            self.lease.keep_in(tx)
            number, note = self.sign_in(tx, head, marks)
        manifest = (self.front.manifest or b"") + encode_manifest(written.sums)
        self.publish(head, number, Front(note.encode(), manifest), written)

    def _write(
        self, batches: Iterable[list[Record]], stopped: Stopped, observers: Sequence[Observe]
    ) -> Written | None:
        """Write records to the log and their payloads beside it; None if there are none, or if stopped."""
        entries: Counter[str] = Counter()
        sums: list[Sum] = []
        size = 0
        for chunk in self._chunks(batches, stopped):
            self.lease.keep()
            for segment in write_segments(chunk):
                self.place.write_new(segment.path, segment.content)
                self.log.append([encode_entry(segment_entry(segment.facts))])
                sums.append(Sum(segment.facts.sha256, segment.path))
                size += len(segment.content)
            entries += chunk.types
            self._tell(observers, entries, sums, size)
        return Written(entries, sums, size, {}) if entries and stopped() is None else None

    def _chunks(self, batches: Iterable[list[Record]], stopped: Stopped) -> Iterator[Chunk]:
        """Yield chunks whose entries have been appended to the log."""
        chunk = Chunk(self.log.size)
        for records in batches:
            left = records
            while left:
                if stopped() is not None:
                    return
                left = left[self._append(chunk, left) :]
                if chunk.is_full:
                    yield chunk
                    chunk = Chunk(self.log.size)
        if chunk.types:
            yield chunk

    def _append(self, chunk: Chunk, records: Sequence[Record]) -> int:
        """Append as many records as a chunk has room for; return how many."""
        self.note_begun()
        entries = chunk.take(records)
        self.log.append(entries)
        return len(entries)

    def _tell(self, observers: Sequence[Observe], entries: Counter[str], sums: list[Sum], size: int) -> None:
        progress = CreateProgress(
            entries=self.entries.total() + entries.total(),
            segments=self.segments + len(sums),
            segment_bytes=self.segment_bytes + size,
        )
        for observe in observers:
            observe(progress)

    def older_runs(self) -> list[int]:
        """Return the runs among what was archived that have noted nothing for the archive."""
        with self.database.transaction(write=False) as tx:
            return archive_log.runs_without_notes(tx, self.completed)
