"""Who writes the log? One process at a time: a lease in the database, which lasts where no lock reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maia_sync.errors import ArchiveBusy
from maia_sync.store import archive_log

if TYPE_CHECKING:
    from maia_sync.store.database import Database, Transaction

_SECONDS: Final = 900.0
"""More than the longest chunk takes on a slow line."""


class Lease:
    """Keeps other writers out, also of another place; tells who verifies the archive that one is at work."""

    def __init__(self, database: Database, origin: str, worker: str) -> None:
        self._database = database
        self._origin = origin
        self._worker = worker
        self.was_left = False
        """Whether the writer before has not given it back: it may have left what belongs to no checkpoint."""
        self.begun: bytes | None = None
        """The file `unfinished`, once its owner may have written what belongs to no checkpoint yet."""

    def take(self, *, is_locked: bool) -> None:
        """Take the lease. Raises ArchiveBusy if another process has it.

        One of our own name that has it, and not the lock of a place that can be locked, has died.
        """
        with self._database.transaction() as tx:
            owner = archive_log.read_writer(tx, self._origin)
            is_dead = is_locked and owner is not None and _name_in(owner) == _name_in(self._worker)
            dead = owner if is_dead else None
            if not archive_log.acquire_writer(tx, self._origin, self._worker, _SECONDS, dead=dead):
                raise self._taken(tx)
        self.was_left = owner is not None

    def keep(self) -> None:
        """Keep the lease for longer. Raises ArchiveBusy if another process has had it since."""
        with self._database.transaction() as tx:
            self.keep_in(tx)

    def keep_in(self, tx: Transaction) -> None:
        """Keep it in the transaction of what its owner alone may do. Raises ArchiveBusy."""
        if not archive_log.renew_writer(tx, self._origin, self._worker, _SECONDS):
            raise self._taken(tx)

    def give_back(self) -> None:
        """Give it back: whatever was written belongs to a checkpoint."""
        with self._database.transaction() as tx:
            archive_log.release_writer(tx, self._origin, self._worker)

    def retake(self) -> bool:
        """Take it again if nobody has it just now; False if another process has it."""
        with self._database.transaction() as tx:
            return archive_log.acquire_writer(tx, self._origin, self._worker, _SECONDS)

    def leave(self) -> None:
        """Let others have it, and its owner be known: something lies there that belongs to no checkpoint."""
        with self._database.transaction() as tx:
            archive_log.renew_writer(tx, self._origin, self._worker, 0)

    def _taken(self, tx: Transaction) -> ArchiveBusy:
        if archive_log.read_origin(tx) != self._origin:
            return ArchiveBusy(f"another log has taken the place of {self._origin}: nothing is added to it")
        if archive_log.read_writer_at_work(tx) is None:
            return ArchiveBusy(
                f"another process has written the archive of {self._origin} while this one was held up: what "
                "this one was about to add is added by the next create"
            )
        return ArchiveBusy(
            f"{archive_log.tell_writer(tx, self._origin)}: if it has died, another may go on then"
        )


def _name_in(worker: str) -> str:
    """Return what a worker is called without what is new with each start."""
    return worker.rsplit(":", 2)[0]
