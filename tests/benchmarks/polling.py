"""How soon is news seen, and for how many requests? A simulated day of adaptive against fixed polling.

`python -m tests.benchmarks.polling` from the repository's root prints the tables of README.md. The rules are
`maia_sync.service.polling` itself; everything else is plain numbers: no database, no HTTP, no clock.
A poll takes no time, so a delay is what the rules are to blame for, and nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from random import Random
from statistics import mean
from typing import TYPE_CHECKING, Literal, NamedTuple

from maia_sync.model import PollState
from maia_sync.service.polling import GROWTH, AdaptivePolling
from maia_sync.settings import ScheduleSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.model import PollPlanner

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
SEED = 4
TASKS = 1000
LONG_RUNNING, WITH_PEOPLE = 0.02, 0.13
"""Shares of the tasks; all others have no event on that day."""
GROWTHS = (1.05, 1.1, GROWTH, 1.5, 2.0, 4.0)
FIRST_EVENTS = (MINUTE / 2, 2 * MINUTE, 10 * MINUTE, HOUR)
"""How long after a task was tracked or sent to its first event comes."""
_DEFAULTS = ScheduleSettings()
_COLD = PollState(status="active", poll_interval=_DEFAULTS.max_interval)
"""Every task at midnight: it has been quiet for hours."""

Kind = Literal["session", "turn", "inside"]
"""An event that begins a session, begins a later turn of one, or follows within a turn."""


class Moment(NamedTuple):
    """An event: the second of the day at which it happened, and where it stands."""

    at: float
    kind: Kind


@dataclass(frozen=True)
class TaskDay:
    """What happens to one task in a day, in order."""

    moments: tuple[Moment, ...] = ()
    sent_at: tuple[float, ...] = ()
    """When each session's first message was sent."""


@dataclass(frozen=True)
class Sighting:
    """One event and when it was seen."""

    kind: Kind
    delay: float
    with_session: bool
    """Whether the poll that saw it also saw the beginning of its session."""


@dataclass(frozen=True)
class Outcome:
    """What one way of polling came to over the whole day."""

    requests: int
    sightings: list[Sighting]

    def delays(self, *kinds: Kind) -> list[float]:
        """Return the delays of these kinds of events, or of all, from short to long."""
        return sorted(one.delay for one in self.sightings if not kinds or one.kind in kinds)

    def delay(self, share: float, *kinds: Kind) -> float:
        """Return the delay that this share of the events does not exceed."""
        delays = self.delays(*kinds)
        return delays[min(int(share * len(delays)), len(delays) - 1)]


# ------------------------------------------------------------------ what happens


def make_day(seed: int, tasks: int) -> list[TaskDay]:
    """Return a working day: most tasks silent, some with people, a few that run by themselves for hours."""
    random = Random(seed)
    long_running, with_people = round(tasks * LONG_RUNNING), round(tasks * WITH_PEOPLE)
    return [
        *(_with_people(random) for _ in range(with_people)),
        *(_long_running(random) for _ in range(long_running)),
        *(TaskDay() for _ in range(tasks - with_people - long_running)),
    ]


def _with_people(random: Random) -> TaskDay:
    """One to three sessions from between 8 and 12 o'clock on, one to three hours apart.

    A session is one to eight turns of 1 to 10 minutes; between two turns its user reads and thinks for 1 to
    15 minutes, more often shortly than long.
    """
    moments: list[Moment] = []
    sent_at = []
    now = random.uniform(8 * HOUR, 12 * HOUR)
    for _ in range(_up_to(random, 3)):
        sent_at.append(now)
        for turn in range(_up_to(random, 8)):
            if turn:
                now += MINUTE * 15 ** random.random()
            end = now + random.uniform(1 * MINUTE, 10 * MINUTE)
            moments += _turn(random, now, end, "turn" if turn else "session")
            now = end
        now += random.uniform(1 * HOUR, 3 * HOUR)
    return TaskDay(tuple(moment for moment in moments if moment.at < DAY), tuple(sent_at))


def _long_running(random: Random) -> TaskDay:
    """A single turn of 2 to 6 hours, at any time of the day."""
    start = random.uniform(0, 18 * HOUR)
    end = start + random.uniform(2 * HOUR, 6 * HOUR)
    return TaskDay(tuple(_turn(random, start, end, "session")), (start,))


