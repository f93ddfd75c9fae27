"""Who asks what pages show? A few threads; answers are kept for a while, and nothing is asked twice at once.

An answer is fresh for as long as asking again would be a burden: twenty times what it took. An older one is
shown, and says so by its time, while a new one is on its way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from maia_sync.clock import Clock

T = TypeVar("T")

THREADS: Final = 3
MOST_KEPT: Final = 200
PATIENCE: Final = 0.15
"""Seconds that a page waits for all that it shows together."""
FRESH_AT_LEAST: Final = 2.0
TIMES_ITS_COST: Final = 20
OLDEST_SHOWN: Final = 600.0
_TROUBLE_FRESH_AT_MOST: Final = 60.0
_WORTH_WAITING: Final = 0.1
"""Nobody waits for a newer answer that will take longer than this, as long as there is an older one."""
_SLOW: Final = 0.3
"""Seconds from which on an answer is a slow one: one thread is always kept for others."""
_IDLE_SECONDS: Final = 5.0


class Wanted(msgspec.Struct, Generic[T], frozen=True):
    """Something to be asked: `key` names it, `ask` finds it out in a thread.

    An answer to another `version` is an old one, but better than none.
    """

    key: Any  # Hashable
    ask: Any  # Callable[[], T]
    version: Any = None  # Hashable
    is_slow: bool = False
    """It is known to take long; so is what did so the last time."""


class Found(msgspec.Struct, Generic[T], frozen=True):
    """An answer, or the error instead."""

    value: T | None
    error: Exception | None
    traceback: Any  # TracebackType | None
    version: Any
    asked_at: float
    """Monotonic, as `seconds`."""
    seconds: float

    def result(self) -> T:
        """Return the answer. Raises what asking raised."""
        if self.error is not None:
            # One error is raised for every visitor: its own traceback must not grow with them.
            raise self.error.with_traceback(self.traceback)
        return self.value  # type: ignore[return-value]

    def fresh_for(self) -> float:
        """Return how many seconds nobody asks again."""
        most = _TROUBLE_FRESH_AT_MOST if self.error is not None else OLDEST_SHOWN
        return max(FRESH_AT_LEAST, min(TIMES_ITS_COST * self.seconds, most))


class _Entry:
    """What is known of a key; `waiting` are told when it is asked to the end."""

    def __init__(self) -> None:
        self.found: Found[Any] | None = None
        self.is_asked = False
        self.is_slow = False
        self.waiting: list[asyncio.Future[None]] = []


class Answers:
    """Answers by their keys. `get` belongs to an event loop, asking happens in daemon threads of its own.

    The threads are started when there is something to ask, and end when there has been nothing for a while.
    """

    def __init__(self, clock: Clock, *, threads: int = THREADS, most: int = MOST_KEPT) -> None:
        self._clock = clock
        self._most_threads = threads
        self._most = most
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._queue: deque[tuple[_Entry, Wanted[Any]]] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._slow = 0
        """How many threads are at a slow one."""

    async def get(self, wanted: Sequence[Wanted[T]], patience: float = PATIENCE) -> list[Found[T] | None]:
        """Return what is known of each after at most so many seconds; None: it is still being asked."""
        loop = asyncio.get_running_loop()
        awaited: list[tuple[_Entry, asyncio.Future[None]]] = []
        with self._changed:
            entries = [self._looked_up(one) for one in wanted]
            for entry in entries:
                if entry.is_asked and self._is_worth_waiting(entry):
                    awaited.append((entry, loop.create_future()))
                    entry.waiting.append(awaited[-1][1])
            self._forget()
        if awaited:
            await asyncio.wait([future for _, future in awaited], timeout=max(patience, 0))
        with self._changed:
            for entry, future in awaited:
                if future in entry.waiting:
                    entry.waiting.remove(future)
            return [entry.found for entry in entries]

    def _looked_up(self, wanted: Wanted[Any]) -> _Entry:
        """Return what is known of a key, and see to it that it is asked if that is too old."""
        entry = self._entries.setdefault(wanted.key, _Entry())
        self._entries.move_to_end(wanted.key)
        found = entry.found
        age = 0.0 if found is None else self._clock.monotonic() - found.asked_at
        if found is not None and age > (OLDEST_SHOWN if found.error is None else found.fresh_for()):
            entry.found = found = None
        is_fresh = found is not None and found.version == wanted.version and age <= found.fresh_for()
        if not is_fresh and not entry.is_asked and len(self._queue) < self._most:
            entry.is_asked = True
            entry.is_slow |= wanted.is_slow
            self._queue.append((entry, wanted))
            if self._idle < len(self._queue) and self._threads < self._most_threads:
                self._threads += 1
                threading.Thread(target=self._work, name="maia-sync-answers", daemon=True).start()
            self._changed.notify()
        return entry

    @staticmethod
    def _is_worth_waiting(entry: _Entry) -> bool:
        return entry.found is None or entry.found.seconds <= _WORTH_WAITING

    def _forget(self) -> None:
        """Let go of the answers that nobody has looked at for longest."""
        for key in [key for key, entry in self._entries.items() if not entry.is_asked]:
            if len(self._entries) <= self._most:
                return
            del self._entries[key]

    # ------------------------------------------------------------------ in the threads

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                next_one = self._changed.wait_for(self._next, timeout=_IDLE_SECONDS)
                self._idle -= 1
                if next_one is None:
                    self._threads -= 1
                    return
                self._queue.remove(next_one)
                entry, wanted = next_one
                was_slow = entry.is_slow
                self._slow += was_slow
            found = self._asked(wanted.ask, wanted.version)
            with self._changed:
                entry.found, entry.is_asked = found, False
                entry.is_slow = found.seconds > _SLOW
                waiting, entry.waiting = entry.waiting, []
                self._slow -= was_slow
                self._changed.notify()
            for future in waiting:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    future.get_loop().call_soon_threadsafe(_wake, future)

    def _next(self) -> tuple[_Entry, Wanted[Any]] | None:
        """Return what is to be asked next; slow ones leave a thread to the others."""
        has_room = self._slow < self._most_threads - 1
        return next((each for each in self._queue if has_room or not each[0].is_slow), None)

    def _asked(self, ask: Callable[[], Any], version: Hashable) -> Found[Any]:
        begun = self._clock.monotonic()
        value: Any = None
        error: Exception | None = None
        try:
            value = ask()
        except Exception as raised:  # noqa: BLE001 - raised again where the answer is wanted
            error = raised
        return Found(
            value=value,
            error=error,
            traceback=None if error is None else error.__traceback__,
            version=version,
            asked_at=begun,
            seconds=self._clock.monotonic() - begun,
        )


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
