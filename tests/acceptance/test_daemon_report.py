"""Does a real daemon write its report beside its work, and does a report that fails leave it alone?"""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from cli_folder import for_sandbox
from daemon import Daemon, wait_until

from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cli_folder import CliFolder


@pytest.fixture
def folder(tmp_path: Path, migrated_sqlite: Path, one_authority: Path) -> Iterator[CliFolder]:
    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    world = make_world(seed=7, tasks=2, events_per_task=150)
    with SandboxServer(world) as server:
        cli = for_sandbox(tmp_path, server.url, one_authority)
        cli.ok("track", *world.logs)
        yield cli


def test_the_daemon_writes_its_report_at_once_where_none_is_and_not_again_after_a_reload(
    folder: CliFolder,
) -> None:
    settings = {"MAIA_SYNC_REPORT__SCHEDULE": "0 6 * * *", "MAIA_SYNC_REPORT__FILE": "reports/%Y-%m-%d.html"}
    with Daemon(folder, **settings) as daemon:
        told = daemon.wait_for("report_written")
        (file,) = folder.path.joinpath("reports").iterdir()
        assert f"Wrote reports/{file.name}: " in told["message"]
        assert told["bytes"] == file.stat().st_size
        daemon.wait_for("run_finished")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded")
        daemon.wait_for("run_finished", 2)
        assert len(daemon.lines("report_written")) == 1
        assert daemon.end()[0] == 143


def test_a_report_that_cannot_be_written_is_told_and_the_daemon_works_on(folder: CliFolder) -> None:
    folder.path.joinpath("reports").write_text("no folder")
    settings = {"MAIA_SYNC_REPORT__SCHEDULE": "1d", "MAIA_SYNC_REPORT__FILE": "reports/report.html"}
    with Daemon(folder, **settings) as daemon:
        told = daemon.wait_for("tick_failed")
        assert told["job"] == "report"
        assert told["message"] == "report.file: cannot make the folder reports: File exists"
        daemon.wait_for("run_finished")
        wait_until(lambda: "300" in folder.ok("query", "SELECT count(*) FROM v_event").out, "all events")
        assert daemon.end()[0] == 143
