"""Does the copy survive `kill -9`? Real processes, killed at random moments, again and again.

A round starts a process that reads from a loopback server what has grown and changed since, and kills it;
in half of the rounds another runs beside it, and goes on or is killed too. After each round nothing may be
lost, doubled or made up; after every tenth, a run to the end and a reconcile make the copy equal the logs.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from maia_sync.sandbox.server import SandboxServer
from tests.killable import Forge
from tests.simulation.kills_lives import Lived, Plan, draw_pause, draw_plan, live
from tests.simulation.kills_places import Place, new_place
from tests.simulation.kills_upstream import Logs, WatchedWorld
from tests.simulation.kills_witness import Proof, StoredTask, Witness

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS_OF_AN_ERA = 10
"""After so many the copy is compared with the logs, and new tasks take the place of old ones."""
PAGE_SIZE = 10
_TASKS = 4
_LONGEST = 120
_CONCURRENCY = 3
_MOST_MISSES = 50


@dataclass(frozen=True, kw_only=True)
class KillsSurvived(Proof):
    """What so many kills came to."""

    database: Literal["sqlite", "postgresql"]
    rounds: int
    kills: int
    """`kill -9`s that hit a living process: one a round at least."""
    phases: dict[str, int]
    """How many of them before the first commit, between commits, after the last one."""
    missed: int
    """Kills that came too late; the round was begun again."""
    beside: int
    """Rounds with a second process."""
    beside_killed: int
    """Of these, rounds in which the second was killed too."""
    beside_paused: int
    """Of these, rounds in which the second was stopped until its leases had run out, and then went on."""
    comparisons: int
    """How often the copy was compared with the logs, event by event."""
    measured: int
    """Killed backfills of a task of which it is known how many pages were fetched and how many stored."""
    fetched_again: int
    """The most pages that one kill made a task fetch again."""

    def rows(self) -> list[tuple[str, str]]:
        """Return what a table of it all says."""
        of = f"kill -9, {self.database}"
        return [
            (f"{of}: kills that hit a living process", f"{self.kills:,}"),
            *((f"- {phase}", f"{times:,}") for phase, times in sorted(self.phases.items())),
            (f"{of}: rounds with a second process", f"{self.beside:,}"),
            (f"{of}: comparisons with the whole logs", f"{self.comparisons:,}"),
            (f"{of}: pages fetched again by one kill and task, at most", f"{self.fetched_again:,}"),
            *self.verdict(of),
        ]


def survive_kills(
    rounds: int,
    seed: int,
    database: Literal["sqlite", "postgresql"],
    tell: Callable[[str], None] = lambda _: None,
) -> KillsSurvived:
    """Kill so many times; `tell` is told now and then how far it is. Ends early when something is wrong."""
    began = time.monotonic()
    with ExitStack() as stack:
        place = stack.enter_context(new_place(database))
        world = WatchedWorld()
        server = stack.enter_context(SandboxServer(world))
        forges = (stack.enter_context(Forge()), stack.enter_context(Forge()))
        executor = stack.enter_context(ThreadPoolExecutor(2))
        environ = place.environ(server.url, api__page_size=PAGE_SIZE, api__concurrency=_CONCURRENCY)
        killing = _Killing(Random(seed), place, world, forges, executor, environ)
        for number in range(rounds):
            killing.round(number)
            last = number + 1 == rounds
            if not killing.trouble and (last or (number + 1) % ROUNDS_OF_AN_ERA == 0):
                killing.end_era(last=last)
                tell(f"{database}: {killing.kills} kills in {number + 1} rounds")
            if killing.trouble:
                break
        return killing.result(database, seed, began)


class _Killing:
    """The rounds, one after another."""

    def __init__(
        self,
        dice: Random,
        place: Place,
        world: WatchedWorld,
        forges: tuple[Forge, Forge],
        executor: ThreadPoolExecutor,
        environ: dict[str, str],
    ) -> None:
        self._dice = dice
        self._place = place
        self._world = world
        self._forges = forges
        self._executor = executor
        self._environ = environ
        self._logs = Logs(world, dice, longest=_LONGEST)
        self._witness = Witness(self._logs)
        self._stored: dict[str, StoredTask] = {}
        self._usually = {False: 0.3, True: 0.3}
        self._counts: Counter[str] = Counter()
        self._phases: Counter[str] = Counter()
        self._fetched_again = 0
        self._number = 0
        self._begin_tasks(_TASKS)

    @property
    def kills(self) -> int:
        """How many have hit."""
        return self._phases.total()

    @property
    def trouble(self) -> str | None:
        """The first thing that is wrong."""
        return self._witness.findings.trouble

    def result(self, database: Literal["sqlite", "postgresql"], seed: int, began: float) -> KillsSurvived:
        """Return what it came to."""
        findings, counts = self._witness.findings, self._counts
        return KillsSurvived(
            database=database,
            rounds=counts["rounds"],
            kills=self.kills,
            phases=dict(self._phases),
            missed=counts["missed"],
            beside=counts["beside"],
            beside_killed=counts["beside_killed"],
            beside_paused=counts["beside_paused"],
            comparisons=counts["comparisons"],
            measured=counts["measured"],
            fetched_again=self._fetched_again,
            **findings.proved(seed, began, f", {database}, round {self._number}"),
        )

    def round(self, number: int) -> None:
        """Kill a process; one that has ended before its moment does not count, and another is killed."""
        self._number = number
        for _ in range(_MOST_MISSES):
            self._logs.go_on()
            if self._dice.random() < 0.6:
                self._begin_tasks(1)
            lives = self._lives()
            self._place.settle()
            self._place.end_leases()
            self._judge(lives)
            if self.trouble or lives[0].killed:
                self._counts["rounds"] += 1
                return
            self._counts["missed"] += 1
        self._witness.findings.wrong(f"{_MOST_MISSES} kills in a row came too late")

    def end_era(self, *, last: bool) -> None:
        """Run to the end, and reconcile: then the copy equals the logs.

        New tasks take the place of the old ones, whose logs and rows stay as they are until the `last` era.
        """
        growing = [task for task in self._logs.active if task in self._logs.growing]
        self._run_to_end(full=False)
        self._witness.require_equal(self._place.copy, growing)
        self._run_to_end(full=True)
        self._run_to_end(full=True)  # marks what the first only doubted
        self._witness.check(self._place.copy)
        self._witness.require_equal(self._place.copy, None if last else self._logs.active)
        self._counts["comparisons"] += 1
        if not last:
            old, self._logs.active = self._logs.active, []
            self._begin_tasks(_TASKS, untrack=old)

    def _begin_tasks(self, number: int, *, untrack: list[str] | None = None) -> None:
        self._place.track([self._logs.begin() for _ in range(number)], untrack=untrack or [])

    def _lives(self) -> list[Lived]:
        """Let one process live, and in half of the rounds another beside it; returns both."""
        full = self._dice.random() < 0.4
        plan = draw_plan(self._dice, full=full)
        if self._dice.random() < 0.5:
            growing = [task for task in self._logs.active if task in self._logs.growing]
            fresh = [task for task in growing if not self._stored.get(task, StoredTask()).number]
            self._world.reset_counters()
            lives = [live(self._forges[0], self._environ, plan, self._usually[full])]
            self._measure(lives[0], fresh)
            return lives
        full = self._dice.random() < 0.4
        fate = self._dice.choice(("goes on", "is paused", "is killed", "is killed"))
        beside = Plan(full=full)
        if fate == "is paused":
            beside = draw_pause(self._dice, full=full)
        elif fate == "is killed":
            beside = draw_plan(self._dice, full=full)
        self._counts["beside"] += 1
        self._counts["beside_paused"] += fate == "is paused"
        wait, at_once = self._dice.random(), self._dice.random() < 0.5
        other = self._executor.submit(self._live_beside, beside, wait)
        one = live(self._forges[0], self._environ, plan, self._usually[plan.full])
        if at_once:  # the other may take over what this one has left
            self._place.end_leases(one.pid)
        if self._dice.random() < 0.5:
            self._logs.append(self._dice.choice(self._logs.active), 15)
        return [one, other.result()]

    def _live_beside(self, plan: Plan, wait: float) -> Lived:
        usually = self._usually[plan.full]
        time.sleep(wait * usually * 0.5)  # a random moment
        return live(self._forges[1], self._environ, plan, usually, self._place.end_leases)

    def _measure(self, lived: Lived, fresh: list[str]) -> None:
        """Note how many pages of tasks that were not stored at all were fetched in vain."""
        if not lived.killed:
            return
        self._place.settle()
        stored = self._witness.check(self._place.copy)
        for task in fresh:
            fetched = self._world.tally.pages.get(task, Counter()).total()
            if not fetched:
                continue
            rows = stored[task].number
            if rows % PAGE_SIZE and rows != len(self._world.logs[task]):
                self._witness.findings.wrong(f"half a page of {task}: {rows} rows")
            self._counts["measured"] += 1
            self._fetched_again = max(self._fetched_again, fetched - -(-rows // PAGE_SIZE))

    def _judge(self, lives: list[Lived]) -> None:
        for number, lived in enumerate(lives):
            if lived.wrong:
                self._witness.findings.wrong(f"{lived.plan}: {lived.wrong}")
            if lived.killed:
                self._phases[lived.phase] += 1
                self._counts["beside_killed"] += number
            else:
                self._usually[lived.plan.full] = lived.seconds
        self._stored = self._witness.check(self._place.copy)

    def _run_to_end(self, *, full: bool) -> None:
        lived = live(self._forges[0], self._environ, Plan(full=full), 0.0)
        held = sum(report["held"] for report in lived.reports)
        if lived.wrong or held:
            self._witness.findings.wrong(f"a run to the end: {lived.wrong or f'{held} tasks were held'}")
