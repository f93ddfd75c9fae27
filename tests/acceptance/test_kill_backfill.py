"""P5: does `kill -9` at any moment cost no more than the pages in hand, and never an event?"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from killable import Forge
from logs import TASK, event, events, task_id, world_of, world_of_many
from oracle import Copy, assert_equal_as_set, assert_sound, assert_to_the_letter

from maia_sync.sandbox.world import Log, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Staging = Callable[..., Any]

KILLS = 20


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge() as forge:
        yield forge


@pytest.fixture
def child_environ(
    environ_for: Callable[..., dict[str, str]], database_url: str
) -> Callable[..., dict[str, str]]:
    def child_environ(stage: Any, **settings: object) -> dict[str, str]:
        return environ_for(stage.server.url, database_url, **settings)

    return child_environ


def refetched(world: World) -> dict[str, int]:
    """Return how often a page of each task was served again."""
    return {task: sum(pages.values()) - len(pages) for task, pages in world.tally.pages.items()}


def assert_whole_pages(copy: Copy, world: World, size: int) -> int:
    """Whole pages and the checkpoint behind them, or nothing at all; returns the number of rows."""
    total = 0
    stored = dict(copy.ask("SELECT CAST(task_id AS TEXT), count(*) FROM task_event GROUP BY task_id"))
    found = copy.ask("SELECT CAST(task_id AS TEXT), page_token, end_reached_at FROM checkpoint")
    checkpoints = {task: (token, ended) for task, token, ended in found}
    assert checkpoints.keys() == stored.keys()
    for task, rows in stored.items():
        total += rows
        assert rows % size == 0 or rows == len(world.logs[task]), f"half a page of {task}: {rows} rows"
        token, ended = checkpoints[task]
        if ended is None:
            assert token == world.token_at(task, rows)
    return total


def test_p5_twenty_kills_of_a_backfill_lose_nothing_double_nothing_and_cost_two_pages_a_task_at_most(
    stage_for: Staging, forge: Forge, child_environ: Callable[..., dict[str, str]]
) -> None:
    seed = int(os.environ.get("MAIA_SYNC_TEST_SEED") or random.SystemRandom().randrange(10**9))
    print(f"seed {seed}")
    dice = random.Random(seed)
    tasks, length, size = 4, 1600, 20
    world = world_of_many(tasks, length)
    stage = stage_for(world, api__page_size=size)
    environ = child_environ(stage, api__page_size=size, api__concurrency=tasks)
    kills, costliest, before = 0, 0, dict.fromkeys(world.logs, 0)
    while kills < KILLS:
        life = forge.start(environ)
        assert life.wait_for_pages(dice.randrange(1, 9)), f"the backfill ended after {kills} kills"
        time.sleep(dice.random() * 0.004)  # a random moment, not a signal that could be waited for
        life.send(signal.SIGKILL)
        life.end()
        assert life.status == -signal.SIGKILL
        stage.copy.free_leases()
        assert 0 < assert_whole_pages(stage.copy, world, size) < tasks * length
        kills += 1
        after = refetched(world)
        costliest = max([costliest, *(after.get(task, 0) - before[task] for task in world.logs)])
        before = {task: after.get(task, 0) for task in world.logs}
    (report,) = forge.start(environ).end()
    assert (report["status"], report["held"]) == ("succeeded", 0)
    again, served = refetched(world), world.tally.as_json()["pages"]
    print(f"{kills} kills; pages fetched again, by task: {again}; most by one kill and task: {costliest}")
    print(f"requests by task: {dict(world.tally.by_task)}; pages of each log: {length // size}")
    assert max(again.values()) <= 2 * kills
    for task in world.logs:
        assert len(served[task]) == length // size
        assert_to_the_letter(stage.copy, task, events(length))
    assert stage.copy.one("SELECT count(*) FROM task_event_revision") == 0
    assert stage.sync_well().new == 0


def edited_world(length: int) -> tuple[World, int]:
    """Return a world to be copied first and then edited by `edit`; the second value is how many vanish."""
    return world_of([event(2 * number) for number in range(length)]), 3


def edit(world: World) -> None:
    log = world.logs[TASK]
    for at in (25, 90, 130, 185):
        log.replace(at, event(2 * at, "changed"))
    log.remove(150, 3)
    log.insert(110, event(2 * 110 - 1), event(2 * 110 - 1, "beside it"))
    log.append(event(3000))


@pytest.mark.parametrize("moment", ["mid-page", "after the commit"])
def test_p5_a_ten_page_reconcile_killed_on_each_page_completes_and_marks_what_vanished(
    stage_for: Staging, forge: Forge, child_environ: Callable[..., dict[str, str]], moment: str
) -> None:
    world, vanishing = edited_world(200)
    stage = stage_for(world, api__page_size=20)
    stage.sync_well()
    edit(world)
    environ = child_environ(stage, api__page_size=20)
    world.reset_counters()
    kills = 0
    for page in range(10):
        if moment == "mid-page":
            before = stage.copy.log(TASK), stage.copy.revisions(TASK)
            life = forge.start(environ, {"full": True}, die_before=["UPDATE checkpoint", 1])
            life.end()
            assert life.status == -signal.SIGKILL
            stage.copy.free_leases()
            kills += 1
            assert (stage.copy.log(TASK), stage.copy.revisions(TASK)) == before
            token = stage.copy.one("SELECT reconcile_token FROM checkpoint")
            assert token == (world.token_at(TASK, 20 * page) if page else None)
        life = forge.start(environ, {"full": True}, die_after_pages=1)
        life.end()
        assert life.status == -signal.SIGKILL
        stage.copy.free_leases()
        if moment != "mid-page":
            kills += 1
        assert_sound(stage.copy, TASK)
    pages = world.tally.as_json()["pages"][TASK]
    print(f"{moment}: {kills} kills, {world.tally.requests} requests for 10 pages: {sorted(pages.values())}")
    assert len(pages) == 10
    lives = 20 if moment == "mid-page" else 10
    assert refetched(world)[TASK] <= 2 * lives
    assert stage.copy.checkpoint(TASK)["reconciled_at"] is not None
    assert_equal_as_set(stage.copy, TASK, world.logs[TASK].events)
    assert sum(row.vanished_at is not None for row in stage.copy.log(TASK)) == vanishing
    assert [row.revision for row in stage.copy.log(TASK) if row.revision] == [1] * 4
    assert stage.sync_well().new == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_p5_a_kill_before_any_statement_or_commit_leaves_whole_pages_and_what_follows_completes(
    stage_for: Staging, forge: Forge, child_environ: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """A small reconcile with changes, vanishings, insertions and growth, killed at each step of its own."""
    world = world_of([event(2 * number) for number in range(20)])
    stage = stage_for(world, api__page_size=15)
    stage.sync_well()
    stage.app.close()
    file = Path(stage.copy.url.removeprefix("sqlite:///"))
    kept = tmp_path / "kept.db"
    stage.copy.ask("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(file, kept)
    log = world.logs[TASK]
    log.replace(4, event(8, "changed"))
    log.remove(17)
    log.insert(12, event(23))
    log.append(event(3000), b"null", b"{}")
    environ = child_environ(stage, api__page_size=15)
    outcomes = set()
    for step in range(1, 200):
        for suffix in ("-wal", "-shm"):
            Path(f"{file}{suffix}").unlink(missing_ok=True)
        shutil.copyfile(kept, file)
        life = forge.start(environ, {"full": True}, die_at=step)
        life.end()
        if life.status == 0:
            break
        assert life.status == -signal.SIGKILL
        stage.copy.free_leases()
        rows = len(stage.copy.log(TASK))
        outcomes.add(rows)
        assert rows in (20, 21, 23), f"half a page after the kill at step {step}"
        assert_sound(stage.copy, TASK)
        with stage.open_another() as app:
            assert app.sync(full=True).status == "succeeded"
        assert_equal_as_set(stage.copy, TASK, log.events)
        assert len(stage.copy.log(TASK)) == 23
        assert stage.copy.quarantined(TASK) == [b"null"]
        assert [row.revision for row in stage.copy.log(TASK) if row.revision] == [1]
    assert step > 20
    assert outcomes == {20, 21, 23}
    print(f"killed at each of {step - 1} statements and commits")


@pytest.mark.parametrize(("number", "full"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_p5_a_signal_ends_the_run_with_whole_pages_and_free_leases(
    stage_for: Staging,
    forge: Forge,
    child_environ: Callable[..., dict[str, str]],
    number: signal.Signals,
    full: bool,
) -> None:
    world = world_of_many(8, 400)
    stage = stage_for(world, api__page_size=10)
    environ = child_environ(stage, api__page_size=10, api__concurrency=4)
    for pages in (0, 1, 40):
        world.latency = 0.0 if pages else 0.1
        life = forge.start(environ, {"full": full})
        assert life.wait_for_pages(pages) if pages else _wait_for_a_run(stage.copy)
        life.send(number)
        (report,) = life.end()
        assert (report["status"], report["interrupted_by"]) == ("interrupted", number)
        assert stage.copy.free_leases() == 0
        assert stage.copy.ask("SELECT status FROM sync_run ORDER BY id DESC LIMIT 1") == [("interrupted",)]
        assert_whole_pages(stage.copy, world, 10)
    (report,) = forge.start(environ, {"full": full}).end()
    assert (report["status"], report["held"]) == ("succeeded", 0)
    for task in world.logs:
        assert_to_the_letter(stage.copy, task, events(400))


def test_p5_a_signal_amid_many_short_tasks_leaves_no_lease_behind(
    stage_for: Staging, forge: Forge, child_environ: Callable[..., dict[str, str]]
) -> None:
    world = world_of_many(400, 3)  # so that many are left when the group with the page is told
    stage = stage_for(world)
    for pages in (2, 11, 23, 38, 50):
        life = forge.start(child_environ(stage))
        assert life.wait_for_pages(pages)
        life.send(signal.SIGTERM)
        (report,) = life.end()
        assert report["status"] in ("interrupted", "succeeded")
        assert stage.copy.free_leases() == 0
    stage.sync_well()
    assert stage.copy.one("SELECT count(*) FROM task_event") == 400 * 3


def _wait_for_a_run(copy: Copy) -> bool:
    """Return once the child has opened its run, and so listens to signals."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if copy.one("SELECT count(*) FROM sync_run WHERE status = 'running'"):
            return True
        time.sleep(0.001)
    return False


