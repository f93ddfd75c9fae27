"""What does the database answer to somebody's own SQL? Rows one after another, and nothing is ever written.

That a query only reads does not rest on its text, but on how each database is asked (`asking_sqlite.py`,
`asking_postgresql.py`). The transaction is rolled back in the end, so that no setting that a query has made
outlives it in a session that a pooler lends to others.
"""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from maia_sync.errors import MaiaSyncError, UsageError
from maia_sync.store import asking_postgresql, asking_sqlite
from maia_sync.store.answer import Answer, Limit
from maia_sync.store.database import BUSY_TIMEOUT, Database
from maia_sync.store.trouble import Trouble, reason_of, trouble_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from maia_sync.clock import Clock
    from maia_sync.store.answer import Question, Row, Value
    from maia_sync.store.database import Transaction
    from maia_sync.store.statement import Statement

_USERS_CLASSES: Final = frozenset(
    ("0A", "0L", "21", "22", "25", "26", "2F", "34", "38", "39", "3F", "42", "54", "P0")
)
"""Classes of SQLSTATE for which the query is to blame."""

_TRIES_TO_END: Final = 20
_BETWEEN_TRIES: Final = 0.05


class _OverError(Exception):
    """The rows have been read: the transaction is rolled back like one that failed."""


class ReadingDatabase(Database):
    """A database over connections of its own that cannot write.

    Several threads may ask at once, each its own question. `connections` is how many of a PostgreSQL's are
    kept open; SQLite's are opened for each question.
    """

    def __init__(self, *, url: str, clock: Clock, connections: int = 4) -> None:
        super().__init__(url=url, clock=clock, connections=1)
        asking = asking_postgresql if self.is_postgresql else asking_sqlite
        self.engine = asking.reading_engine(url, connections=connections, busy_timeout=BUSY_TIMEOUT)
        self._asked: set[Question] = set()
        self._open = 0
        self._changed = threading.Condition()
        self._is_closed = threading.Event()

    def close(self) -> None:
        """End what is being asked, within a second, and close every connection.

        Nothing is answered any more.
        """
        with self._changed:
            self._is_closed.set()
            for _ in range(_TRIES_TO_END):  # what ends nothing came between two statements of a question
                for question in self._asked:
                    with suppress(*self._errors):
                        question.end()
                if self._changed.wait_for(lambda: self._open == 0, timeout=_BETWEEN_TRIES):
                    break
        super().close()

    @contextmanager
    def transaction(self, *, write: bool = False, durable: bool = False) -> Iterator[Transaction]:
        """Open a transaction, which can only read. Raises MaiaSyncError once the database is closed."""
        with self._changed:
            if self._is_closed.is_set():
                raise _closed()
            self._open += 1
        try:
            with super().transaction(write=write, durable=durable) as tx:
                yield tx
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

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
        until = None if timeout is None else self.clock.monotonic() + timeout
        limit = Limit(clock=self.clock, seconds=timeout, until=until, is_closed=self._is_closed.is_set)
        with suppress(_OverError), self.transaction(write=False) as tx:
            driver: Any = tx.connection.connection.driver_connection
            with closing(self._put(driver, statement, limit)) as question, self._endable(question):
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
    def _endable(self, question: Question) -> Iterator[None]:
        """Let `close` end a question."""
        with self._changed:
            self._asked.add(question)
        try:
            yield
        finally:
            with self._changed:
                self._asked.discard(question)

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
