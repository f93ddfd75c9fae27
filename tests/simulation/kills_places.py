"""Where do processes that are to be killed keep their copy? In a database of their own."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from maia_sync.clock import SystemClock
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade
from maia_sync.store.tasks import set_status, upsert_tasks
from tests.logs import BEARER
from tests.oracle import Copy
from tests.own_postgresql import OwnPostgresql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONG_AGO = "2020-01-01 00:00:00"
_PATIENCE = 60
_OTHER_SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A migrated database, and a folder for what a process needs besides."""

    folder: Path
    url: str
    server: OwnPostgresql | None = None
    """Of a PostgreSQL, which can be stopped."""

    @property
    def copy(self) -> Copy:
        """The database, reached by its plain driver."""
        return Copy(self.url)

    @property
    def file(self) -> Path:
        """SQLite's file."""
        return Path(self.url.removeprefix("sqlite:///"))

    def environ(self, api: str, **settings: object) -> dict[str, str]:
        """Return the environment of a process that reads this API; settings as api__page_size=10."""
        config = self.folder / "empty.toml"
        config.touch()
        chosen = {
            "api__base_url": api,
            "api__backoff": 0.01,
            "api__ca_file": one_authority(self.folder),
            "auth__token": BEARER,
            "database__url": self.url,
            **settings,
        }
        named = {f"MAIA_SYNC_{key.upper()}": str(value) for key, value in chosen.items()}
        return {"MAIA_SYNC_CONFIG": str(config), **named}

    def track(self, tasks: Sequence[str], *, untrack: Sequence[str] = ()) -> None:
        """Track tasks, and untrack others."""
        database = _database(self.url)
        with database.transaction() as tx:
            upsert_tasks(tx, tasks)
            set_status(tx, untrack, "untracked")
        database.close()

    def end_leases(self, pid: int | None = None) -> None:
        """Do what time does to the leases of a dead process, or of all."""
        owner = "%" if pid is None else f"%:{pid}:%"
        self.copy.ask("UPDATE task SET lease_expires_at = ? WHERE lease_owner LIKE ?", LONG_AGO, owner)

    def settle(self) -> None:
        """Return once the server has ended the sessions of dead processes.

        A COMMIT that a process sent before it was killed may still be carried out after its death.
        """
        deadline = time.monotonic() + _PATIENCE
        while self.server is not None and self.copy.one(_OTHER_SESSIONS):
            assert time.monotonic() < deadline
            time.sleep(0.001)


def one_authority(folder: Path) -> Path:
    """Return a file with a single authority: loading all of them takes longer than many a run."""
    path = folder / "one.pem"
    if not path.exists():
        everyone = Path(certifi.where()).read_text(encoding="utf-8")
        end = "-----END CERTIFICATE-----"
        path.write_text(everyone.partition(end)[0] + end + "\n", encoding="utf-8")
    return path


@contextmanager
def new_place(dialect: str) -> Iterator[Place]:
    """Yield a migrated database, "sqlite" or "postgresql", that is gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maia-kills-")))
        server = None
        url = f"sqlite:///{folder / 'copy.db'}"
        if dialect == "postgresql":
            server = stack.enter_context(OwnPostgresql())
            url = server.url
        migrate(url)
        yield Place(folder=folder, url=url, server=server)


def migrate(url: str) -> None:
    """Make the tables."""
    database = _database(url)
    upgrade(database)
    database.close()


def _database(url: str) -> Database:
    return Database(url=url.replace("postgresql://", "postgresql+psycopg://", 1), clock=SystemClock())
