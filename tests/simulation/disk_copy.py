"""Is a copy of a SQLite file whole if it is made while a sync writes? By README's means, and by a snapshot.

The copy must open and be sound, and hold all that had been committed when it began; its checkpoint must not
be ahead of its rows, and a sync on the copy completes it. A snapshot takes the file and its write-ahead log
in one moment, as that of a file system or a virtual machine does: here the process is stopped meanwhile.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Literal

import psutil

from maia_sync.sandbox.server import SandboxServer
from tests.killable import Forge
from tests.simulation.kills_lives import Plan, live
from tests.simulation.kills_places import Place, new_place
from tests.simulation.kills_upstream import Logs, WatchedWorld
from tests.simulation.kills_witness import Proof, Witness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.killable import Life

PAGE_SIZE = 10
_TASKS = 3
_PAGES = 40
"""Of each task's log."""
_LATENCY = 0.003
_MOST_MISSES = 20
_PATIENCE = 60

Way = Literal["backup", "vacuum", "snapshot"]
WAYS: tuple[Way, ...] = ("backup", "vacuum", "snapshot")


@dataclass(frozen=True, kw_only=True)
class CopiesMade(Proof):
    """What so many copies came to."""

    copies: dict[str, int]
    """How many of each way were made in mid-backfill."""
    missed: int
    """Copies that were made too late; the round was begun again."""
    stored: int
    """Events that the copies held when they were made."""
    completed: int
    """Events that syncs on the copies have fetched since."""

    def rows(self) -> list[tuple[str, str]]:
        """Return what a table of it all says."""
        of = "SQLite file copied while a sync writes"
        return [
            *((f"{of}, by {way}", f"{times:,}") for way, times in self.copies.items()),
            *self.verdict(of),
        ]


def survive_copies(rounds: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> CopiesMade:
    """Copy the file of a running backfill so many times, each way in turn."""
    began = time.monotonic()
    with ExitStack() as stack:
        place = stack.enter_context(new_place("sqlite"))
        world = WatchedWorld(latency=_LATENCY)
        server = stack.enter_context(SandboxServer(world))
        copying = _Copying(Random(seed), place, world, stack, server.url)
        findings, counts = copying.witness.findings, copying.counts
        for number in range(rounds):
            copying.round(WAYS[number % len(WAYS)])
            if findings.trouble:
                break
        tell(f"sqlite: {sum(counts[way] for way in WAYS)} copies made")
        return CopiesMade(
            copies={way: counts[way] for way in WAYS},
            missed=counts["missed"],
            stored=counts["stored"],
            completed=counts["completed"],
            **findings.proved(seed, began),
        )


class _Copying:
    """The rounds, one after another; each has new tasks."""

    def __init__(self, dice: Random, place: Place, world: WatchedWorld, stack: ExitStack, api: str) -> None:
        self._dice = dice
        self._place = place
        self._world = world
        self._api = api
        self._forge = stack.enter_context(Forge())
        self._listener = stack.enter_context(ThreadPoolExecutor(1))
        self._logs = Logs(world, dice, longest=_PAGES * PAGE_SIZE)
        self.witness = Witness(self._logs)
        self.counts: Counter[str] = Counter()

    def round(self, way: Way) -> None:
        """Copy the file in mid-backfill; where that was over before, the copy does not count."""
        for _ in range(_MOST_MISSES):
            self._begin_tasks()
            if self._copied_in_time(way):
                return
            self.counts["missed"] += 1
        self.witness.findings.wrong(f"{_MOST_MISSES} copies in a row came too late")

    def _begin_tasks(self) -> None:
        old, self._logs.active = self._logs.active, []
        for _ in range(_TASKS):
            task = self._logs.begin()
            self._logs.growing.add(task)
            self._logs.append(task, _PAGES * PAGE_SIZE - len(self._world.logs[task]))
        self._place.track(self._logs.active, untrack=old)

    def _environ(self, place: Place) -> dict[str, str]:
        return place.environ(self._api, api__page_size=PAGE_SIZE, api__concurrency=_TASKS)

    def _copied_in_time(self, way: Way) -> bool:
        life = self._forge.start(self._environ(self._place), {})
        life.wait_for_pages(self._dice.randrange(1, _TASKS * _PAGES * 3 // 4))
        ended = self._listener.submit(life.end)
        time.sleep(self._dice.random() * 0.01)  # a random moment, not a signal that could be waited for
        told = Counter(line["page"] for line in list(life.told) if "page" in line)
        path = self._place.folder / f"{way}-{self.counts.total()}.db"
        self._copy(way, path, life)
        reports = ended.result()
        if life.status != 0 or [report["status"] for report in reports] != ["succeeded"]:
            self.witness.findings.wrong(f"the sync that was copied did not go on: {life.told[-3:]}")
        self.witness.check(self._place.copy)
        self.witness.require_equal(self._place.copy, self._logs.active)
        return self._is_whole(replace(self._place, url=f"sqlite:///{path}"), way, told)

    def _copy(self, way: Way, path: Path, life: Life) -> None:
        source = self._place.file
        if way == "snapshot":
            with suppress(ProcessLookupError, psutil.NoSuchProcess):  # it has just ended
                life.send(signal.SIGSTOP)
                _wait_until_stopped(life.pid)
            for part in source.parent.glob(f"{source.name}*"):
                if not part.name.endswith("-shm"):  # which is memory
                    shutil.copyfile(part, f"{path}{part.name.removeprefix(source.name)}")
            with suppress(ProcessLookupError):
                life.send(signal.SIGCONT)
            return
        with closing(sqlite3.connect(source, timeout=_PATIENCE)) as connection:
            if way == "vacuum":
                connection.execute(f"VACUUM INTO '{path}'")
                return
            with closing(sqlite3.connect(path)) as target:
                connection.backup(target)

    def _is_whole(self, place: Place, way: Way, told: Counter[str]) -> bool:
        """Check the copy, and let a sync complete it; False if it is none of mid-backfill."""
        findings = self.witness.findings
        if place.copy.ask("PRAGMA integrity_check") != [("ok",)]:
            findings.wrong(f"a copy by {way} is damaged")
        stored = self.witness.check(place.copy, later=False)
        for task in self._logs.active:
            short = told[task] * PAGE_SIZE - stored[task].number
            findings.note(
                "lost", max(short, 0), f"{task}: committed before the copy by {way} began, and not in it"
            )
        number = sum(stored[task].number for task in self._logs.active)
        whole = _TASKS * _PAGES * PAGE_SIZE
        if number == whole:
            return False
        place.end_leases()
        lived = live(self._forge, self._environ(place), Plan(), 0.0)
        if lived.wrong or sum(report["held"] for report in lived.reports):
            findings.wrong(f"a sync on a copy by {way}: {lived.wrong or 'tasks were held'}")
        self.witness.check(place.copy, later=False)
        self.witness.require_equal(place.copy, self._logs.active)
        self.counts.update({way: 1, "stored": number, "completed": whole - number})
        return True


def _wait_until_stopped(pid: int) -> None:
    """Return once none of the process's threads writes any more."""
    process = psutil.Process(pid)
    deadline = time.monotonic() + _PATIENCE
    while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
        assert time.monotonic() < deadline
        time.sleep(0.001)
