"""`maia-sync archive keygen`, `create` and `list` from outside."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cli_folder import CliFolder
from pyarrow import dataset
from told_story import open_writing, store_elements, store_story, task_ids

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "test.example/maia-sync"
KEEP = """
import os, pathlib, sys
text = sys.stdin.read()
pathlib.Path("kept-" + os.environ["MAIA_SYNC_CHECKPOINT_SIZE"]).write_text(text)
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Path:
    """A database with two tasks of 50 events."""
    path = tmp_path_factory.mktemp("stored") / "copy.db"
    shutil.copyfile(migrated_sqlite, path)
    with closing(open_writing(f"sqlite:///{path}")) as database:
        store_story(database, tasks=2, events=50)
    return path


@pytest.fixture
def folder(tmp_path: Path, stored: Path) -> CliFolder:
    shutil.copyfile(stored, tmp_path / "maia_sync.db")
    return CliFolder(tmp_path, MAIA_SYNC_ARCHIVE__URL="archive", MAIA_SYNC_ARCHIVE__KEY_FILE="archive.key")


def add_task(folder: CliFolder, number: int) -> None:
    element = b'{"data":{"n":1},"groupId":"g","timestamp":"2026-01-07T08:00:00Z"}'
    with closing(open_writing(f"sqlite:///{folder.path / 'maia_sync.db'}")) as database:
        store_elements(database, task_ids(number)[-1], [element])


def test_keygen_makes_two_files_says_where_and_never_overwrites(folder: CliFolder) -> None:
    made = folder.ok("archive", "keygen", "--name", ORIGIN)
    private, public = folder.path / "archive.key", folder.path / "archive.key.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert public.read_text().startswith(f"{ORIGIN}+")
    told = " ".join(made.out.split())
    for needed in ("archive.key", "archive.key.pub", public.read_text().strip(), "apart from the archive"):
        assert needed in told
    assert "nobody who runs this machine can change it" in told
    assert "without it the log cannot go on" in told
    assert "Then set" not in told
    assert "for good" not in told
    assert private.read_text().split("\n")[0] == f"maia-sync archive key of {ORIGIN}"
    assert private.read_text().split("\n")[2] not in made.out
    before = private.read_bytes()
    again = folder.run("archive", "keygen")
    assert (again.code, again.is_one_clear_sentence()) == (2, True)
    assert private.read_bytes() == before
    other = folder.ok("archive", "keygen", "-o", "other.key")
    assert f"archive.key_file to {folder.path / 'other.key'}" in other.out
    assert "/maia-sync for good" in other.out
    (folder.path / "other.key.pub").unlink()
    lost = folder.ok("archive", "keygen", "--from-key", "other.key")
    assert lost.out == (folder.path / "other.key.pub").read_text()
    assert "other.key.pub" in lost.err
    assert folder.ok("archive", "keygen", "--from-key", "other.key") == (0, lost.out, "")
    unset = CliFolder(folder.path).ok("archive", "keygen", "-o", "fourth.key")
    assert "archive.url to the folder or URL" in unset.out
    for odd in ([".", "--name", "x"], ["archive/x.key"], ["y.key", "--from-key", "other.key"]):
        refused = folder.run("archive", "keygen", "--output", *odd)
        assert (refused.code, refused.is_one_clear_sentence()) == (2, True)
    assert "/maia-sync+" in (folder.path / "other.key.pub").read_text()
    named = folder.run("archive", "keygen", "-o", "third.key", "--name", "two words")
    assert (named.code, named.is_one_clear_sentence()) == (2, True)
    assert not (folder.path / "third.key").exists()


