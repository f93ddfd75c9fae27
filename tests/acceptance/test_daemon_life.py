"""Does the daemon live on through what happens to it, and end when it is told to? Real processes."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cli_folder import SECRET, CliFolder, for_sandbox
from daemon import Daemon, wait_until
from logs import TASK, events, task_id, world_of_many
from oracle import Copy, assert_to_the_letter
from own_postgresql import OwnPostgresql

from maia_sync.clock import SystemClock
from maia_sync.sandbox.faults import Fault
from maia_sync.sandbox.server import SandboxServer
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maia_sync.sandbox.world import World


@pytest.fixture
def folder(tmp_path: Path, migrated_sqlite: Path, one_authority: Path) -> CliFolder:
    """A folder with a migrated database; its API is set by each test."""
    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    folder = for_sandbox(tmp_path, "http://127.0.0.1:1", one_authority)
    folder.variables |= {"MAIA_SYNC_API__PAGE_SIZE": "50", "MAIA_SYNC_API__RETRIES": "5"}
    return folder


@pytest.fixture
def copy(folder: CliFolder) -> Copy:
    return Copy(f"sqlite:///{folder.path / 'maia_sync.db'}")


def served(folder: CliFolder, world: World) -> Iterator[SandboxServer]:
    with SandboxServer(world) as server:
        folder.variables["MAIA_SYNC_API__BASE_URL"] = server.url
        yield server


def listed(folder: CliFolder, *tasks: str) -> None:
    """Write the tasks file whole, as the README asks."""
    fresh = folder.path / "tasks.new"
    fresh.write_text("".join(f"{task}\n" for task in tasks), encoding="utf-8")
    fresh.replace(folder.path / "tasks.txt")


def stored(copy: Copy) -> int:
    return int(copy.one("SELECT count(*) FROM task_event"))


def test_a_postgresql_that_stops_and_starts_five_times_during_a_backfill_costs_nothing(
    folder: CliFolder,
) -> None:
    world = world_of_many(10, 2_000, latency=0.05)
    total = 10 * 2_000
    with OwnPostgresql() as postgresql:
        url = postgresql.url.replace("postgresql://", "postgresql+psycopg://", 1)
        database = Database(url=url, clock=SystemClock())
        upgrade(database)
        database.close()
        copy = Copy(postgresql.url)
        folder.variables["MAIA_SYNC_DATABASE__URL"] = url
        for server in served(folder, world):
            folder.ok("track", *world.logs)
            assert server.url
            with Daemon(folder, MAIA_SYNC_API__CONCURRENCY="4", MAIA_SYNC_LOG__LEVEL="debug") as daemon:
                for number in range(5):
                    goal = total * (number + 1) // 8
                    wait_until(lambda goal=goal: stored(copy) >= goal, f"{goal} events")  # type: ignore[misc]
                    assert stored(copy) < total
                    postgresql.stop("fast" if number % 2 else "immediate")
                    postgresql.start()
                wait_until(lambda: stored(copy) == total, "all events")
                wait_until(
                    lambda: copy.one("SELECT count(*) FROM task WHERE last_polled_at IS NULL") == 0, "end"
                )
                assert daemon.lines("database_lost")
                assert daemon.end()[0] == 143
            print(f"{world.tally.requests} requests for {total // 50} pages")
        for task, log in world.logs.items():
            assert_to_the_letter(copy, task, log.events)
        assert copy.one("SELECT count(*) FROM task_event_revision") == 0


HANGS = {
    "a plain backfill": None,
    "a stalled API": Fault(kind="stall", count=None, after=8),
    "a long Retry-After": Fault(kind="status", status=429, retry_after=300, count=None, after=8),
}


@pytest.mark.parametrize("hang", HANGS)
def test_sigterm_ends_it_within_ten_seconds_with_leases_free_whatever_hangs(
    folder: CliFolder, copy: Copy, hang: str
) -> None:
    world = world_of_many(4, 2_000, latency=0.02)
    fault = HANGS[hang]
    if fault is not None:
        world.faults.add(fault)
    for _ in served(folder, world):
        folder.ok("track", *world.logs)
        command = '["sleep", "60"]'
        with Daemon(folder, MAIA_SYNC_SCHEDULE__DISCOVERY_COMMAND=command) as daemon:
            wait_until(lambda: stored(copy) >= 100, "some events")
            code, seconds = daemon.end()
            print(f"ended after {seconds:.2f} s")
            assert (code, seconds < 10) == (143, True)
            assert "Traceback" not in daemon.said
            assert SECRET not in daemon.said
    assert copy.free_leases() == 0
    assert set(copy.ask("SELECT status FROM sync_run")) <= {("interrupted",), ("succeeded",)}
    world.faults.clear()
    for _ in served(folder, world):
        folder.ok("sync")
    for task, log in world.logs.items():
        assert_to_the_letter(copy, task, log.events)


def test_it_follows_its_tasks_file_reloads_and_keeps_what_was_good(folder: CliFolder, copy: Copy) -> None:
    world = world_of_many(3, 20)
    config = folder.path / "config.toml"
    config.write_text('[schedule]\ntasks_file = "tasks.txt"\n', encoding="utf-8")
    first, second, third = (task_id(number) for number in (1, 2, 3))
    listed(folder, first)
    for _ in served(folder, world):
        with Daemon(folder) as daemon:
            wait_until(lambda: stored(copy) == 20, "the first task is polled at once")
            listed(folder, second)
            daemon.send(signal.SIGHUP)
            daemon.wait_for("reloaded")
            wait_until(lambda: stored(copy) == 40, "the second task")
            assert copy.task(first)["status"] == "paused"
            assert copy.task(first)["paused_by"] == "source"
            config.write_text("[schedule]\ntasks_file = 5\n", encoding="utf-8")
            listed(folder, second, third)
            daemon.send(signal.SIGHUP)
            told = daemon.wait_for("reload_failed")
            assert "tasks_file" in told["message"]
            wait_until(lambda: stored(copy) == 60, "the third task, under the configuration that was good")
            code, _ = daemon.end(signal.SIGINT)
            assert code == 130
            assert daemon.lines("started")
            runs = daemon.lines("run_finished")
            assert len(runs) == copy.one("SELECT count(*) FROM sync_run")
            assert SECRET not in daemon.said


BETWEEN_TWO_LIVES = """
import signal, sys
from maia_sync.config import load_settings
from maia_sync.serving import Service
service = Service(load_settings)
service._end_life(signal.SIGHUP)
service._end_life(signal.SIGTERM)
sys.exit(service.run())
"""


def test_an_end_that_is_asked_for_between_two_lives_is_not_forgotten(folder: CliFolder) -> None:
    """As no signal can be aimed at that moment, what the signals do is done by hand."""
    done = subprocess.run(
        [sys.executable, "-c", BETWEEN_TWO_LIVES],
        cwd=folder.path,
        env={**folder.variables, "MAIA_SYNC_WEB__BIND": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 143, done.stderr
    assert "SIGTERM" in done.stderr


def test_refused_credentials_do_not_end_it_and_a_rotated_token_is_taken(
    folder: CliFolder, copy: Copy
) -> None:
    world = world_of_many(1, 20)
    world.faults.add(Fault(kind="status", status=401, count=3))
    token = folder.path / "token"
    token.write_text("worn-out-b7c1", encoding="utf-8")
    del folder.variables["MAIA_SYNC_AUTH__TOKEN"]
    folder.variables["MAIA_SYNC_AUTH__TOKEN_FILE"] = str(token)
    for _ in served(folder, world):
        folder.ok("track", TASK)
        with Daemon(folder) as daemon:
            told = daemon.wait_for("tick_failed")
            assert told["job"] == "poll"
            token.write_text("fresh-19ee", encoding="utf-8")
            wait_until(lambda: stored(copy) == 20, "all is copied after all")
            assert daemon.end()[0] == 143
            assert "worn-out-b7c1" not in daemon.said
    assert_to_the_letter(copy, TASK, events(20))


def test_systemd_hears_that_it_is_ready_alive_and_stopping(folder: CliFolder) -> None:
    world = world_of_many(1, 20)
    address = folder.path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(30)
        heard: list[str] = []

        def hear(word: str) -> None:
            while not any(word in each for each in heard):
                heard.append(systemd.recv(4096).decode())

        for _ in served(folder, world):
            folder.ok("track", TASK)
            with Daemon(folder, NOTIFY_SOCKET=str(address), WATCHDOG_USEC="20000000") as daemon:
                hear("READY=1")
                hear("WATCHDOG=1")
                hear("STATUS=Run ")
                daemon.send(signal.SIGHUP)
                hear("RELOADING=1")
                daemon.wait_for("reloaded")
                daemon.end()
                hear("STOPPING=1")


def test_a_start_that_cannot_be_is_told_in_one_sentence(tmp_path: Path, folder: CliFolder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = folder.run_apart("run", MAIA_SYNC_WEB__BIND=bind)
    assert (refused.code, refused.is_one_clear_sentence()) == (3, True), refused
    (tmp_path / "maia_sync.db").unlink()
    missing = folder.run_apart("run", MAIA_SYNC_WEB__BIND="127.0.0.1:0")
    assert (missing.code, missing.is_one_clear_sentence()) == (5, True), missing
