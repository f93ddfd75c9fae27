"""How much faster are four workers than one, where the API is what is waited for?

    python -m tests.benchmarks.workers [--seconds 20] [--workers 1 4]

500 idle tasks on one PostgreSQL, an API that takes 100 ms for each answer, two requests at a time a
worker: what one worker waits for cannot be had by a faster machine, only by more waiting at once.
Every task is due all the time. Counted are the polls that the API answers from the moment when every
worker has made requests, over so many seconds.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from maia_sync.clock import SystemClock
from maia_sync.sandbox.server import SandboxServer
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade
from maia_sync.store.tasks import upsert_tasks

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))

from logs import world_of_many  # noqa: E402 - beside this folder
from own_postgresql import OwnPostgresql  # noqa: E402

TASKS = 500
LATENCY = 0.1
AT_ONCE = 2


def measure(workers: int, seconds: float) -> tuple[float, float]:
    """Return polls a second, and the share of one core that each worker used."""
    world = world_of_many(TASKS, 5, latency=LATENCY)
    with (
        OwnPostgresql() as postgresql,
        SandboxServer(world) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        url = postgresql.url.replace("postgresql://", "postgresql+psycopg://", 1)
        database = Database(url=url, clock=SystemClock())
        upgrade(database)
        with database.transaction() as tx:
            upsert_tasks(tx, list(world.logs))
        database.close()
        environ = {
            **{name: text for name, text in os.environ.items() if not name.startswith("MAIA_SYNC_")},
            "PYTHONPATH": str(TESTS.parent),
            "MAIA_SYNC_API__BASE_URL": server.url,
            "MAIA_SYNC_API__CONCURRENCY": str(AT_ONCE),
            "MAIA_SYNC_AUTH__TOKEN": "any",
            "MAIA_SYNC_DATABASE__URL": url,
            "MAIA_SYNC_SCHEDULE__POLL": "5s",
            "MAIA_SYNC_SCHEDULE__MIN_INTERVAL": "1s",
            "MAIA_SYNC_SCHEDULE__MAX_INTERVAL": "1s",
            "MAIA_SYNC_WEB__BIND": "127.0.0.1:0",
            "MAIA_SYNC_LOG__LEVEL": "warning",
        }
        crew = [
            subprocess.Popen([sys.executable, "-m", "maia_sync", "run"], cwd=folder, env=environ)
            for _ in range(workers)
        ]
        try:
            while world.tally.most_in_flight < AT_ONCE * workers:
                time.sleep(0.1)
            time.sleep(2)
            processes = [psutil.Process(each.pid) for each in crew]
            used = [sum(process.cpu_times()[:2]) for process in processes]
            began, requests = time.monotonic(), world.tally.requests
            time.sleep(seconds)
            took, made = time.monotonic() - began, world.tally.requests - requests
            cpu = sum(sum(p.cpu_times()[:2]) for p in processes) - sum(used)
        finally:
            for each in crew:
                each.send_signal(signal.SIGTERM)
            for each in crew:
                each.wait()
    return made / took, cpu / took / workers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.workers")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    chosen = parser.parse_args()
    first: float | None = None
    print(f"{TASKS} tasks, {LATENCY * 1000:.0f} ms an answer, {AT_ONCE} requests at a time a worker")
    print("| workers | polls/s | against the first | CPU a worker |")
    print("| --- | --- | --- | --- |")
    for workers in chosen.workers:
        rate, cpu = measure(workers, chosen.seconds)
        first = first or rate
        print(f"| {workers} | {rate:.1f} | {rate / first:.2f} | {cpu:.0%} |")


if __name__ == "__main__":
    main()
