"""How is the database reached, and when does a transaction begin and end?

Only `Database.transaction()` opens one; functions of `store/` take it as their first argument and
never commit. SQLAlchemy's and the drivers' errors become ours here and nowhere else.
"""

from __future__ import annotations

import shutil
from contextlib import closing, contextmanager
from datetime import UTC
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from maia_sync.errors import (
    Bug,
    DatabaseError,
    DatabaseFull,
    DatabaseLost,
    DatabaseNotMigrated,
    DatabaseTooNew,
    DatabaseUnfinished,
    DatabaseUnreachable,
    KeysTaken,
    MaiaSyncError,
)
from maia_sync.store.digest_key import DigestKeyFile
from maia_sync.store.engine import DURABLE, WRITE, make_engine
from maia_sync.store.schema import HEAD, KNOWN_REVISIONS
from maia_sync.store.trouble import Trouble, ends_session, reason_of, trouble_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Connection, RootTransaction

    from maia_sync.clock import Clock

BUSY_TIMEOUT = 60.0
_ROOM_TO_WRITE = 1 << 20
_ERRORS: dict[Trouble, tuple[type[DatabaseError], str]] = {
    Trouble.DENIED: (DatabaseError, "the database user of {place} may not do this: {reason}"),
    Trouble.NO_DATABASE: (DatabaseError, "{place} is not an SQLite database: see database.url"),
    Trouble.DAMAGED: (DatabaseError, "the database at {place} is damaged: {reason}"),
    Trouble.READ_ONLY: (DatabaseLost, "the database at {place} takes no changes just now: {reason}"),
    Trouble.GIVEN_UP: (DatabaseLost, "the database at {place} gave a transaction up: {reason}"),
    Trouble.BUSY: (
        DatabaseLost,
        "the database at {place} was locked by another process for more than {seconds} seconds: {reason}",
    ),
    Trouble.NOT_READ_OR_WRITTEN: (DatabaseUnreachable, "the database at {place} cannot be used: {reason}"),
    Trouble.OTHER: (DatabaseError, "the database at {place} cannot be used: {reason}"),
}


class Transaction:
    """One open transaction: its connection, its dialect, its time."""

    def __init__(self, connection: Connection, clock: Clock, digest_key: DigestKeyFile) -> None:
        self.connection = connection
        self._clock = clock
        self.digest_key = digest_key
        """By which payloads are known again that were removed."""
        self.read_ahead: dict[Any, Any] = {}
        """What was read for several tasks at once and is going to be asked for (see `windows.py`)."""

    @property
    def is_postgresql(self) -> bool:
        """Tell the dialect; everything else is SQLite."""
        return self.connection.dialect.name == "postgresql"

    @cached_property
    def now(self) -> datetime:
        """The transaction's time: PostgreSQL's clock, or this machine's for SQLite; aware, UTC."""
        if self.is_postgresql:
            moment: datetime = self.connection.execute(text("SELECT now()")).scalar_one()
            return moment.astimezone(UTC)
        return self._clock.now()

    def driver_moment(self, moment: datetime | None) -> datetime | str | None:
        """Return a moment in UTC as a statement in the driver's own words takes it: SQLite keeps text."""
        if moment is None or self.is_postgresql:
            return moment
        return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


