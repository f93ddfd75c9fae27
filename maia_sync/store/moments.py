"""What stands in a column, whatever was put there? Read as it is given, and judged by whoever asks.

SQLite keeps any value in any column, and PostgreSQL moments that Python has no datetime for. SQLAlchemy's
reading of either stops at the first such row.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Integer, LargeBinary, literal_column, type_coerce
from sqlalchemy.types import NullType

from maia_sync.errors import DatabaseError
from maia_sync.store.column_types import UtcTimestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column, ColumnElement

    from maia_sync.store.database import Database, Transaction

_read_text: Final = partial(str, encoding="utf-8", errors="surrogateescape")


@contextmanager
def open_reading(database: Database, *, snapshot: bool = False) -> Iterator[Transaction]:
    """Open a transaction that reads any text, UTF-8 or not (for that see PEP 383), and writes nothing."""
    with database.transaction(write=False, snapshot=snapshot) as tx:
        if tx.is_postgresql:  # it holds no other
            yield tx
            return
        driver: Any = tx.connection.connection.driver_connection
        before = driver.text_factory
        driver.text_factory = _read_text
        try:
            yield tx
        finally:
            driver.text_factory = before


def moment_as_text(column: str) -> str:
    """Return PostgreSQL's SQL for a moment in UTC as SQLite keeps it; in other words if Python has none."""
    told = f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    is_told = f"isfinite({column}) AND {column} >= '0001-01-01'"  # to_char leaves "BC" out
    return f"CASE WHEN {is_told} THEN {told} ELSE CAST({column} AS text) END"


def as_given(tx: Transaction, column: Any) -> ColumnElement[Any]:
    """Return a column to select by its name: moments as text, all else as the driver gives it."""
    if not tx.is_postgresql:
        return type_coerce(column, NullType()).label(column.name)
    if isinstance(column.type, UtcTimestamp):
        return literal_column(moment_as_text(f"{column.table.name}.{column.name}")).label(column.name)
    given: ColumnElement[Any] = column
    return given


def read_moment(given: Any) -> datetime:
    """Return a moment that was selected as text. Raises ValueError for what is none."""
    if not isinstance(given, str):
        raise ValueError("no moment")  # noqa: TRY004 - whatever stands there, it is one kind of mistake
    moment = datetime.fromisoformat(given)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_value(column: Column[Any], given: Any) -> Any:
    """Return what a column holds. Raises ValueError for what it cannot hold."""
    if given is None and column.nullable:
        return None
    if isinstance(column.type, UtcTimestamp):
        return read_moment(given)
    if isinstance(column.type, BigInteger | Integer):
        kind: type = int
    else:
        kind = bytes if isinstance(column.type, LargeBinary) else str
    if not isinstance(given, kind):
        raise ValueError("of another type")  # noqa: TRY004 - as above
    if isinstance(given, str) and not given.isascii():
        given.encode()  # raises if it was no UTF-8
    return given


def read_row(columns: Sequence[Any], row: Sequence[Any]) -> SimpleNamespace | str:
    """Return what a row's columns hold, by their names; or the name of one that holds what it cannot."""
    values: dict[str, Any] = {}
    for column, given in zip(columns, row, strict=True):
        try:
            values[column.name] = read_value(column, given)
        except ValueError:
            return str(column.name)
    return SimpleNamespace(**values)


def require_row(columns: Sequence[Any], row: Sequence[Any]) -> Any:
    """Return what a row's columns hold, the first of which is its id, by their names.

    Raises DatabaseError if one holds what it cannot.
    """
    read = read_row(columns, row)
    if isinstance(read, str):
        table = columns[0].table.name
        raise DatabaseError(f"row {row[0]} of {table} cannot be read: its {read} was altered")
    return read
