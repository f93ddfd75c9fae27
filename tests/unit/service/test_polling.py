"""Is a task polled soon while it has news, seldom while it is quiet, hardly ever while it is withheld?"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import get_args

import pytest
from benchmarks import polling as simulation
from hypothesis import given, settings
from hypothesis import strategies as st

from maia_sync.model import WALKED_STATUSES, NextPoll, PollPlanner, PollState, TaskStatus, WalkOutcome
from maia_sync.service.polling import DAILY, GROWTH, HOURLY, JITTER, TIMES_MISSING, AdaptivePolling

MIN, MAX = 10.0, 900.0
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks" / "README.md"
UNPOLLED: tuple[TaskStatus, ...] = ("paused", "untracked")
FAILED: tuple[WalkOutcome, ...] = ("failed", "missing", "forbidden")
SUCCEEDED: tuple[WalkOutcome, ...] = ("news", "quiet")

at_any_speed = settings(deadline=None)  # a busy machine is no failure
outcomes = st.sampled_from(get_args(WalkOutcome))


def rules(
    *, min_interval: float = MIN, max_interval: float = MAX, reconcile: float | None = None, seed: int = 1
) -> AdaptivePolling:
    return AdaptivePolling(
        min_interval=min_interval, max_interval=max_interval, reconcile=reconcile, random=Random(seed)
    )


@st.composite
def any_rules(draw: st.DrawFn) -> tuple[AdaptivePolling, float, float]:
    """Any configuration that is accepted: the rules, min_interval, max_interval."""
    low = draw(st.floats(0.001, 7200))
    high = draw(st.floats(low, 10 * 365 * DAILY))
    return rules(min_interval=low, max_interval=high, seed=draw(st.integers())), low, high


@st.composite
def any_state(draw: st.DrawFn, statuses: tuple[TaskStatus, ...] = get_args(TaskStatus)) -> PollState:
    """Any state, those included that another configuration has left behind."""
    return PollState(
        status=draw(st.sampled_from(statuses)),
        poll_interval=draw(st.floats(0, 1e9)),
        failures=draw(st.integers(0, 100_000)),
        times_missing=draw(st.integers(0, 100_000)),
    )


def followed(plan: NextPoll) -> PollState:
    """The state in which the next poll finds the task."""
    return PollState(
        status=plan.status,
        poll_interval=plan.poll_interval,
        failures=plan.failures,
        times_missing=plan.times_missing,
    )


def after(*walks: WalkOutcome, of: PollState | None = None, by: PollPlanner | None = None) -> NextPoll:
    """Return the plan after one walk and another and so on."""
    by, state = by or rules(), of or PollState(status="active")
    for outcome in walks:
        plan = by.after_walk(state, outcome)
        state = followed(plan)
    return plan


# ------------------------------------------------------------------ news and quiet


@at_any_speed
@given(any_rules(), any_state(), outcomes)
def test_a_task_is_never_polled_sooner_than_allowed_nor_forgotten(
    configured: tuple[AdaptivePolling, float, float], state: PollState, outcome: WalkOutcome
) -> None:
    by, low, high = configured
    plan = by.after_walk(state, outcome)
    rhythm = {"forbidden": HOURLY, "missing": DAILY}.get(plan.status, 0.0)
    assert (1 - JITTER) * low <= plan.wait <= max(high, rhythm)
    assert plan.wait >= (1 - JITTER) * rhythm


@at_any_speed
@given(any_rules(), any_state())
def test_news_makes_a_task_hot(configured: tuple[AdaptivePolling, float, float], state: PollState) -> None:
    by, low, _ = configured
    plan = by.after_walk(state, "news")
    assert plan.poll_interval == low
    assert plan.wait <= (1 + JITTER) * low


@at_any_speed
@given(any_rules(), any_state(WALKED_STATUSES))
def test_a_quiet_task_cools_down_steadily_until_it_is_cold(
    configured: tuple[AdaptivePolling, float, float], state: PollState
) -> None:
    by, low, high = configured
    intervals = []
    for _ in range(200):
        plan = by.after_walk(state, "quiet")
        intervals.append(plan.poll_interval)
        state = followed(plan)
        assert plan.wait <= min((1 + JITTER) * plan.poll_interval, high)
    assert intervals == sorted(intervals)
    assert intervals[0] >= low
    assert intervals[-1] == high
    for earlier, later in pairwise(intervals):
        assert later in (earlier * GROWTH, high)


def test_a_task_that_is_tracked_resumed_or_sent_to_starts_at_the_shortest_interval() -> None:
    plan = after("quiet", of=PollState(status="active", poll_interval=0.0))
    assert plan.poll_interval == MIN


def test_a_task_is_looked_at_again_after_a_quarter_of_the_time_it_has_been_quiet() -> None:
    by = rules(max_interval=DAILY)
    plan = after("news", by=by)
    quiet_for = 0.0
    for _ in range(35):
        quiet_for += plan.poll_interval
        plan = after("quiet", of=followed(plan), by=by)
        assert plan.poll_interval == pytest.approx(MIN + quiet_for / 4)


def test_a_new_configuration_counts_from_the_next_poll_on() -> None:
    assert after("quiet", of=PollState(status="active", poll_interval=5_000.0)).poll_interval == MAX
    assert after("quiet", of=PollState(status="active", poll_interval=0.5)).poll_interval == MIN


@pytest.mark.parametrize(("quiet_polls", "usual"), [(1, MIN), (100, MAX)])
def test_tasks_that_were_tracked_together_do_not_march_in_step(quiet_polls: int, usual: float) -> None:
    by = rules()
    waits = [after(*["quiet"] * quiet_polls, by=by).wait for _ in range(500)]
    assert len(set(waits)) == len(waits)
    assert max(waits) - min(waits) > 0.09 * usual


# ------------------------------------------------------------------ failures


def test_a_failing_task_backs_off_by_doubling() -> None:
    plans = [after(*["failed"] * times) for times in range(1, 10)]
    assert [plan.failures for plan in plans] == list(range(1, 10))
    for plan, usual in zip(plans, [20, 40, 80, 160, 320, 640, 900, 900, 900], strict=True):
        assert plan.status == "active"
        assert 0.9 * usual <= plan.wait <= min(1.1 * usual, MAX)


@at_any_speed
@given(any_rules(), any_state(), st.sampled_from(FAILED))
def test_a_failure_does_not_change_how_quiet_a_task_is(
    configured: tuple[AdaptivePolling, float, float], state: PollState, outcome: WalkOutcome
) -> None:
    plan = configured[0].after_walk(state, outcome)
    assert plan.poll_interval == state.poll_interval
    assert plan.failures == state.failures + 1
    assert plan.times_missing == state.times_missing + (outcome == "missing")


def test_a_cold_task_is_cold_again_when_the_failure_has_passed() -> None:
    cold = PollState(status="active", poll_interval=MAX)
    plan = after("failed", "failed", "quiet", of=cold)
    assert (plan.poll_interval, plan.failures) == (MAX, 0)


# ------------------------------------------------------------------ withheld tasks


def test_three_404s_make_a_task_missing_and_daily() -> None:
    plans = [after(*["missing"] * times) for times in range(1, 6)]
    assert [plan.status for plan in plans] == ["active", "active", "missing", "missing", "missing"]
    assert [plan.times_missing for plan in plans] == [1, 2, 3, 4, 5]
    for plan, usual in zip(plans, [20, 40, DAILY, DAILY, DAILY], strict=True):
        assert 0.9 * usual <= plan.wait <= 1.1 * usual


def test_other_failures_between_404s_neither_count_nor_start_the_count_anew() -> None:
    assert after("missing", "failed", "missing").status == "active"
    assert after("missing", "failed", "missing", "failed", "missing").status == "missing"
    assert after("missing", "missing", "quiet", "missing", "missing").status == "active"


def test_one_403_makes_a_task_forbidden_and_hourly() -> None:
    for walks in (["forbidden"], ["forbidden"] * 50, ["missing"] * 3 + ["forbidden"]):
        plan = after(*walks)
        assert plan.status == "forbidden"
        assert 0.9 * HOURLY <= plan.wait <= HOURLY


def test_a_withheld_task_keeps_its_rhythm_whatever_else_fails() -> None:
    assert after("forbidden", "failed").wait >= 0.9 * HOURLY
    assert after("forbidden", "missing").status == "forbidden"
    assert after("missing", "missing", "missing", "failed").wait >= 0.9 * DAILY


def test_a_withheld_task_is_not_polled_more_often_than_a_quiet_one() -> None:
    by = rules(max_interval=2 * DAILY)
    assert after("forbidden", by=by).wait >= 0.9 * 2 * DAILY
    assert after("missing", "missing", "missing", by=by).wait >= 0.9 * 2 * DAILY


@at_any_speed
@given(any_state(WALKED_STATUSES), st.sampled_from(SUCCEEDED))
def test_a_success_makes_a_withheld_task_active_again(state: PollState, outcome: WalkOutcome) -> None:
    plan = rules().after_walk(state, outcome)
    assert (plan.status, plan.failures, plan.times_missing) == ("active", 0, 0)


@at_any_speed
@given(any_state(UNPOLLED), outcomes)
def test_a_walk_never_changes_that_a_task_is_paused_or_untracked(
    state: PollState, outcome: WalkOutcome
) -> None:
    assert rules().after_walk(state, outcome).status == state.status


@at_any_speed
@given(any_state(WALKED_STATUSES), st.lists(outcomes, min_size=1, max_size=12))
def test_a_status_follows_from_what_upstream_said_last(state: PollState, walks: list[WalkOutcome]) -> None:
    status, misses = state.status, state.times_missing
    for outcome in walks:
        misses = 0 if outcome in SUCCEEDED else misses + (outcome == "missing")
        if outcome in SUCCEEDED:
            status = "active"
        elif outcome == "forbidden" or (outcome == "missing" and misses >= TIMES_MISSING):
            status = outcome
    plan = after(*walks, of=state)
    assert (plan.status, plan.times_missing) == (status, misses)


# ------------------------------------------------------------------ reconcile


@at_any_speed
@given(st.floats(0.001, 1e9), st.integers())
def test_reconciles_spread_and_are_never_late(reconcile: float, seed: int) -> None:
    assert 0.8 * reconcile <= rules(reconcile=reconcile, seed=seed).until_reconcile() <= reconcile


def test_reconciles_wait_for_cron_where_it_says_when() -> None:
    assert rules(reconcile=None).until_reconcile() == 0.0


# ------------------------------------------------------------------ a simulated day


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_events_are_seen_sooner_than_at_a_fixed_interval_for_as_many_requests(seed: int) -> None:
    day = simulation.make_day(seed, tasks=200)
    adaptive = simulation.adaptive(day)
    fixed = simulation.fixed_with_as_many(day, adaptive.requests)
    assert fixed.requests == pytest.approx(adaptive.requests, rel=0.01)
    assert len(fixed.sightings) == len(adaptive.sightings) == sum(len(task.moments) for task in day)
    assert adaptive.delay(0.5) < 0.1 * fixed.delay(0.5)
    assert adaptive.delay(0.95) < 0.85 * fixed.delay(0.95)
    assert adaptive.delay(1.0) <= MAX


def test_a_session_that_begins_with_send_is_seen_at_once() -> None:
    day = simulation.make_day(1, tasks=200)
    assert simulation.adaptive(day, sent=True).delay(0.95, "session", "inside") < 2 * MIN


def test_the_figures_of_the_benchmarks_readme_are_those_of_the_simulation() -> None:
    assert simulation.report() in BENCHMARKS.read_text(encoding="utf-8")
