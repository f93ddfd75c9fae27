"""How is one task walked? Page by page under a lease, the next page fetched while one is written.

fetch, decode, open transaction, decide, write, commit, tell observers: the order never changes, and
no transaction waits for a request. One transaction may write pages of several tasks (page_group.py).
At most one page is fetched ahead, so a crash costs at most the re-fetch of the page being written and
of that one. On any error the position is dropped; the next
walk reads it from the database again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from maia_sync.errors import (
    Bug,
    DatabaseUnreachable,
    GiveUpTask,
    LeaseLost,
    MaiaSyncError,
    OperatorMustAct,
    RequestRefused,
    TaskForbidden,
    TaskMissing,
    TokenRefused,
)
from maia_sync.model import Checkpoint, Cursor, PageApplied, Reconcile, TaskLog, WalkReport
from maia_sync.page_events import PageEvents
from maia_sync.store.checkpoints import read_checkpoint
from maia_sync.store.leases import is_still_held, release_lease
from maia_sync.store.polls import fail_walk
from maia_sync.sync.compare import is_stored_from_start, is_upside_down
from maia_sync.sync.direction import Direction, Drift
from maia_sync.sync.loop_guard import LoopGuard
from maia_sync.sync.page import PageTerms
from maia_sync.sync.page_group import SMALL, PageWork
from maia_sync.sync.patience import may_have_happened
from maia_sync.sync.position import (
    LOG_START,
    first_position,
    from_the_start,
    newest_known,
    plain_poll,
    with_order,
    with_other_order,
)
from maia_sync.sync.source import PageSource
from maia_sync.sync.tail import Tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.maia.client import MaiaClient
    from maia_sync.model import Lease, LogOrder, Observer, Page, PollPlanner, WalkOutcome
    from maia_sync.settings import Settings
    from maia_sync.store.database import Database
    from maia_sync.store.facets import FacetReader
    from maia_sync.sync.claims import Claim
    from maia_sync.sync.crew import Place
    from maia_sync.sync.due import Turn
    from maia_sync.sync.handover import Handover
    from maia_sync.sync.heartbeat import Heartbeat
    from maia_sync.sync.page import PageWritten
    from maia_sync.sync.page_group import PageWriter
    from maia_sync.sync.position import Position


_RECONCILE_AGAIN = 3600.0
"""Seconds until a reconcile that failed is tried again, at most."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What every walk of a run shares."""

    settings: Settings
    client: MaiaClient
    database: Database
    handover: Handover
    writer: PageWriter
    worker: str
    run_id: int
    planner: PollPlanner
    facets: FacetReader
    heartbeat: Heartbeat
    turn: Turn | None = None
    """None: each walk goes on to the end of its log."""
    observers: Sequence[Observer] = ()


