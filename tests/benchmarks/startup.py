"""What does starting cost, where nothing is to be done? Commands as a person types them, whole processes."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from maia_sync.store.tasks import set_status
from tests.benchmarks.child import Job
from tests.benchmarks.measuring import Measured, run
from tests.benchmarks.preparing import prepare
from tests.benchmarks.results import Result, Row
from tests.benchmarks.subject import open_subject
from tests.benchmarks.work import Work
from tests.benchmarks.workloads import Target

if TYPE_CHECKING:
    from tests.benchmarks.databases import Databases

NAME = "start-up"
ROUNDS = 9
_PAUSED = 1_000
_API = "http://127.0.0.1:9"
"""Nobody asks it."""
_MAIA_SYNC = (sys.executable, "-m", "maia_sync")
_TARGETS = [
    Target(case="--version", figure="wall", most=0.25),
    Target(case="sync, no task", figure="wall", most=0.6),
    Target(case="sync, all paused", figure="wall", most=0.6),
]


def measure_startup(databases: Databases, rounds: int) -> Result:
    """Run the commands in turn."""
    rows = {
        name: Row(case=name, units=1, runs=[])
        for name in ("python -c pass", "--version", "sync, no task", "sync, all paused")
    }
    with ExitStack() as stack:
        commands = [((sys.executable, "-c", "pass"), ""), ((*_MAIA_SYNC, "--version"), "")]
        for paused in (0, _PAUSED):
            place = stack.enter_context(databases.fresh(f"started_{paused}"))
            work = Work(tasks=paused, events_per_task=1)
            _prepare(Job(work=work, base_url=_API, dialect=databases.dialect, database=place.url))
            commands.append(((*_MAIA_SYNC, "sync"), place.url))
        for _ in range(rounds):
            for row, (command, url) in zip(rows.values(), commands, strict=True):
                began = time.perf_counter()
                ended = run(command, databases, environ=_environ(url), hush=True)
                wall = time.perf_counter() - began
                row.runs.append(Measured(cpu=ended.cpu, wall=wall, database_cpu=ended.database_cpu))
    return Result(
        workload=NAME,
        about=f"whole processes of a command; paused are {_PAUSED:,} tasks; medians of {rounds} rounds",
        database=databases.dialect,
        unit="run",
        rows=list(rows.values()),
        targets=_TARGETS,
    )


def _prepare(job: Job) -> None:
    """Make the tables and pause every task."""
    prepare(job)
    with open_subject(job) as app, app.database.transaction() as tx:
        set_status(tx, job.work.task_ids, "paused")


def _environ(url: str) -> dict[str, str]:
    environ = {name: text for name, text in os.environ.items() if not name.startswith("MAIA_SYNC_")}
    return {
        **environ,
        "MAIA_SYNC_API__BASE_URL": _API,
        "MAIA_SYNC_AUTH__TOKEN": "any",
        "MAIA_SYNC_DATABASE__URL": url,
    }
