"""`maia-sync archive verify`, `entries`, `prove` and `check-proof`, as somebody meets them the first time."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cli_folder import CliFolder, for_sandbox
from told_story import open_writing, store_elements, task_ids

from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "test.example/maia-sync"


class Made(NamedTuple):
    """A folder with a database and its archive, and what a stranger gets of it."""

    cli: CliFolder
    key: str


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path, one_authority: Path) -> Path:
    """An archive with events, runs, a vanished event and a sent message."""
    path = tmp_path_factory.mktemp("made")
    shutil.copyfile(migrated_sqlite, path / "maia_sync.db")
    world = make_world(seed=3, tasks=1, events_per_task=40)
    (task_id,) = world.logs
    with SandboxServer(world) as server:
        cli = for_sandbox(path, server.url, one_authority)
        cli.variables |= {"MAIA_SYNC_ARCHIVE__URL": "archive", "MAIA_SYNC_ARCHIVE__KEY_FILE": "archive.key"}
        cli.ok("archive", "keygen", "--name", ORIGIN)
        cli.ok("track", task_id)
        cli.ok("sync")
        world.logs[task_id].remove(3)
        cli.ok("sync", "--full")
        cli.ok("send", task_id, "do something")
        cli.ok("archive", "create")
    return path


@pytest.fixture
def made(made_once: Path, tmp_path: Path) -> Made:
    shutil.copytree(made_once, tmp_path / "made")
    cli = CliFolder(
        tmp_path / "made", MAIA_SYNC_ARCHIVE__URL="archive", MAIA_SYNC_ARCHIVE__KEY_FILE="archive.key"
    )
    return Made(cli, (tmp_path / "made" / "archive.key.pub").read_text().strip())


@pytest.fixture
def stranger(made: Made, tmp_path: Path) -> CliFolder:
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(made.cli.path / "archive", tmp_path / "elsewhere" / "copy")
    return CliFolder(tmp_path / "elsewhere")


def test_a_stranger_verifies_a_copy_without_a_database(made: Made, stranger: CliFolder) -> None:
    told = stranger.ok("archive", "verify", "copy", "--key", made.key).out
    assert "No difference" in told
    assert "Note: there is no database at" in told
    assert re.search(r"Payloads: \d+ in \d data segments? \([0-9,]+ bytes\)", told)
    root = (stranger.path / "copy" / "checkpoint").read_text().split("\n")[2]
    assert f"Root: {root}\n" in told
    report = stranger.ok("archive", "verify", "copy", "--key", made.key, "--json").json()
    assert (report["root"], len(report["root_hex"])) == (root, 64)
    assert not (stranger.path / "maia_sync.db").exists()
    # Who names no archive means the configured one, and its database.
    assert made.cli.ok("archive", "verify").out.count("Note:") == 0
    (made.cli.path / "maia_sync.db").rename(made.cli.path / "gone.db")
    alone = made.cli.run("archive", "verify")
    assert (alone.code, "--no-database verifies the archive alone" in alone.err) == (5, True)
    named = stranger.run(
        "archive", "verify", "copy", "--key", made.key, MAIA_SYNC_DATABASE__URL="sqlite:///mine.db"
    )
    assert (named.code, "--no-database" in named.err) == (5, True)


def test_another_database_is_one_difference(made: Made, stranger: CliFolder, migrated_sqlite: Path) -> None:
    shutil.copyfile(migrated_sqlite, stranger.path / "maia_sync.db")
    told = stranger.run("archive", "verify", "copy", "--key", made.key)
    assert (told.code, "\n1 difference\n" in told.out) == (7, True)
    assert "this database has not written this archive" in told.out
    none = stranger.run("archive", "verify", "nowhere", "--key", made.key)
    assert (none.code, none.is_one_clear_sentence(), "there is no archive" in none.err) == (1, True, True)


def test_an_earlier_checkpoint_is_one_or_is_refused(made: Made, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("no checkpoint\n\n\n")
    refused = made.cli.run("archive", "verify", "--since-checkpoint", str(kept))
    assert (refused.code, refused.is_one_clear_sentence()) == (2, True)
    shutil.copyfile(made.cli.path / "archive" / "checkpoint", kept)
    made.cli.ok("archive", "verify", "--since-checkpoint", str(kept))
    kept.write_text(kept.read_text().replace("maia-sync\n", "maia-sync\n1", 1))
    altered = made.cli.run("archive", "verify", "--since-checkpoint", str(kept))
    assert (altered.code, "1 difference" in altered.out) == (7, True)
    # Database and archive put back, and gone on from there: the same key signs another history.
    shutil.copyfile(made.cli.path / "archive" / "checkpoint", kept)
    other = made.cli.path / "archive"
    shutil.rmtree(other)
    with closing(open_writing(f"sqlite:///{made.cli.path / 'maia_sync.db'}")) as database:
        store_elements(database, task_ids(9)[-1], [b'{"data":1}'])
    fresh = made.cli.path / "maia_sync.db"
    _forget_archive(fresh)
    made.cli.ok("archive", "create")
    forked = made.cli.run("archive", "verify", "--since-checkpoint", str(kept))
    assert forked.code == 7
    assert f"both signed by the key of {ORIGIN}" in forked.out
    assert "contradict each other: the history was rewritten" in forked.out


def _forget_archive(database: Path) -> None:
    """Put a database back to before it was archived."""
    import sqlite3

    with closing(sqlite3.connect(database)) as connection, connection:
        for table in ("quarantine", "sent_message", "sync_run"):
            connection.execute(f"UPDATE {table} SET checkpoint_id = NULL")
        for table in ("archive_journal", "archive_checkpoint", "archive_log"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("UPDATE task SET archived = 0")


def test_entries_tell_what_stands_in_the_log_alone(made: Made, stranger: CliFolder) -> None:
    listed = stranger.ok("archive", "entries", "copy", "--key", made.key).out.splitlines()
    size = int((stranger.path / "copy" / "checkpoint").read_text().split("\n")[1])
    assert len(listed) == size
    assert [int(line.split()[0]) for line in listed] == list(range(size))
    told = [json.loads(line) for line in made.cli.ok("archive", "entries", "--json").out.splitlines()]
    assert [one["entry"] for one in told] == list(range(size))
    vanished = [one for one in told if one["type"] == "vanished"]
    (line,) = made.cli.ok("archive", "entries", "--type", "vanished").out.splitlines()
    assert int(line.split()[0]) == vanished[0]["entry"]
    assert re.search(r"timestamp 20\d\d-\d\d-\d\dT", line)
    runs = made.cli.ok("archive", "entries", "--type", "run").out
    for needed in ("result succeeded", "asked 127.0.0.1", "1 vanished", "kind "):
        assert needed in runs
    of_task = made.cli.ok("archive", "entries", "--task", vanished[0]["task"], "--from", "2", "--limit", "3")
    numbers = [int(line.split()[0]) for line in of_task.out.splitlines()]
    assert (len(numbers), numbers == sorted(numbers), min(numbers) >= 2) == (3, True, True)
    assert made.cli.ok("archive", "entries", "--from", str(size)).out == ""
    for wrong in (("--from", str(size + 1)), ("--type", "odd"), ("--task", "odd"), ("--from", "-1")):
        assert made.cli.run("archive", "entries", *wrong).code == 2, wrong
    bundle = next((made.cli.path / "archive" / "tile" / "entries").glob("*.p/*"))
    bundle.write_bytes(bundle.read_bytes().replace(b"vanished", b"returned", 1))
    altered = made.cli.run("archive", "entries")
    assert (altered.code, altered.out) == (7, "")


def test_nothing_is_overwritten_but_an_earlier_proof(made: Made) -> None:
    key = made.cli.path / "archive.key"
    before = key.read_bytes()
    for command in (("prove", "3", "-o"), ("check-proof", "proof", "--payload")):
        made.cli.ok("archive", "prove", "3", "-o", "proof")
        refused = made.cli.run("archive", *command, "archive.key")
        assert (refused.code, refused.is_one_clear_sentence(), "--force" in refused.err) == (2, True, True)
        assert key.read_bytes() == before
    (made.cli.path / "mine").write_text("mine")
    made.cli.ok("archive", "check-proof", "proof", "--payload", "mine", "--force")
    assert (made.cli.path / "mine").read_text() != "mine"
    assert made.cli.run("archive", "prove", "3", "-o", "mine").code == 2
    made.cli.ok("archive", "prove", "3", "-o", "mine", "--force")
    made.cli.ok("archive", "check-proof", "mine")
    assert [path.name for path in made.cli.path.glob(".*.part")] == []


def test_what_names_no_event_is_a_usage_error(made: Made) -> None:
    task = json.loads(made.cli.ok("archive", "entries", "--json", "--limit", "1").out)["task"]
    for wrong in (
        (task, "--timestamp", "yesterday"),
        (task, "--timestamp", "99999999999999999999"),
        (task, "--revision", "-1"),
        (task, "--ordinal", "-1"),
        ("5", "--group", "x"),
        ("5", "--revision", "0"),
        (f"{task}/5", "--ordinal", "0"),
    ):
        refused = made.cli.run("archive", "prove", *wrong, "-o", "proof")
        assert (refused.code, refused.is_one_clear_sentence()) == (2, True), wrong
    assert not (made.cli.path / "proof").exists()


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("vanished", ("Timestamp: 20", "Group: ")),
        ("run", ("Result: succeeded", "Asked: 127.0.0.1", "Version: ", "Events: ", "Tasks: ")),
        ("sent", ("Outcome: ", "Sent by: ")),
        ("segment", ("File: data/date=", "SHA-256: ", "Rows: ")),
    ],
)
def test_a_proof_tells_what_its_entry_says(made: Made, kind: str, needed: tuple[str, ...]) -> None:
    listed = made.cli.ok("archive", "entries", "--type", kind, "--limit", "1", "--json")
    made.cli.ok("archive", "prove", str(json.loads(listed.out)["entry"]), "-o", "proof")
    told = made.cli.ok("archive", "check-proof", "proof").out
    for each in (f"What: {kind}", *needed):
        assert f"  {each}" in told
    root = (made.cli.path / "archive" / "checkpoint").read_text().split("\n")[2]
    assert f"with root {root}" in told
    assert made.cli.ok("archive", "check-proof", "proof", "--json").json()["root"] == root
