"""What does one process take for a piece of work? Its CPU, its memory, and what it asked the server for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

from tests.benchmarks.child import Told, encode_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.child import Job
    from tests.benchmarks.databases import Databases
    from tests.benchmarks.work import Work

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measured process, or the medians of several. Seconds and bytes."""

    cpu: float
    """User and system time of the whole process, and of those that it has waited for."""
    wall: float
    """Of the work, without start-up; where a command is measured, of all of it."""
    work_cpu: float | None = None
    """CPU without start-up: imports and opening the database."""
    peak_memory: float | None = None
    database_cpu: float = 0.0
    """Of PostgreSQL's own processes meanwhile; 0 on SQLite."""
    requests: float = 0
    received: float = 0
    """Bytes that the page server sent, heads included."""
    page_server_cpu: float = 0.0


class PageServer:
    """A process that serves a work's pages; a context manager."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.benchmarks.server", json.dumps(asdict(self._work))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def grow(self) -> None:
        """Let the logs have their new events from now on."""
        self._ask("grow")

    def counts(self) -> dict[str, Any]:
        """Return what was asked since the last time."""
        return self._ask("counts")

    def _ask(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/-/{what}") as answer:
            told: dict[str, Any] = json.load(answer)
        return told


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended."""

    output: bytes
    cpu: float
    database_cpu: float


def run(
    command: Sequence[str],
    databases: Databases,
    *,
    environ: Mapping[str, str] | None = None,
    hush: bool = False,
) -> Ended:
    """Run a command to its end from the repository's root; it must succeed. `hush`: show nothing else."""
    before = databases.server_cpu()
    stderr = subprocess.STDOUT if hush else None
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, env=environ)
    assert child.stdout is not None
    try:
        output = child.stdout.read()
    except BaseException:
        child.kill()
        raise
    finally:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        child.stdout.close()
    if child.returncode != 0:
        told = output.decode(errors="replace")
        raise SystemExit(f"{told}{' '.join(command)}\nended with exit code {child.returncode}")
    return Ended(
        output=output,
        cpu=usage.ru_utime + usage.ru_stime,
        database_cpu=databases.server_cpu() - before,
    )


def measure(
    module: str, job: Job, databases: Databases, server: PageServer, *, python: str = sys.executable
) -> tuple[Measured, int | None]:
    """Let a module of ours do a job in a process of its own; tell what it took and the events it read."""
    server.counts()
    ended = run([python, "-m", f"tests.benchmarks.{module}", encode_job(job)], databases)
    counts = server.counts()
    told = Told(**json.loads(ended.output.splitlines()[-1]))
    measured = Measured(
        cpu=ended.cpu,
        work_cpu=ended.cpu - told.startup_cpu,
        wall=told.work_wall,
        peak_memory=told.peak_memory,
        database_cpu=ended.database_cpu,
        requests=counts["requests"],
        received=counts["sent"],
        page_server_cpu=counts["cpu"],
    )
    return measured, told.events


def medians(runs: Sequence[Measured]) -> Measured:
    """Return the median of each figure."""
    columns = {name: [asdict(each)[name] for each in runs] for name in asdict(runs[0])}
    return Measured(**{name: None if None in values else median(values) for name, values in columns.items()})
