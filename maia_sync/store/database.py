"""How is the database reached, and when does a transaction begin and end?

Only `Database.transaction()` opens one; functions of `store/` take it as their first argument and
never commit. SQLAlchemy's and the drivers' errors become ours here and nowhere else.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from maia_sync.errors import (
    Bug,
    DatabaseError,
    DatabaseNotMigrated,
    DatabaseTooNew,
    DatabaseUnreachable,
    KeysTaken,
)
from maia_sync.store.schema import HEAD, KNOWN_REVISIONS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from datetime import datetime

    from maia_sync.clock import Clock

BUSY_TIMEOUT_MS = 60_000
_INSUFFICIENT_PRIVILEGE = "42501"
_UNIQUE_VIOLATION = "23505"
_WRITE = "maia_sync_write"
_DURABLE = "maia_sync_durable"


class Transaction:
    """One open transaction: its connection, its dialect, its time."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self._clock = clock

    @property
    def is_postgresql(self) -> bool:
        """Tell the dialect; everything else is SQLite."""
        return self.connection.dialect.name == "postgresql"

    @cached_property
    def now(self) -> datetime:
        """The transaction's time: PostgreSQL's clock, or this machine's for SQLite; aware, UTC."""
        if self.is_postgresql:
            moment: datetime = self.connection.execute(text("SELECT now()")).scalar_one()
            return moment
        return self._clock.now()


class Database:
    """One database, SQLite or PostgreSQL, behind SQLAlchemy Core."""

    def __init__(self, *, url: str, clock: Clock, synchronous: str = "normal", connections: int = 4) -> None:
        self._url = make_url(url)
        self._synchronous = synchronous
        self.clock = clock
        self.engine = _make_engine(url, synchronous, connections)

    @property
    def is_postgresql(self) -> bool:
        """Tell the dialect; everything else is SQLite."""
        return self.engine.dialect.name == "postgresql"

    @property
    def place(self) -> str:
        """Name the database for a message, without its password."""
        return self._url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self, *, write: bool = True, durable: bool = False) -> Iterator[Transaction]:
        """Open a transaction; commit at the block's end, roll back if it raises.

        On SQLite a writing one begins IMMEDIATE, so that it waits for its turn before it reads. What a
        `durable` one has committed survives a power cut, whatever `database.synchronous` says.
        """
        with self._converted(), self.engine.connect() as connection:
            connection.execution_options(**{_WRITE: write, _DURABLE: durable})
            try:
                with connection.begin():
                    if durable and self.is_postgresql:
                        connection.execute(text("SET LOCAL synchronous_commit = on"))
                    yield Transaction(connection, self.clock)
            finally:
                if durable and not self.is_postgresql:
                    driver: Any = connection.connection.driver_connection
                    driver.execute(f"PRAGMA synchronous = {self._synchronous}")

    @contextmanager
    def _converted(self) -> Iterator[None]:
        drivers = (SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error)
        try:
            yield
        except drivers as error:
            raise self._ours(error) from error

    def _ours(self, error: Exception) -> Exception:
        original = getattr(error, "orig", None) or error
        reason = " ".join(str(original).split())
        if getattr(original, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            return DatabaseError(
                f"the database user of {self.place} may not do this: {_first_sentence(reason)}"
            )
        if _is_unique_violation(original):
            return KeysTaken("the keys of rows that were taken to be new are stored already")
        if getattr(original, "sqlite_errorname", None) == "SQLITE_NOTADB":
            return DatabaseError(f"{self.place} is not an SQLite database: see database.url")
        if isinstance(error, IntegrityError | ProgrammingError):
            return Bug(f"the database refused a statement of ours: {type(original).__name__}")
        if isinstance(error, OperationalError) or isinstance(
            original, self.engine.dialect.loaded_dbapi.OperationalError
        ):
            return DatabaseUnreachable(
                f"the database at {self.place} cannot be used: {_first_sentence(reason)}"
            )
        return DatabaseError(f"the database at {self.place} failed: {type(original).__name__}")

    def require_file(self) -> None:
        """Refuse a SQLite file that is not there, instead of making an empty one."""
        path = self._url.database
        if not self.is_postgresql and path and not Path(path).exists():
            raise DatabaseNotMigrated(
                f"there is no database at {path}: run `maia-sync init` or `maia-sync db upgrade`"
            )

    def read_revision(self) -> str | None:
        """Return the migration that the database stands at, or None if it has none."""
        with self.transaction(write=False) as tx:
            if not self.engine.dialect.has_table(tx.connection, "alembic_version"):
                return None
            found = tx.connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return None if found is None else str(found)

    def require_migrated(self) -> None:
        """Raise DatabaseNotMigrated or DatabaseTooNew unless the schema is this version's."""
        self.require_file()
        revision = self.read_revision()
        if revision == HEAD:
            return
        if revision is None:
            raise DatabaseNotMigrated(f"{self.place} has no tables of maia-sync: run `maia-sync db upgrade`")
        if revision in KNOWN_REVISIONS:
            raise DatabaseNotMigrated(
                f"{self.place} is at migration {revision}, but {HEAD} is needed: run `maia-sync db upgrade`"
            )
        raise self.too_new(revision)

    def too_new(self, revision: str) -> DatabaseTooNew:
        """Return the error for a database that a newer version has migrated."""
        return DatabaseTooNew(
            f"{self.place} is at migration {revision}, which this version does not know: upgrade maia-sync"
        )

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _make_engine(url: str, synchronous: str, connections: int) -> Engine:
    options: dict[str, Any] = {
        "hide_parameters": True,
        "poolclass": QueuePool,
        "pool_size": connections,
        "max_overflow": 2,
    }
    if make_url(url).get_backend_name() == "postgresql":
        try:
            engine = create_engine(
                url,
                pool_pre_ping=True,
                connect_args={
                    "options": "-c TimeZone=UTC",
                    "connect_timeout": 10,
                    "fallback_application_name": "maia-sync",
                },
                **options,
            )
        except ModuleNotFoundError as error:
            raise DatabaseUnreachable(
                "PostgreSQL needs a driver: pip install 'maia-sync[postgresql]'"
            ) from error
        event.listen(engine, "connect", _prepare_postgresql)
        return engine
    engine = create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}, **options
    )

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the begin event below says BEGIN, not the driver
        for pragma in (
            "page_size = 8192",  # a fifth less CPU per event of 400 bytes than 4096
            "journal_mode = WAL",
            f"synchronous = {synchronous}",
            "wal_autocheckpoint = 4000",  # 32 MiB: pages that a backfill hits often are copied less often
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        writes = options.get(_WRITE, True)
        if options.get(_DURABLE, False):  # has no effect once a transaction is open
            connection.exec_driver_sql("PRAGMA synchronous = FULL")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def _prepare_postgresql(connection: Any, _: object) -> None:
    from psycopg.types.json import set_json_loads  # noqa: PLC0415 - the driver is an extra

    # `json` columns are read as the exact text they keep, never parsed and spelt anew.
    set_json_loads(lambda raw: raw if isinstance(raw, str) else bytes(raw).decode(), connection)


def _is_unique_violation(original: BaseException) -> bool:
    """Tell a unique violation by its code: SQLSTATE 23505, or SQLite's names for it."""
    names = ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE")
    code = getattr(original, "sqlstate", None)
    return code == _UNIQUE_VIOLATION or getattr(original, "sqlite_errorname", None) in names


def _first_sentence(reason: str) -> str:
    return reason.split("\n", 1)[0][:300]
