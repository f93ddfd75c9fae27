"""When is a task polled again? Soon while it has news, ever later while it is quiet. Values in, values out.

What it decides from stands in the task's row (PollState), so it survives restarts and moves from worker to
worker. Seconds throughout; tests/benchmarks/README.md shows a simulated day under these rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maia_sync.model import WALKED_STATUSES, NextPoll

if TYPE_CHECKING:
    from random import Random

    from maia_sync.model import PollState, TaskStatus, WalkOutcome

GROWTH: Final = 1.25
"""How many times longer each quiet poll makes the wait: it is then min_interval and a quarter of the time
that the task has been quiet. With more, the turn after a pause is found late; with less, every event is
followed by more idle polls (21 until the task is cold; at 1.1 it would be 48)."""
TIMES_MISSING: Final = 3
"""How many 404s make a task missing: one or two can be a deployment of the API, or a replica that lags."""
HOURLY: Final = 3600.0
"""A forbidden task: a permission is given by people, who then expect to see its effect on the same day."""
DAILY: Final = 86_400.0
"""A missing task: it hardly ever comes back, but asking once a day costs nothing."""
JITTER: Final = 0.1
"""The share by which a wait is longer or shorter by chance, so that tasks tracked together drift apart."""
RECONCILE_SPREAD: Final = 0.2
"""The share by which a reconcile comes early by chance: never late, and not for all tasks on one day."""
_MOST_DOUBLINGS: Final = 64
"""Far beyond any max_interval; two to the power of a thousand failures is no float any more."""


class AdaptivePolling:
    """Plans polls by what the last ones brought; a PollPlanner.

    `reconcile` is None where cron says when. `growth` is there for the simulation to compare.
    """

    def __init__(
        self,
        *,
        min_interval: float,
        max_interval: float,
        reconcile: float | None,
        random: Random,
        growth: float = GROWTH,
    ) -> None:
        self._min_interval = min_interval
        self._max_interval = max_interval
        self._reconcile = reconcile
        self._random = random
        self._growth = growth

    def after_walk(self, state: PollState, outcome: WalkOutcome) -> NextPoll:
        """Return when a task in this state is polled next after a walk that ended like this.

        The status of a task that is not polled (paused, untracked) stays, whatever the walk met.
        """
        if outcome == "news":
            return self._after_success(state, self._min_interval)
        if outcome == "quiet":
            return self._after_success(state, self._cooled(state.poll_interval))
        return self._after_failure(state, outcome)

    def until_reconcile(self) -> float:
        """Return in how many seconds a task that has just been reconciled is so again; 0: cron says when."""
        if self._reconcile is None:
            return 0.0
        return self._random.uniform(1.0 - RECONCILE_SPREAD, 1.0) * self._reconcile

    def _cooled(self, interval: float) -> float:
        """Clamped on both sides, as the configuration may have changed since the interval was noted."""
        return min(max(interval * self._growth, self._min_interval), self._max_interval)

    def _after_success(self, state: PollState, interval: float) -> NextPoll:
        return NextPoll(
            status="active" if state.status in WALKED_STATUSES else state.status,
            wait=self._spread(interval, self._max_interval),
            poll_interval=interval,
            failures=0,
            times_missing=0,
        )

    def _after_failure(self, state: PollState, outcome: WalkOutcome) -> NextPoll:
        """Keep the interval: once the failure has passed, a quiet task is as quiet as it was."""
        failures = state.failures + 1
        times_missing = state.times_missing + (outcome == "missing")
        status = _status_after_failure(state.status, outcome, times_missing)
        return NextPoll(
            status=status,
            wait=self._wait_after_failure(status, failures),
            poll_interval=state.poll_interval,
            failures=failures,
            times_missing=times_missing,
        )

    def _wait_after_failure(self, status: TaskStatus, failures: int) -> float:
        """Return a wait that grows with the failures, or, of a withheld task, its rhythm, whatever failed.

        A withheld task is never polled more often than a quiet one.
        """
        if status in ("forbidden", "missing"):
            rhythm = max(HOURLY if status == "forbidden" else DAILY, self._max_interval)
            return self._spread(rhythm, rhythm)
        back_off = self._min_interval * 2.0 ** min(failures, _MOST_DOUBLINGS)
        return self._spread(min(back_off, self._max_interval), self._max_interval)

    def _spread(self, wait: float, most: float) -> float:
        """At the limit it only gets shorter: cut off there, half of the tasks would share one wait."""
        longest = min(wait * (1.0 + JITTER), most)
        return min(self._random.uniform(wait * (1.0 - JITTER), longest), most)


def _status_after_failure(status: TaskStatus, outcome: WalkOutcome, times_missing: int) -> TaskStatus:
    if status not in WALKED_STATUSES:
        return status
    if outcome == "forbidden":
        return "forbidden"
    if outcome == "missing" and times_missing >= TIMES_MISSING:
        return "missing"
    return status
