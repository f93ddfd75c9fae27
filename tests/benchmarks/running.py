"""How is a workload measured? Case by case, A B A B, each run a process and a database of its own."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tests.benchmarks.child import Job
from tests.benchmarks.measuring import PageServer, measure
from tests.benchmarks.preparing import prepare
from tests.benchmarks.results import Result, Row
from tests.benchmarks.subject import open_subject
from tests.benchmarks.workloads import FLOOR, SUBJECT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.databases import Databases, Place
    from tests.benchmarks.measuring import Measured
    from tests.benchmarks.work import Work
    from tests.benchmarks.workloads import Case, Runner, Workload


class Bench:
    """Measures workloads on one kind of database."""

    def __init__(self, databases: Databases, *, dlt_python: str = sys.executable) -> None:
        self._databases = databases
        self._pythons = {"with_dlt": dlt_python}

    def compare(self, workload: Workload) -> Result:
        """Measure every case so many times, in turn."""
        rows = {
            case.name: Row(case=case.name, units=workload.units(case), runs=[]) for case in workload.cases
        }
        with ExitStack() as stack:
            setting = stack.enter_context(Setting(workload, self._databases))
            for number in range(workload.rounds):
                for case in workload.cases:
                    measured = self._run(setting, case)
                    rows[case.name].runs.append(measured)
                    print(
                        f"  {self._databases.dialect} {workload.name} round {number + 1} {case.name}: "
                        f"{measured.cpu:.2f} s CPU, {measured.wall:.2f} s wall",
                        file=sys.stderr,
                    )
        return Result(
            workload=workload.name,
            about=f"{workload.about}; medians of {workload.rounds} rounds",
            database=self._databases.dialect,
            unit=workload.unit,
            rows=list(rows.values()),
            targets=list(workload.targets),
        )

    def profile(self, workload: Workload, into: Path) -> None:
        """Leave a cProfile of each case's work; only maia-sync's cases can."""
        into.mkdir(parents=True, exist_ok=True)
        with Setting(workload, self._databases) as setting:
            for case in workload.cases:
                name = re.sub(r"\W+", "-", f"{workload.name} {self._databases.dialect} {case.name}")
                path = into / f"{name}.prof"
                self._run(setting, case, profile=str(path.resolve()))
                print(f"wrote {path}")

    def _run(self, setting: Setting, case: Case, profile: str | None = None) -> Measured:
        """Run a case once, and see that it has read and stored what it should."""
        runner, databases = case.runner, self._databases
        with databases.fresh(like=setting.kept_for(case)) as place:
            job = replace(setting.job(case.runner, case.work, place), profile=profile)
            python = self._pythons.get(runner.module, sys.executable)
            measured, read = measure(runner.module, job, databases, setting.server, python=python)
            if read not in (None, setting.read_by(case)):
                raise SystemExit(f"{case.name} read {read} events instead of {setting.read_by(case)}")
            stored = setting.stored_by(case)
            if stored is not None and databases.count_events(place) != stored:
                raise SystemExit(f"{case.name} stored {databases.count_events(place)} events, not {stored}")
        return measured


class Setting:
    """A workload's page server, and the databases of which each run gets a copy; a context manager.

    maia-sync's has its tables and its tasks. Where logs have been read before, its events are there too,
    and the floor's where it writes; then the logs grow, if they do.
    """

    def __init__(self, workload: Workload, databases: Databases) -> None:
        self._workload = workload
        self._databases = databases
        self._kept: dict[tuple[bool, Work], str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = stack.enter_context(PageServer(self._workload.work))
            for case in self._workload.cases:
                if self._needs_kept(case) and self._key(case) not in self._kept:
                    name = f"kept_{len(self._kept)}"
                    self._fill(case, stack.enter_context(self._databases.fresh(name)))
                    self._kept[self._key(case)] = name
            if self._workload.phase == "trickle":
                self.server.grow()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kept_for(self, case: Case) -> str | None:
        """Return the name of the database that a case's begins as; None for an empty one."""
        return self._kept.get(self._key(case))

    def read_by(self, case: Case) -> int:
        """Return how many events a case reads."""
        work = case.work
        return (work.events if self._workload.phase == "backfill" else work.events_from_last) + work.grown_by

    def stored_by(self, case: Case) -> int | None:
        """Return how many events are stored in the end; None where it does not store them."""
        if case.runner.module == FLOOR.module and self._workload.phase == "idle":
            return 0
        return case.work.events + case.work.grown_by if case.runner.stores else None

    def job(self, runner: Runner, work: Work, place: Place) -> Job:
        """Return the job of a runner."""
        return Job(
            work=work,
            base_url=self.server.url,
            dialect=self._databases.dialect,
            database=place.url if runner.module == SUBJECT.module else place.plain,
            phase=self._workload.phase,
            **runner.options,
        )

    def _key(self, case: Case) -> tuple[bool, Work]:
        return case.runner.module == SUBJECT.module, case.work

    def _needs_kept(self, case: Case) -> bool:
        if case.runner.module == FLOOR.module:
            return self._workload.phase == "trickle"
        return case.runner.module == SUBJECT.module

    def _fill(self, case: Case, place: Place) -> None:
        """Make the database that a case begins with."""
        job = replace(self.job(case.runner, case.work, place), phase="backfill", fast=False)
        if case.runner.module == FLOOR.module:
            measure(FLOOR.module, job, self._databases, self.server)
        else:
            prepare(job)
            if self._workload.phase != "backfill":
                with open_subject(job) as app:
                    app.sync()
        if self._workload.phase != "backfill":
            stored = self._databases.count_events(place)
            if stored != job.work.events:
                raise SystemExit(f"{case.name}'s first sync stored {stored} events, not {job.work.events}")
            self._databases.settle(place)
