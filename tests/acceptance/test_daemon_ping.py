"""Is the dead man's switch called by a real daemon, and is one that fails only a warning?"""

from __future__ import annotations

import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from cli_folder import SECRET, for_sandbox
from daemon import Daemon, wait_until
from logs import TASK, events, world_of_many
from oracle import Copy, assert_to_the_letter

from maia_sync.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("answer", [200, 500])
def test_the_heartbeat_url_is_called_after_a_run_and_its_failure_only_warns(
    tmp_path: Path, migrated_sqlite: Path, one_authority: Path, answer: int
) -> None:
    calls: list[str] = []

    class Switch(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_HEAD = do_GET  # noqa: N815 - named by the standard library

        def log_message(self, *_: object) -> None:
            pass

    shutil.copyfile(migrated_sqlite, tmp_path / "maia_sync.db")
    copy = Copy(f"sqlite:///{tmp_path / 'maia_sync.db'}")
    world = world_of_many(1, 20)
    with SandboxServer(world) as server, HTTPServer(("127.0.0.1", 0), Switch) as switch:
        thread = threading.Thread(target=switch.serve_forever)
        thread.start()
        try:
            folder = for_sandbox(tmp_path, server.url, one_authority)
            folder.ok("track", TASK)
            url = f"http://127.0.0.1:{switch.server_port}/ping/uuid-7d1"
            with Daemon(folder, MAIA_SYNC_SCHEDULE__HEARTBEAT_URL=url) as daemon:
                wait_until(lambda: bool(calls), "the ping")
                if answer != 200:
                    daemon.wait_for("ping_failed")
                wait_until(lambda: copy.one("SELECT count(*) FROM task_event") == 20, "all events")
                assert daemon.end()[0] == 143
                assert "uuid-7d1" not in daemon.said
                assert SECRET not in daemon.said
                assert bool(daemon.lines("ping_failed")) == (answer != 200)
        finally:
            switch.shutdown()
            thread.join()
    assert calls[0] == "/ping/uuid-7d1"
    assert_to_the_letter(copy, TASK, events(20))
