"""How near to the floor is maia-sync? Runs both in turn on the same work; prints medians and ratios.

`python -m tests.benchmarks --help` from the repository's root; what came out is in README.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

import msgspec

from tests.benchmarks.child import Job, Told
from tests.benchmarks.databases import Databases, PostgresqlDatabases, SqliteDatabases
from tests.benchmarks.preparing import prepare
from tests.benchmarks.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parent.parent.parent
Runner = Literal["floor", "subject"]
_NAMES = {"floor": "floor", "subject": "maia-sync"}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measured process, or the medians of several. Seconds and bytes."""

    cpu: float
    """User and system time of the whole process."""
    work_cpu: float
    """The same without start-up: imports and opening the database."""
    wall: float
    """Of the work, without start-up."""
    peak_memory: int
    server_cpu: float
    """Of PostgreSQL's own processes meanwhile; 0 on SQLite."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The medians of one workload on one database."""

    workload: str
    dialect: str
    work: Work
    rounds: int
    floor: Measured
    subject: Measured

    @property
    def cpu_ratio(self) -> float:
        """maia-sync's CPU as a multiple of the floor's, whole processes."""
        return self.subject.cpu / self.floor.cpu

    @property
    def work_cpu_ratio(self) -> float:
        """The same without start-up."""
        return self.subject.work_cpu / self.floor.work_cpu


@contextmanager
def page_server(work: Work) -> Iterator[str]:
    """Start a server of the work's pages; yields its base URL."""
    command = [sys.executable, "-m", "tests.benchmarks.server", msgspec.json.encode(work).decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def measure(runner: Runner, job: Job, databases: Databases) -> Measured:
    """Run one process to its end and tell what it took."""
    before = databases.server_cpu()
    command = [sys.executable, "-m", f"tests.benchmarks.{runner}", msgspec.json.encode(job).decode()]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    if child.returncode != 0:
        raise SystemExit(f"{_NAMES[runner]} ended with exit code {child.returncode}")
    told = msgspec.json.decode(output, type=Told)
    if told.events != job.work.events:
        raise SystemExit(f"{_NAMES[runner]} had {told.events} events instead of {job.work.events}")
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(
        cpu=cpu,
        work_cpu=cpu - told.startup_cpu,
        wall=told.work_wall,
        peak_memory=told.peak_memory,
        server_cpu=databases.server_cpu() - before,
    )


def run_once(runner: Runner, job: Job, databases: Databases) -> Measured:
    """Measure one process on a database of its own."""
    with databases.fresh() as place:
        if runner == "floor":
            return measure(runner, replace(job, database=place.plain), databases)
        job = replace(job, database=place.url)
        prepare(job)
        if job.idle:
            measure(runner, replace(job, profile=None), databases)
        return measure(runner, job, databases)


def compare(workload: str, work: Work, rounds: int, databases: Databases) -> Compared:
    """Run floor and maia-sync in turn, A B A B, and return the medians."""
    taken: dict[Runner, list[Measured]] = {"floor": [], "subject": []}
    with page_server(work) as base_url:
        job = Job(
            work=work, base_url=base_url, dialect=databases.dialect, database="", idle=workload == "idle"
        )
        for number in range(rounds):
            for runner, results in taken.items():
                results.append(run_once(runner, job, databases))
                latest = results[-1]
                print(
                    f"  {databases.dialect} {workload} round {number + 1} {_NAMES[runner]}: "
                    f"{latest.cpu:.2f} s CPU, {latest.wall:.2f} s wall",
                    file=sys.stderr,
                )
    return Compared(
        workload=workload,
        dialect=databases.dialect,
        work=work,
        rounds=rounds,
        floor=_medians(taken["floor"]),
        subject=_medians(taken["subject"]),
    )


def _medians(results: list[Measured]) -> Measured:
    columns = {name: [asdict(result)[name] for result in results] for name in asdict(results[0])}
    return Measured(**{name: median(values) for name, values in columns.items()})


def render(compared: Compared) -> str:
    """Write one workload's medians as lines of text."""
    work = compared.work
    backfill = compared.workload == "backfill"
    unit, count = ("event", work.events) if backfill else ("task", work.tasks)
    heads = ("", "CPU s", "of work", f"us/{unit}", "wall s", "peak MB", "db CPU s")
    title = (
        f"{compared.workload} on {compared.dialect}: {work.tasks:,} tasks x {work.events_per_task:,} events"
    )
    title += f" of {work.event_bytes:,} bytes, {work.page_size:,} a page; medians of {compared.rounds} rounds"
    lines = [title, "  {:10} {:>8} {:>8} {:>9} {:>8} {:>8} {:>9}".format(*heads)]
    for runner, measured in (("floor", compared.floor), ("subject", compared.subject)):
        lines.append(
            f"  {_NAMES[runner]:10} {measured.cpu:8.2f} {measured.work_cpu:8.2f} "
            f"{measured.work_cpu / count * 1e6:9.2f} {measured.wall:8.2f} "
            f"{measured.peak_memory / 1e6:8.0f} {measured.server_cpu:9.2f}"
        )
    wall_ratio = compared.subject.wall / compared.floor.wall
    lines.append(
        f"  {'ratio':10} {compared.cpu_ratio:8.2f} {compared.work_cpu_ratio:8.2f} {'':9} {wall_ratio:8.2f}"
    )
    return "\n".join(lines)


def profile(workload: str, work: Work, databases: Databases, into: Path) -> None:
    """Leave a cProfile of maia-sync's work."""
    with page_server(work) as base_url:
        path = into / f"{workload}-{databases.dialect}.prof"
        job = Job(
            work=work,
            base_url=base_url,
            dialect=databases.dialect,
            database="",
            idle=workload == "idle",
            profile=str(path),
        )
        run_once("subject", job, databases)
        print(f"wrote {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="events of a backfill (default 200,000)")
    parser.add_argument("--event-bytes", type=int, default=400)
    parser.add_argument("--page-size", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=20, help="tasks of a backfill")
    parser.add_argument("--idle-tasks", type=int, default=1000, help="quiet tasks of the idle run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workload", choices=("backfill", "idle"), action="append")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument("--folder", type=Path, help="where the databases are made")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="leave cProfile files instead")
    return parser.parse_args()


def main() -> None:
    """Run every workload on every database that was asked for."""
    options = _arguments()
    works = {
        "backfill": Work(
            tasks=options.tasks,
            events_per_task=options.events // options.tasks,
            page_size=options.page_size,
            event_bytes=options.event_bytes,
        ),
        "idle": Work(tasks=options.idle_tasks, events_per_task=20),
    }
    results: list[Compared] = []
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for dialect in options.database or ("sqlite", "postgresql"):
            databases: Databases = stack.enter_context(
                SqliteDatabases(folder) if dialect == "sqlite" else PostgresqlDatabases(folder)
            )
            for workload in options.workload or works:
                if options.profile:
                    profile(workload, works[workload], databases, options.profile)
                    continue
                results.append(compare(workload, works[workload], options.rounds, databases))
                if not options.json:
                    print(render(results[-1]), flush=True)
    if options.json:
        ratios = [
            {**asdict(each), "cpu_ratio": each.cpu_ratio, "work_cpu_ratio": each.work_cpu_ratio}
            for each in results
        ]
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(ratios)) + b"\n")


if __name__ == "__main__":
    main()
