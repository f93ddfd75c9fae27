"""What time is it, and how does one wait? The only reader of time and the only sleeper."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and sleep, as one seam."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        ...

    async def idle(self, seconds: float) -> None:
        """Let so much time pass in the background: a manual clock is moved by others meanwhile."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait in a plain thread."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        await asyncio.sleep(seconds)

    async def idle(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        await asyncio.sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Wait in a plain thread."""
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to, or when somebody sleeps on it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 0.0
        self.slept: list[float] = []
        self._idle: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Advance at once; other coroutines get a turn."""
        self.pause(seconds)
        await asyncio.sleep(0)

    async def idle(self, seconds: float) -> None:
        """Wait until others have advanced it so far."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append((self._monotonic + seconds, woken))
        await woken

    def pause(self, seconds: float) -> None:
        """Advance at once."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move wall and monotonic time forward together."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        woken = [each for each in self._idle if each[0] <= self._monotonic]
        self._idle = [each for each in self._idle if each[0] > self._monotonic]
        for _, idle in woken:
            if not idle.done():
                idle.get_loop().call_soon_threadsafe(_wake, idle)

    def jump(self, seconds: float) -> None:
        """Move only the wall time, in either direction, as a corrected clock does."""
        self._now += timedelta(seconds=seconds)


def _wake(idle: asyncio.Future[None]) -> None:
    if not idle.done():
        idle.set_result(None)
