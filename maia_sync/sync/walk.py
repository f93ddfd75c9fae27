"""How is one task walked? Page by page under a lease, the next page fetched while one is written.

fetch, decode, open transaction, decide, write, commit, tell observers: the order never changes, and
no transaction waits for a request. At most one page is fetched ahead, so a crash costs at most the
re-fetch of the page being written and of that one. On any error the position is dropped; the next
walk reads it from the database again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from maia_sync.errors import (
    Bug,
    GiveUpTask,
    KeysTaken,
    LeaseLost,
    LogLoops,
    LogNewestFirst,
    MaiaSyncError,
    OperatorMustAct,
    RequestRefused,
    TokenRefused,
)
from maia_sync.model import Checkpoint, Cursor, PageApplied, Reconcile, WalkReport
from maia_sync.store.checkpoints import read_checkpoint
from maia_sync.store.leases import acquire_lease, release_lease
from maia_sync.store.tasks import record_failure
from maia_sync.sync.direction import read_direction
from maia_sync.sync.order import START
from maia_sync.sync.page import Position, write_page

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from maia_sync.maia.client import MaiaClient
    from maia_sync.model import Lease, Observer, Page
    from maia_sync.settings import Settings
    from maia_sync.store.database import Database, Transaction
    from maia_sync.sync.handover import Handover
    from maia_sync.sync.page import PageWritten

_MOST_EMPTY_PAGES = 100
_MOST_IDLE_PAGES = 1000
"""Pages in a row that bring nothing and lead no further: more is a loop."""
LOG_START = Cursor(page_token=None, compare_seq=START)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What every walk of a run shares."""

    settings: Settings
    client: MaiaClient
    database: Database
    handover: Handover
    worker: str
    run_id: int
    observers: Sequence[Observer] = ()


class Walk:
    """One walk of one task; `run()` once."""

    def __init__(self, surroundings: Surroundings, task_id: str, *, full: bool) -> None:
        self._around = surroundings
        self._task_id = task_id
        self._full = full
        self._ahead: asyncio.Task[Page] | None = None
        self._guard = LoopGuard()
        self._refused_at: int | None = None
        self._lease: Lease | None = None
        self._direction: str | None = None
        self._untold: tuple[Position, Page, PageWritten] | None = None
        self.report = WalkReport(task_id=task_id)

    async def run(self) -> WalkReport:
        """Walk to the end of the log. Raises GiveUpTask or Bug after noting it, or OperatorMustAct.

        The report's kind stays None if another worker holds the task.
        """
        try:
            position = await self._around.handover.run(self._start)
            while position is not None:
                position = await self._step(position)
            self._lease = None  # given back with the last page
        except OperatorMustAct:
            raise
        except Exception as error:
            failure = _as_failure(error)
            await self._around.handover.run(partial(self._give_up, failure), surely=True)
            if failure is error:
                raise
            raise failure from error
        finally:
            if self._untold is not None:
                self._tell(*self._untold)  # cut off while this page was being committed
            await self._drop_ahead()
            await self._let_go()
        return self.report

    async def _step(self, position: Position) -> Position | None:
        """Walk one page; returns where it goes on, or None at the end of the log."""
        try:
            page = await self._fetched(position.cursor.page_token)
            self._require_oldest_first(position, page)
            if page.next_token is not None and page.next_token != position.cursor.page_token:
                self._ahead = asyncio.create_task(self._fetch(page.next_token))
            written = await self._around.handover.run(partial(self._write, position, page, None))
            if written is None:
                following = await self._ahead if self._ahead is not None else page
                written = await self._around.handover.run(partial(self._write, position, page, following))
        except TokenRefused as refusal:
            return self._from_the_start(position, refusal)
        if written is None:
            raise Bug("a page could not be decided though the page behind it is known")
        self._tell(position, page, written)
        if written.position is not None:
            self._guard.passed(position.cursor.page_token, page, advanced=written.advanced)
        return written.position

    def _start(self) -> Position | None:
        """Take the lease and read the checkpoint; None if another worker holds the task.

        The lease is noted here, in the worker thread: a walk that is cancelled meanwhile must
        still give it back.
        """
        around = self._around
        with around.database.transaction() as tx:
            lease = acquire_lease(tx, self._task_id, around.worker, around.settings.schedule.lease)
            if lease is None:
                return None
            checkpoint = read_checkpoint(tx, self._task_id) or Checkpoint(cursor=LOG_START)
            position = first_position(tx, checkpoint, full=self._full)
        self._lease = lease
        self.report = msgspec.structs.replace(self.report, kind=position.kind)
        return position

    def _from_the_start(self, position: Position, refusal: TokenRefused) -> Position:
        """Answer a refused token: ask again without one, as a reconcile, once per depth reached."""
        depth = position.cursor.compare_seq
        if self._refused_at is not None and depth <= self._refused_at:
            raise RequestRefused(f"{refusal}, twice without getting any deeper into the log") from refusal
        self._refused_at = depth
        self._ahead = None
        self._guard = LoopGuard()
        kind = "reconcile" if position.kind == "reconcile" else "both"
        self.report = msgspec.structs.replace(self.report, kind=kind)
        started_at = self._around.database.clock.now()
        reconcile = Reconcile(cursor=LOG_START, started_at=started_at)
        return msgspec.structs.replace(position, kind=kind, cursor=LOG_START, reconcile=reconcile)

    async def _fetched(self, page_token: str | None) -> Page:
        """Return the page, which may have been fetched ahead."""
        ahead, self._ahead = self._ahead, None
        return await (ahead if ahead is not None else self._fetch(page_token))

    def _fetch(self, page_token: str | None) -> Coroutine[None, None, Page]:
        return self._around.client.fetch_page(self._task_id, page_token)

    async def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._ahead
            self._ahead = None

    def _require_oldest_first(self, position: Position, page: Page) -> None:
        """Refuse a newest-first log while its order can still show: before its end was ever reached."""
        order = self._around.settings.api.order
        early = position.checkpoint.end_reached_at is None or position.cursor == LOG_START
        if order == "auto" and early and self._direction is None:
            self._direction = read_direction(page.events)
        if "newest-first" in (order, self._direction):
            raise LogNewestFirst(
                "this log runs newest-first, which this version cannot copy completely, so none of it is read"
            )

    def _write(self, position: Position, page: Page, following: Page | None) -> PageWritten | None:
        try:
            written = self._write_once(position, page, following, look_first=False)
        except KeysTaken:
            written = self._write_once(position, page, following, look_first=True)
        if written is not None:
            self._untold = (position, page, written)
        return written

    def _write_once(
        self, position: Position, page: Page, following: Page | None, *, look_first: bool
    ) -> PageWritten | None:
        settings = self._around.settings
        with self._around.database.transaction() as tx:
            return write_page(
                tx,
                self._held_lease(),
                position,
                page,
                following,
                lease_seconds=settings.schedule.lease,
                limit=settings.api.page_size,
                run_id=self._around.run_id,
                look_first=look_first,
            )

    def _held_lease(self) -> Lease:
        if self._lease is None:
            raise Bug("a page was to be written without a lease")
        return self._lease

    def _tell(self, position: Position, page: Page, written: PageWritten) -> None:
        """Add the committed page to the report and tell the observers."""
        self._untold = None
        report = self.report
        applied = PageApplied(
            task_id=self._task_id,
            kind=position.kind,
            new=written.new,
            changed=written.changed,
            unchanged=written.unchanged,
            quarantined=written.quarantined,
            vanished=written.vanished,
            size_bytes=page.size_bytes,
            end_reached=written.position is None,
        )
        self.report = msgspec.structs.replace(
            report,
            pages=report.pages + 1,
            size_bytes=report.size_bytes + page.size_bytes,
            new=report.new + written.new,
            changed=report.changed + written.changed,
            unchanged=report.unchanged + written.unchanged,
            quarantined=report.quarantined + written.quarantined,
            vanished=report.vanished + written.vanished,
            doubted=report.doubted + written.doubted,
        )
        for observer in self._around.observers:
            observer(applied)

    def _give_up(self, error: GiveUpTask | Bug) -> None:
        """Note why the walk failed and free the task; if the lease is lost, that is not ours to do."""
        held, self._lease = self._lease, None
        if held is None:
            return
        with self._around.database.transaction() as tx:
            if release_lease(tx, held) and not isinstance(error, LeaseLost):
                record_failure(tx, self._task_id, str(error))

    async def _let_go(self) -> None:
        """Free the task of a walk that was cut off; at worst the lease runs out by itself."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(MaiaSyncError):
                await self._around.handover.run(partial(self._release, lease), surely=True)

    def _release(self, lease: Lease) -> None:
        with self._around.database.transaction() as tx:
            release_lease(tx, lease)


def _as_failure(error: Exception) -> GiveUpTask | Bug:
    """Return what failed as this task's failure; what nobody foresaw must not stop other tasks."""
    if isinstance(error, GiveUpTask | Bug):
        return error
    return Bug(f"an unforeseen {type(error).__name__} stopped this walk: please report it")


