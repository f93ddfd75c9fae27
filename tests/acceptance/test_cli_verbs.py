"""The main promise of each verb, seen from outside: the real command, a real server.

The last test runs every verb that needs a database in a process of its own.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cli_folder import CliFolder, for_sandbox, tracked_copy

from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world, more_events
from maia_sync.sandbox.world import Log, World
from maia_sync.store.schema import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ODD = "11111111-2222-4333-8444-555555555555"
EVIL = '{"text":"\\u001b[2J \u202eevil\u009b"}'.encode()
ODDITIES = (
    rb'{"data":{"type":"note","text":"\ud800 alone"},"groupId":"g","timestamp":"2026-01-01T00:00:00Z"}',
    b'{"data":1e400,"groupId":"g","timestamp":"2026-01-01T00:00:01Z"}',
    b'{"data":{"a":1,"a":2.50,"b" : "x"},"groupId":"g","timestamp":"2026-01-01T00:00:02Z","new":[1, 2]}',
    b'{"data":null,"groupId":"g","timestamp":"2026-01-01T00:00:03Z"}',
    b'{"groupId":"g","timestamp":"2026-01-01T00:00:04Z"}',
    b'{"data":%b,"groupId":"g","timestamp":"2026-01-01T00:00:05Z"}' % EVIL,
)
ODD_DATA = [
    rb'{"type":"note","text":"\ud800 alone"}',
    b"1e400",
    b'{"a":1,"a":2.50,"b" : "x"}',
    b"null",
    EVIL,
]


@pytest.fixture
def world() -> World:
    return make_odd_world()


def make_odd_world() -> World:
    world = make_world(seed=5, tasks=2, events_per_task=60)
    world.add(Log(ODD, ODDITIES))
    return world


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Path:
    """A database in which the world's tasks are tracked, made once: each test has a copy."""
    return tracked_copy(migrated_sqlite, tmp_path_factory.mktemp("tracked"), make_odd_world().logs)


@pytest.fixture
def folder(tmp_path: Path, world: World, tracked: Path, one_authority: Path) -> Iterator[CliFolder]:
    shutil.copy(tracked, tmp_path)
    with SandboxServer(world) as server:
        yield for_sandbox(tmp_path, server.url, one_authority)


def test_init_writes_what_is_missing_and_keeps_what_is_there(tmp_path: Path) -> None:
    folder = CliFolder(tmp_path)
    first = folder.ok_apart("init")
    assert "Wrote the configuration" in first.out
    assert "maia-sync track" in first.out
    assert "maia-sync sync" in first.out
    assert folder.ok("db", "check").err == ""
    (tmp_path / "config.toml").write_text("# mine\n")
    assert "Kept the configuration" in folder.ok("init").out
    assert (tmp_path / "config.toml").read_text() == "# mine\n"


def test_current_prints_the_revision_alone(folder: CliFolder) -> None:
    assert folder.ok("db", "current").out == f"{HEAD}\n"


def test_any_spelling_of_a_uuid_names_the_same_task(folder: CliFolder) -> None:
    folder.ok("track", ODD.upper(), f"{{{ODD}}}", ODD.replace("-", ""), f"urn:uuid:{ODD}")
    assert sum(task["task_id"] == ODD for task in folder.ok("tasks", "--json").json()) == 1


def test_a_file_of_tasks_gives_labels(folder: CliFolder) -> None:
    content = f"\ufeff# ours\n\n{ODD}\tthe odd one\r\n22222222-2222-4333-8444-555555555555\n"
    folder.ok("track", "--label", "other", "--from-file", "-", stdin=content)
    labels = {task["task_id"]: task["label"] for task in folder.ok("tasks", "--json").json()}
    assert labels[ODD] == "the odd one"
    assert labels["22222222-2222-4333-8444-555555555555"] == "other"


def test_paused_and_untracked_tasks_are_left_out_of_a_sync(folder: CliFolder, world: World) -> None:
    first, second, _ = world.logs
    folder.ok("pause", first)
    folder.ok("untrack", second)
    assert folder.ok("sync", "--json").json()["tasks"] == 1
    assert folder.ok("sync", "--task", first, "--json").json()["new"] == 60
    folder.ok("resume", first)
    assert {task["status"] for task in folder.ok("tasks", "--json").json()} == {"active"}
    assert [task["task_id"] for task in folder.ok("tasks", "--status", "untracked", "--json").json()] == [
        second
    ]


