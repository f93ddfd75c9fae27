"""Is a changed configuration taken up by a running daemon, and a database of the next version refused?"""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from cli_folder import SECRET, for_sandbox
from daemon import Daemon, wait_until
from logs import task_id, world_of_many
from oracle import Copy

from maia_sync.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_changed_config_counts_from_the_signal_on_and_a_newer_database_is_for_running_daemons_only(
    tmp_path: Path, migrated_sqlite: Path, one_authority: Path
) -> None:
    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    copy = Copy(f"sqlite:///{tmp_path / 'maia_sync.db'}")
    for number, name in enumerate(("one.txt", "two.txt"), 1):
        (tmp_path / name).write_text(task_id(number) + "\n", encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text('[schedule]\ntasks_file = "one.txt"\n', encoding="utf-8")
    world = world_of_many(2, 20)
    with SandboxServer(world) as server:
        folder = for_sandbox(tmp_path, server.url, one_authority)
        with Daemon(folder) as daemon:
            wait_until(lambda: copy.one("SELECT count(*) FROM task_event") == 20, "the first task")
            config.write_text('[schedule]\ntasks_file = "two.txt"\n', encoding="utf-8")
            daemon.send(signal.SIGHUP)
            daemon.wait_for("reloaded")
            wait_until(lambda: copy.one("SELECT count(*) FROM task_event") == 40, "the second task")
            copy.ask("ALTER TABLE task_event ADD COLUMN note TEXT")
            copy.ask("UPDATE alembic_version SET version_num = '9999'")
            refused = folder.run_apart("run", MAIA_SYNC_WEB__BIND="127.0.0.1:0")
            assert (refused.code, refused.is_one_clear_sentence()) == (5, True), refused
            polled = copy.task(task_id(2))["last_polled_at"]
            wait_until(lambda: copy.task(task_id(2))["last_polled_at"] > polled, "it goes on")
            daemon.send(signal.SIGHUP)  # a new life could not begin: the old one goes on
            assert "9999" in daemon.wait_for("reload_failed")["message"]
            polled = copy.task(task_id(2))["last_polled_at"]
            wait_until(lambda: copy.task(task_id(2))["last_polled_at"] > polled, "it goes on after all")
            assert daemon.end()[0] == 143
            assert SECRET not in daemon.said


def test_what_nothing_could_be_asked_with_does_not_begin_and_is_not_taken_up(
    tmp_path: Path, migrated_sqlite: Path, one_authority: Path
) -> None:
    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    copy = Copy(f"sqlite:///{tmp_path / 'maia_sync.db'}")
    (tmp_path / "bad.pem").write_text("no certificate\n", encoding="utf-8")
    config = tmp_path / "config.toml"
    bad = '[api]\nbase_url = "https://127.0.0.1:1"\nca_file = "bad.pem"\n'
    with SandboxServer(world_of_many(1, 20)) as server:
        folder = for_sandbox(tmp_path, server.url, one_authority)
        del folder.variables["MAIA_SYNC_API__BASE_URL"], folder.variables["MAIA_SYNC_API__CA_FILE"]
        config.write_text(bad, encoding="utf-8")
        folder.ok("track", task_id(1))
        refused = folder.run_apart("run", MAIA_SYNC_WEB__BIND="127.0.0.1:0")
        assert (refused.code, refused.is_one_clear_sentence()) == (3, True), refused
        assert "api.ca_file" in refused.err
        config.write_text(f'[api]\nbase_url = "{server.url}"\n', encoding="utf-8")
        with Daemon(folder) as daemon:
            wait_until(lambda: copy.one("SELECT count(*) FROM task_event") == 20, "all events")
            config.write_text(bad, encoding="utf-8")
            daemon.send(signal.SIGHUP)
            assert "api.ca_file" in daemon.wait_for("reload_failed")["message"]
            polled = copy.task(task_id(1))["last_polled_at"]
            wait_until(lambda: copy.task(task_id(1))["last_polled_at"] > polled, "it goes on")
            assert not daemon.lines("reloaded")
            assert daemon.end()[0] == 143
