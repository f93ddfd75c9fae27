"""How does asynchronous code get work done by the synchronous database?

Through an injected hand-over: worker threads in a real run, so that fetching and writing overlap;
inline in the simulator, so that one seed decides everything. The number of threads bounds what the
database is asked at once; each walk waits for its own page, so a slow database slows the fetching.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Handover(Protocol):
    """Runs blocking work for a coroutine."""

    async def run(self, work: Callable[[], T], *, surely: bool = False, once: bool = False) -> T:
        """Return what the work returns, or raise what it raises.

        `surely`: even if the coroutine is cancelled before the work has begun. `once`: never again
        where it may have been done though it failed (see patience.py).
        """
        ...


class ThreadHandover:
    """Runs the work in one of a bounded number of threads. A context manager."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="maia-sync-db")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    async def run(self, work: Callable[[], T], *, surely: bool = False, once: bool = False) -> T:  # noqa: ARG002 - it is done once
        """Run the work; if the coroutine is cancelled, work that has begun is waited for all the same."""
        submitted = self._executor.submit(work)
        future = asyncio.wrap_future(submitted)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if surely or not submitted.cancel():
                await asyncio.wait([future])
                future.exception()  # seen; the cancellation is what the caller has to know
            raise


class InlineHandover:
    """Runs the work at once, in the caller's own thread."""

    async def run(self, work: Callable[[], T], *, surely: bool = False, once: bool = False) -> T:  # noqa: ARG002 - it is done once
        """Run the work; other coroutines get a turn before it."""
        if not surely:
            await asyncio.sleep(0)
        return work()
