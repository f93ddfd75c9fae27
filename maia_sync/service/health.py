"""Does the service live, and is it ready? And how is a slow question asked without a long wait?"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from maia_sync.errors import DatabaseNotMigrated, DatabaseTooNew, DatabaseUnreachable, MaiaSyncError

if TYPE_CHECKING:
    from collections.abc import Callable

    from maia_sync.clock import Clock

T = TypeVar("T")

_FRESH = 3.0
_PATIENCE = 3.0
_SILENCE = 60.0
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (DatabaseUnreachable, "the database cannot be reached"),
    (DatabaseNotMigrated, "the database is not at this version's migration"),
    (DatabaseTooNew, "the database was migrated by a newer version"),
)
"""Probes come without a token: they learn the kind of trouble, not the database's name."""


class Question(Generic[T]):
    """Asks something that blocks, in a thread of its own, at most once at a time.

    An answer (or the error that was raised) counts for `fresh` seconds. Who asks waits at most
    `patience` seconds. The thread is a daemon: one that hangs does not keep the process from ending.
    """

    def __init__(
        self, ask: Callable[[], T], *, clock: Clock, fresh: float = _FRESH, patience: float = _PATIENCE
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._fresh = fresh
        self._patience = patience
        self._asked: Future[T] | None = None
        self._good_until = 0.0

    async def answer(self) -> T:
        """Return the answer. Raises what asking raises, and TimeoutError if there is none in time."""
        if self._asked is None or (self._asked.done() and self._clock.monotonic() >= self._good_until):
            self._asked = Future()
            threading.Thread(
                target=self._answer_in_thread, args=(self._asked,), name="maia-sync-ask", daemon=True
            ).start()
        asked = self._asked
        if not asked.done():
            await self._wait_for(asked)
        return asked.result()

    async def _wait_for(self, asked: Future[T]) -> None:
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def tell(_: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(answered.set)

        asked.add_done_callback(tell)
        async with asyncio.timeout(self._patience):
            await answered.wait()

    def _answer_in_thread(self, future: Future[T]) -> None:
        try:
            answer = self._ask()
        except BaseException as error:  # noqa: BLE001 - raised where the question was asked
            self._good_until = self._clock.monotonic() + self._fresh
            future.set_exception(error)
        else:
            self._good_until = self._clock.monotonic() + self._fresh
            future.set_result(answer)


class Health:
    """How the service is, for those who ask from outside.

    `check_database` raises a MaiaSyncError unless the database answers and stands at this version's
    migration; it may block. `silence`: after so many seconds without a beat the loop counts as stuck.
    """

    def __init__(
        self, *, clock: Clock, check_database: Callable[[], None], silence: float = _SILENCE
    ) -> None:
        self._clock = clock
        self._silence = silence
        self._database = Question(check_database, clock=clock)
        self._last_beat = clock.monotonic()
        self._state = "the service is starting"

    def beat(self) -> None:
        """Note that the loop turns."""
        self._last_beat = self._clock.monotonic()

    def mark_started(self) -> None:
        """Note that the configuration is loaded and the work has begun."""
        self._state = ""

    def mark_stopping(self) -> None:
        """Note that the service is about to end."""
        self._state = "the service is stopping"

    def is_alive(self) -> bool:
        """Tell whether the loop has turned lately."""
        return self._clock.monotonic() - self._last_beat <= self._silence

    async def reasons_against(self) -> tuple[str, ...]:
        """Return why the service is not ready; nothing if it is. Upstream's troubles are no reason."""
        reasons = (self._state, await self._database_trouble())
        return tuple(reason for reason in reasons if reason)

    async def _database_trouble(self) -> str:
        try:
            await self._database.answer()
        except TimeoutError:
            return "the database does not answer in time"
        except MaiaSyncError as error:
            return next(
                (reason for kind, reason in _REASONS if isinstance(error, kind)),
                "the database cannot be used",
            )
        return ""
