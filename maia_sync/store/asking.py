"""What does the database answer to somebody's own SQL? Rows one after another, and nothing is ever written.

That a query only reads does not rest on its text, but on how each database is asked (`asking_sqlite.py`,
`asking_postgresql.py`). The transaction is rolled back in the end, so that no setting that a query has made
outlives it in a session that a pooler lends to others.
"""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from maia_sync.errors import DatabaseLost, MaiaSyncError, UsageError
from maia_sync.store import asking_postgresql, asking_sqlite
from maia_sync.store.answer import Answer, Limit
from maia_sync.store.database import BUSY_TIMEOUT, Database
from maia_sync.store.trouble import Trouble, reason_of, trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from maia_sync.clock import Clock
    from maia_sync.store.answer import Question, Row, Value
    from maia_sync.store.database import Transaction
    from maia_sync.store.statement import Statement

_USERS_CLASSES: Final = frozenset(
    ("0A", "0L", "21", "22", "25", "26", "2F", "34", "38", "39", "3F", "42", "54", "P0")
)
"""Classes of SQLSTATE for which the query is to blame."""

READ_WITHIN: Final = 5.0
"""Seconds that a statement of a transaction may take, on SQLite all of them together."""
_WELL_FOR: Final = 5.0
"""Seconds for which a migration that was right is taken to be right still."""
_TRIES_TO_END: Final = 20
_BETWEEN_TRIES: Final = 0.05


class _OverError(Exception):
    """The rows have been read: the transaction is rolled back like one that failed."""


