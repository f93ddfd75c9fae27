"""P7: is a run stopped early only when upstream is plainly down?"""

from __future__ import annotations

import pytest

from maia_sync.errors import (
    AnswerTooSlow,
    BrokenPage,
    GiveUpTask,
    LogLoops,
    NotConnected,
    RetriesExhausted,
    RetryLater,
    SignInFailed,
    TooManyRequests,
    UpstreamBusy,
    UpstreamFault,
    UpstreamSilent,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from maia_sync.sync.silence import Silence

UNCONNECTED = (NotConnected("no"), SignInFailed("no", unconnected=True))
FAULTS = (
    UpstreamBusy("503"),
    UpstreamFault("502"),
    UpstreamTimedOut("504"),
    UpstreamSilent("reset"),
    SignInFailed("502"),
)
NO_OUTAGE = (TooManyRequests("429"), AnswerTooSlow("slow"), BrokenPage("html"))


def exhausted(cause: RetryLater) -> GiveUpTask:
    error = RetriesExhausted("given up")
    error.__cause__ = cause
    return error


class Upstream:
    """Fails tasks, and answers some."""

    def __init__(self, concurrency: int) -> None:
        self.answers = 0
        self.told = ""
        self.silence = Silence(concurrency=concurrency, answers=lambda: self.answers)

    def fail(self, cause: RetryLater, times: int = 1) -> bool:
        for _ in range(times):
            self.silence.note_failure(exhausted(cause))
        return self.is_outage

    @property
    def is_outage(self) -> bool:
        try:
            self.silence.require_no_outage()
        except UpstreamUnreachable as error:
            self.told = str(error)
            return True
        return False


@pytest.mark.parametrize("cause", UNCONNECTED, ids=repr)
@pytest.mark.parametrize(("concurrency", "most"), [(1, 3), (8, 8)])
def test_so_many_tasks_in_a_row_without_a_connection_are_an_outage(
    cause: RetryLater, concurrency: int, most: int
) -> None:
    upstream = Upstream(concurrency)
    assert not upstream.fail(cause, most - 1)
    assert upstream.fail(cause)
    assert f"{most} tasks in a row" in upstream.told
    assert str(cause) in upstream.told


@pytest.mark.parametrize("cause", FAULTS, ids=repr)
@pytest.mark.parametrize(("concurrency", "most"), [(1, 10), (8, 16)])
def test_it_takes_more_tasks_in_a_row_that_a_server_failed(
    cause: RetryLater, concurrency: int, most: int
) -> None:
    upstream = Upstream(concurrency)
    assert not upstream.fail(cause, most - 1)
    assert upstream.fail(cause)


def test_a_mix_of_both_is_an_outage_too() -> None:
    upstream = Upstream(1)
    for _ in range(3):
        assert not upstream.fail(UNCONNECTED[0], 2)
        assert not upstream.fail(FAULTS[0])
    assert upstream.fail(FAULTS[1])


@pytest.mark.parametrize("cause", [*UNCONNECTED, *FAULTS], ids=repr)
def test_an_answer_between_begins_the_row_anew(cause: RetryLater) -> None:
    upstream = Upstream(1)
    for _ in range(50):
        assert not upstream.fail(cause, 2)
        upstream.answers += 1
    assert upstream.silence.unanswered(200) is None


def test_a_broken_body_shows_that_upstream_lives() -> None:
    upstream = Upstream(1)
    for _ in range(50):
        assert not upstream.fail(UNCONNECTED[0], 2)
        upstream.fail(BrokenPage("garbage"))
    assert not upstream.is_outage


@pytest.mark.parametrize("cause", NO_OUTAGE, ids=repr)
def test_what_may_be_the_tasks_own_is_no_outage_however_often(cause: RetryLater) -> None:
    assert not Upstream(1).fail(cause, 1000)


def test_a_tasks_own_error_is_no_outage() -> None:
    upstream = Upstream(1)
    for _ in range(100):
        upstream.silence.note_failure(LogLoops("a circle"))
    assert not upstream.is_outage


@pytest.mark.parametrize(
    "cause", [*UNCONNECTED, AnswerTooSlow("slow"), UpstreamSilent("reset"), SignInFailed("busy")], ids=repr
)
def test_a_run_of_few_tasks_of_which_none_was_answered_is_unreachable(cause: RetryLater) -> None:
    upstream = Upstream(8)
    upstream.fail(cause, 2)
    assert upstream.silence.unanswered(2) == str(cause)
    assert upstream.silence.unanswered(3) is None
