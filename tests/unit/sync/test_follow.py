"""When is a task polled that somebody watches, and when is it quiet enough?"""

from __future__ import annotations

import asyncio

from maia_sync.clock import ManualClock
from maia_sync.model import WalkReport
from maia_sync.sync.follow import Watch

TASK = "00000001-1111-4111-8111-111111111111"


def polls(quiet: float, *found: int, clock: ManualClock | None = None, waited: float = 0.0) -> int:
    """Return how often the task is polled if each poll finds so many events, then none."""
    clock = clock or ManualClock()
    watch = Watch(clock, TASK, quiet=quiet)
    clock.advance(waited)
    number = 0

    async def walk() -> None:
        nonlocal number
        async for task in watch.task_ids():
            new = found[number] if number < len(found) else 0
            watch(WalkReport(task_id=task, kind="poll", new=new))
            number += 1
            assert number < 1000

    asyncio.run(walk())
    return number


def test_a_quiet_task_is_polled_every_two_seconds_until_the_time_is_up() -> None:
    clock = ManualClock()
    assert polls(10.0, clock=clock) == 6
    assert clock.slept == [2.0] * 5


def test_it_is_polled_once_at_least() -> None:
    assert polls(0.0) == 1


def test_news_begin_the_time_anew() -> None:
    assert polls(4.0, 1, 0, 3, 0, 1) == 7


def test_what_the_sending_took_does_not_count_as_quiet() -> None:
    assert polls(10.0, waited=300.0) == 6


def test_a_failed_poll_is_no_news() -> None:
    clock = ManualClock()
    watch = Watch(clock, TASK, quiet=4.0)
    clock.advance(5)
    watch(WalkReport(task_id=TASK, error="it failed", error_kind="RetriesExhausted"))
    assert polls(4.0) == 3