class Walk:
    """One walk of one task, which has been claimed for it; `run()` once."""

    def __init__(self, surroundings: Surroundings, claim: Claim, place: Place, *, full: bool) -> None:
        self._around = surroundings
        self._place = place
        self._task_id = task_id = claim.task_id
        self._claimed = claim.checkpoint
        self._full = full
        page_size = surroundings.settings.api.page_size
        self._source = PageSource(surroundings.client, task_id, page_size=page_size)
        self._guard = LoopGuard()
        self._drift = Drift()
        self._from_start = False
        self._refused_at: int | None = None
        self._lease = claim.lease
        self._began = Checkpoint(cursor=LOG_START)
        self._in_hand: PageWork | None = None
        """The page that is being written, until it is told of."""
        self.report = WalkReport(task_id=task_id)

    async def run(self) -> WalkReport:
        """Walk to the end of the log. Raises GiveUpTask or Bug after noting it, or OperatorMustAct.

        The report's kind stays None if another worker holds the task.
        """
        try:
            position = await self._started()
            if position is not None:
                position = await self._begun(position)
            while position is not None:
                position = await self._step(position)
            self._forget_lease()  # given back with the last page
        except OperatorMustAct:
            raise
        except Exception as error:
            failure = _as_failure(error)
            await self._around.handover.run(partial(self._give_up, failure), surely=True)
            if failure is error:
                raise
            raise failure from error
        finally:
            if self._in_hand is not None and self._in_hand.written is not None:
                self._tell(self._in_hand, self._in_hand.written)  # cut off while it was being committed
            await self._source.drop_ahead()
            await self._let_go()
        return self.report

    async def _begun(self, position: Position) -> Position:
        """Do what is to be done before the first page: spare a quiet tail, look at the other end."""
        around, page_size = self._around, self._around.settings.api.page_size
        tail = Tail(self._source, around.database, around.handover, self._task_id, page_size=page_size)
        position = await tail.spared(position)
        if position.checkpoint.order_is_sure or position.cursor == LOG_START:
            return position
        if position.kind == "reconcile":
            return position
        head = await self._source.page_at(LOG_START)
        says_something = head.events or head.next_token is None
        # A reconcile that stands elsewhere has stored the log's first rows, and what is behind them has not
        # been read yet: that they are stored proves nothing then.
        read_through = position.kind == "both" or position.checkpoint.reconcile is None
        if says_something and read_through and await around.handover.run(partial(self._is_stored, head)):
            return position
        self._source.keep(LOG_START, head)
        return self._again(position)

    def _is_stored(self, head: Page) -> bool:
        with self._around.database.transaction(write=False) as tx:
            return is_stored_from_start(tx, TaskLog(task_id=self._task_id), head.events)

    async def _step(self, position: Position) -> Position | None:
        """Walk one page; returns where it goes on, or None when the walk is over."""
        await self._place.take()
        try:
            page = await self._source.page_at(position.cursor)
            position = await self._ordered(position, page)
            behind = Cursor(page_token=page.next_token, compare_seq=0, limit=page.limit)
            leads_on = page.next_token not in (None, position.cursor.page_token)
            gives_way = self._gives_way()
            if leads_on and not gives_way and _needs_more(position, page):
                self._source.look_ahead(behind)
            written = await self._written(position, page, None, gives_way=gives_way)
            if written is None:
                following = await self._source.peek_at(behind) if leads_on else page
                written = await self._written(position, page, following, gives_way=gives_way)
        except TokenRefused as refusal:
            return await self._from_the_start(position, refusal)
        if written is None or self._in_hand is None:
            raise Bug("a page could not be decided though the page behind it is known")
        self._tell(self._in_hand, written)
        if written.position is not None:
            self._guard.passed(position.cursor.page_token, page, advanced=written.advanced)
            self._note_jump(page, written.position)
        return written.position

    def _gives_way(self) -> bool:
        """Tell whether the page in hand is the last for now, as others go first.

        Not while pages lead nowhere: what the guard has counted would be forgotten.
        """
        turn = self._around.turn
        if turn is None or self._guard.is_patient:
            return False
        over = turn.until is not None and self._around.database.clock.monotonic() >= turn.until
        return over or self.report.pages + 1 >= turn.pages

    def _note_jump(self, page: Page, onward: Position) -> None:
        """Begin to watch for loops anew where the walk goes on elsewhere than behind the page."""
        if onward.cursor.page_token != page.next_token:
            self._guard = LoopGuard()
        if onward.kind != self.report.kind:
            self.report = msgspec.structs.replace(self.report, kind=onward.kind)

    async def _started(self) -> Position | None:
        """Begin; None if another worker holds the task."""
        if self._lease is None:
            return None
        checkpoint, order = self._claimed, self._around.settings.api.order
        position = None
        if checkpoint is not None:
            position = plain_poll(checkpoint, full=self._full, order=order)
        if position is None:
            position = await self._around.handover.run(self._read_position)
        self._began = position.stored
        self.report = msgspec.structs.replace(self.report, kind=position.kind)
        return position

    def _read_position(self) -> Position:
        order = self._around.settings.api.order
        with self._around.database.transaction(write=False) as tx:
            checkpoint = self._claimed or read_checkpoint(tx, self._task_id) or Checkpoint(cursor=LOG_START)
            return first_position(tx, self._task_id, checkpoint, full=self._full, order=order)

    async def _from_the_start(self, position: Position, refusal: TokenRefused) -> Position:
        """Answer a refused token: ask again without one, as a reconcile, once per depth reached."""
        depth = position.cursor.compare_seq
        if self._refused_at is not None and depth <= self._refused_at:
            raise RequestRefused(f"{refusal}, twice without getting any deeper into the log") from refusal
        self._refused_at = depth
        await self._source.drop_ahead()
        return self._again(position)

    def _again(self, position: Position) -> Position:
        """Begin again at the log's start, as a reconcile."""
        self._guard = LoopGuard()
        again = from_the_start(position, self._new_reconcile())
        self.report = msgspec.structs.replace(self.report, kind=again.kind)
        return again

    def _new_reconcile(self) -> Reconcile:
        return Reconcile(cursor=LOG_START, started_at=self._around.database.clock.now())

    async def _ordered(self, position: Position, page: Page) -> Position:
        """Settle the log's order as far as the page tells it; the configured one is believed."""
        self._from_start = self._from_start or position.cursor == LOG_START
        known = position.checkpoint.log_order
        direction = self._direction(position, page)
        if direction is None or direction.order == known:
            return position
        if position.checkpoint.order_is_sure:
            return await self._contradicted(position, page, direction)
        if direction.sure:
            return with_order(position, direction.order)
        is_whole = self._from_start and page.next_token is None
        likely: LogOrder | None = "newest-first?" if direction.order == "newest-first" else None
        position = msgspec.structs.replace(position, hint=direction.order)
        return with_order(position, likely) if is_whole and likely != known else position

    def _direction(self, position: Position, page: Page) -> Direction | None:
        configured = self._around.settings.api.order
        if configured != "auto":
            return Direction(order=configured, sure=True)
        if position.checkpoint.order_is_sure and position.cursor.page_token is not None:
            return None
        self._drift.add(PageEvents.of(page.events).timestamps)
        return self._drift.direction()

    async def _contradicted(self, position: Position, page: Page, direction: Direction) -> Position:
        """Begin again under another order than the one remembered, where the log's first page proves it."""
        if position.cursor != LOG_START or not direction.sure:
            return position
        turn = await self._around.handover.run(partial(self._is_upside_down, position, page))
        self._guard = LoopGuard()
        again = with_other_order(position, direction.order, turn=turn, reconcile=self._new_reconcile())
        self.report = msgspec.structs.replace(self.report, kind=again.kind)
        return again

    def _is_upside_down(self, position: Position, page: Page) -> bool:
        log = TaskLog(task_id=self._task_id, newest_first=position.checkpoint.newest_first)
        with self._around.database.transaction(write=False) as tx:
            return is_upside_down(tx, log, page.events)

    async def _written(
        self, position: Position, page: Page, following: Page | None, *, gives_way: bool
    ) -> PageWritten | None:
        """Write a page; if the database was lost in COMMIT, find out whether it is written."""
        around = self._around
        terms = PageTerms(
            run_id=around.run_id,
            lease_seconds=around.settings.schedule.lease,
            planner=around.planner,
            facets=around.facets,
            full=self._full,
            gives_way_since=self._began if gives_way else None,
            look_first=False,
            behind_asked=self._source.is_behind_asked,
        )
        work = PageWork(
            lease=self._held_lease(), position=position, page=page, following=following, terms=terms
        )
        self._in_hand = work
        if page.next_token is None and page.size_bytes <= SMALL:
            self._place.lend()
            work.may_wait = True
        while True:
            try:
                return await around.writer.write(work)
            except DatabaseUnreachable as trouble:
                if not may_have_happened(trouble):
                    raise
            await around.handover.run(partial(self._find_committed, work))
            if work.written is not None:
                return work.written

    def _find_committed(self, work: PageWork) -> None:
        """Note what a page came to if it was committed. Raises LeaseLost."""
        written = work.pending
        if written is None:
            return
        with self._around.database.transaction(write=False) as tx:
            is_held = is_still_held(tx, work.lease)
            stored = read_checkpoint(tx, self._task_id)
        if written.position is None:  # then the lease was given back with it
            work.written = None if is_held else written
            return
        if not is_held:
            raise LeaseLost("this task's lease was given back while a page was being written")
        if stored == written.position.checkpoint != work.position.stored:
            work.written = written

    def _held_lease(self) -> Lease:
        if self._lease is None:
            raise Bug("a page was to be written without a lease")
        return self._lease

    def _tell(self, work: PageWork, written: PageWritten) -> None:
        """Add the committed page to the report and tell the observers."""
        self._in_hand = None
        position, page = work.position, work.page
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
            end_reached=written.position is None and not written.gave_way,
            commit_seconds=work.seconds,
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
            gave_way=written.gave_way,
        )
        for observer in self._around.observers:
            observer(applied)

    def _give_up(self, error: GiveUpTask | Bug) -> None:
        """Note why the walk failed and free the task; if the lease is lost, that is not ours to do."""
        held = self._lease
        if held is None or isinstance(error, LeaseLost):
            self._forget_lease()
            return
        planner = self._around.planner
        with self._around.database.transaction() as tx:
            fail_walk(
                tx,
                held,
                planner.after_walk(held.state, _outcome_of(error)),
                str(error),
                until_reconcile=min(planner.until_reconcile(), _RECONCILE_AGAIN) if self._full else None,
            )
        self._forget_lease()

    def _forget_lease(self) -> None:
        held, self._lease = self._lease, None
        if held is not None:
            self._around.heartbeat.drop(held)

    async def _let_go(self) -> None:
        """Free the task of a walk that was cut off; at worst the lease runs out by itself."""
        lease = self._lease
        self._forget_lease()
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


def _outcome_of(error: GiveUpTask | Bug) -> WalkOutcome:
    if isinstance(error, TaskMissing):
        return "missing"
    return "forbidden" if isinstance(error, TaskForbidden) else "failed"


def _needs_more(position: Position, page: Page) -> bool:
    """Tell whether the page behind this one will certainly be asked for.

    A poll of a newest-first log ends where it meets what is stored: the page behind must not be
    asked for in vain, unless this one is newer throughout than all that was stored.
    """
    if position.kind != "poll" or position.floor is None:
        return True
    newest = newest_known(position)
    return newest is not None and all(event.timestamp > newest for event in page.events)
