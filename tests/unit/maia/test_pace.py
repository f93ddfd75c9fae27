"""Does everybody wait when upstream says so, are requests spaced, does the limit follow upstream's state?"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from heapq import heappop, heappush
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from maia_sync.clock import ManualClock
from maia_sync.maia.pace import Pace, read_http_date, read_retry_after

if TYPE_CHECKING:
    from collections.abc import Coroutine

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class OrderlyClock(ManualClock):
    """A clock on which several sleep at once: each wakes at its own moment, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        self.slept.append(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (self.monotonic() + seconds, self._count, woken))
        await woken

    async def turn(self) -> None:
        """Go on to the next moment whenever nobody can do anything any more."""
        while True:
            for _ in range(50):
                await asyncio.sleep(0)
            if self._sleepers:
                moment, _, woken = heappop(self._sleepers)
                self.advance(max(moment - self.monotonic(), 0.0))
                if not woken.done():
                    woken.set_result(None)


class Requests:
    """Makes requests of a pace and notes when each began, on the pace's clock."""

    def __init__(self, concurrency: int, requests_per_second: float | None = None) -> None:
        self.clock = OrderlyClock()
        self.pace = Pace(clock=self.clock, concurrency=concurrency, requests_per_second=requests_per_second)
        self.began: list[tuple[str, float]] = []
        self.inside = self.most_inside = 0

    async def make(self, name: str = "", status: int = 200, pause: float = 0.0) -> None:
        async with self.pace.turn() as begun_in:
            self.began.append((name, self.clock.monotonic()))
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            for _ in range(3):
                await asyncio.sleep(0)
            self.inside -= 1
            self.pace.note_answer(status, begun_in=begun_in, pause=pause)

    def run(self, story: Coroutine[object, object, None]) -> None:
        async def told() -> None:
            turning = asyncio.create_task(self.clock.turn())
            try:
                await story
            finally:
                turning.cancel()

        asyncio.run(told())


def test_no_more_than_the_limit_are_on_their_way_first_come_first_served() -> None:
    requests = Requests(3)

    async def story() -> None:
        await asyncio.gather(*(requests.make(str(number)) for number in range(10)))

    requests.run(story())
    assert requests.most_inside == 3
    assert [name for name, _ in requests.began] == [str(number) for number in range(10)]


def test_a_waiter_that_is_cancelled_takes_no_place_with_it() -> None:
    requests = Requests(1)

    async def story() -> None:
        tasks = [asyncio.create_task(requests.make(str(number))) for number in range(6)]
        await asyncio.sleep(0)
        for number in (0, 1, 3):  # the one inside, and two that wait
            tasks[number].cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await requests.make("last")

    requests.run(story())
    assert [name for name, _ in requests.began] == ["0", "2", "4", "5", "last"]
    assert requests.most_inside <= 2  # the first was cancelled inside


def test_one_that_is_cancelled_just_when_it_is_let_in_gives_its_place_back() -> None:
    requests = Requests(1)

    async def story() -> None:
        async with requests.pace.turn():
            waiting = asyncio.create_task(requests.make("cancelled"))
            await asyncio.sleep(0)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(requests.make("next"), 1)

    requests.run(story())
    assert [name for name, _ in requests.began] == ["next"]


def test_after_a_429_everything_waits_until_the_pause_is_over() -> None:
    requests = Requests(4)

    async def story() -> None:
        await requests.make("busy", 429, pause=17.0)
        await asyncio.gather(*(requests.make("other") for _ in range(5)))

    requests.run(story())
    assert [round(at, 6) >= 17.0 for _, at in requests.began] == [False] + [True] * 5


def test_a_503_or_504_makes_nobody_wait() -> None:
    requests = Requests(4)

    async def story() -> None:
        await requests.make("busy", 503, pause=17.0)
        await requests.make("busy", 504, pause=17.0)
        await requests.make("other")

    requests.run(story())
    assert requests.clock.slept == []


def test_a_pause_never_becomes_shorter_and_its_end_is_waited_for_in_one() -> None:
    requests = Requests(4)

    async def story() -> None:
        await asyncio.gather(requests.make("", 429, pause=50.0), requests.make("", 429, pause=5.0))
        await requests.pace.rest(0.7)
        await requests.make("other")

    requests.run(story())
    assert requests.clock.slept == [50.0]


def test_requests_are_spaced_evenly_without_bursts_also_after_a_pause() -> None:
    requests = Requests(8, requests_per_second=4.0)

    async def story() -> None:
        await asyncio.gather(*(requests.make() for _ in range(5)))
        await requests.make("", 429, pause=10.0)
        await asyncio.gather(*(requests.make() for _ in range(5)))

    requests.run(story())
    times = [at for _, at in requests.began]
    assert all(later - earlier >= 0.25 - 1e-9 for earlier, later in pairwise(times))
    assert times[6] - times[5] >= 10.0


def test_a_slow_start_earns_no_burst() -> None:
    requests = Requests(8, requests_per_second=2.0)

    async def story() -> None:
        await requests.make()
        requests.clock.advance(100.0)
        await asyncio.gather(requests.make(), requests.make())

    requests.run(story())
    (_, first), (_, second) = requests.began[1:]
    assert second - first >= 0.5


@pytest.mark.parametrize("status", [429, 503, 504])
def test_the_limit_is_halved_once_per_round_and_creeps_back(status: int) -> None:
    requests = Requests(8)

    async def story() -> None:
        await asyncio.gather(*(requests.make("", status) for _ in range(8)))
        assert requests.pace.limit == 4  # all eight were begun before it was halved
        for limit in (5, 6, 7, 8):
            for _ in range(limit - 1):
                assert requests.pace.limit == limit - 1
                await requests.make()
        for _ in range(20):
            await requests.make()
        assert requests.pace.limit == 8
        for limit in (4, 2, 1, 1):
            await requests.make("", status)
            assert requests.pace.limit == limit

    requests.run(story())


def test_other_failures_leave_the_limit_alone() -> None:
    requests = Requests(8)

    async def story() -> None:
        for status in (500, 502, 404, 401):
            await requests.make("", status)

    requests.run(story())
    assert requests.pace.limit == 8


# ---------------------------------------------------------------------------- Retry-After


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("301", 300.0),
        ("9" * 400, 300.0),
        ("", None),
        ("soon", None),
        ("1e9", None),
        ("²", None),
        (http_date(NOW.replace(minute=1)), 60.0),
        (http_date(NOW.replace(hour=11)), 0.0),
        (http_date(NOW.replace(year=9999)), 300.0),
        ("Fri, 99 Foo 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_kept_within_bounds(text: str, seconds: float | None) -> None:
    assert read_retry_after(text, date="", now=NOW) == seconds


def test_a_date_is_taken_relative_to_the_answers_own_date() -> None:
    wanted, date = http_date(NOW.replace(hour=5, second=30)), http_date(NOW.replace(hour=5))
    assert read_retry_after(wanted, date=date, now=NOW) == 30.0
    assert read_retry_after(wanted, date="nonsense", now=NOW) == 0.0


@pytest.mark.parametrize(
    "text", ["", "x", "Thu, 01 Jan 2026 12:00:00 -0000", "Thu, 01 Jan 2026 12:00:00 GMT"]
)
def test_a_date_is_aware_or_none(text: str) -> None:
    moment = read_http_date(text)
    assert moment is None or moment == NOW
