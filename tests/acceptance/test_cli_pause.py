"""What a person says about a task, by track, pause, resume and untrack, and how `tasks` shows it."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from cli_folder import CliFolder
from logs import task_id

from maia_sync.clock import SystemClock
from maia_sync.store.database import Database
from maia_sync.store.sources import apply_difference, read_difference

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = task_id(1), task_id(2), task_id(3)


@pytest.fixture
def folder(tmp_path: Path, migrated_sqlite: Path) -> CliFolder:
    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    return CliFolder(tmp_path)


def list_in_file(folder: CliFolder, *task_ids: str) -> None:
    """As the daemon does when its tasks file lists these."""
    url = f"sqlite:///{folder.path / 'maia_sync.db'}"
    with closing(Database(url=url, clock=SystemClock())) as database, database.transaction() as tx:
        named = [(each, "from a file") for each in task_ids]
        apply_difference(tx, read_difference(tx, "tasks_file", named, complete=True))


def tasks(folder: CliFolder, *options: str) -> dict[str, Any]:
    return {task["task_id"]: task for task in folder.ok("tasks", "--json", *options).json()}


def test_a_tracked_task_is_due_at_once_and_a_paused_one_never(folder: CliFolder) -> None:
    folder.ok("track", A, B)
    folder.ok("pause", A)
    paused, active = tasks(folder)[A], tasks(folder)[B]
    assert (paused["status"], paused["paused_by"], paused["next_poll_at"]) == ("paused", "hand", None)
    assert (active["status"], active["paused_by"], active["sources"]) == ("active", None, ["hand"])
    assert active["next_poll_at"] == active["tracked_at"]
    folder.ok("resume", A)
    resumed = tasks(folder)[A]
    assert (resumed["status"], resumed["paused_by"], resumed["poll_interval"]) == ("active", None, 0.0)
    assert resumed["next_poll_at"] > active["next_poll_at"]


def test_an_untracked_task_is_left_alone_until_it_is_tracked_again(folder: CliFolder) -> None:
    folder.ok("track", A, "--label", "mine")
    folder.ok("untrack", A)
    assert tasks(folder) == {}
    untracked = tasks(folder, "--status", "untracked")[A]
    assert (untracked["next_poll_at"], untracked["sources"]) == (None, [])
    assert "1 new" in folder.ok("track", A).out
    tracked = tasks(folder)[A]
    assert (tracked["status"], tracked["label"], tracked["sources"]) == ("active", "mine", ["hand"])


def test_what_a_source_lists_can_be_paused_untracked_and_resumed_by_hand(folder: CliFolder) -> None:
    list_in_file(folder, A, B, C)
    folder.ok("pause", A)
    folder.ok("untrack", B)
    list_in_file(folder, C)
    list_in_file(folder, A, B)
    now = tasks(folder)
    assert B not in now
    assert {each: now[each]["paused_by"] for each in now} == {A: "hand", C: "source"}
    folder.ok("resume", A, C)
    list_in_file(folder, A)
    assert {each["status"] for each in tasks(folder).values()} == {"active"}
    assert tasks(folder)[C]["sources"] == ["hand"]


def test_the_list_shows_who_paused_a_task_and_who_else_tracks_it(folder: CliFolder) -> None:
    list_in_file(folder, A, B)
    folder.ok("track", B, C)
    folder.ok("pause", C)
    list_in_file(folder, B)
    _, _, *lines = folder.ok("tasks").out.splitlines()
    shown = {line.split()[0]: line for line in lines}
    assert "paused by source" in shown[A]
    assert shown[B].endswith("hand, tasks_file")
    assert "paused by hand" in shown[C]
    assert "from a file" in shown[A]


def test_a_file_may_hold_json_lines_as_commands_print_them(folder: CliFolder) -> None:
    lines = [json.dumps({"id": A, "label": "one", "state": "running"}), json.dumps(B), f"{C} three"]
    folder.ok("track", "--from-file", "-", stdin="\n".join(lines))
    assert {each: task["label"] for each, task in tasks(folder).items()} == {A: "one", B: None, C: "three"}


def test_a_bad_line_is_shown_cut_and_harmless(folder: CliFolder) -> None:
    done = folder.run("track", "--from-file", "-", stdin=f"{A}\n\x1b[2J{'x' * 10_000}\n")
    assert done.code == 2
    assert done.is_one_clear_sentence(), done
    assert "line 2" in done.err
    assert "\x1b" not in done.err
    assert len(done.err) < 200
    assert tasks(folder) == {}