def test_create_tells_what_is_new_and_list_what_there_is(folder: CliFolder) -> None:
    folder.ok_apart("archive", "keygen", "--name", ORIGIN)
    empty = folder.run("archive", "list")
    assert (empty.code, empty.is_one_clear_sentence()) == (1, True)
    assert f"{folder.path / 'archive'}: there is no archive" in empty.err
    first = folder.ok_apart("archive", "create")
    lines = first.out.splitlines()
    assert lines[0] == "2 tasks archived from now on"
    assert "new records (" in lines[1]
    assert f"The log of {ORIGIN} has grown from 0 to" in first.out
    assert "Anchored: no, neither archive.anchor_command nor archive.anchor_url is set" in first.out
    assert first.err == ""
    again = folder.ok("archive", "create")
    assert "Nothing new to archive" in again.out
    add_task(folder, 3)
    second = folder.ok("archive", "create", "--json").json()
    assert second["entries"] == {"event": 1, "task": 1}
    assert (second["checkpoints"], second["interrupted_by"]) == (1, None)
    assert second["size_after"] == second["size_before"] + 3
    assert second["checkpoint"] == (folder.path / "archive" / "checkpoint").read_text()
    table = dataset.dataset(folder.path / "archive" / "data", partitioning="hive").to_table()
    assert table.num_rows == 101
    assert {str(day) for day in table["date"].to_pylist()} >= {"2026-01-05", "2026-01-07"}
    listed = folder.ok("archive", "list")
    assert f"{second['size_after']:,} entries" in listed.out
    assert second["checkpoint"].split("\n")[2] in listed.out
    assert "2026-01-07" in listed.out
    known = folder.ok("archive", "list", "--json").json()
    assert [one["size"] for one in known["checkpoints"]] == [second["size_after"], second["size_before"]]
    assert known["checkpoints"][0]["created_at"] is not None
    one = folder.ok("archive", "list", "--json", "--limit", "1").json()
    assert (len(one["checkpoints"]), one["checkpoints_in_all"]) == (1, 2)


def test_list_needs_nothing_but_the_archive_itself(folder: CliFolder, tmp_path: Path) -> None:
    folder.ok("archive", "keygen", "--name", ORIGIN)
    folder.ok("archive", "create")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder.path / "archive", elsewhere / "copy")
    listed = CliFolder(elsewhere).ok("archive", "list", "copy", "--json").json()
    assert listed["origin"] == ORIGIN
    assert listed["checkpoints"][0]["created_at"] is None
    assert listed["segments"] == sum(one["segments"] for one in listed["dates"])
    assert (elsewhere / "copy").exists()
    none = CliFolder(elsewhere).run("archive", "list", "nowhere")
    assert (none.code, none.is_one_clear_sentence()) == (1, True)
    configured = CliFolder(elsewhere, MAIA_SYNC_ARCHIVE__URL="copy").run("archive", "list", "--json")
    assert (configured.code, configured.json()) == (0, listed)
    assert "without the database" in configured.err


def test_without_a_place_or_a_key_the_configuration_is_at_fault(folder: CliFolder) -> None:
    assert folder.run("archive", "create").code == 3, "there is no key's file"
    for name in ("URL", "KEY_FILE"):
        missing = CliFolder(folder.path, **folder.variables)
        del missing.variables[f"MAIA_SYNC_ARCHIVE__{name}"]
        told = missing.run("archive", "create")
        assert (told.code, told.is_one_clear_sentence()) == (3, True)
        assert f"archive.{name.lower()}: " in told.err
        assert ("MAIA_SYNC_ARCHIVE__URL" in told.err) == (name == "URL")
    assert not (folder.path / "archive").exists()


def test_from_another_folder_or_with_another_key_nothing_is_made(folder: CliFolder) -> None:
    folder.ok("archive", "keygen", "--name", ORIGIN)
    folder.ok("archive", "create")
    away = {"MAIA_SYNC_ARCHIVE__URL": "away/archive"}
    refused = folder.run("archive", "create", **away)
    assert (refused.code, refused.is_one_clear_sentence()) == (7, True)
    assert f"{folder.path / 'away' / 'archive'} holds no archive" in refused.err
    for name in (ORIGIN, "other.example/log"):
        key = f"{name.partition('.')[0]}.key"
        folder.ok("archive", "keygen", "--name", name, "--output", key)
        refused = folder.run("archive", "create", MAIA_SYNC_ARCHIVE__KEY_FILE=key, **away)
        assert (refused.code, refused.is_one_clear_sentence()) == (3, True)
        assert f"is not the key this log was begun with: name that of {ORIGIN} (id " in refused.err
    assert not (folder.path / "away").exists()


