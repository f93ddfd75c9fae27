"""What is measured? Each workload: which work, by whom, compared with whom, how many times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tests.benchmarks.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.benchmarks.child import Phase


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Who does the work: a module of ours in a process of its own."""

    name: str
    module: Literal["floor", "subject", "bare", "own_client", "with_dlt"]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What its job says besides the work."""

    @property
    def stores(self) -> bool:
        """Whether it writes to a database."""
        return self.module not in ("bare", "own_client")


FLOOR = Runner(name="floor", module="floor")
SUBJECT = Runner(name="maia-sync", module="subject")
FAST = Runner(name="maia-sync-fast", module="subject", options={"fast": True})
HTTPX = Runner(name="httpx", module="bare")
CLIENT = Runner(name="client", module="own_client")
FAST_CLIENT = Runner(name="client-fast", module="own_client", options={"fast": True})
DLT_APPEND = Runner(name="dlt-append", module="with_dlt", options={"disposition": "append"})
DLT_MERGE = Runner(name="dlt-merge", module="with_dlt", options={"disposition": "merge"})
RUNNERS = (FLOOR, SUBJECT, FAST, HTTPX, CLIENT, FAST_CLIENT, DLT_APPEND, DLT_MERGE)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much work there is."""

    events: int = 1_000_000
    large_events: int = 100_000
    large_bytes: int = 8_000
    growth: tuple[int, ...] = (100_000, 300_000, 1_000_000, 3_000_000)
    fewer_events: int = 200_000
    """Of latency, and of what is measured beside dlt."""
    events_per_task: int = 10_000
    page_size: int = 1_000
    small_page: int = 25
    tasks: int = 2_000
    many_tasks: int = 20_000
    polled_page: int = 1_000
    delay: float = 0.05

    def backfill(self, events: int, *, events_per_task: int | None = None, **others: Any) -> Work:
        """Return so many events in logs of the usual length, or of another."""
        tasks = max(events // (events_per_task or self.events_per_task), 1)
        return Work(tasks=tasks, events_per_task=events // tasks, **{"page_size": self.page_size, **others})

    def polls(self, tasks: int, new_events: int = 0) -> Work:
        """Return so many short logs that have been read."""
        return Work(tasks=tasks, events_per_task=20, page_size=self.polled_page, new_events=new_events)


QUICK = Sizes(
    events=800,
    large_events=150,
    growth=(800, 1_600),
    fewer_events=800,
    events_per_task=100,
    page_size=50,
    tasks=16,
    many_tasks=32,
    polled_page=8,
    delay=0.005,
)
"""A smoke of everything."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of a table: who does how much."""

    name: str
    runner: Runner
    work: Work


@dataclass(frozen=True, kw_only=True)
class Target:
    """One case's figure is to be at most so many times another case's, or at most so much."""

    case: str
    figure: Literal["cpu", "work_cpu", "wall", "peak_memory"]
    most: float
    against: str | None = None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Cases that are measured in turn; the first is what the others are compared with."""

    name: str
    about: str
    cases: tuple[Case, ...]
    rounds: int
    phase: Phase = "backfill"
    targets: tuple[Target, ...] = ()

    @property
    def work(self) -> Work:
        """The largest work: whose pages are served."""
        return max((case.work for case in self.cases), key=lambda work: work.tasks)

    @property
    def unit(self) -> Literal["event", "task"]:
        """What the cost is told for."""
        return "event" if self.phase == "backfill" else "task"

    def units(self, case: Case) -> int:
        """Return how many of them a case has."""
        return case.work.events if self.phase == "backfill" else case.work.tasks


def all_workloads(sizes: Sizes) -> list[Workload]:
    """Return every workload."""
    return [*_backfills(sizes), *_polls(sizes), *_latencies(sizes), _growth(sizes), _rivals(sizes)]


def _backfills(sizes: Sizes) -> Iterator[Workload]:
    works = {
        "backfill": sizes.backfill(sizes.events),
        "backfill-8k": sizes.backfill(
            sizes.large_events, events_per_task=sizes.page_size, event_bytes=sizes.large_bytes
        ),
        "backfill-25": sizes.backfill(sizes.events, page_size=sizes.small_page),
    }
    targets = [
        Target(case=SUBJECT.name, figure="cpu", most=1.6, against=FLOOR.name),
        Target(case=SUBJECT.name, figure="wall", most=1.0, against=FLOOR.name),
    ]
    for name, work in works.items():
        memory = [Target(case=SUBJECT.name, figure="peak_memory", most=130e6)] if name == "backfill" else []
        yield Workload(
            name=name,
            about=f"the first sync of {_logs(work)}",
            cases=_by(work, FLOOR, SUBJECT, FAST),
            rounds=3 if name == "backfill" else 1,
            targets=(*targets, *memory),
        )


def _polls(sizes: Sizes) -> Iterator[Workload]:
    for name, tasks in {"idle": sizes.tasks, "idle-many": sizes.many_tasks}.items():
        work = sizes.polls(tasks)
        floor = () if name == "idle-many" else (FLOOR,)
        yield Workload(
            name=name,
            about=f"another sync of {_logs(work)}, with nothing new",
            cases=_by(work, HTTPX, CLIENT, FAST_CLIENT, *floor, SUBJECT, FAST),
            rounds=1 if name == "idle-many" else 3,
            phase="idle",
            targets=(
                Target(case=SUBJECT.name, figure="cpu", most=1.3, against=HTTPX.name),
                Target(case=FAST.name, figure="cpu", most=0.7, against=HTTPX.name),
            ),
        )
    work = sizes.polls(sizes.tasks, new_events=10)
    yield Workload(
        name="trickle",
        about=f"another sync of {_logs(work)}, with 10 new events in each",
        cases=_by(work, FLOOR, SUBJECT, FAST),
        rounds=3,
        phase="trickle",
        targets=(Target(case=SUBJECT.name, figure="cpu", most=1.5, against=FLOOR.name),),
    )


def _latencies(sizes: Sizes) -> Iterator[Workload]:
    works = {
        "latency": sizes.backfill(sizes.fewer_events, delay=sizes.delay),
        "latency-one": Work(
            tasks=1, events_per_task=sizes.fewer_events // 2, page_size=sizes.page_size, delay=sizes.delay
        ),
    }
    for name, work in works.items():
        yield Workload(
            name=name,
            about=f"the first sync of {_logs(work)}, where each answer takes {work.delay * 1000:g} ms",
            cases=_by(work, FLOOR, SUBJECT),
            rounds=2,
            targets=(Target(case=SUBJECT.name, figure="wall", most=1.0, against=FLOOR.name),),
        )


def _growth(sizes: Sizes) -> Workload:
    cases = tuple(
        Case(name=f"{SUBJECT.name}, {events:,}", runner=SUBJECT, work=sizes.backfill(events))
        for events in sizes.growth
    )
    least, most = cases[0].name, cases[-1].name
    return Workload(
        name="growth",
        about=f"the first sync of {cases[0].work.events:,} events, and more, to {_logs(cases[-1].work)}",
        cases=cases,
        rounds=2,
        targets=(
            Target(case=most, figure="work_cpu", most=1.15, against=least),
            Target(case=most, figure="peak_memory", most=130e6),
            Target(case=most, figure="peak_memory", most=1.05, against=least),
        ),
    )


def _rivals(sizes: Sizes) -> Workload:
    work = sizes.backfill(sizes.fewer_events)
    return Workload(
        name="rivals",
        about=f"the first sync of {_logs(work)}, and dlt's",
        cases=_by(work, FLOOR, SUBJECT, DLT_APPEND, DLT_MERGE),
        rounds=1,
    )


def _by(work: Work, *runners: Runner) -> tuple[Case, ...]:
    return tuple(Case(name=runner.name, runner=runner, work=work) for runner in runners)


def _logs(work: Work) -> str:
    """Describe a work's logs."""
    return (
        f"{work.tasks:,} tasks x {work.events_per_task:,} events of {work.event_bytes:,} bytes, "
        f"{work.page_size:,} a page"
    )
