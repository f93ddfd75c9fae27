"""Does a reload while the database is away end the daemon?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from cli_folder import for_sandbox
from daemon import Daemon, wait_until
from logs import TASK, events, world_of_many
from oracle import Copy, assert_to_the_letter
from own_postgresql import OwnPostgresql

from maia_sync.clock import SystemClock
from maia_sync.sandbox.server import SandboxServer
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade

if TYPE_CHECKING:
    from pathlib import Path


def test_a_reload_while_the_database_is_away_ends_nothing(tmp_path: Path, one_authority: Path) -> None:
    world = world_of_many(1, 20)
    with OwnPostgresql() as postgresql, SandboxServer(world) as server:
        url = postgresql.url.replace("postgresql://", "postgresql+psycopg://", 1)
        database = Database(url=url, clock=SystemClock())
        upgrade(database)
        database.close()
        copy = Copy(postgresql.url)
        folder = for_sandbox(tmp_path, server.url, one_authority)
        folder.variables["MAIA_SYNC_DATABASE__URL"] = url
        folder.ok("track", TASK)
        with Daemon(folder) as daemon:
            wait_until(lambda: copy.one("SELECT count(*) FROM task_event") == 20, "all events")
            postgresql.stop()
            daemon.send(signal.SIGHUP)
            daemon.wait_for("reload_failed")
            postgresql.start()
            world.logs[TASK].extend(events(20, 20))
            wait_until(lambda: copy.one("SELECT count(*) FROM task_event") == 40, "news")
            assert daemon.end()[0] == 143
        assert_to_the_letter(copy, TASK, events(40))
