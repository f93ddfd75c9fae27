"""How are many tasks worked on, a few at a time, until none is left or somebody says stop?"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from maia_sync.model import WALKED_STATUSES
from maia_sync.store.tasks import read_task_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from maia_sync.store.database import Database
    from maia_sync.sync.handover import Handover

T = TypeVar("T")

_IDS_AT_ONCE = 500


async def task_ids_to_walk(
    database: Database, handover: Handover, asked_for: Sequence[str]
) -> AsyncIterator[str]:
    """Yield the ids asked for or, if none were, every task's that is polled: never all at once in memory."""
    if asked_for:
        for task_id in asked_for:
            yield task_id
        return
    after: str | None = None
    while True:
        ids = await handover.run(partial(_read_ids, database, after))
        for task_id in ids:
            yield task_id
        if len(ids) < _IDS_AT_ONCE:
            return
        after = ids[-1]


def _read_ids(database: Database, after: str | None) -> list[str]:
    with database.transaction(write=False) as tx:
        return read_task_ids(tx, WALKED_STATUSES, after=after, limit=_IDS_AT_ONCE)


class Places:
    """How many are at work? So many at a time; who only waits for something lends his place to others.

    A place stands for the memory that a piece of work may take up while nobody knows how much that is. So
    what has lent its place has little in hand. Who asks for work has a place too: there must be two to lend.
    """

    def __init__(self, number: int, *, lent: int = 0) -> None:
        self.workers = number + lent
        """How many pieces of work are in hand at most, with those that have lent their places."""
        self.number = number
        """How many are at work at most."""
        self._free = asyncio.Semaphore(number)
        self._taken = self._asking = 0

    @property
    def at_work(self) -> int:
        """How many have a place and a piece of work."""
        return self._taken - self._asking

    async def take(self) -> None:
        """Take a place, as soon as there is one."""
        await self._free.acquire()
        self._taken += 1

    def give(self) -> None:
        """Give a place to whoever waits for one."""
        self._taken -= 1
        self._free.release()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Have a place without work meanwhile."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    async def hunger(self) -> int:
        """Return for how many there is a place, once a turn of the event loop has brought no more.

        Nothing is awaited.
        """
        before = 0
        while before < self.number - self.at_work:
            before = self.number - self.at_work
            await asyncio.sleep(0)
        return before


class Place:
    """The place of one worker."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._is_taken = False

    async def take(self) -> None:
        """Have it; wait for one if it was lent."""
        if not self._is_taken:
            await self._places.take()
            self._is_taken = True

    def lend(self) -> None:
        """Let others have it, until it is taken again."""
        if self._is_taken:
            self._is_taken = False
            self._places.give()


async def work_through(
    pieces: AsyncIterator[T],
    work: Callable[[T, Place], Awaitable[None]],
    *,
    places: Places,
    stop: asyncio.Future[int],
) -> int | None:
    """Do the work for each piece, as many at a time as there are places.

    Returns the signal's number that `stop` was given, or None at the end; then every worker has
    ended. What a piece of work raises ends the others and is raised here.
    """
    turn = asyncio.Lock()

    async def worker() -> None:
        place = Place(places)
        while True:
            # One asks at a time, and has a place then: the others' are free for work that goes on.
            async with turn:
                await place.take()
                with places.asking():
                    piece = await anext(pieces, None)
            if piece is None:
                place.lend()
                return
            await work(piece, place)  # where this raises, nobody gets the place: all are ended
            place.lend()

    workers = [asyncio.create_task(worker()) for _ in range(places.workers)]
    waiting: set[asyncio.Future[Any]] = {*workers, stop}
    try:
        while waiting != {stop}:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if stop in done:
                return stop.result()
            for ended in done:
                ended.result()
        return None
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