def test_p5_the_lease_of_a_killed_worker_is_respected_until_it_expires(
    stage_for: Staging, forge: Forge, child_environ: Callable[..., dict[str, str]]
) -> None:
    stage = stage_for(world_of(events(50)), api__page_size=10)
    life = forge.start(child_environ(stage, api__page_size=10), die_after_pages=2)
    life.end()
    owner = stage.copy.task(TASK)["lease_owner"]
    assert owner is not None
    report = stage.sync()
    assert (report.held, report.requests) == ((TASK,), 0)
    stage.copy.ask("UPDATE task SET lease_expires_at = '2020-01-01 00:00:00'")  # a minute later
    assert stage.sync_well().new == 30
    assert_to_the_letter(stage.copy, TASK, events(50))


def test_p2_two_processes_at_once_share_the_tasks(
    stage_for: Staging, forge: Forge, child_environ: Callable[..., dict[str, str]]
) -> None:
    world = world_of_many(12, 60, latency=0.002)
    stage = stage_for(world, api__page_size=10, api__concurrency=3)
    environ = child_environ(stage, api__page_size=10, api__concurrency=3)
    life = forge.start(environ)
    here = stage.app.sync()
    (there,) = life.end()
    assert (here.status, there["status"]) == ("succeeded", "succeeded")
    assert here.new + there["new"] == 12 * 60
    for task in world.logs:
        assert_to_the_letter(stage.copy, task, events(60))


def test_p8_memory_does_not_grow_with_the_log_nor_with_the_number_of_tasks(
    stage_for: Staging, forge: Forge, child_environ: Callable[..., dict[str, str]]
) -> None:
    short, long = task_id(1), task_id(2)
    world = world_of_many(2, 0)
    world.logs[short].extend(event(number, "x" * 300) for number in range(5_000))
    world.logs[long].extend(event(number, "x" * 300) for number in range(40_000))
    many = [task_id(number) for number in range(10, 210)]
    for task in many:
        world.add(Log(task, events(2)))
    stage = stage_for(world)
    environ = child_environ(stage)
    runs = [
        {"task_ids": [short]},
        {"task_ids": [long]},
        {"task_ids": [long], "full": True},
        {"task_ids": many},
    ]
    reports = forge.start(environ, *runs).end()
    assert [report["new"] for report in reports] == [5_000, 40_000, 0, 400]
    peaks = [report["peak_kb"] / 1024 for report in reports]
    print("peak memory in MB after a short log, one eight times as long, its reconcile, 200 tasks:", peaks)
    assert peaks[-1] - peaks[0] < 8
