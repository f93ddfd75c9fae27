"""Who does for a visitor what would hold the loop up? A few threads of the site's own.

Nobody waits for one for long. The loop's own threads are left to the host: what visitors ask for never holds
its work up. The threads are daemons: one that hangs, because the database does, keeps nothing from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from maia_sync.errors import MaiaSyncError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOST_WAITING: Final = 100
_IDLE_SECONDS: Final = 5.0


class Busy(MaiaSyncError):  # noqa: N818 - as all of ours
    """There are more visitors than can be served just now; `retry_after` seconds later there may be fewer."""

    def __init__(self, sentence: str, *, retry_after: int = 5) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Threads:
    """A group of at most so many threads, started when there is something to do.

    Whoever gives them work waits at most `patience` seconds for its end, the wait for a free thread included;
    then, or where too many wait already, it is Busy, with this `sentence`.
    """

    def __init__(self, name: str, most: int, *, patience: float, sentence: str) -> None:
        self._name = name
        self._most = most
        self._patience = patience
        self._sentence = sentence
        self._queue: deque[_Work] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        """Have something done in a thread, and return what it returns. Raises what it raises, and Busy."""
        ordered = _Work(partial(work, *given), asyncio.get_running_loop())
        self._put(ordered)
        try:
            await asyncio.wait({ordered.done}, timeout=self._patience)
            if not ordered.done.done():
                raise Busy(self._sentence)
            result: T = ordered.done.result()
            return result
        finally:
            if not ordered.done.cancel() and not ordered.done.cancelled():  # nobody waits any more
                ordered.done.exception()  # nor misses what went wrong
            with self._changed, suppress(ValueError):
                self._queue.remove(ordered)

    def _put(self, ordered: _Work) -> None:
        with self._changed:
            if self._is_closed or len(self._queue) >= MOST_WAITING:
                raise Busy(self._sentence)
            self._queue.append(ordered)
            if self._idle < len(self._queue) and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
            self._changed.notify()

    def close(self) -> None:
        """Take nothing on any more; what is being done goes on, and nobody waits for it."""
        with self._changed:
            self._is_closed = True
            self._queue.clear()
            self._changed.notify_all()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                is_wanted = self._changed.wait_for(
                    lambda: self._queue or self._is_closed, timeout=_IDLE_SECONDS
                )
                self._idle -= 1
                if not is_wanted or not self._queue:
                    self._threads -= 1
                    return
                ordered = self._queue.popleft()
            ordered.do()
            del ordered  # not to be kept until there is other work


class _Work:
    """What is to be done, and the future by which whoever waits is told."""

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._loop = loop
        self.done: asyncio.Future[Any] = loop.create_future()

    def do(self) -> None:
        result: Any = None
        trouble: BaseException | None = None
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            trouble = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, result, trouble)

    def _settle(self, result: Any, trouble: BaseException | None) -> None:
        if self.done.done():
            return
        if isinstance(trouble, StopIteration):  # no future takes it
            trouble = RuntimeError("a thread ran out of what it iterates over")
        if trouble is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(trouble)


class Turns:
    """So many may do something at a time; others wait for at most `patience` seconds, and are Busy then."""

    def __init__(self, most: int, *, patience: float, sentence: str, retry_after: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._patience = patience
        self._sentence = sentence
        self._retry_after = retry_after

    async def take(self) -> Callable[[], None]:
        """Wait for a turn, and return what ends it: to be called once, in the loop."""
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(self._sentence, retry_after=self._retry_after) from None
        return self._free.release


def start(name: str, work: Callable[[], object]) -> None:
    """Have something done in a thread of its own, which nobody waits for."""
    threading.Thread(target=work, name=name, daemon=True).start()
