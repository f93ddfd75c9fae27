"""How is a SQLite file asked without being able to change it?

It is opened for reading alone, beside whoever writes, and an authorizer refuses whatever else a statement
could do: attach another file, load code, set what stays.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.pool import NullPool

from maia_sync.errors import DatabaseUnreachable
from maia_sync.store.answer import Column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Engine

    from maia_sync.store.answer import Limit, Row, Value
    from maia_sync.store.statement import Statement

_STEPS_BETWEEN_LOOKS: Final = 20_000
"""Instructions of SQLite between two looks at the clock and at signals: about a millisecond."""
_MAY: Final = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_TRANSACTION)
)
_SCHEMA: Final = frozenset(("sqlite_master", "sqlite_schema"))
_FUNCTIONS_REFUSED: Final = frozenset(("load_extension", "fts3_tokenizer"))
_PRAGMAS: Final = frozenset(
    (
        *("table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"),
        *("foreign_key_list", "database_list", "compile_options", "function_list", "collation_list"),
        *("pragma_list", "module_list"),
    )
)
"""Those that only tell, whatever their argument."""
_BARE_PRAGMAS: Final = frozenset(("read_uncommitted", "page_count", "page_size", "freelist_count"))
"""Those that only tell as long as they are given no argument."""


def reading_engine(url: str, *, connections: int, busy_timeout: float) -> Engine:  # noqa: ARG001 - as for PostgreSQL
    """Return an engine whose connections only read; each is closed when it is given back."""
    path = make_url(url).database

    def connect() -> sqlite3.Connection:
        # Only a URI opens a file for reading alone; as_uri() escapes what would mean something in one.
        place = f"{Path(path).absolute().as_uri()}?mode=ro" if path else ":memory:"
        # A connection may wander from thread to thread, as long as one at a time uses it: so does an answer
        # that is sent on as it comes.
        connection = sqlite3.connect(
            place, uri=True, timeout=busy_timeout, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorized)
        connection.text_factory = _decoded
        _require_readable(connection, path)
        return connection

    engine = create_engine(url, creator=connect, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _require_readable(connection: sqlite3.Connection, path: str | None) -> None:
    """Raise DatabaseUnreachable for who may only read, and comes while nobody else has the file open."""
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except connection.Error as error:
        connection.close()
        if (getattr(error, "sqlite_errorname", None) or "").startswith("SQLITE_READONLY"):
            raise DatabaseUnreachable(
                f"nobody has the database at {path} open just now, and who comes first must be allowed to "
                "write its -wal and -shm files beside it: query it while maia-sync runs, or query a copy"
            ) from error
        raise


def _authorized(action: int, first: str | None, second: str | None, _: str | None, __: str | None) -> int:
    """Allow what reads, by SQLite's codes of what a statement does; refuse the rest, known or not."""
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = (second or "").lower() not in _FUNCTIONS_REFUSED
    elif action == sqlite3.SQLITE_PRAGMA:
        name = (first or "").lower()
        allowed = name in _PRAGMAS or (name in _BARE_PRAGMAS and second is None)
    elif action == sqlite3.SQLITE_UPDATE:
        # What json_each and the like declare of themselves; a statement of a user's cannot reach the schema.
        allowed = first in _SCHEMA
    else:
        allowed = action in _MAY
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _decoded(raw: bytes) -> str:
    """Return a text of SQLite's, which need not be UTF-8: json_extract can give half a surrogate pair."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        with suppress(UnicodeDecodeError):
            return raw.decode("utf-8", "surrogatepass")
        return raw.decode("utf-8", "backslashreplace")


def watch(driver: Any, limit: Limit) -> None:
    """Have a connection look at the clock and at signals while it works."""
    driver.set_progress_handler(limit.ends, _STEPS_BETWEEN_LOOKS)


class SqliteQuestion:
    """A statement put to SQLite, which looks at the clock and at signals while it works."""

    def __init__(self, driver: Any, statement: Statement, limit: Limit) -> None:
        watch(driver, limit)
        self._cursor: sqlite3.Cursor = driver.cursor()
        self._statement = statement

    def ask(self, values: Mapping[str, Value]) -> tuple[Column, ...]:
        """Begin, with a value for each parameter, and return the columns."""
        given = {name: _spelt(name, value) for name, value in values.items()}
        self._cursor.execute(self._statement.text, given)
        return tuple(Column(name=each[0], kind="any") for each in self._cursor.description or ())

    def rows(self) -> Iterator[Row]:
        """Yield the rows."""
        return self._cursor

    def end(self) -> None:
        """Do nothing: it looks by itself whether it is to end."""

    def close(self) -> None:
        """Let go of what has not been read."""
        self._cursor.close()


def _spelt(name: str, value: Value) -> str | int | None:
    """Return a parameter as the tables hold such values; -1 is no limit, for which NULL is refused."""
    if value is None and name == "limit":
        return -1
    if value is None or isinstance(value, str | int):
        return value
    if name in ("since_day", "until_day"):
        return value.isoformat()
    return f"{value:%Y-%m-%d %H:%M:%S.%f}".rjust(26, "0")  # the C library may write the year 33 as 33
