"""`maia-sync archive restore` from outside: what it says, its exit codes, and that nobody uses a part."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from cli_folder import CliFolder
from oracle import Copy
from restored_copy import assert_same
from told_story import task_ids

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND = task_ids(2)


def copy_of(folder: CliFolder, name: str) -> Copy:
    return Copy(f"sqlite:///{folder.path / name}")


def test_a_lost_database_comes_back_and_goes_on(folder: CliFolder) -> None:
    (folder.path / "maia_sync.db").rename(folder.path / "lost.db")
    told = folder.ok("archive", "restore").out
    assert "restored to sqlite:///maia_sync.db (100 event, " in told
    assert "no difference" in told
    assert "stores nothing twice" in told
    assert_same(copy_of(folder, "lost.db"), copy_of(folder, "maia_sync.db"))
    assert "No difference" in folder.ok("archive", "verify").out
    assert "Nothing new to archive" in folder.ok("archive", "create").out
    refused = folder.run("archive", "restore")
    assert (refused.code, refused.out) == (2, "")
    assert "has been restored from the archive of test.example/log already" in refused.err


def test_to_another_database_from_a_copy_of_the_archive_with_the_key_by_name(folder: CliFolder) -> None:
    key = folder.path / "archive.key.pub"
    there = CliFolder(folder.path)
    url = f"sqlite:///{folder.path}/another.db"
    report = there.ok("archive", "restore", "archive", "--key", str(key), "--database", url, "--json").json()
    assert (report["completed"], report["entries"]["event"], report["finding_count"]) == (True, 100, 0)
    assert report["restored"] == report["size"]
    assert_same(copy_of(folder, "maia_sync.db"), copy_of(folder, "another.db"))
    wrong = there.run(
        "archive", "restore", "archive", "--key", str(key), "--database", "mysql://x:secret@y/z"
    )
    assert wrong.code == 2
    assert "--database: expected sqlite:///<file>" in wrong.err
    assert "secret" not in wrong.err


def test_a_database_that_holds_anything_is_refused_and_left_alone(folder: CliFolder) -> None:
    before = (folder.path / "maia_sync.db").read_bytes()
    refused = folder.run("archive", "restore")
    assert refused.code == 2
    assert "is not empty (" in refused.err
    assert (folder.path / "maia_sync.db").read_bytes() == before


def test_an_altered_archive_ends_it_with_7_and_nothing_uses_what_there_is(folder: CliFolder) -> None:
    segment = next((folder.path / "archive" / "data").rglob("*.parquet"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-9] + b"x" + whole[-8:])
    url = ("--database", f"sqlite:///{folder.path}/another.db")
    ended = folder.run("archive", "restore", *url)
    assert ended.code == 7
    assert "the database stays unfinished" in ended.out
    assert segment.name in ended.out
    other = CliFolder(folder.path, MAIA_SYNC_DATABASE__URL=url[1])
    for verb in (("status",), ("sync",), ("events", FIRST), ("archive", "create"), ("db", "check")):
        unfinished = other.run(*verb)
        assert unfinished.code == 5, verb
        assert "is being restored from an archive" in unfinished.err
    segment.write_bytes(whole)
    assert "no difference" in folder.ok("archive", "restore", *url).out
    other.ok("status")


def test_without_an_archive_nothing_is_made(folder: CliFolder) -> None:
    (folder.path / "empty").mkdir()
    url = ("--database", f"sqlite:///{folder.path}/another.db")
    refused = folder.run("archive", "restore", "empty", *url)
    assert refused.code == 1
    assert "there is no archive" in refused.err
    assert not (folder.path / "another.db").exists() or not tables(folder.path / "another.db")


def tables(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.execute("SELECT name FROM sqlite_master"))
