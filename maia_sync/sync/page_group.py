"""How do pages of several tasks share one transaction? What waits when the last is over goes together.

A small page of a quiet task costs less to write than the transaction around it. So whatever waits when
the writer becomes free is one group, in one transaction. The last pages of walks, whose places others have
meanwhile (see crew.py), wait a moment for more to come; no other page does. Each page is still atomic in
itself: its events, its checkpoint and its lease are in that transaction, as they would be in one of its own.

What can go wrong, and what then becomes of the group:

- Anything that undoes the transaction (LeaseLost or LogLoops of one page, KeysTaken, a busy or a lost
  database): nothing of any page is stored. Each is then written alone, with the patience and the second
  look that a page alone gets, so that one task's trouble is never another's.
- A COMMIT of which nobody knows: every page of the group is told so, and its walk looks for its own
  checkpoint.
- A walk that is cut off while its page waits takes the page back. While the page is being written, the
  walk waits for the end of that; the page then counts, and is told, if it was committed.
- A large page would be slow for others: it goes alone, on PostgreSQL over a connection of its own.

All rows of `task` that a group locks are locked by its first statement, which waits for none of them (see
leases.py): a group that would have to wait is undone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.errors import KeysTaken
from maia_sync.store.leases import prolong_leases, prove_leases
from maia_sync.store.polls import finish_walks
from maia_sync.store.windows import read_windows_ahead
from maia_sync.sync.page import stretch_of, write_page
from maia_sync.sync.patience import may_have_happened

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from maia_sync.model import Lease, Page
    from maia_sync.store.database import Database, Transaction
    from maia_sync.sync.crew import Places
    from maia_sync.sync.handover import Handover
    from maia_sync.sync.page import PageTerms, PageWritten
    from maia_sync.sync.position import Position

SMALL: Final = 64 * 1024
"""Bytes of a page that is written together with others, at most."""
MOST_PAGES: Final = 32
_PATIENCE: Final = 0.02
"""Seconds that pages wait for others at most, while there are walks at work that may bring some."""
_MOST_BYTES: Final = 512 * 1024


class PageWork:
    """A page that is to be written, and what became of it."""

    def __init__(
        self, *, lease: Lease, position: Position, page: Page, following: Page | None, terms: PageTerms
    ) -> None:
        self.lease = lease
        self.position = position
        self.page = page
        self.following = following
        """The page behind it, where it is known."""
        self.terms = terms
        self.pending: PageWritten | None = None
        """What it comes to if the transaction is committed that was the last to write it."""
        self.written: PageWritten | None = None
        """What it has come to: that is committed."""
        self.may_wait = False
        """Whether its walk has lent its place: nobody is kept from work while it waits."""
        self.seconds = 0.0
        """What its transaction took."""


class _Waiting(NamedTuple):
    work: PageWork
    is_written: asyncio.Future[bool]
    """False: its group was undone."""


class PageWriter:
    """Writes the pages of a run's walks. In one event loop."""

    def __init__(self, database: Database, *, handover: Handover, patient: Handover, places: Places) -> None:
        self._database = database
        self._places = places
        self._handover = handover
        self._patient = patient
        self._waiting: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._pause: asyncio.Task[None] | None = None

    async def write(self, work: PageWork) -> PageWritten | None:
        """Write a page, and return what `write_page` returns.

        Raises what that raises but for KeysTaken, and DatabaseUnreachable; where the page may have been
        committed all the same (see patience.py), somebody has to look.
        """
        if work.page.size_bytes > SMALL or not await self._is_written_in_group(work):
            await self._patient.run(partial(self._write_alone, work), once=True)
        return work.written

    async def _is_written_in_group(self, work: PageWork) -> bool:
        waiting = _Waiting(work, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._pause is not None and not self._is_worth_waiting():
            self._pause.cancel()
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_on())
        try:
            return await asyncio.shield(waiting.is_written)
        except asyncio.CancelledError:
            try:
                self._waiting.remove(waiting)
            except ValueError:  # its transaction is under way
                await asyncio.wait([waiting.is_written])
                waiting.is_written.exception()  # seen; the cancellation is what the caller has to know
            raise

    async def _write_on(self) -> None:
        """Write one group after another until no page waits."""
        try:
            while self._waiting:
                await self._gathered()
                group: list[_Waiting] = []
                try:
                    await self._handover.run(partial(self._write_group, group))
                except BaseException as error:  # noqa: BLE001 - told to those whom it concerns
                    _tell_of(error, group or [self._waiting.popleft() for _ in range(len(self._waiting))])
                for each in group:
                    if not each.is_written.done():
                        each.is_written.set_result(True)
        finally:
            self._writing = None

    async def _gathered(self) -> None:
        """Let in what comes in this turn of the event loop, and in the next if any did: nothing is awaited.

        That is what makes groups of walks that go in step, as those do whose answers come at once. The
        others are given a moment.
        """
        before = 0
        while before < len(self._waiting) < MOST_PAGES:
            before = len(self._waiting)
            await asyncio.sleep(0)
        if self._is_worth_waiting():
            self._pause = asyncio.create_task(self._database.clock.sleep(_PATIENCE))
            await asyncio.wait({self._pause})
            self._pause = None  # while a group is written, its thread takes from what waits

    def _is_worth_waiting(self) -> bool:
        return (
            len(self._waiting) < MOST_PAGES
            and self._places.at_work > 0
            and all(each.work.may_wait for each in self._waiting)
        )

    def _write_group(self, group: list[_Waiting]) -> None:
        """Write what waits by now; what that is stands in `group` then, whatever happens."""
        size = 0
        with suppress(IndexError):  # the last one may be taken back just now
            while len(group) < MOST_PAGES and size < _MOST_BYTES:
                group.append(self._waiting.popleft())
                size += group[-1].work.page.size_bytes
        if group:
            self._write([each.work for each in group])

    def _write_alone(self, work: PageWork) -> None:
        try:
            self._write([work])
        except KeysTaken:
            work.terms = replace(work.terms, look_first=True)
            self._write([work])

    def _write(self, works: Sequence[PageWork]) -> None:
        clock = self._database.clock
        began = clock.monotonic()
        with self._database.transaction() as tx:
            write_pages(tx, works)
        seconds = clock.monotonic() - began
        for work in works:
            work.written, work.seconds = work.pending, seconds


def write_pages(tx: Transaction, works: Sequence[PageWork]) -> None:
    """Write pages of different tasks, whose leases one worker holds, in the open transaction.

    Raises what `write_page` raises, or LeaseLost; then nothing is kept.
    """
    leases = [work.lease for work in works]
    noted = prove_leases(tx, leases)
    read_windows_ahead(tx, [stretch_of(work.lease, work.position, work.page) for work in works])
    for work, enrolled in zip(works, noted, strict=True):
        pages = (work.page, work.following)
        work.pending = write_page(tx, work.lease, work.position, pages, work.terms, enrolled=enrolled)
    pending = [work.pending for work in works]
    finish_walks(tx, [page.finish for page in pending if page is not None and page.finish is not None])
    going_on = [work.lease for work in works if work.pending is None or work.pending.position is not None]
    prolong_leases(tx, going_on, works[0].terms.lease_seconds)


def _tell_of(error: BaseException, pages: Collection[_Waiting]) -> None:
    """Tell pages that they are not written, as far as anybody knows."""
    is_undone = isinstance(error, Exception) and not may_have_happened(error)
    for each in pages:
        if is_undone:
            each.is_written.set_result(False)
        else:
            each.is_written.set_exception(error)
