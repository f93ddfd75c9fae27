"""How is a PostgreSQL asked without being able to change it, and without holding all that it answers?

The transaction is READ ONLY, which cannot be taken back once it has its snapshot. The extended protocol takes
one statement at a time. Rows come from a cursor of the server's, a few megabytes at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event

from maia_sync.store.answer import Column
from maia_sync.store.engine import make_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from maia_sync.store.answer import Cell, Kind, Limit, Row, Value
    from maia_sync.store.statement import Statement

_KINDS: Final[Mapping[str, Kind]] = {
    "bool": "bool",
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "oid": "integer",
    "numeric": "number",
    "float4": "real",
    "float8": "real",
    "bytea": "bytes",
    "timestamp": "moment",
    "timestamptz": "moment",
    "date": "day",
}
_READ_BY_PSYCOPG: Final = frozenset(("bool", "integer", "real", "bytes"))
"""Kinds whose values psycopg makes as we want them; all others are read as the server spells them."""
_SETTINGS: Final = (
    "SELECT set_config('datestyle', 'ISO', true), set_config('timezone', 'UTC', true), "
    "set_config('intervalstyle', 'postgres', true), set_config('bytea_output', 'hex', true), "
    "set_config('cursor_tuple_fraction', '1', true)"
)
"""How values are spelt; and that a cursor's query is planned for all of its rows, not for the first ones."""
_BATCH_BYTES: Final = 4_000_000
_FIRST_BATCH: Final = 50
_LARGEST_BATCH: Final = 10_000
_MOST_DIGITS: Final = 4000
"""Python makes no integers of more than 4,300 digits; what is longer stays text."""


def reading_engine(url: str, *, connections: int, busy_timeout: float) -> Engine:
    """Return an engine whose transactions only read, all of them from one snapshot."""
    engine = make_engine(url, synchronous="normal", connections=connections, busy_timeout=busy_timeout)
    event.listen(engine, "begin", _begin_reading)
    return engine


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


class PostgresqlQuestion:
    """A statement put to PostgreSQL, whose answer stays there until it is fetched."""

    def __init__(self, driver: Any, statement: Statement, limit: Limit) -> None:
        self._driver = driver
        self._statement = statement
        self._limit = limit
        # EXPLAIN has no cursor of the server's. Asked for the binary format, which its texts are as well, it
        # too takes the extended protocol.
        self._explains = statement.verb == "EXPLAIN"
        self._cursor = driver.cursor(binary=True) if self._explains else driver.cursor("maia_sync_query")
        self._columns: tuple[Column, ...] = ()

    def ask(self, values: Mapping[str, Value]) -> tuple[Column, ...]:
        """Begin, with a value for each parameter, and return the columns."""
        self._driver.execute(_SETTINGS)  # a query: from here on the transaction has its snapshot
        self._tell_limit()
        kinds = _read_as_spelt(self._cursor)
        self._cursor.execute(self._statement.for_psycopg(), values or None)
        self._columns = tuple(
            Column(name=each.name, kind=kinds.get(each.type_code, "text"))
            for each in self._cursor.description or ()
        )
        return self._columns

    def rows(self) -> Iterator[Row]:
        """Yield the rows, spelt as SQLite's are."""
        return _alike(iter(self._cursor.fetchall()) if self._explains else self._fetched(), self._columns)

    def _fetched(self) -> Iterator[Row]:
        """Yield the rows; as many are fetched at once as are expected to be a few megabytes."""
        size = _FIRST_BATCH
        while True:
            self._tell_limit()
            rows = self._cursor.fetchmany(size)
            yield from rows
            if len(rows) < size:
                return
            held = sum(len(cell) if isinstance(cell, str | bytes) else 8 for row in rows for cell in row)
            wanted = _BATCH_BYTES * len(rows) // max(held, 1)
            size = max(min(wanted, size * 8, _LARGEST_BATCH), 1)

    def _tell_limit(self) -> None:
        """Tell the server how long its next statement may take: what is left."""
        if self._limit.until is not None:
            left = max(math.ceil((self._limit.until - self._limit.clock.monotonic()) * 1000), 1)
            self._driver.execute(f"SET LOCAL statement_timeout = {left}")

    def end(self) -> None:
        """Let another thread have the server end what it is doing."""
        self._driver.cancel()

    def close(self) -> None:
        """Let go of what has not been read."""
        self._cursor.close()


def _read_as_spelt(cursor: Any) -> Mapping[int, Kind]:
    """Let a cursor read what is no plain value as the server spells it; return the kinds by type number."""
    from psycopg.postgres import types  # noqa: PLC0415 - the driver is an extra
    from psycopg.types.string import TextBinaryLoader, TextLoader  # noqa: PLC0415

    kinds: dict[int, Kind] = {}
    for each in types:
        kind = _KINDS.get(each.name, "text")
        kinds[each.oid] = kind
        for oid in (each.array_oid, *([] if kind in _READ_BY_PSYCOPG else [each.oid])):
            if oid:
                cursor.adapters.register_loader(oid, TextLoader)
                cursor.adapters.register_loader(oid, TextBinaryLoader)
    return kinds


def _alike(rows: Iterator[Row], columns: Sequence[Column]) -> Iterator[Row]:
    """Yield rows with their moments and numbers spelt as SQLite's are."""
    changes = [(at, _CHANGES[each.kind]) for at, each in enumerate(columns) if each.kind in _CHANGES]
    for row in rows:
        cells = list(row)
        for at, change in changes:
            if isinstance(text := cells[at], str):
                cells[at] = change(text)
        yield tuple(cells)


def _moment(text: str) -> str:
    """Return `2026-01-05 08:00:00.5+00` as `2026-01-05 08:00:00.500000`; `infinity` and the like as it is."""
    plain = text.removesuffix("+00")
    if len(plain) == 19:
        return f"{plain}.000000"
    return plain.ljust(26, "0") if plain[19:20] == "." and len(plain) <= 26 else text


def _number(text: str) -> Cell:
    """Return a numeric as a whole number, or as the nearest double; text where neither is possible."""
    if text.removeprefix("-").isdecimal():
        return int(text) if len(text) <= _MOST_DIGITS else text
    found = float(text)
    return text if math.isinf(found) and "Inf" not in text else found


_CHANGES: Final[Mapping[str, Callable[[str], Cell]]] = {"moment": _moment, "number": _number}
