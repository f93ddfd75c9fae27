"""Where and with what was measured? The machine, the versions, the command."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.results import Document

_PACKAGES = ("sqlalchemy", "msgspec", "httpx", "psycopg", "aiohttp", "dlt")
_GIGABYTE = 1 << 30


def document(dlt_python: str | None) -> Document:
    """Return a document without results yet."""
    return Document(
        command=f"python -m tests.benchmarks {shlex.join(sys.argv[1:])}".strip(),
        began=f"{datetime.now(UTC):%Y-%m-%d %H:%MZ}",
        machine=_machine(),
        versions=_versions(dlt_python),
        load=os.getloadavg()[0],
        results=[],
    )


def _machine() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="ascii"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIGABYTE
    cores = len(os.sched_getaffinity(0))
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{cores} cores ({found[1] if found else platform.machine()}), {memory:.0f} GB, Linux {kernel}"


def _versions(dlt_python: str | None) -> dict[str, str]:
    versions = {"Python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    if dlt_python is not None:
        asked = "from importlib.metadata import version; print(version('dlt'))"
        told = subprocess.run([dlt_python, "-c", asked], check=True, stdout=subprocess.PIPE, text=True)
        versions["dlt"] = told.stdout.strip()
    return versions
