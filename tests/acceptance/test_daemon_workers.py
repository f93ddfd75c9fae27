"""Do several workers share the work, and is nothing lost or doubled when they die or sleep?"""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from cli_folder import CliFolder, for_sandbox
from daemon import Daemon, wait_until
from logs import world_of_many
from oracle import Copy, assert_to_the_letter

from maia_sync.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from pathlib import Path

    from maia_sync.sandbox.world import World


SELDOM = {"MAIA_SYNC_SCHEDULE__MIN_INTERVAL": "30s"}
"""So that tasks that are done are not polled again while others are waited for."""


def tracking(folder: CliFolder, world: World) -> None:
    ids = "\n".join(world.logs)
    assert folder.run("track", "--from-file", "-", stdin=ids).code == 0


def is_complete(copy: Copy, world: World) -> bool:
    unread = copy.one("SELECT count(*) FROM task WHERE last_polled_at IS NULL")
    return unread == 0 and copy.one("SELECT count(*) FROM task_event") == sum(
        len(log.events) for log in world.logs.values()
    )


def assert_each_once(copy: Copy, world: World) -> None:
    assert copy.one("SELECT count(*) FROM task_event_revision") == 0
    counted = dict(copy.ask("SELECT task_id, count(*) FROM task_event GROUP BY task_id"))
    stored = {str(task): number for task, number in counted.items()}
    assert stored == {task: len(log.events) for task, log in world.logs.items()}
    for task, log in list(world.logs.items())[::7]:
        assert_to_the_letter(copy, task, log.events)


@pytest.mark.parametrize(
    ("database_url", "workers", "tasks", "length"),
    [("postgresql", 4, 24, 1_500), ("sqlite", 2, 12, 1_500)],
    indirect=["database_url"],
)
def test_workers_of_which_one_is_killed_and_one_sleeps_beyond_its_lease_copy_each_event_once(
    database_url: str, workers: int, tasks: int, length: int, tmp_path: Path, one_authority: Path
) -> None:
    world = world_of_many(tasks, length, latency=0.1)
    copy = Copy(database_url)
    with ExitStack() as stack:
        server = stack.enter_context(SandboxServer(world))
        folder = for_sandbox(tmp_path, server.url, one_authority)
        folder.variables |= {
            "MAIA_SYNC_DATABASE__URL": database_url,
            "MAIA_SYNC_API__PAGE_SIZE": "100",
            "MAIA_SYNC_API__CONCURRENCY": "4",
            "MAIA_SYNC_API__RETRIES": "5",
        }
        tracking(folder, world)
        crew = [stack.enter_context(Daemon(folder, f"w{number}", **SELDOM)) for number in range(workers)]
        killed, sleeper = crew[0], crew[1]
        wait_until(lambda: held_by(copy, "w0") > 0 and held_by(copy, "w1") > 0, "both hold tasks")
        wait_until(lambda: copy.one("SELECT count(*) FROM task_event") > tasks * length // 10, "some pages")
        while True:
            sleeper.send(signal.SIGSTOP)
            # In this order: what it had sent before it was stopped, the database still does.
            if not is_in_transaction(copy) and walked_by(copy, "w1") > 0:
                break
            assert not is_complete(copy, world), "all was copied before the sleeper could be stopped"
            sleeper.send(signal.SIGCONT)
            time.sleep(0.03)
        if workers > 2:
            killed.send(signal.SIGKILL)
        wait_until(lambda: is_complete(copy, world), "all is copied without the sleeper")
        requests = world.tally.requests
        sleeper.send(signal.SIGCONT)
        lost = sleeper.wait_for("lease_lost")
        assert lost["task_id"] in world.logs
        for each in crew[1:]:
            each.end()
    pages = tasks * -(-length // 100)
    print(f"{requests} requests for {pages} pages: {requests / pages:.2f}")
    assert requests <= 1.25 * pages
    assert is_complete(copy, world)
    assert_each_once(copy, world)
    assert copy.free_leases() == 0


def is_in_transaction(copy: Copy) -> bool:
    """Tell whether the sleeper was stopped within a transaction, whose locks no lease overrules."""
    if copy.is_postgresql:
        time.sleep(0.15)
        waits = "(state = 'idle in transaction' OR state = 'active' AND wait_event_type = 'Client')"
        since = "state_change < clock_timestamp() - interval '100 ms'"
        return bool(copy.one(f"SELECT count(*) FROM pg_stat_activity WHERE {waits} AND {since}"))
    with closing(sqlite3.connect(copy.url.removeprefix("sqlite:///"), timeout=2)) as connection:
        connection.isolation_level = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


def held_by(copy: Copy, worker: str) -> int:
    owners = [owner for (owner,) in copy.ask("SELECT lease_owner FROM task WHERE lease_owner IS NOT NULL")]
    return sum(owner.startswith(f"{worker}:") for owner in owners)


def walked_by(copy: Copy, worker: str) -> int:
    """Return how many tasks it holds of which it has written a page; others it may let go in silence."""
    owners = copy.ask(
        "SELECT lease_owner FROM task JOIN checkpoint ON checkpoint.task_id = task.task_id"
        " AND checkpoint.epoch = task.lease_epoch WHERE lease_owner IS NOT NULL"
    )
    return sum(owner.startswith(f"{worker}:") for (owner,) in owners)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_sync_beside_the_daemon_works_on_what_is_free_and_says_what_was_left(
    database_url: str, tmp_path: Path, one_authority: Path
) -> None:
    world = world_of_many(4, 2_000, latency=0.1)
    copy = Copy(database_url)
    with SandboxServer(world) as server:
        folder = for_sandbox(tmp_path, server.url, one_authority)
        folder.variables |= {"MAIA_SYNC_DATABASE__URL": database_url, "MAIA_SYNC_API__PAGE_SIZE": "100"}
        tracking(folder, world)
        with Daemon(folder, "w0", MAIA_SYNC_API__CONCURRENCY="2") as daemon:
            wait_until(lambda: held_by(copy, "w0") == 2, "the daemon holds two tasks")
            done = folder.run_apart("sync", "--json")
            assert done.code == 0, done
            report = done.json()
            print(report["tasks"], report["held"])
            assert len(report["held"]) + report["tasks"] == 4
            assert report["held"]
            wait_until(lambda: is_complete(copy, world), "all is copied")
            assert daemon.end()[0] == 143
    assert_each_once(copy, world)
