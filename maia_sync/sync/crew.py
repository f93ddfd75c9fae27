"""How are many tasks worked on, a few at a time, until none is left or somebody says stop?"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from maia_sync.model import WALKED_STATUSES
from maia_sync.store.tasks import read_task_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

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


class Hunger:
    """How many workers wait for a piece of work?"""

    def __init__(self) -> None:
        self.waiting = 0

    async def settled(self) -> int:
        """Return it once a turn of the event loop has brought no more: nothing is awaited."""
        before = 0
        while before < self.waiting:
            before = self.waiting
            await asyncio.sleep(0)
        return self.waiting


async def work_through(
    pieces: AsyncIterator[T],
    work: Callable[[T], Awaitable[None]],
    *,
    concurrency: int,
    stop: asyncio.Future[int],
    hunger: Hunger | None = None,
) -> int | None:
    """Do the work for each piece, `concurrency` at a time; `hunger` tells whoever makes the pieces.

    Returns the signal's number that `stop` was given, or None at the end; then every worker has
    ended. What a piece of work raises ends the others and is raised here.
    """
    turn, hunger = asyncio.Lock(), hunger or Hunger()

    async def worker() -> None:
        while True:
            hunger.waiting += 1
            async with turn:
                piece = await anext(pieces, None)
            hunger.waiting -= 1
            if piece is None:
                return
            await work(piece)

    workers = [asyncio.create_task(worker()) for _ in range(concurrency)]
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
