"""What is one measured process told, and what does it say of itself? Its start-up, its work, its peak memory.

Of the standard library alone: with_dlt.py runs where there may be nothing else of ours.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tests.benchmarks.work import Work

_started: list[tuple[float, float]] = []

Phase = Literal["backfill", "idle", "trickle"]
"""A log is read for the first time; again, with nothing new; again, with some new events."""
Part = Literal["facets", "summaries", "indexes"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a measured process is to do."""

    work: Work
    base_url: str
    dialect: Literal["sqlite", "postgresql"]
    database: str
    """maia-sync: a SQLAlchemy URL. All others: a path, or a connection string of libpq's."""
    phase: Phase = "backfill"
    fast: bool = False
    """maia-sync by its fast transport."""
    disposition: Literal["append", "merge"] = "append"
    """How dlt writes."""
    without: tuple[Part, ...] = ()
    """What of the analytics is left out, to see what it costs (see facets.py)."""
    profile: str | None = None
    """Where to leave a cProfile of the work, which then is much slower."""

    @property
    def first_token(self) -> str | None:
        """The token to begin with: in a log that has been read before, its last page's then."""
        return None if self.phase == "backfill" else self.work.last_token


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the process tells when it is done."""

    events: int | None
    """Those that it has read; None if it does not look."""
    startup_cpu: float
    """CPU seconds from the process's start until it was ready to make requests."""
    work_wall: float
    peak_memory: int
    """Bytes; VmHWM, because ru_maxrss carries over what the parent had."""


def cpu_seconds() -> float:
    """Return this process's CPU time so far, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def encode_job(job: Job) -> str:
    """Return a job as the argument of a process."""
    return json.dumps(asdict(job))


def read_job() -> Job:
    """Return the job that this process was given."""
    told = json.loads(sys.argv[1])
    return Job(**{**told, "work": Work(**told["work"])})


def ready() -> None:
    """Note that imports and connections are done and the work begins."""
    _started.append((cpu_seconds(), time.perf_counter()))


def report(events: int | None) -> None:
    """Print what this process did."""
    startup_cpu, began = _started[-1]
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    told = Told(
        events=events,
        startup_cpu=startup_cpu,
        work_wall=time.perf_counter() - began,
        peak_memory=int(found[1]) * 1024 if found else 0,
    )
    print(json.dumps(asdict(told)))