def _turn(random: Random, start: float, end: float, first: Kind) -> Iterator[Moment]:
    """Yield an event every 2 to 30 seconds."""
    kind = first
    while (start := start + random.uniform(2, 30)) < end or kind == first:
        yield Moment(start, kind)
        kind = "inside"


def _up_to(random: Random, most: int) -> int:
    return 1 + int(most * random.random())


# ------------------------------------------------------------------ ways of polling


def adaptive(day: Sequence[TaskDay], *, growth: float = GROWTH, sent: bool = False) -> Outcome:
    """Poll by the rules with the default configuration; `sent`: sessions begin with `maia-sync send`."""
    requests = 0
    sightings: list[Sighting] = []
    for number, task in enumerate(day):
        random = Random(number)
        phase = random.random()
        first = phase * _DEFAULTS.max_interval
        polls = _polls(task, _rules(random, growth), first, task.sent_at if sent else ())
        requests += bisect_left(polls, DAY)
        sightings += _sightings(task, polls)
    return Outcome(requests, sightings)


def _rules(random: Random, growth: float) -> AdaptivePolling:
    return AdaptivePolling(
        min_interval=_DEFAULTS.min_interval,
        max_interval=_DEFAULTS.max_interval,
        reconcile=None,
        random=random,
        growth=growth,
    )


def _polls(task: TaskDay, rules: PollPlanner, first: float, hot_at: Iterable[float]) -> list[float]:
    """Return when a task is polled: through the day, and on until everything is seen."""
    times = [moment.at for moment in task.moments]
    hot = list(hot_at)
    state, seen = _COLD, 0
    polls: list[float] = []
    due = first
    while due < DAY or seen < len(times):
        if hot and hot[0] <= due:
            due = hot.pop(0)
            state = PollState(status="active")
        polls.append(due)
        found = bisect_right(times, due, seen)
        plan = rules.after_walk(state, "news" if found > seen else "quiet")
        seen = found
        due += plan.wait
        if plan.poll_interval != state.poll_interval:
            state = PollState(status="active", poll_interval=plan.poll_interval)
    return polls