class Database:
    """One database, SQLite or PostgreSQL, behind SQLAlchemy Core."""

    def __init__(
        self,
        *,
        url: str,
        clock: Clock,
        synchronous: str = "normal",
        connections: int = 4,
        busy_timeout: float = BUSY_TIMEOUT,
        digest_key_file: Path | None = None,
    ) -> None:
        self._url = make_url(url)
        self.digest_key = DigestKeyFile(digest_key_file)
        self._busy_timeout = busy_timeout
        self.clock = clock
        self.engine = make_engine(
            url, synchronous=synchronous, connections=connections, busy_timeout=busy_timeout
        )
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, self._driver.Error)

    @property
    def is_postgresql(self) -> bool:
        """Tell the dialect; everything else is SQLite."""
        return self.engine.dialect.name == "postgresql"

    @property
    def place(self) -> str:
        """Name the database for a message, without its password or its query, which can hold one."""
        return self._url.set(query={}).render_as_string(hide_password=True)

    @property
    def _driver(self) -> Any:
        return self.engine.dialect.loaded_dbapi

    @contextmanager
    def transaction(
        self, *, write: bool = True, durable: bool = False, snapshot: bool = False
    ) -> Iterator[Transaction]:
        """Open a transaction; commit at the block's end, roll back if it raises.

        On SQLite a writing one begins IMMEDIATE, so that it waits for its turn before it reads. What a
        `durable` one has committed survives a power cut, whatever `database.synchronous` says. A `snapshot`
        writes nothing, and all of its statements see the database as it was at its first one.

        Raises DatabaseUnreachable when no connection is to be had, and DatabaseLost when the whole
        transaction may be tried again: with `commit_unknown` only where the connection broke after COMMIT
        had been sent and before its answer, and there was something to write.
        """
        with self._converted():
            connection = self.engine.connect()
        write = write and not snapshot
        with connection:
            connection.execution_options(**{WRITE: write, DURABLE: durable})
            with self._converted(connection):
                opened = connection.begin()
                try:
                    if durable and self.is_postgresql:
                        connection.execute(text("SET LOCAL synchronous_commit = on"))
                    if snapshot and self.is_postgresql:  # SQLite's transactions see nothing else
                        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                    yield Transaction(connection, self.clock, self.digest_key)
                except BaseException:
                    self._roll_back(connection, opened)
                    raise
            try:
                with self._converted(connection, committing=write):
                    opened.commit()
            except BaseException:
                connection.invalidate()  # SQLite can leave open what it could not commit
                raise

    @contextmanager
    def statements(self) -> Iterator[Any]:
        """Yield a driver's cursor whose statements stand alone: some, as VACUUM, cannot be in a transaction.

        Its connection is closed then, so that whatever is set on it belongs to nobody else. Raises as
        `transaction` does.
        """
        with self._converted():
            connection = self.engine.connect()
        with connection, self._converted(connection):
            driver: Any = connection.connection
            try:
                if self.is_postgresql:
                    driver.driver_connection.autocommit = True
                with closing(driver.cursor()) as cursor:
                    yield cursor
            finally:
                connection.invalidate()

    def _roll_back(self, connection: Connection, opened: RootTransaction) -> None:
        """Roll back, or drop a connection that cannot: then the server does, and the first error stands."""
        try:
            opened.rollback()
        except self._errors:
            connection.invalidate()

    @contextmanager
    def _converted(self, connection: Connection | None = None, *, committing: bool = False) -> Iterator[None]:
        """Make errors ours; a connection that broke never goes back to the pool."""
        try:
            yield
        except self._errors as error:
            original = getattr(error, "orig", None) or error
            if connection is None:
                raise self._unconnected(original) from error
            unanswered = committing and self.is_postgresql and not getattr(original, "sqlstate", None)
            broken = connection.invalidated or ends_session(original) or unanswered
            if broken:
                connection.invalidate()
            if broken and trouble_of(original) is not Trouble.FULL:
                raise self._lost(original, commit_unknown=committing) from error
            raise self._ours(original) from error

    def _unconnected(self, original: BaseException) -> MaiaSyncError:
        """Return the error for a connection that could not be had."""
        reason = reason_of(original)
        if isinstance(original, PoolTimeoutError):
            reason = "none of our connections became free in time"
        elif trouble_of(original) not in (Trouble.OTHER, Trouble.BROKEN) or not isinstance(
            original, self._driver.OperationalError
        ):
            return self._ours(original)
        return DatabaseUnreachable(f"the database at {self.place} cannot be used: {reason}")

    def _lost(self, original: BaseException, *, commit_unknown: bool) -> DatabaseLost:
        """Return the error for a connection that broke."""
        when = " while a commit was under way, which may or may not have happened" if commit_unknown else ""
        return DatabaseLost(
            f"the connection to the database at {self.place} broke{when}: {reason_of(original)}",
            commit_unknown=commit_unknown,
        )

    def _ours(self, original: BaseException) -> MaiaSyncError:
        """Return the error for a transaction that was rolled back over a connection that still stands."""
        trouble = trouble_of(original)
        if trouble is Trouble.FULL or (trouble is Trouble.NOT_READ_OR_WRITTEN and not self._has_room()):
            return self._full()
        if trouble is Trouble.KEY_TAKEN:
            return KeysTaken("the keys of rows that were taken to be new are stored already")
        if trouble is Trouble.OTHER and isinstance(
            original, self._driver.IntegrityError | self._driver.ProgrammingError
        ):
            return Bug(f"the database refused a statement of ours: {type(original).__name__}")
        if trouble is Trouble.OTHER and not isinstance(original, self._driver.OperationalError):
            return DatabaseError(f"the database at {self.place} failed: {type(original).__name__}")
        kind, sentence = _ERRORS[trouble]
        return kind(
            sentence.format(place=self.place, reason=reason_of(original), seconds=f"{self._busy_timeout:g}")
        )

    def _full(self) -> DatabaseFull:
        whose = "of the database server" if self.is_postgresql else "that holds the database"
        return DatabaseFull(
            f"there is no room left on the disk {whose} at {self.place}: "
            "nothing stored is lost; make room and start again"
        )

    def _has_room(self) -> bool:
        """Tell whether SQLite's file could grow: a full disk is not always reported as such."""
        path = self._url.database
        try:
            return not path or shutil.disk_usage(Path(path).absolute().parent).free >= _ROOM_TO_WRITE
        except OSError:
            return True

    def require_file(self) -> None:
        """Refuse a SQLite file that is not there, instead of making an empty one."""
        path = self._url.database
        if not self.is_postgresql and path and not Path(path).exists():
            raise DatabaseNotMigrated(
                f"there is no database at {Path(path).absolute()}: run `maia-sync init` or `maia-sync db "
                "upgrade`; a path counts from the folder where maia-sync is started"
            )

    def read_revision(self) -> str | None:
        """Return the migration that the database stands at, or None if it has none."""
        with self.transaction(write=False) as tx:
            if not self.engine.dialect.has_table(tx.connection, "alembic_version"):
                return None
            found = tx.connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return None if found is None else str(found)

    def require_migrated(self) -> None:
        """Raise DatabaseNotMigrated or DatabaseTooNew unless the schema is this version's.

        Raises DatabaseUnfinished while it is being restored from an archive.
        """
        self.require_file()
        revision = self.read_revision()
        if revision == HEAD:
            self._require_finished()
            return
        if revision is None:
            raise DatabaseNotMigrated(f"{self.place} has no tables of maia-sync: run `maia-sync db upgrade`")
        if revision in KNOWN_REVISIONS:
            raise DatabaseNotMigrated(
                f"{self.place} is at migration {revision}, but {HEAD} is needed: run `maia-sync db upgrade`"
            )
        raise self.too_new(revision)

    def _require_finished(self) -> None:
        unfinished = text("SELECT entries, tree_size FROM archive_restore WHERE completed_at IS NULL")
        with self.transaction(write=False) as tx:
            found = tx.connection.execute(unfinished).first()
        if found is not None:
            raise DatabaseUnfinished(
                f"{self.place} is being restored from an archive, and has {found[0]:,} of its {found[1]:,} "
                "entries so far: run the same `maia-sync archive restore` again, which goes on from there"
            )

    def too_new(self, revision: str) -> DatabaseTooNew:
        """Return the error for a database that a newer version has migrated."""
        return DatabaseTooNew(
            f"{self.place} is at migration {revision}, which this version does not know: upgrade maia-sync"
        )

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
