"""Do intervals stay in bounds, and grow and shrink by the rules alone, whatever order walks end in?"""

from __future__ import annotations

from random import Random
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from maia_sync.model import PollState, WalkOutcome
from maia_sync.service.polling import DAILY, GROWTH, HOURLY, JITTER, AdaptivePolling

SLACK = 1e-9
"""What rounding may take."""

outcomes = st.sampled_from(get_args(WalkOutcome))
stories = st.lists(st.tuples(outcomes, st.integers(1, 30)), min_size=1, max_size=12).map(
    lambda parts: [outcome for outcome, times in parts for _ in range(times)]
)
"""Walks in any order, the same outcome often many times in a row."""


class AtTheEdge(Random):
    """Chance that always falls on one edge of what it may."""

    def __init__(self, high: bool) -> None:
        super().__init__(0)
        self._high = high

    def uniform(self, a: float, b: float) -> float:
        return b if self._high else a


@st.composite
def bounds(draw: st.DrawFn) -> tuple[float, float]:
    low = draw(st.floats(0.001, 86_400))
    return low, draw(st.floats(low, 3650 * 86_400) | st.just(low))


@given(bounds(), st.booleans() | st.integers(), stories)
def test_whatever_order_walks_end_in_the_interval_is_that_of_the_quiet_ones(
    limits: tuple[float, float], chance: bool | int, story: list[WalkOutcome]
) -> None:
    """The interval is min_interval * GROWTH ** (quiet polls since the last news), failures not counted."""
    low, high = limits
    random = AtTheEdge(chance) if isinstance(chance, bool) else Random(chance)
    rules = AdaptivePolling(min_interval=low, max_interval=high, reconcile=None, random=random)
    state, quiet, failures = PollState(status="active"), None, 0
    for outcome in story:
        plan = rules.after_walk(state, outcome)
        if outcome == "news":
            quiet, failures = 0, 0
        elif outcome == "quiet":
            quiet, failures = 0 if quiet is None else quiet + 1, 0
        else:
            failures += 1
        expected = 0.0 if quiet is None else min(low * GROWTH**quiet, high)
        assert abs(plan.poll_interval - expected) <= SLACK * expected
        assert plan.failures == failures
        shortest, longest = _bounds_of_wait(plan.status, low, high, expected, failures)
        assert shortest * (1 - JITTER) * (1 - SLACK) <= plan.wait <= longest * (1 + SLACK)
        state = PollState(
            status=plan.status,
            poll_interval=plan.poll_interval,
            failures=plan.failures,
            times_missing=plan.times_missing,
        )


def _bounds_of_wait(
    status: str, low: float, high: float, interval: float, failures: int
) -> tuple[float, float]:
    """Return the wait without chance, and the longest with it."""
    if status in ("forbidden", "missing"):
        rhythm = max(HOURLY if status == "forbidden" else DAILY, high)
        return rhythm, rhythm
    usual = interval if not failures else min(low * 2.0 ** min(failures, 64), high)
    return usual, min(usual * (1 + JITTER), high)


@given(bounds(), bounds(), st.integers(), stories, outcomes, st.integers(0, 5000))
def test_a_state_left_by_another_configuration_is_back_in_bounds_after_one_success(
    before: tuple[float, float],
    now: tuple[float, float],
    seed: int,
    story: list[WalkOutcome],
    last: WalkOutcome,
    failures: int,
) -> None:
    state = PollState(status="active", failures=failures)
    for limits, walks in ((before, story), (now, [last])):
        rules = AdaptivePolling(
            min_interval=limits[0], max_interval=limits[1], reconcile=None, random=Random(seed)
        )
        for outcome in walks:
            plan = rules.after_walk(state, outcome)
            state = PollState(
                status=plan.status,
                poll_interval=plan.poll_interval,
                failures=plan.failures,
                times_missing=plan.times_missing,
            )
    low, high = now
    withheld = {"forbidden": HOURLY, "missing": DAILY}.get(state.status, 0.0)
    assert (1 - JITTER) * low <= plan.wait <= max(high, withheld)
    if last in ("news", "quiet"):
        assert low <= state.poll_interval <= high


@given(st.floats(0.001, 1e9), st.booleans())
def test_a_reconcile_comes_by_its_time_and_not_much_sooner(reconcile: float, late: bool) -> None:
    rules = AdaptivePolling(min_interval=1, max_interval=2, reconcile=reconcile, random=AtTheEdge(late))
    assert 0.8 * reconcile * (1 - SLACK) <= rules.until_reconcile() <= reconcile
