"""Is it time to bring the archive up to date, or to prune? In a thread of its own, which keeps none waiting.

Whether it is due is told by the newest checkpoint, and by the latest prune, that the database knows: so it
does not matter when the daemon was started, nor how often, and of several workers one does it. An archive
that hangs, in a request or on a disk, is left behind when the daemon ends; what it leaves is put in order by
the next create, and a prune that was cut off is gone on with.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from maia_sync.archive.anchor import anchor_of
from maia_sync.archive.configured import configured_place, configured_signer
from maia_sync.errors import ArchiveBusy, MaiaSyncError
from maia_sync.service.side_thread import in_daemon_thread
from maia_sync.store.archive_log import last_checkpoint
from maia_sync.store.database import Database
from maia_sync.store.pruning import read_last_whole_prune

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from maia_sync.archive.creating import Anchor, CreateReport
    from maia_sync.archive.pruning import PruneReport
    from maia_sync.clock import Clock
    from maia_sync.settings import Settings

T = TypeVar("T")
_CONNECTIONS: Final = 3
_LAST_WAIT: Final = 2.0
"""Seconds that the daemon's end waits for what is under way."""
_LOOKS_EARLY: Final = timedelta(seconds=5)
"""The daemon looks once a minute, though not to the millisecond: what is due so soon is due."""
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""The database's clock may be so far ahead of what it was when a checkpoint was made."""
_BETWEEN_PRUNES: Final = timedelta(days=1)
"""Each verifies the whole archive. Where payloads stay for a shorter time, one comes as often as that."""
_PRUNE_RESPITE: Final = 3_600.0
"""Seconds, at most, before one is tried again that has failed."""
_FINISHING_RESPITE: Final = 3_600.0
"""Seconds before an erasure is gone on with that could not be finished: others wait meanwhile."""