def test_an_archive_that_was_put_back_is_a_difference(folder: CliFolder) -> None:
    folder.ok("archive", "keygen")
    folder.ok("archive", "create")
    shutil.copytree(folder.path / "archive", folder.path / "older")
    add_task(folder, 3)
    folder.ok("archive", "create")
    shutil.rmtree(folder.path / "archive")
    shutil.copytree(folder.path / "older", folder.path / "archive")
    refused = folder.run("archive", "create")
    assert (refused.code, refused.is_one_clear_sentence()) == (7, True)
    assert "put back to an older state" in refused.err


def test_an_archive_that_was_lost_is_followed_by_another_log(folder: CliFolder) -> None:
    folder.ok("archive", "keygen", "--name", ORIGIN)
    folder.ok("archive", "create")
    shutil.rmtree(folder.path / "archive")
    assert "archive create --new-log`" in folder.run("archive", "create").err
    same_name = folder.run("archive", "create", "--new-log")
    assert (same_name.code, same_name.is_one_clear_sentence()) == (1, True)
    folder.ok("archive", "keygen", "--name", f"{ORIGIN}-2", "--output", "second.key")
    second = CliFolder(folder.path, **{**folder.variables, "MAIA_SYNC_ARCHIVE__KEY_FILE": "second.key"})
    created = second.ok("archive", "create", "--new-log")
    assert created.out.startswith(
        f"The log of {ORIGIN}-2 takes the place of that of {ORIGIN}\n2 tasks archived"
    )
    assert "Nothing new to archive" in second.ok("archive", "create").out
    second.ok("archive", "verify")
    earlier = folder.run("archive", "create")
    assert (earlier.code, earlier.is_one_clear_sentence()) == (3, True)


def test_a_checkpoint_is_handed_to_a_command_and_one_that_fails_is_told(folder: CliFolder) -> None:
    folder.ok("archive", "keygen")
    failing = {"MAIA_SYNC_ARCHIVE__ANCHOR_COMMAND": '["false"]'}
    failed = folder.run("archive", "create", **failing)
    assert failed.code == 1
    assert "the archive itself is fine: archive.anchor_command ended with exit code 1" in failed.err
    assert "Anchored: no, that failed" in failed.out
    (folder.path / "keep.py").write_text(KEEP)
    keeping = {"MAIA_SYNC_ARCHIVE__ANCHOR_COMMAND": '["python3", "keep.py"]'}
    done = folder.run("archive", "create", **keeping)
    assert (done.code, "Anchored: yes" in done.out, "Nothing new" in done.out) == (0, True, True)
    checkpoint = (folder.path / "archive" / "checkpoint").read_text()
    assert (folder.path / f"kept-{checkpoint.splitlines()[1]}").read_text() == checkpoint


def test_a_worker_of_an_older_version_that_still_writes_is_told(folder: CliFolder) -> None:
    folder.ok("archive", "keygen")
    folder.ok("archive", "create")
    for number in (101, 102):
        with closing(sqlite3.connect(folder.path / "maia_sync.db")) as connection, connection:
            connection.execute(
                "INSERT INTO sync_run (id, kind, worker, status, started_at, ended_at) "
                f"VALUES ({number}, 'once', 'old', 'done', '2099-01-01 00:00:00', '2099-01-01 00:00:00')"
            )
        created = folder.run("archive", "create", *(["--json"] if number == 102 else []))
        assert created.code == 1
        assert f"run {number} was made by an older version" in created.err
        assert "begin anew with `maia-sync archive create --new-log`" in created.err
    assert created.json()["older_runs"] == [102]
    folder.ok("archive", "create")


def test_sigterm_ends_a_create_and_the_next_one_goes_on(folder: CliFolder) -> None:
    folder.ok("archive", "keygen")
    # The anchor's command ends the process that has started it, when it is sure to be inside a create.
    ending = {"MAIA_SYNC_ARCHIVE__ANCHOR_COMMAND": '["sh", "-c", "kill -TERM $PPID; sleep 20"]'}
    ended = folder.run_apart("archive", "create", **ending)
    assert ended.code == 143
    assert "Interrupted; the next create goes on" in ended.out
    assert folder.ok("archive", "create").out.splitlines()[0] == "Nothing new to archive"
