"""Does a real daemon archive beside its work, and does an archive that fails or hangs leave it alone?"""

from __future__ import annotations

import shutil
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from cli_folder import for_sandbox
from daemon import PATIENCE, Daemon, wait_until
from s3_server import ACCESS_KEY, SECRET_KEY, environ_of

from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli_folder import CliFolder

LONGEST_END = 9.0
"""Seconds: then the daemon would cut itself off, and is not to need it."""


@pytest.fixture
def folder(tmp_path: Path, migrated_sqlite: Path, one_authority: Path) -> Iterator[CliFolder]:
    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    world = make_world(seed=7, tasks=2, events_per_task=50)
    with SandboxServer(world) as server:
        cli = for_sandbox(tmp_path, server.url, one_authority)
        cli.ok("track", *world.logs)
        cli.ok("archive", "keygen", "--name", "example.com/log", "-o", "archive.key")
        cli.variables |= {
            "MAIA_SYNC_ARCHIVE__URL": "archive",
            "MAIA_SYNC_ARCHIVE__KEY_FILE": "archive.key",
            "MAIA_SYNC_ARCHIVE__SCHEDULE": "1s",
        }
        yield cli


def entries(folder: CliFolder) -> int:
    checkpoint = folder.path / "archive" / "checkpoint"
    return int(checkpoint.read_text().split("\n")[1]) if checkpoint.exists() else 0


def test_the_daemon_archives_what_is_new_and_hands_over_each_checkpoint(folder: CliFolder) -> None:
    keep = "import os, sys; open(os.environ['MAIA_SYNC_CHECKPOINT_SIZE'], 'w').write(sys.stdin.read())"
    command = f'["{sys.executable}", "-S", "-c", "{keep}"]'
    with Daemon(folder, MAIA_SYNC_ARCHIVE__ANCHOR_COMMAND=command) as daemon:
        wait_until(lambda: entries(folder) > 100, "all events in the archive")
        told = daemon.wait_for("archived")
        grown = f"the log has grown from {told['size'] - told['entries']:,} to {told['size']:,} entries"
        assert told["message"] == f"Archived at {folder.path}/archive: {grown}"
        assert daemon.end()[0] == 143
        assert daemon.lines("anchor_failed") == daemon.lines("archive_failed") == []
    copies = sorted((folder.path / "archive" / "checkpoints").iterdir())
    handed_over = [copy for copy in copies if (folder.path / str(int(copy.name))).exists()]
    assert handed_over
    assert handed_over in (
        copies,
        copies[:-1],
    )  # the last one, made just when the daemon was told to end, waits
    for copy in handed_over:
        assert (folder.path / str(int(copy.name))).read_text() == copy.read_text()
    standing = folder.ok("status").out
    assert f"Archive      {entries(folder):,} entries, checkpoint made " in standing
    assert "To archive   " in standing
    assert folder.ok("status", "--json").json()["archive"]["entries"] == entries(folder)


def test_an_archive_that_fails_is_told_and_the_daemon_works_on(folder: CliFolder) -> None:
    (folder.path / "archive").write_text("no folder")
    with Daemon(folder) as daemon:
        told = daemon.wait_for("archive_failed")
        assert told["job"] == "archive"
        assert told["message"] == f"cannot write {folder.path}/archive: Not a directory"
        wait_until(lambda: "100" in folder.ok("query", "SELECT count(*) FROM v_event").out, "all events")
        assert daemon.end()[0] == 143


def test_a_silent_object_store_holds_up_neither_the_work_nor_the_end(folder: CliFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = {"MAIA_SYNC_ARCHIVE__URL": "s3://bucket/archive", **environ_of(address)}
        silent.settimeout(PATIENCE)
        with Daemon(folder, **settings) as daemon, silent.accept()[0]:
            daemon.wait_for("run_finished", 2)
            code, seconds = daemon.end()
            assert code == 143
            assert seconds < LONGEST_END
            assert ACCESS_KEY not in daemon.said
            assert SECRET_KEY not in daemon.said


def test_an_end_in_the_midst_of_anchoring_leaves_a_whole_archive(folder: CliFolder) -> None:
    command = f'["{sys.executable}", "-S", "-c", "import time; open(\'begun\', \'w\'); time.sleep(300)"]'
    with Daemon(folder, MAIA_SYNC_ARCHIVE__ANCHOR_COMMAND=command) as daemon:
        wait_until((folder.path / "begun").exists, "the command")
        code, seconds = daemon.end()
        assert code == 143
        assert seconds < LONGEST_END
    before = entries(folder)
    assert before > 0
    done = folder.run("archive", "create", "--json")
    assert done.code == 0, done
    assert done.json()["size_before"] == before