def fixed(day: Sequence[TaskDay], interval: float) -> Outcome:
    """Poll every task at one interval, each in a phase of its own: the same as `adaptive` gives it."""
    requests = 0
    sightings: list[Sighting] = []
    for number, task in enumerate(day):
        first = Random(number).random() * interval
        polls = [first + count * interval for count in range(int(DAY / interval) + 2)] if task.moments else []
        requests += bisect_left(polls, DAY) if polls else -int((first - DAY) // interval)
        sightings += _sightings(task, polls)
    return Outcome(requests, sightings)


def fixed_with_as_many(day: Sequence[TaskDay], requests: int) -> Outcome:
    """Poll at the fixed interval that spends this number of requests."""
    return fixed(day, len(day) * DAY / requests)


def _sightings(task: TaskDay, polls: Sequence[float]) -> Iterator[Sighting]:
    """Yield when each event was seen: by the first poll that is not before it."""
    session_seen_at = -1.0
    for moment in task.moments:
        seen_at = polls[bisect_left(polls, moment.at)]
        if moment.kind == "session":
            session_seen_at = seen_at
        yield Sighting(moment.kind, seen_at - moment.at, seen_at == session_seen_at)


def first_event(after: float, tries: int = 500) -> Outcome:
    """Poll tasks that were made hot at one moment and have their first event about so many seconds later."""
    random = Random(SEED)
    events = (HOUR + after * random.uniform(0.8, 1.2) for _ in range(tries))
    return adaptive([TaskDay((Moment(at, "session"),), (HOUR,)) for at in events], sent=True)


# ------------------------------------------------------------------ what is told


def report(tasks: int = TASKS) -> str:
    """Return the tables of README.md."""
    day = make_day(SEED, tasks)
    usual = adaptive(day)
    rival = fixed_with_as_many(day, usual.requests)
    growths = {growth: usual if growth == GROWTH else adaptive(day, growth=growth) for growth in GROWTHS}
    ways = {
        "**adaptive**, 10 s to 15 min": usual,
        f"fixed, as many requests: every {_interval(day, rival)}": rival,
        "adaptive, sessions begun with `send`": adaptive(day, sent=True),
    }
    for name, interval in (
        ("fixed, as seldom as a quiet task", _DEFAULTS.max_interval),
        ("fixed, as quick in the median", 2 * usual.delay(0.5)),
    ):
        outcome = fixed(day, interval)
        ways[f"{name}: every {_interval(day, outcome)}"] = outcome
    busy = [task for task in day if task.moments]
    happened = (
        f"{tasks:,} tasks; {len(busy)} of them have events that day, {len(usual.sightings):,} in "
        f"{len(usual.delays('session'))} sessions of {len(usual.delays('session', 'turn')):,} turns."
    )
    return "\n\n".join(
        (happened, _table_of_ways(ways), _tail(usual), _table_of_growths(day, growths), _table_of_first())
    )


def _table_of_ways(ways: dict[str, Outcome]) -> str:
    all_events = ("median", "p95", "p99")
    head = ("polling", "requests", *all_events, "begins a session", "begins a later turn", "inside a turn")
    rows = [
        (
            name,
            f"{one.requests:,}",
            *(_seconds(one.delay(share)) for share in (0.5, 0.95, 0.99)),
            *(_pair(one, kind) for kind in ("session", "turn", "inside")),
        )
        for name, one in ways.items()
    ]
    return _table(head, rows)


def _tail(one: Outcome) -> str:
    """Say what the slowest events have in common."""
    limit = one.delay(0.95)
    slowest = [sighting for sighting in one.sightings if sighting.delay > limit]
    cold = sum(sighting.with_session for sighting in slowest) / len(slowest)
    rest = Outcome(0, [sighting for sighting in one.sightings if not sighting.with_session])
    return (
        f"Of the slowest 5 % of events under adaptive polling, {100 * cold:.0f} % were seen by the poll that "
        f"also saw their session begin; of all events that were not, the p95 is {_seconds(rest.delay(0.95))}."
    )


def _table_of_growths(day: Sequence[TaskDay], growths: dict[float, Outcome]) -> str:
    all_events = ("median", "p95", "p99")
    head = ("growth", "requests", "until cold", *all_events, "begins a later turn", "fixed: p95", "better by")
    rows = []
    for growth, one in growths.items():
        rival = fixed_with_as_many(day, one.requests)
        rows.append(
            (
                f"**{growth:g}**" if growth == GROWTH else f"{growth:g}",
                f"{one.requests:,}",
                _cooling(growth),
                *(_seconds(one.delay(share)) for share in (0.5, 0.95, 0.99)),
                _pair(one, "turn"),
                _seconds(rival.delay(0.95)),
                f"{mean(rival.delays()) / mean(one.delays()):.1f}",
            )
        )
    return _table(head, rows)


def _cooling(growth: float) -> str:
    """Say how many quiet polls follow an event, and for how long, until a task is as cold as it gets."""
    rules = _rules(Random(SEED), growth)
    state, polls, seconds = PollState(status="active", poll_interval=_DEFAULTS.min_interval), 0, 0.0
    while state.poll_interval < _DEFAULTS.max_interval:
        polls, seconds = polls + 1, seconds + state.poll_interval
        plan = rules.after_walk(state, "quiet")
        state = PollState(status="active", poll_interval=plan.poll_interval)
    return f"{polls} polls, {seconds / MINUTE:.0f} min"


def _table_of_first() -> str:
    rows = []
    for after in FIRST_EVENTS:
        outcome = first_event(after)
        rows.append((f"{after:,.0f} s", *(_seconds(outcome.delay(share)) for share in (0.5, 0.95, 1.0))))
    return _table(("first event after about", "median", "p95", "longest"), rows)


def _interval(day: Sequence[TaskDay], one: Outcome) -> str:
    return _seconds(len(day) * DAY / one.requests)


def _pair(one: Outcome, kind: Kind) -> str:
    return f"{_seconds(one.delay(0.5, kind))} / {_seconds(one.delay(0.95, kind))}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(report())