class ReadingDatabase(Database):
    """A database over connections of its own that cannot write.

    Several threads may ask at once, each its own question. `connections` is how many of a PostgreSQL's are
    kept open; SQLite's are opened for each question. `busy_timeout`: so many seconds a SQLite file that
    somebody else has locked is waited for.
    """

    def __init__(
        self, *, url: str, clock: Clock, connections: int = 4, busy_timeout: float = BUSY_TIMEOUT
    ) -> None:
        super().__init__(url=url, clock=clock, connections=1, busy_timeout=busy_timeout)
        asking = asking_postgresql if self.is_postgresql else asking_sqlite
        self.engine = asking.reading_engine(url, connections=connections, busy_timeout=busy_timeout)
        self._well_at: float | None = None
        self._endings: set[Callable[[], None]] = set()
        self._open = 0
        self._changed = threading.Condition()
        self._is_closed = threading.Event()

    def close(self) -> None:
        """End what is being asked, within a second, and close every connection.

        Nothing is answered any more. A server that does not even take in that it is to end something is not
        waited for.
        """
        self._is_closed.set()
        with self._changed:
            is_idle = self._open == 0
        if not is_idle:
            ending = threading.Thread(target=self._end_all, name="maia-sync-ending", daemon=True)
            ending.start()
            ending.join(_TRIES_TO_END * _BETWEEN_TRIES)
        super().close()

    def _end_all(self) -> None:
        for _ in range(_TRIES_TO_END):  # what ends nothing came between two statements of a question
            with self._changed:
                endings = list(self._endings)
            for end in endings:
                with suppress(*self._errors):
                    end()
            with self._changed:
                if self._changed.wait_for(lambda: self._open == 0, timeout=_BETWEEN_TRIES):
                    return

    @contextmanager
    def transaction(
        self, *, write: bool = False, durable: bool = False, snapshot: bool = False
    ) -> Iterator[Transaction]:
        """Open a transaction, which can only read, and not for long.

        Raises MaiaSyncError once the database is closed, and DatabaseLost for what takes longer than a few
        seconds.
        """
        with self._opened(write=write, durable=durable, snapshot=snapshot) as tx, self._bounded(tx):
            yield tx

    @contextmanager
    def _opened(
        self, *, write: bool = False, durable: bool = False, snapshot: bool = False
    ) -> Iterator[Transaction]:
        with self._changed:
            if self._is_closed.is_set():
                raise _closed()
            self._open += 1
        try:
            with super().transaction(write=write, durable=durable, snapshot=snapshot) as tx:
                yield tx
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    @contextmanager
    def _bounded(self, tx: Transaction) -> Iterator[None]:
        """See to it that what is read in a transaction ends: in a few seconds, or when we are closed."""
        driver: Any = tx.connection.connection.driver_connection
        limit = self._limit(READ_WITHIN)
        try:
            if self.is_postgresql:
                tx.connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(READ_WITHIN * 1000)}")
                with self._endable(driver.cancel):
                    yield
            else:
                asking_sqlite.watch(driver, limit)
                yield
        except self._errors as error:
            original = getattr(error, "orig", None) or error
            if not _is_ended(original):
                raise
            if self._is_closed.is_set():
                raise _closed() from error
            if not self.is_postgresql and not limit.is_over():
                raise KeyboardInterrupt from error  # as in _refusals
            raise DatabaseLost("the database is busy: try again in a moment") from error

    def _limit(self, seconds: float | None) -> Limit:
        until = None if seconds is None else self.clock.monotonic() + seconds
        return Limit(clock=self.clock, seconds=seconds, until=until, is_closed=self._is_closed.is_set)

    def require_migrated_lately(self) -> None:
        """Raise what require_migrated raises; what was right a moment ago is not asked again."""
        now = self.clock.monotonic()
        if self._well_at is None or now - self._well_at >= _WELL_FOR:
            self.require_migrated()
            self._well_at = now

    @contextmanager
    def ask(
        self, statement: Statement, values: Mapping[str, Value] | None = None, *, timeout: float | None = None
    ) -> Iterator[Answer]:
        """Ask, and yield the answer; its rows are of one moment, and end with the block.

        `values` has a value for each of the statement's parameters; one that is missing is NULL, no bound.
        Raises UsageError for what the database refuses, MaiaSyncError when `timeout` seconds have gone by
        before the last row or the database is closed, KeyboardInterrupt, and DatabaseError.
        """
        given = {name: (values or {}).get(name) for name in statement.parameters}
        limit = self._limit(timeout)
        with suppress(_OverError), self._opened() as tx:
            driver: Any = tx.connection.connection.driver_connection
            with closing(self._put(driver, statement, limit)) as question, self._endable(question.end):
                with self._refusals(limit):
                    columns = question.ask(given)
                if not columns:
                    raise UsageError("the query gives no columns")
                with closing(self._watched(question, limit)) as rows:
                    yield Answer(columns=columns, rows=rows)
            raise _OverError

    def _put(self, driver: Any, statement: Statement, limit: Limit) -> Question:
        if self.is_postgresql:
            return asking_postgresql.PostgresqlQuestion(driver, statement, limit)
        return asking_sqlite.SqliteQuestion(driver, statement, limit)

    @contextmanager
    def _endable(self, end: Callable[[], None]) -> Iterator[None]:
        """Let `close` end a question."""
        with self._changed:
            self._endings.add(end)
        try:
            yield
        finally:
            with self._changed:
                self._endings.discard(end)

    def _watched(self, question: Question, limit: Limit) -> Generator[Row]:
        with self._refusals(limit):
            yield from question.rows()

    @contextmanager
    def _refusals(self, limit: Limit) -> Iterator[None]:
        """Tell what is the query's fault, or its end, from what is wrong with the database."""
        try:
            yield
        except (*self._errors, self._driver.Warning) as error:
            if self._is_closed.is_set() and _is_ended(error):
                raise _closed() from error
            if getattr(error, "sqlite_errorname", None) == "SQLITE_INTERRUPT" and not limit.is_over():
                # A signal came while SQLite asked for the time, and it swallowed what was raised there.
                raise KeyboardInterrupt from error
            refusal = _refusal_of(error, limit)
            if refusal is None:
                raise
            raise refusal from error


def _closed() -> MaiaSyncError:
    return MaiaSyncError("the query was ended: the database is being closed")


def _is_ended(error: BaseException) -> bool:
    state, name = getattr(error, "sqlstate", None), getattr(error, "sqlite_errorname", None)
    return state == "57014" or name == "SQLITE_INTERRUPT"


def _refusal_of(error: BaseException, limit: Limit) -> MaiaSyncError | None:
    """Return the error for what is no fault of the database, or None."""
    state = getattr(error, "sqlstate", None) or ""
    name = getattr(error, "sqlite_errorname", None)
    if _is_ended(error):
        if limit.is_over():
            return MaiaSyncError(f"the query was ended: it took longer than {limit.seconds:g} seconds")
        return MaiaSyncError(f"the database ended the query: {reason_of(error)}")
    if name == "SQLITE_AUTH":
        return UsageError(f"a query only reads, and this one asks for more: {reason_of(error)}")
    is_users = state[:2] in _USERS_CLASSES if hasattr(error, "sqlstate") else True
    if is_users and trouble_of(error) in (Trouble.OTHER, Trouble.READ_ONLY):
        return UsageError(f"the database refuses the query: {reason_of(error)}")
    return None
