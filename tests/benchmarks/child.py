"""What does one measured process say of itself? Its start-up, its work, its peak memory."""

from __future__ import annotations

import re
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from tests.benchmarks.work import Work  # noqa: TC001 - msgspec reads the annotation

_started: list[tuple[float, float]] = []


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a measured process is to do."""

    work: Work
    base_url: str
    dialect: Literal["sqlite", "postgresql"]
    database: str
    """Floor: a path, or psycopg's connection string. maia-sync: a SQLAlchemy URL."""
    idle: bool = False
    """The work has been done before: nothing new is there."""
    without: tuple[Literal["facets", "summaries", "indexes"], ...] = ()
    """What of the analytics is left out, to see what it costs (see facets.py)."""
    profile: str | None = None
    """Where to leave a cProfile of the work, which then is much slower."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the process tells when it is done."""

    events: int
    startup_cpu: float
    """CPU seconds from the process's start until it was ready to make requests."""
    work_wall: float
    peak_memory: int
    """Bytes; VmHWM, because ru_maxrss carries over what the parent had."""


def cpu_seconds() -> float:
    """Return this process's CPU time so far, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def ready() -> None:
    """Note that imports and connections are done and the work begins."""
    _started.append((cpu_seconds(), time.perf_counter()))


def report(events: int) -> None:
    """Print what this process did."""
    startup_cpu, began = _started[-1]
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    told = Told(
        events=events,
        startup_cpu=startup_cpu,
        work_wall=time.perf_counter() - began,
        peak_memory=int(found[1]) * 1024 if found else 0,
    )
    sys.stdout.buffer.write(msgspec.json.encode(told))