def test_sync_reports_in_words_and_as_one_json_document(folder: CliFolder, world: World) -> None:
    report = folder.ok("sync", "--json").json()
    assert (report["status"], report["new"], report["failed"]) == ("succeeded", 126, 0)
    more_events(next(iter(world.logs.values())), 7)
    done = folder.ok("sync")
    assert "7 new" in done.out
    assert "3 requests" in done.out


def test_a_task_that_fails_is_named_and_does_not_stop_the_others(folder: CliFolder, world: World) -> None:
    missing = "33333333-2222-4333-8444-555555555555"
    folder.ok("track", missing)
    done = folder.run("sync")
    assert done.code == 1
    assert missing in done.out
    assert "126 new" in done.out
    standing = folder.ok("status", "--json").json()
    assert standing["totals"]["events"] == 126
    assert [task["task_id"] for task in standing["tasks"] if task["last_error"]] == [missing]
    assert len(world.logs) == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_sync_keeps_whole_pages_and_goes_on_next_time(
    folder: CliFolder, world: World, number: signal.Signals, code: int
) -> None:
    log = next(iter(world.logs.values()))
    more_events(log, 940)
    folder.variables["MAIA_SYNC_API__PAGE_SIZE"] = "10"
    world.latency = 0.05
    process = folder.start("sync", "--json", "--task", log.task_id)
    assert process.stderr is not None
    try:
        assert "Reading 1 task" in process.stderr.readline()
        process.send_signal(number)
        out, complaints = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    report = json.loads(out)
    assert process.returncode == code, complaints
    assert (report["status"], report["interrupted_by"], report["failed"]) == ("interrupted", number, 0)
    assert "Traceback" not in complaints
    world.latency = 0.0
    assert report["new"] + folder.ok("sync", "--json", "--task", log.task_id).json()["new"] == 1000


def test_verify_tells_a_true_copy_from_an_untrue_one(folder: CliFolder, world: World) -> None:
    folder.ok("sync")
    assert folder.ok("verify", "--json").json()["difference_count"] == 0
    log = next(iter(world.logs.values()))
    log.replace(5, log.events[5].replace(b'"data":{', b'"data":{"edited":true,', 1))
    done = folder.run("verify", "--json")
    assert done.code == 7
    assert done.json()["difference_count"] >= 1
    told = folder.run_apart("verify")
    assert told.code == 7
    assert log.task_id in told.out


def test_status_check_fails_only_where_a_task_is_stale(folder: CliFolder) -> None:
    folder.ok("sync")
    folder.ok("status", "--check", "--max-lag", "1h")
    stale = folder.run("status", "--check", "--max-lag", "1ms")
    assert stale.code == 1
    assert "Stale" in stale.err
    assert folder.run("status", "--max-lag", "1ms").code == 0


def test_raw_events_are_the_stored_text_to_the_letter(folder: CliFolder) -> None:
    folder.ok("sync")
    done = subprocess.run(
        [sys.executable, "-m", "maia_sync", "events", ODD, "--raw"],
        cwd=folder.path,
        env=folder.variables,
        capture_output=True,
        check=True,
    )
    assert done.stdout.split(b"\n") == [*ODD_DATA, b""]


def test_json_events_hold_payloads_to_the_letter(folder: CliFolder) -> None:
    folder.ok("sync")
    done = folder.ok("events", ODD, "--json")
    for data in ODD_DATA:
        assert f'"data": {data.decode()}' in done.out
    events = done.json()
    assert ["data" in event for event in events] == [True, True, True, True, False, True]
    assert events[2]["extra"] == {"new": [1, 2]}
    assert {"seq", "digest", "revision", "first_seen_at", "vanished_at", "timestamp_text"} <= set(events[0])


def test_event_lines_show_control_characters_instead_of_obeying_them(folder: CliFolder) -> None:
    folder.ok("sync")
    folder.ok("track", "--label", "\x1b[31mred\u202e", ODD)
    for shown in (folder.ok("events", ODD).out, folder.ok("tasks").out, folder.ok("status").out):
        assert not {"\x1b", "\u202e", "\u009b"} & set(shown)
        assert "\\u001b[" in shown