class ScheduledArchive:
    """Brings the archive of `settings.archive` up to date when it is due, and prunes what is too old.

    `post` sends a checkpoint to archive.anchor_url; None if there is none. `note_anchor` is told, in another
    thread, how each handing over of a checkpoint went.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        worker: str,
        post: Callable[[str], None] | None = None,
        note_anchor: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._worker = worker
        self._post = post
        self._note_anchor = note_anchor
        self._ended: int | None = None
        self._up_to_date_at: datetime | None = None
        self._no_prune_until = 0.0
        self._no_finishing_until: float | None = None
        self._at_work = threading.Event()

    @property
    def is_at_work(self) -> bool:
        """Whether its thread is there, also after it was left behind."""
        return self._at_work.is_set()

    async def archive_if_due(self, due_at: datetime | None = None) -> CreateReport | None:
        """Archive what is new if no checkpoint was made since `due_at`, or for as long as the schedule says.

        None if it is not due, or another process is at it. Raises MaiaSyncError. When this is cancelled, what
        is under way is asked to end, and waited for a moment.
        """
        return await self._beside("archiving", lambda database: self._archive(database, due_at))

    async def prune_if_due(self) -> PruneReport | None:
        """Prune what is older than `archive.retention`, if that is set and was not done within a day.

        To be called after the archive was brought up to date. None if it is not due, or another process is at
        the archive. Raises MaiaSyncError, and when it is cancelled does the same.
        """
        if self._settings.archive.retention is None:
            return None
        retention = timedelta(seconds=self._settings.archive.retention)
        return await self._beside("pruning", lambda database: self._prune(database, retention))

    async def _beside(self, name: str, work: Callable[[Database], T | None]) -> T | None:
        """Do work with a database of its own in a thread of its own, unless such work is at hand."""
        if self.is_at_work:
            return None
        self._at_work.set()
        working = asyncio.ensure_future(in_daemon_thread(lambda: self._work(work), name=name))
        working.add_done_callback(_note_outcome)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            self._ended = signal.SIGTERM
            await asyncio.wait([working], timeout=_LAST_WAIT)
            raise

    def _work(self, work: Callable[[Database], T | None]) -> T | None:
        try:
            database = Database(
                url=self._settings.database.resolve_url(),
                clock=self._clock,
                synchronous=self._settings.database.synchronous,
                connections=_CONNECTIONS,
                digest_key_file=self._settings.archive.digest_key_file,
            )
            with closing(database):
                return work(database)
        except ArchiveBusy:
            return None
        finally:
            self._at_work.clear()

    def _archive(self, database: Database, due_at: datetime | None) -> CreateReport | None:
        # It loads libraries that nothing else of the daemon needs.
        from maia_sync.archive.create import create  # noqa: PLC0415

        archive = self._settings.archive
        place, signer = configured_place(archive), configured_signer(archive)
        with database.transaction(write=False) as tx:
            now = tx.now
            newest = last_checkpoint(tx, signer.name, "done")
        if not self._is_due(None if newest is None else newest.completed_at, due_at, now):
            return None
        report = create(
            database,
            place,
            signer,
            worker=self._worker,
            clock=self._clock,
            anchor=self._noted(anchor_of(archive, post=self._post, stopped=lambda: self._ended)),
            stopped=lambda: self._ended,
            finishing=self._is_finishing,
        )
        self._up_to_date_at = now
        if report.unscrubbed is not None:
            self._no_finishing_until = self._clock.monotonic() + _FINISHING_RESPITE
        return report

    @property
    def _is_finishing(self) -> bool:
        """Whether erasures are to be finished that are not, and could not be a while ago."""
        until = self._no_finishing_until
        return until is None or self._clock.monotonic() >= until

    def _prune(self, database: Database, retention: timedelta) -> PruneReport | None:
        with database.transaction(write=False) as tx:
            now = tx.now
            last = read_last_whole_prune(tx)
        is_due = last is None or self._is_prune_due(last.started_at, now, retention)
        if not is_due or self._clock.monotonic() < self._no_prune_until:
            return None
        try:
            report = self._prune_now(database, retention)
        except ArchiveBusy:
            raise  # it may be free in a moment
        except MaiaSyncError:
            self._give_respite(retention)
            raise
        if report.finding_count:
            self._give_respite(retention)
        return report

    def _give_respite(self, retention: timedelta) -> None:
        seconds = min(_PRUNE_RESPITE, retention.total_seconds())
        self._no_prune_until = self._clock.monotonic() + seconds

    def _prune_now(self, database: Database, retention: timedelta) -> PruneReport:
        from maia_sync.archive.prune import prune  # noqa: PLC0415 - as above

        archive = self._settings.archive
        return prune(
            database,
            configured_place(archive),
            configured_signer(archive),
            retention,
            worker=self._worker,
            by=self._worker,
            clock=self._clock,
            stopped=lambda: self._ended,
        )

    @staticmethod
    def _is_prune_due(last: datetime, now: datetime, retention: timedelta) -> bool:
        interval = min(_BETWEEN_PRUNES, retention)
        return last > now + _CLOCKS_DIFFER or now - last >= interval - min(_LOOKS_EARLY, interval / 10)

    def _noted(self, anchor: Anchor | None) -> Anchor | None:
        if anchor is None:
            return None

        def noted(checkpoint: str, size: int) -> None:
            succeeded = False
            try:
                anchor(checkpoint, size)
                succeeded = True
            finally:
                self._note_anchor(succeeded)

        return noted

    def _is_due(self, done_at: datetime | None, due_at: datetime | None, now: datetime) -> bool:
        rhythm = self._settings.archive.schedule
        known = [moment for moment in (done_at, self._up_to_date_at) if moment is not None]
        last = max(known, default=None)
        if last is None or last > now + _CLOCKS_DIFFER:  # none, or the clock was ahead when it was made
            return True
        if not isinstance(rhythm, float):
            return due_at is not None and last < due_at
        interval = timedelta(seconds=rhythm)
        return now - last >= interval - min(_LOOKS_EARLY, interval / 10)


def _note_outcome(working: asyncio.Future[T]) -> None:
    """Look at what came of work that was left behind, so that nobody complains that nobody did."""
    if not working.cancelled():
        working.exception()
