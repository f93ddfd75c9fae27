"""Are answers kept, shared, refreshed and forgotten as they should be, and does nobody wait long?"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from maia_sync.clock import ManualClock
from maia_sync.errors import MaiaSyncError, UsageError
from maia_sync.web.answers import Answers, Found, Wanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Question:
    """Something that is asked again and again; each answer is a number one higher."""

    def __init__(self, clock: ManualClock, seconds: float = 0.0) -> None:
        self.clock = clock
        self.seconds = seconds
        self.times = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def __call__(self) -> int:
        self.begun.set()
        assert self.gate.wait(30)
        self.times += 1
        self.clock.advance(self.seconds)
        if self.error is not None:
            raise self.error
        return self.times


def wanted(
    question: Question, key: str = "key", version: Any = None, *, is_slow: bool = False
) -> Wanted[int]:
    return Wanted(key=key, ask=question, version=version, is_slow=is_slow)


def run(scenario: Callable[[Answers, ManualClock], Awaitable[None]], **settings: int) -> None:
    clock = ManualClock()

    async def whole() -> None:
        await scenario(Answers(clock, **settings), clock)

    asyncio.run(whole())


async def value_of(answers: Answers, one: Wanted[int], patience: float = 20) -> int | None:
    [found] = await answers.get([one], patience)
    return None if found is None else found.result()


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(2000):
        if is_so():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never was")


def test_an_answer_is_fresh_for_two_seconds_or_twenty_times_its_price() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        quick, dear = Question(clock), Question(clock, seconds=1.0)
        assert await value_of(answers, wanted(quick, "quick")) == 1
        assert await value_of(answers, wanted(dear, "dear")) == 1
        clock.advance(1)
        assert await value_of(answers, wanted(quick, "quick")) == 1
        clock.advance(1.1)
        assert await value_of(answers, wanted(quick, "quick")) == 2
        clock.advance(15)
        assert await value_of(answers, wanted(dear, "dear")) == 1
        assert dear.times == 1

    run(scenario)


def test_an_old_answer_is_shown_while_a_new_one_is_on_its_way() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        dear = Question(clock, seconds=1.0)
        assert await value_of(answers, wanted(dear)) == 1
        clock.advance(60)
        dear.gate.clear()
        assert await value_of(answers, wanted(dear)) == 1  # at once
        dear.gate.set()
        await until(lambda: dear.times == 2)
        await until_value(answers, wanted(dear), 2)

    run(scenario)


async def until_value(answers: Answers, one: Wanted[int], value: int) -> None:
    for _ in range(2000):
        if await value_of(answers, one) == value:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it is never answered")


def test_an_answer_of_eleven_minutes_ago_is_none() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        question = Question(clock)
        assert await value_of(answers, wanted(question)) == 1
        clock.advance(601)
        question.gate.clear()
        assert await value_of(answers, wanted(question), patience=0) is None
        question.gate.set()
        await until_value(answers, wanted(question), 2)

    run(scenario)


def test_nothing_is_asked_twice_at_once_and_nobody_waits_longer_than_told() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        question = Question(clock)
        question.gate.clear()
        every = await asyncio.gather(*(value_of(answers, wanted(question), 0.01) for _ in range(20)))
        assert every == [None] * 20
        waiting = asyncio.gather(*(value_of(answers, wanted(question)) for _ in range(20)))
        await asyncio.sleep(0)
        question.gate.set()
        assert await waiting == [1] * 20
        assert question.times == 1

    run(scenario)


def test_another_version_is_asked_at_once_and_the_old_one_shown_meanwhile() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        question = Question(clock)
        assert await value_of(answers, wanted(question, version="today")) == 1
        assert await value_of(answers, wanted(question, version="today")) == 1
        assert await value_of(answers, wanted(question, version="tomorrow")) == 2

    run(scenario)


def test_what_goes_wrong_is_kept_for_a_minute_at_most_and_raised_each_time() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        question = Question(clock, seconds=30.0)
        question.error = UsageError("no")
        for _ in range(3):
            with pytest.raises(UsageError, match="no") as caught:
                await value_of(answers, wanted(question))
        assert question.times == 1
        assert len(caught.traceback) < 10
        question.error = None
        clock.advance(31)
        assert await value_of(answers, wanted(question)) == 2

    run(scenario)


def test_a_mistake_of_ours_ends_no_thread() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        broken = Question(clock)
        broken.error = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await value_of(answers, wanted(broken, "broken"))
        assert await value_of(answers, wanted(Question(clock), "whole")) == 1

    run(scenario, threads=1)


def test_slow_ones_leave_a_thread_to_the_others() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        slow = [Question(clock) for _ in range(5)]
        for question in slow:
            question.gate.clear()
        asked = [wanted(one, f"slow {at}", is_slow=True) for at, one in enumerate(slow)]
        assert await answers.get(asked, 0.05) == [None] * 5
        assert [one.begun.is_set() for one in slow] == [True, True, False, False, False]
        assert await value_of(answers, wanted(Question(clock), "quick")) == 1
        for question in slow:
            question.gate.set()
        await until(lambda: all(one.times == 1 for one in slow))

    run(scenario, threads=3)


def test_what_was_slow_once_is_taken_for_slow() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        slow = Question(clock, seconds=1.0)
        other = Question(clock)
        assert await value_of(answers, wanted(slow, "slow")) == 1
        clock.advance(100)
        slow.gate.clear()
        other.gate.clear()
        slow.begun.clear()
        asked = [wanted(slow, "slow"), wanted(other, "other", is_slow=True)]
        await answers.get(asked, 0.05)
        assert slow.begun.is_set()
        assert not other.begun.is_set()
        slow.gate.set()
        other.gate.set()
        await until(lambda: other.times == 1)

    run(scenario, threads=2)


def test_the_answers_that_nobody_looks_at_are_forgotten() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        questions = [Question(clock) for _ in range(6)]
        for at, question in enumerate(questions):
            await value_of(answers, wanted(question, str(at)))
            await value_of(answers, wanted(questions[0], "0"))
        await value_of(answers, wanted(questions[0], "0"))
        assert questions[0].times == 1
        await value_of(answers, wanted(questions[1], "1"))
        assert questions[1].times == 2
        assert len(answers._entries) <= 4

    run(scenario, most=3)


def test_more_than_can_be_kept_does_not_queue_up() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        questions = [Question(clock) for _ in range(20)]
        for question in questions:
            question.gate.clear()
        asked = [wanted(each, str(at)) for at, each in enumerate(questions)]
        assert await answers.get(asked, 0.02) == [None] * 20
        assert len(answers._queue) <= 4
        for question in questions:
            question.gate.set()
        for each in asked:  # who asks again is answered
            assert await value_of(answers, each) is not None

    run(scenario, most=4, threads=2)


def test_threads_are_few_and_daemons() -> None:
    async def scenario(answers: Answers, clock: ManualClock) -> None:
        questions = [Question(clock) for _ in range(10)]
        for question in questions:
            question.gate.clear()
        await answers.get([wanted(each, str(at)) for at, each in enumerate(questions)], 0.05)
        ours = [thread for thread in threading.enumerate() if thread.name == "maia-sync-answers"]
        begun = [each for each in questions if each.begun.is_set()]
        assert len(begun) == 3
        assert all(thread.daemon for thread in ours)
        for question in questions:
            question.gate.set()
        await until(lambda: all(each.times == 1 for each in questions))

    run(scenario)


def test_a_loop_that_is_gone_is_no_ones_trouble() -> None:
    clock = ManualClock()
    answers = Answers(clock)
    question = Question(clock)
    question.gate.clear()

    async def impatient() -> None:
        task = asyncio.create_task(value_of(answers, wanted(question)))
        await asyncio.sleep(0.02)
        task.cancel()

    asyncio.run(impatient())
    question.gate.set()

    async def later() -> int | None:
        return await value_of(answers, wanted(question))

    assert asyncio.run(later()) == 1


def test_an_error_is_in_place_of_an_answer() -> None:
    error = MaiaSyncError("no")
    found: Found[int] = Found(value=None, error=error, traceback=None, version=None, asked_at=0, seconds=40.0)
    assert found.fresh_for() == 60
    with pytest.raises(MaiaSyncError):
        found.result()
