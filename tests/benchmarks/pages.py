"""How soon do the pages open over a million events? Asked for the first time, and once more.

`python -m tests.benchmarks.pages` from the repository's root prints the table of README.md. The copy is that
of `answers.py`; the site is served by a process of its own on loopback, with its clock at the newest event.
Each round and window has a new process that has shown one other panel before: it has its code, but no answer.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import httpx

from maia_sync.clock import SystemClock
from maia_sync.store.asking import ReadingDatabase
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade
from maia_sync.store.statement import read_statement
from tests.benchmarks.answers import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 3
WINDOWS = ("24h", "7d", "30d", "all")
OF_A_WINDOW = ("/", "/tools", "/errors")
OF_THIS_MOMENT = ("/sync", "/tasks?sort=label", "/tasks?sort=cost")
TARGET = 0.3
_PENDING = re.compile(r"data-fragment=")


class ClockOfThen(SystemClock):
    """A clock that goes on from another moment."""

    def __init__(self, moment: datetime) -> None:
        self._behind = super().now() - moment

    def now(self) -> datetime:
        """Return the wall time of then."""
        return super().now() - self._behind


@dataclass
class Opened:
    """What one address came to in all rounds."""

    first: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    size: int = 0
    pending: list[int] = field(default_factory=list)


def newest(url: str) -> datetime:
    """Return when the newest event of a database was."""
    question = read_statement("SELECT max(occurred_at) FROM task_event")
    with closing(ReadingDatabase(url=url, clock=SystemClock())) as database, database.ask(question) as answer:
        return datetime.fromisoformat(str(next(iter(answer.rows))[0])).replace(tzinfo=UTC)


def serve(url: str) -> None:
    """Serve the site until the process is ended; print the address first."""
    from maia_sync.service.health import Health
    from maia_sync.web.application import Pages, make_web
    from maia_sync.web.server import WebServer
    from maia_sync.web.site import Site

    clock = ClockOfThen(newest(url))
    database = ReadingDatabase(url=url, clock=clock)
    health = Health(clock=clock, check_database=database.require_migrated)

    async def run() -> None:
        pages = Pages(lambda: Site(database=database, zone=ZoneInfo("UTC"), clock=clock), token=None)
        with closing(pages):
            async with WebServer(make_web(health=health, token=None, pages=pages), "127.0.0.1", 0) as server:
                print(server.url, flush=True)
                await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def served(url: str) -> Iterator[httpx.Client]:
    """Have a process serve a database's pages, and visit it."""
    command = [sys.executable, "-m", "tests.benchmarks.pages", "--serve", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            with httpx.Client(base_url=process.stdout.readline().strip(), timeout=60) as visitor:
                yield visitor
        finally:
            process.terminate()


def opened(visitor: httpx.Client, address: str, told: Opened) -> None:
    """Open an address, wait until all of it is there, and open it again."""
    began = time.perf_counter()
    answer = visitor.get(address)
    told.first.append(time.perf_counter() - began)
    told.pending.append(len(_PENDING.findall(answer.text)))
    while _PENDING.search(answer.text):
        time.sleep(0.1)
        answer = visitor.get(address)
    told.ready.append(time.perf_counter() - began)
    began = time.perf_counter()
    answer = visitor.get(address)
    told.second.append(time.perf_counter() - began)
    assert answer.status_code == 200, answer.text
    told.size = len(answer.content)


def measured(url: str, rounds: int) -> dict[str, Opened]:
    """Return what each address came to."""
    found: dict[str, Opened] = defaultdict(Opened)
    for _ in range(rounds):
        for window in WINDOWS:
            with served(url) as visitor:
                visitor.get("/panels/kept")  # imports, templates
                for page in OF_A_WINDOW:
                    opened(visitor, f"{page}?window={window}", found[f"{page}?window={window}"])
        with served(url) as visitor:
            visitor.get("/panels/kept")
            for page in OF_THIS_MOMENT:
                opened(visitor, page, found[page])
            for name, page in of_a_task(visitor).items():
                opened(visitor, page, found[name])
    return found


def of_a_task(visitor: httpx.Client) -> dict[str, str]:
    """Return the addresses of a task's pages, by what the table calls them."""
    task = re.findall(r'href="(/tasks/[0-9a-f-]{36})"', visitor.get("/tasks?sort=label").text)[0]
    event = re.findall(r'href="(/tasks/[^"]+/event[?][^"]+)"', visitor.get(f"{task}?from=start").text)[0]
    return {
        "/tasks/ID": task,
        "/tasks/ID?from=start": f"{task}?from=start",
        "/tasks/ID/event": html.unescape(event),
        "/tasks/ID/quarantine": f"{task}/quarantine",
    }


def table(found: dict[str, Opened]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| page | first answer | pending then | all of it there after | second answer | bytes |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for address, told in sorted(found.items()):
        first, second = median(told.first), median(told.second)
        missed = "" if max(first, second) < TARGET else ", missed"
        yield (
            f"| `{address}` | {first:.3f} s{missed} | {max(told.pending)} | {median(told.ready):.3f} s "
            f"| {second:.3f} s | {told.size:,} |"
        )


def main() -> None:
    """Fill a database and print how soon its pages open."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--folder", type=Path, help="where the database is made")
    arguments.add_argument("--url", help="of a database that is there already")
    arguments.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        serve(given.serve)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        url = given.url or f"sqlite:///{folder}/pages.db"
        if given.url is None:
            with closing(Database(url=url, clock=SystemClock())) as database:
                upgrade(database)
                fill(database, given.events)
        for line in table(measured(url, given.rounds)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
