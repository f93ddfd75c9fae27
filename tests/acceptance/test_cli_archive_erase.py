"""`maia-sync archive erase` from outside: what it says, what it refuses, and with which exit codes."""

from __future__ import annotations

import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from cli_folder import archiving
from told_story import task_ids

if TYPE_CHECKING:
    from pathlib import Path

    from cli_folder import CliFolder

FIRST, SECOND = task_ids(2)
WHY = ("--reason", "asked to", "--basis", "GDPR Art. 17 (1) (b)")


def payloads(folder: CliFolder) -> dict[str, int]:
    with closing(sqlite3.connect(folder.path / "maia_sync.db")) as connection:
        return dict(connection.execute("SELECT task_id, count(data) FROM task_event GROUP BY task_id"))


def test_a_dry_run_tells_and_writes_nothing_and_then_it_is_done(folder: CliFolder) -> None:
    before = {path: path.read_bytes() for path in (folder.path / "archive").rglob("*") if path.is_file()}
    rehearsed = folder.ok("archive", "erase", FIRST.upper(), *WHY, "--dry-run")
    assert "50 payloads of" in rehearsed.out
    assert "would be erased" in rehearsed.out
    assert "Nothing was written" in rehearsed.out
    assert {path: path.read_bytes() for path in before} == before
    assert payloads(folder) == {FIRST: 50, SECOND: 50}

    done = folder.run_apart("archive", "erase", FIRST, *WHY, "--json")
    assert (done.code, done.err) == (0, "")
    report = done.json()
    assert report["payloads"] == {"event": 50}
    assert (report["emptied"], report["dry_run"], report["unscrubbed"]) == (50, False, None)
    assert any("backups of the database" in copy for copy in report["not_reached"])
    assert any("proofs" in copy for copy in report["not_reached"])
    assert payloads(folder) == {FIRST: 0, SECOND: 50}
    folder.ok("archive", "verify")
    assert folder.run("archive", "verify", "--no-database").code == 0
    entries = folder.ok("archive", "entries").out
    assert "erasure" in entries
    again = folder.ok("archive", "erase", FIRST, *WHY)
    assert again.out.startswith(f"Nothing to erase: no payload of {FIRST} is left; 50 were erased on 20")
    assert f"(entry {report['erasure']})" in again.out
    assert f"`maia-sync untrack {FIRST}` stops that" in again.out
    assert "Not reached" not in again.out