def first_position(tx: Transaction, checkpoint: Checkpoint, *, full: bool) -> Position:
    """Decide where a walk begins.

    An open reconcile goes on where it stood. One that stands exactly where the poll stands (both
    began at the log's start, or a refused token sent both back there) is walked together with it.
    """
    reconcile = checkpoint.reconcile
    if full and reconcile is None:
        reconcile = Reconcile(cursor=LOG_START, started_at=tx.now)
    if reconcile is not None and reconcile.cursor == checkpoint.cursor:
        return Position(kind="both", cursor=checkpoint.cursor, checkpoint=checkpoint, reconcile=reconcile)
    if full and reconcile is not None:
        return Position(kind="reconcile", cursor=reconcile.cursor, checkpoint=checkpoint, reconcile=reconcile)
    return Position(kind="poll", cursor=checkpoint.cursor, checkpoint=checkpoint, reconcile=None)


class LoopGuard:
    """Notices tokens that lead nowhere, in constant memory.

    Brent's cycle detection: one token is remembered, for twice as many pages each time; a cycle of
    any length meets it. Endless fresh tokens without progress are counted instead.
    """

    def __init__(self) -> None:
        self._remembered: str | None = None
        self._pages = 0
        self._patience = 1
        self._empty = 0
        self._idle = 0

    def passed(self, own_token: str | None, page: Page, *, advanced: bool) -> None:
        """Note one page that was not the last, and the token that fetched it. Raises LogLoops."""
        self._empty = 0 if page.element_count else self._empty + 1
        self._idle = 0 if advanced else self._idle + 1
        if self._empty > _MOST_EMPTY_PAGES:
            raise LogLoops(f"the API served more than {_MOST_EMPTY_PAGES} empty pages in a row")
        if self._idle > _MOST_IDLE_PAGES:
            raise LogLoops(f"more than {_MOST_IDLE_PAGES:,} pages in a row led no further into the log")
        if page.next_token == own_token:
            return
        if page.next_token == self._remembered:
            raise LogLoops("the API's page tokens run in a circle")
        self._pages += 1
        if self._pages == self._patience:
            self._remembered, self._pages, self._patience = page.next_token, 0, self._patience * 2
