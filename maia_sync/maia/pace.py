"""When may the next request leave? One pace for the whole process: gate, pause and spacing.

- *Gate*: at most `limit` requests at a time, first come first served. The limit starts at
  api.concurrency, is halved when upstream is overloaded (429, 503, 504), and creeps back.
- *Pause*: after a 429 nobody asks until it is over.
- *Spacing*: requests_per_second, evenly, without bursts.

Knows nothing of HTTP but status codes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from maia_sync.clock import Clock

LONGEST_PAUSE = 300.0
"""Seconds; a Retry-After beyond is cut to it."""
_OVERLOADED = (429, 503, 504)
_MOST_DIGITS = 18
_INSTANT = 1e-9
"""Shorter waits are rounding."""


class Pace:
    """The pace of one process's requests; `sleep` waits so many seconds."""

    def __init__(
        self,
        *,
        clock: Clock,
        concurrency: int,
        requests_per_second: float | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep or clock.sleep
        self._gate = _Gate(concurrency)
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._next_slot = self._paused_until = clock.monotonic()
        self._most = concurrency
        self._round = 0
        self._successes = 0

    @property
    def limit(self) -> int:
        """How many requests may be on their way at a time just now."""
        return self._gate.limit

    def turn(self) -> Turn:
        """Return a request's turn."""
        return Turn(self)

    async def rest(self, seconds: float) -> None:
        """Wait before a request is repeated: so long, and until a pause is over, in one."""
        end = self._clock.monotonic() + seconds
        await self._sleep_until(end, heed_pause=True)

    def note_answer(self, status: int, *, begun_in: int, pause: float) -> None:
        """Learn from an answer to a request that was begun in this round.

        A 429 makes everybody wait for `pause` seconds. The limit is halved once per round only:
        what was on its way already when it was halved says nothing about the new limit.
        """
        if status == 429:
            self._paused_until = max(self._paused_until, self._clock.monotonic() + pause)
        if status in _OVERLOADED:
            if begun_in == self._round:
                self._round += 1
                self._successes = 0
                self._gate.set_limit(max(self._gate.limit // 2, 1))
        elif status < 500 and begun_in == self._round:
            self._succeeded()

    def _succeeded(self) -> None:
        if self._gate.limit >= self._most:
            return
        self._successes += 1
        if self._successes >= self._gate.limit:
            self._successes = 0
            self._gate.set_limit(self._gate.limit + 1)

    async def enter(self) -> int:
        """Wait for a request's turn, which `leave` must end; returns the round."""
        await self._gate.enter()
        try:
            await self._wait_for_slot()
        except BaseException:
            self._gate.leave()
            raise
        return self._round

    def leave(self) -> None:
        """End a turn, so that another request may leave."""
        self._gate.leave()

    async def _wait_for_slot(self) -> None:
        """Wait until there is no pause and the request's own slot has come."""
        while True:
            await self._sleep_until(0.0, heed_pause=True)
            if not self._interval:
                return
            slot = max(self._clock.monotonic(), self._next_slot)
            self._next_slot = slot + self._interval
            await self._sleep_until(slot, heed_pause=False)
            if self._paused_until - self._clock.monotonic() <= _INSTANT:
                return

    async def _sleep_until(self, moment: float, *, heed_pause: bool) -> None:
        """Sleep until a moment, or until the end of the pause, which may move away meanwhile."""
        while True:
            end = max(moment, self._paused_until) if heed_pause else moment
            left = end - self._clock.monotonic()
            if left <= _INSTANT:
                return
            await self._sleep(left)


class Turn:
    """Waits for a request's turn and holds it meanwhile: `async with` yields the round, for `note_answer`."""

    __slots__ = ("_pace",)

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    async def __aenter__(self) -> int:
        return await self._pace.enter()

    async def __aexit__(self, *_: object) -> None:
        self._pace.leave()


class _Gate:
    """Lets so many through at a time, in the order in which they came."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for a place and take it."""
        if self._inside < self.limit and not self._waiting:
            self._inside += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()  # it was given a place, which it will not use
            raise

    def leave(self) -> None:
        """Give a place back."""
        self._inside -= 1
        self._let_in()

    def set_limit(self, limit: int) -> None:
        """Let more through from now on, or fewer."""
        self.limit = limit
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self._inside += 1
                place.set_result(None)


def read_retry_after(text: str, *, date: str, now: datetime) -> float | None:
    """Read a Retry-After header (RFC 9110 section 10.2.3) as seconds from 0 to 300; None if it says nothing.

    An HTTP date is taken relative to the answer's own Date header, so that a clock that is off does
    no harm, else to `now`.
    """
    text = text.strip()
    digits = text[1:] if text[:1] in ("-", "+") else text
    if digits.isascii() and digits.isdigit():
        seconds = float(digits.lstrip("0")[:_MOST_DIGITS] or "0")
        return 0.0 if text.startswith("-") else min(seconds, LONGEST_PAUSE)
    moment = read_http_date(text)
    if moment is None:
        return None
    return min(max((moment - (read_http_date(date) or now)).total_seconds(), 0.0), LONGEST_PAUSE)


def read_http_date(text: str) -> datetime | None:
    """Read an HTTP date (RFC 9110 section 5.6.7) as an aware moment; None if it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
