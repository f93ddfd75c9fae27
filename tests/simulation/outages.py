"""Does the copy survive a PostgreSQL that is stopped in mid-backfill? By SIGQUIT, again and again.

It ends at once, as in a crash, and recovers when it is started again. Some processes wait for it and go on by
themselves; some give up, with the error that says so, or are killed while they wait: then a new one goes on.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from maia_sync.errors import DatabaseLost, DatabaseUnreachable
from maia_sync.sandbox.server import SandboxServer
from tests.killable import Forge
from tests.simulation.kills_lives import Plan, live
from tests.simulation.kills_places import Place, new_place
from tests.simulation.kills_upstream import Logs, WatchedWorld
from tests.simulation.kills_witness import Proof, Witness

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.killable import Life

PAGE_SIZE = 10
_TASKS = 3
_PAGES = 40
"""Of each task's log."""
_MOST_MISSES = 20
_UNREACHABLE = {DatabaseLost.__name__, DatabaseUnreachable.__name__}

Ending = Literal["waits", "gives up", "is killed"]
ENDINGS: tuple[Ending, ...] = ("waits", "gives up", "is killed")


@dataclass(frozen=True, kw_only=True)
class StopsSurvived(Proof):
    """What so many stops came to."""

    stops: int
    """Stops that hit a backfill under way."""
    missed: int
    """Stops that came too late; the round was begun again."""
    went_on: int
    """Processes that waited, and went on by themselves."""
    gave_up: int
    """Processes that gave up; a new one went on."""
    killed: int
    """Processes that were killed while they waited; a new one went on."""

    def rows(self) -> list[tuple[str, str]]:
        """Return what a table of it all says."""
        of = "PostgreSQL stopped in mid-backfill"
        return [
            (f"{of}: stops", f"{self.stops:,}"),
            ("- processes that waited and went on by themselves", f"{self.went_on:,}"),
            ("- processes that gave up, and a new one went on", f"{self.gave_up:,}"),
            ("- processes that were killed meanwhile, and a new one went on", f"{self.killed:,}"),
            *self.verdict(of),
        ]


def survive_stops(rounds: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> StopsSurvived:
    """Stop PostgreSQL so many times in mid-backfill. Ends early when something is wrong."""
    began = time.monotonic()
    with ExitStack() as stack:
        place = stack.enter_context(new_place("postgresql"))
        world = WatchedWorld()
        server = stack.enter_context(SandboxServer(world))
        stopping = _Stopping(Random(seed), place, world, stack, server.url)
        findings, counts = stopping.witness.findings, stopping.counts
        for number in range(rounds):
            stopping.round(ENDINGS[number % len(ENDINGS)])
            if findings.trouble:
                break
            if (number + 1) % 5 == 0:
                tell(f"postgresql: stopped {number + 1} times")
        if not findings.trouble:
            stopping.witness.require_equal(place.copy)
        return StopsSurvived(
            stops=sum(counts[ending] for ending in ENDINGS),
            missed=counts["missed"],
            went_on=counts["waits"],
            gave_up=counts["gives up"],
            killed=counts["is killed"],
            **findings.proved(seed, began, f", stop {counts.total()}"),
        )


class _Stopping:
    """The rounds, one after another; each has new tasks."""

    def __init__(self, dice: Random, place: Place, world: WatchedWorld, stack: ExitStack, api: str) -> None:
        assert place.server is not None
        self._dice = dice
        self._place = place
        self._server = place.server
        self._forge = stack.enter_context(Forge())
        self._listener = stack.enter_context(ThreadPoolExecutor(1))
        self._logs = Logs(world, dice, longest=_PAGES * PAGE_SIZE)
        self.witness = Witness(self._logs)
        self.counts: Counter[str] = Counter()
        settings = {"api__page_size": PAGE_SIZE, "api__concurrency": _TASKS}
        self._patient = place.environ(api, **settings)
        self._impatient = place.environ(api, **settings, database__patience=0.01)

    def round(self, ending: Ending) -> None:
        """Stop the server in mid-backfill; where that was over before, the stop does not count."""
        for _ in range(_MOST_MISSES):
            self._begin_tasks()
            if self._stopped_in_time(ending):
                self.counts[ending] += 1
                self._finish(ending)
                return
            self.counts["missed"] += 1
        self.witness.findings.wrong(f"{_MOST_MISSES} stops in a row came too late")

    def _begin_tasks(self) -> None:
        old, self._logs.active = self._logs.active, []
        for _ in range(_TASKS):
            task = self._logs.begin()
            self._logs.growing.add(task)
            self._logs.append(task, _PAGES * PAGE_SIZE - len(self._logs.world.logs[task]))
        self._place.track(self._logs.active, untrack=old)

    def _stopped_in_time(self, ending: Ending) -> bool:
        """Stop the server under a backfill, and start it again; False if it was over before."""
        life = self._forge.start(self._impatient if ending == "gives up" else self._patient, {})
        life.wait_for_pages(self._dice.randrange(1, _TASKS * _PAGES * 3 // 4))
        ended = self._listener.submit(life.end)
        time.sleep(self._dice.random() * 0.01)  # a random moment, not a signal that could be waited for
        self._server.stop("immediate")
        time.sleep(self._dice.random() * 0.3)
        told = _pages_of(life)
        if ending == "is killed":
            life.send(signal.SIGKILL)
        if ending != "waits":
            ended.result()
        self._server.start()
        ended.result()
        if told.total() == _TASKS * _PAGES:
            return False
        stored = self.witness.check(self._place.copy)
        for task, pages in told.items():
            short = pages * PAGE_SIZE - stored[task].number
            self.witness.findings.note("lost", max(short, 0), f"{task}: told as committed, and not there")
        self._judge(life, ending)
        return True

    def _judge(self, life: Life, ending: Ending) -> None:
        wrong = self.witness.findings.wrong
        errors = [line["error"] for line in life.told if "error" in line]
        if ending == "waits":
            statuses = [line["report"]["status"] for line in life.told if "report" in line]
            if life.status != 0 or statuses != ["succeeded"]:
                wrong(f"a process that should wait did not go on: {life.told[-3:]}")
        elif ending == "is killed":
            if life.status != -signal.SIGKILL:
                wrong(f"a process that should have been killed ended with {life.status}: {life.told[-3:]}")
        elif len(errors) != 1 or errors[0] not in _UNREACHABLE:
            wrong(f"a process that should give up told {life.told[-3:]}")

    def _finish(self, ending: Ending) -> None:
        """See that the copy equals the logs, once a new process has gone on where the first one did not."""
        if ending != "waits":
            self._place.end_leases()
            lived = live(self._forge, self._patient, Plan(), 0.0)
            held = sum(report["held"] for report in lived.reports)
            if lived.wrong or held:
                self.witness.findings.wrong(f"the process that goes on: {lived.wrong or f'{held} were held'}")
        self.witness.check(self._place.copy)
        self.witness.require_equal(self._place.copy, self._logs.active)


def _pages_of(life: Life) -> Counter[str]:
    """Return how many pages of each task the process has told as committed."""
    return Counter(line["page"] for line in list(life.told) if "page" in line)