def test_limit_shows_the_newest_events_oldest_first(folder: CliFolder, world: World) -> None:
    folder.ok("sync")
    log = next(iter(world.logs.values()))
    newest = [json.loads(event)["data"] for event in log.events[-3:]]
    shown = folder.ok("events", log.task_id, "--raw", "--limit", "3").out.splitlines()
    assert [json.loads(line) for line in shown] == newest


def test_vanished_events_are_marked_and_left_out_of_raw(folder: CliFolder, world: World) -> None:
    folder.ok("sync")
    log = next(iter(world.logs.values()))
    log.remove(10)
    report = folder.ok("sync", "--full", "--json").json()
    assert report["vanished"] == 1
    assert folder.ok("events", log.task_id).out.count("[vanished]") == 1
    assert len(folder.ok("events", log.task_id, "--raw").out.splitlines()) == 59
    assert len(folder.ok("events", log.task_id, "--raw", "--all").out.splitlines()) == 60


def test_follow_prints_what_later_runs_bring_until_interrupted(folder: CliFolder, world: World) -> None:
    folder.ok("sync")
    log = next(iter(world.logs.values()))
    process = folder.start("events", log.task_id, "--raw", "--follow", "--limit", "1")
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline()) == json.loads(log.events[-1])["data"]
        log.insert(5, b'{"data":"late","groupId":"late","timestamp":"2026-01-01T00:00:00Z"}')
        log.append(b'{"data":"last","groupId":"last","timestamp":"2027-01-01T00:00:00Z"}')
        folder.ok("sync", "--full")
        seen = {process.stdout.readline(), process.stdout.readline()}
        assert seen == {'"late"\n', '"last"\n'}
        process.send_signal(signal.SIGINT)
        rest, complaint = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, rest, complaint) == (130, "", "")


def test_a_reader_that_leaves_early_ends_the_listing_quietly(folder: CliFolder, world: World) -> None:
    folder.ok("sync")
    process = folder.start("events", next(iter(world.logs)), "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=20) == 141
    process.stderr.close()


def test_the_sandbox_serves_tasks_that_can_be_synced_as_it_says(tmp_path: Path) -> None:
    folder = CliFolder(tmp_path)
    process = folder.start("sandbox", "--port", "0", "--tasks", "2", "--events", "30")
    assert process.stdout is not None
    try:
        lines = []
        while not any(line.startswith("Any bearer") for line in lines):
            lines.append(process.stdout.readline())
        task_ids = [process.stdout.readline() for _ in range(3)][1:]
        exports = [line.split("export ")[1].strip().partition("=") for line in lines if "export " in line]
        folder.variables |= {name: value for name, _, value in exports}
        assert set(folder.variables) >= {"MAIA_SYNC_API__BASE_URL", "MAIA_SYNC_AUTH__TOKEN"}
        folder.ok("init")
        folder.ok("track", "--from-file", "-", stdin="".join(task_ids))
        assert "60 new" in folder.ok("sync").out
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130


def test_every_verb_that_needs_a_database_works_on_postgresql(
    tmp_path: Path, world: World, one_authority: Path, new_postgresql_database: Callable[[], str]
) -> None:
    with SandboxServer(world) as server:
        folder = for_sandbox(tmp_path, server.url, one_authority)
        folder.variables["MAIA_SYNC_DATABASE__URL"] = new_postgresql_database()
        folder.ok_apart("db", "upgrade")
        folder.ok_apart("db", "check")
        folder.ok_apart("track", *world.logs)
        folder.ok_apart("pause", ODD)
        folder.ok_apart("resume", ODD)
        folder.ok_apart("untrack", ODD)
        folder.ok("track", ODD)
        assert folder.ok_apart("sync", "--json").json()["new"] == 126
        assert sum(task["events"] for task in folder.ok_apart("tasks", "--json").json()) == 126
        assert folder.ok_apart("status", "--json").json()["totals"]["events"] == 126
        assert folder.ok_apart("events", ODD, "--raw", "--limit", "3").out.encode().count(b"\n") == 2
        assert folder.ok_apart("query", "SELECT count(*) AS n FROM v_event", "--json").json() == [{"n": 126}]
        folder.ok_apart("facets", "rebuild")
        assert folder.ok_apart("verify", "--json").json()["difference_count"] == 0
        assert {finding["level"] for finding in folder.ok_apart("doctor", "--json").json()} == {
            "ok",
            "warning",
        }