def test_what_is_older_is_erased_and_a_person_is_told_where_copies_may_lie(folder: CliFolder) -> None:
    done = folder.ok("archive", "erase", SECOND, *WHY, "--before", "2026-01-05T20:00:00Z")
    lines = done.out.splitlines()
    assert lines[0].startswith("Nothing to erase") or "from before" in lines[0]
    done = folder.ok("archive", "erase", SECOND, *WHY, "--before", "2030-01-01")
    assert "of the log of test.example/log tells who, when and why" in done.out
    assert "- backups of the database" in done.out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("no-task", *WHY), "is not a task id"),
        (("00000099-1111-4111-8111-111111111111", *WHY), "knows a task 00000099"),
        ((FIRST, "--reason", " ", "--basis", "b"), "--reason: expected some words"),
        ((FIRST, "--reason", "r", "--basis", ""), "--basis: expected some words"),
        ((FIRST, "--reason", "r"), "--basis"),
        ((FIRST, *WHY, "--before", "soon"), "--before: expected"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error(
    folder: CliFolder, arguments: tuple[str, ...], told: str
) -> None:
    done = folder.run("archive", "erase", *arguments)
    assert done.code == 2
    assert done.is_one_clear_sentence(), done.err
    assert told in done.err


def test_under_a_legal_hold_it_is_refused(folder: CliFolder) -> None:
    folder.ok("archive", "hold", FIRST, "--reason", "a case")
    for more in ((), ("--dry-run",)):
        done = folder.run("archive", "erase", FIRST, *WHY, *more)
        assert (done.code, done.is_one_clear_sentence()) == (1, True), done.err
        assert "legal hold" in done.err
    assert payloads(folder) == {FIRST: 50, SECOND: 50}
    folder.ok("archive", "release", FIRST, "--reason", "closed")
    folder.ok("archive", "erase", FIRST, *WHY)
    assert payloads(folder) == {FIRST: 0, SECOND: 50}


def test_without_the_digests_key_erase_and_prune_say_the_same_and_a_new_one_is_made_if_asked_for(
    folder: CliFolder,
) -> None:
    key = folder.path / "archive.key.digests"
    folder.ok("archive", "erase", FIRST, *WHY, "--before", "2030-01-01")
    key.unlink()
    refused = [
        folder.run("archive", *arguments)
        for arguments in (
            ("erase", SECOND, *WHY),
            ("erase", SECOND, *WHY, "--dry-run"),
            ("prune", "--older-than", "1d"),
        )
    ]
    assert [done.code for done in refused] == [3, 3, 3]
    assert len({done.err for done in refused}) == 1
    assert "archive erase --new-digest-key" in refused[0].err
    assert not key.exists()
    rehearsed = folder.ok("archive", "erase", SECOND, *WHY, "--new-digest-key", "--dry-run")
    assert "would be erased" in rehearsed.out
    assert not key.exists()
    folder.ok("archive", "erase", SECOND, *WHY, "--new-digest-key")
    assert payloads(folder) == {FIRST: 0, SECOND: 0}
    assert key.stat().st_mode & 0o777 == 0o600
    folder.ok("archive", "verify")


def test_a_dry_run_tells_of_what_was_never_archived_and_of_the_rest(tmp_path: Path, archived: Path) -> None:
    shutil.copyfile(archived / "maia_sync.db", tmp_path / "maia_sync.db")
    for name in ("archive.key", "archive.key.pub", "archive.key.digests"):
        if (archived / name).exists():
            shutil.copyfile(archived / name, tmp_path / name)
    folder = archiving(tmp_path)
    refused = folder.run("archive", "erase", FIRST, *WHY, "--dry-run")
    assert (refused.code, refused.is_one_clear_sentence()) == (7, True), refused
    assert "holds no archive" in refused.err
    assert folder.run("archive", "erase", FIRST, *WHY).err == refused.err
    with closing(sqlite3.connect(tmp_path / "maia_sync.db")) as connection:  # as it was before any create
        connection.executescript(
            "DELETE FROM archive_checkpoint; DELETE FROM archive_log; DELETE FROM archive_journal; "
            "UPDATE task SET archived = 0"
        )
    told = folder.ok("archive", "erase", FIRST, *WHY, "--dry-run").out.splitlines()
    assert told[0] == f"50 payloads of {FIRST} that wait to be archived first would be erased"
    assert "- backups of the database" in told
    report = folder.run("archive", "erase", FIRST, *WHY, "--dry-run", "--json").json()
    assert (report["payloads"], report["waiting"], report["waiting_payloads"]) == ({}, True, 50)
    assert not (tmp_path / "archive" / "checkpoint").exists()


def test_who_has_decided_it_stands_in_the_database_and_the_log(folder: CliFolder) -> None:
    folder.ok("archive", "erase", FIRST, *WHY, "--by", " Dr. Who ")
    with closing(sqlite3.connect(folder.path / "maia_sync.db")) as connection:
        ((by,),) = connection.execute("SELECT erased_by FROM archive_erasure")
    assert by.startswith("Dr. Who (")
    assert folder.run("archive", "erase", FIRST, *WHY, "--by", " ").code == 2


def test_what_was_pruned_before_is_told_of(folder: CliFolder) -> None:
    folder.ok("archive", "prune", "--older-than", "1d")
    done = folder.ok("archive", "erase", FIRST, *WHY)
    assert "0 payloads taken out of the database: they had been pruned from it before" in done.out
    assert done.out.startswith(f"50 payloads of {FIRST} (50 event) were erased")


def test_another_signing_key_is_told_of_as_a_create_does(folder: CliFolder) -> None:
    folder.ok("archive", "erase", FIRST, *WHY)
    folder.ok("archive", "keygen", "--name", "other.example/maia-sync", "--output", "other.key")
    wrong = {"MAIA_SYNC_ARCHIVE__KEY_FILE": "other.key"}
    refused = [
        folder.run("archive", *arguments, **wrong)
        for arguments in (
            ("create",),
            ("erase", SECOND, *WHY),
            ("erase", SECOND, *WHY, "--dry-run"),
            ("prune", "--older-than", "1d"),
            ("prune", "--older-than", "1d", "--dry-run"),
        )
    ]
    assert {(done.code, done.err) for done in refused} == {(3, refused[0].err)}
    assert "is not the key this log was begun with" in refused[0].err


def test_a_person_at_a_terminal_confirms_it(folder: CliFolder) -> None:
    code, shown = at_terminal(folder, b"yes\n", "archive", "erase", FIRST, *WHY)
    assert (code, payloads(folder)[FIRST]) == (2, 50)
    assert "so nothing was erased" in shown
    code, shown = at_terminal(folder, f"{FIRST}\n".encode(), "archive", "erase", FIRST, *WHY)
    assert (code, payloads(folder)[FIRST]) == (0, 0), shown
    code, shown = at_terminal(folder, b"", "archive", "erase", SECOND, *WHY, "--yes")
    assert (code, payloads(folder)[SECOND]) == (0, 0), shown
    assert "to confirm" not in shown


def at_terminal(folder: CliFolder, typed: bytes, *arguments: str) -> tuple[int, str]:
    """Run with a terminal for all three streams; return the exit code, and what it shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "maia_sync", *arguments],
        cwd=folder.path,
        env=folder.variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, typed)
    shown = b""
    with suppress(OSError):  # which is how Linux says that the other side has gone
        while part := os.read(ours, 65_536):
            shown += part
    os.close(ours)
    return process.wait(timeout=60), shown.decode()
