"""Who writes an archive holds its lease, goes on where the last one ended, and makes checkpoints: how?

The place has the old checkpoint or the new one: files first, the checkpoint last. The database knows of the
new checkpoint before it stands, so that whoever comes next can complete it (recovery.py).
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

import msgspec

from maia_sync.archive.finishing import behind_commit, delete_replaced, finish_erasures
from maia_sync.archive.layout import UNFINISHED, Unfinished
from maia_sync.archive.lease import Lease
from maia_sync.archive.log_writer import LogWriter, delete_old_partials
from maia_sync.archive.note import sign_checkpoint
from maia_sync.archive.publishing import Front, publish
from maia_sync.archive.recovery import recover, require_begun, require_vacant
from maia_sync.archive.segment import require_pyarrow
from maia_sync.errors import ArchiveError, MaiaSyncError
from maia_sync.store import archive_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.creating import Anchor, AnchorOutcome, Stopped
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import Signer, VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.publishing import Written
    from maia_sync.store.archive_log import CheckpointRow, Marks
    from maia_sync.store.database import Database, Transaction


@contextmanager
def leased(
    database: Database, place: Place, key: VerifierKey, worker: str, *, new_log: bool = False
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


class Writing:
    """The log while this process is its only writer, and what has come of it so far."""

    def __init__(self, database: Database, place: Place, signer: Signer, lease: Lease) -> None:
        self.database = database
        self.place = place
        self.signer = signer
        self.lease = lease
        recovered = recover(database, place, signer.verifier, lease)
        lease.begun = None
        self.head = recovered.before
        self.size_before = self.size
        self.was_cut_off = recovered.was_cut_off
        self.entries: Counter[str] = Counter()
        self.segments = 0
        self.segment_bytes = 0
        self.checkpoints = 0
        self.completed = [] if recovered.completed is None else [recovered.completed]
        self.front = recovered.front
        if recovered.head is not None and recovered.written is not None:
            self._count(recovered.head, recovered.written)
        self.log = LogWriter.open(place, self.head)
        delete_replaced(database, place, signer.verifier, lease)

    @property
    def size(self) -> int:
        """How many entries the log has, up to its checkpoint."""
        return 0 if self.head is None else self.head.size

    def note_begun(self) -> None:
        """Note at the place that what comes now belongs to no checkpoint yet; to be called before it."""
        if self.log.size != self.size or self.lease.begun is not None:
            return
        require_pyarrow()
        self.lease.keep()
        self.lease.begun = msgspec.json.encode(Unfinished(since=self.size, origin=self.signer.name))
        self.place.replace(UNFINISHED, self.lease.begun)

    def sign_in(self, tx: Transaction, head: TreeHead, marks: Marks) -> tuple[int, str]:
        """Sign a checkpoint, which whoever comes next completes if this process does not.

        In a transaction in which the lease is kept. Returns the number that the database gives it, and its
        text. Everything that it covers has to be durable at the place.
        """
        note = sign_checkpoint(head, self.signer)
        number = archive_log.open_checkpoint(tx, origin=self.signer.name, head=head, note=note, marks=marks)
        return number, note

    def publish(self, head: TreeHead, number: int, new: Front, written: Written) -> None:
        """Make a checkpoint that has been signed the archive's."""
        with behind_commit() if written.redactions else nullcontext():
            self._publish_signed(head, number, new, written)

    def _publish_signed(self, head: TreeHead, number: int, new: Front, written: Written) -> None:
        self.lease.begun = None
        publish(self.database, self.place, self.lease, number, head.size, old=self.front, new=new)
        self.completed.append(number)
        self.front = new
        if written.redactions:  # what is in the way of that is told by finish_erasures
            delete_replaced(self.database, self.place, self.signer.verifier, self.lease)
        delete_old_partials(self.place, head.size, since=self.size)
        self.place.delete([UNFINISHED])
        self._count(head, written)

    def _count(self, head: TreeHead, written: Written) -> None:
        self.head = head
        self.entries += written.entries
        self.segments += len(written.sums)
        self.segment_bytes += written.segment_bytes
        self.checkpoints += 1

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
        with self.database.transaction() as tx:
            archive_log.note_anchored(tx, newest.id, trouble)
        return ("anchored" if trouble is None else "failed"), trouble

    def finish_erasures(self, stopped: Stopped | None = None) -> str | None:
        """Finish erasures that are signed; return why something of them is left, or None.

        It ends soon once `stopped` says so, and leaves the rest to whoever comes next.
        """
        return finish_erasures(
            self.database, self.place, self.signer.verifier, self.lease, stopped or (lambda: None)
        )

    def end(self) -> None:
        """Let the next writer in."""
        self.place.settle()
        if self.log.size == self.size:
            self.lease.give_back()
        else:
            self.lease.leave()

    def newest(self) -> CheckpointRow | None:
        """Return the newest checkpoint, as the database knows it."""
        with self.database.transaction(write=False) as tx:
            return archive_log.last_checkpoint(tx, self.signer.name, "done")


def _trouble_of(anchor: Anchor, checkpoint: CheckpointRow) -> str | None:
    """Anchor a checkpoint; return why that failed, or None."""
    try:
        anchor(checkpoint.note, checkpoint.head.size)
    except ArchiveError as error:
        return str(error)
    return None
