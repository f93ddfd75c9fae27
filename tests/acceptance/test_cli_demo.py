"""The demo tells the whole story, leaves its database behind, and replaces nothing but its own."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from cli_folder import CliFolder

from maia_sync.demo import is_from_demo

if TYPE_CHECKING:
    from pathlib import Path


def test_the_demo_tells_the_whole_story_and_marks_its_database(tmp_path: Path) -> None:
    folder = CliFolder(tmp_path)
    done = folder.ok_apart("demo")
    assert done.err == ""
    assert "6 requests, one a task" in done.out
    assert "Found both" in done.out
    assert "(edited)" in done.out
    assert ", 0 differences" in done.out
    assert done.out.count("SELECT") >= 4
    assert max(len(line) for line in done.out.splitlines()) <= 80
    connection = sqlite3.connect(tmp_path / "maia_sync_demo.db")
    (count,) = connection.execute("SELECT count(*) FROM task_event").fetchone()
    connection.close()
    assert count == 6 * 4030
    assert is_from_demo(tmp_path / "maia_sync_demo.db")


def test_the_demo_replaces_no_file_that_is_not_its_own(tmp_path: Path) -> None:
    folder = CliFolder(tmp_path)
    (tmp_path / "kept").mkdir()
    precious = tmp_path / "kept" / "maia_sync_demo.db"
    folder.ok("db", "upgrade")
    (tmp_path / "maia_sync.db").rename(precious)
    before = precious.read_bytes()
    done = folder.run("demo", "--keep", "kept")
    assert done.code == 2
    assert "was not made by the demo" in done.err
    assert precious.read_bytes() == before
