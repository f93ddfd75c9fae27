"""How do a page's new events get into the database quickly? Each driver's own fastest way.

SQLAlchemy's executemany costs about twice the driver's own, so this one statement goes below it:
SQLite by INSERTs of many rows each (one step in SQLite, during which Python's lock is free),
PostgreSQL by COPY. Everything else in `store/` is SQLAlchemy Core.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from maia_sync.facet_settings import FACETS
from maia_sync.store.copying import NULL, copy_lines, field
from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from maia_sync.model import NewRow, TaskLog
    from maia_sync.store.database import Transaction
    from maia_sync.store.facets import FacetReader, FacetRow

_ROWS_PER_INSERT = 50
_EMPTY_OR_NULL = frozenset(("group_id", "timestamp_text"))
"""Columns that can hold an empty text."""
_MOMENTS = ("occurred_at", "first_seen_at", "last_changed_at", "vanished_at", "pruned_at", "erased_at")


@dataclass(frozen=True, kw_only=True)
class EventColumns:
    """What is inserted, column by column: the same for all rows, or a value for each.

    "" stands for NULL, but in `_EMPTY_OR_NULL`: binding None costs six times a text in the sqlite3 module,
    which looks for an adapter first. Facets that no row has are not there at all.
    """

    constant: dict[str, Any]
    varying: dict[str, Sequence[Any]]

    @property
    def names(self) -> str:
        """The columns, as a statement lists them."""
        return ", ".join(f'"{name}"' for name in (*self.constant, *self.varying))


def insert_new_rows(
    tx: Transaction, log: TaskLog, rows: Sequence[NewRow], run_id: int | None, reader: FacetReader
) -> list[FacetRow]:
    """Insert events with their facets, and return these.

    If one of the events' keys is stored already, the transaction ends with KeysTaken.

    The whole transaction, on purpose: a savepoint, or a statement that can be undone alone, has
    SQLite keep a copy of every page that it touches, which costs a fifth of the insert.
    """
    if not rows:
        return []
    facets = [reader.read(row.event.data) for row in rows]
    columns = _columns(tx, log, rows, facets)
    columns.constant.update(run_id="" if run_id is None else run_id, facets_version=reader.version)
    insert_columns(tx, columns)
    return facets


def insert_columns(tx: Transaction, columns: EventColumns) -> None:
    """Insert rows into `task_event`; moments as `YYYY-MM-DD HH:MM:SS.ffffff` in UTC."""
    if tx.is_postgresql:
        _copy(tx, columns)
    else:
        _insert(tx, columns)


def _columns(tx: Transaction, log: TaskLog, rows: Sequence[NewRow], facets: list[FacetRow]) -> EventColumns:
    events = [row.event for row in rows]
    constant: dict[str, Any] = {"task_id": log.task_id, "revision": 0}
    varying: dict[str, Sequence[Any]] = {
        "group_id": [event.group_id for event in events],
        "timestamp": [event.timestamp for event in events],
        "ordinal": [row.ordinal for row in rows],
        "data": [event.data or "" for event in events],
        "extra": [event.extra or "" for event in events],
        "occurred_at": [event.occurred_at or "" for event in events],
        "timestamp_text": [event.timestamp_text for event in events],
        "seq": [-row.seq for row in rows] if log.newest_first else [row.seq for row in rows],
        "digest": [event.digest for event in events],
        "canonical": ["" if row.canonical is None else row.canonical for row in rows],
    }
    varying.update(zip(FACETS, zip(*facets, strict=True), strict=True))
    for name in ("extra", "canonical", *FACETS):
        if varying[name].count("") == len(rows):
            del varying[name]
    moments = _Moments(tx, log, rows)
    for name in ("first_seen_at", "last_changed_at"):
        if moments.are_one:
            constant[name] = moments.now
        else:
            varying[name] = [moments.of(row) for row in rows]
    return EventColumns(constant=constant, varying=varying)


def _insert(tx: Transaction, columns: EventColumns) -> None:
    """Insert by statements of many rows each; what is the same in all is bound once for each statement."""
    varying = columns.varying
    varying["digest"] = [bytearray(digest) for digest in varying["digest"]]  # see EventColumns
    constants = tuple(columns.constant.values())
    # A "?" behind "?3" is the fourth parameter.
    marks = [f"nullif(?{at}, '')" for at in range(1, len(constants) + 1)]
    marks += [
        "nullif(?, '')" if "" in values and name not in _EMPTY_OR_NULL else "?"
        for name, values in varying.items()
    ]
    into = f"INSERT OR ROLLBACK INTO task_event ({columns.names}) VALUES "
    one_row = f"({','.join(marks)})"
    values = list(zip(*varying.values(), strict=True))
    whole = len(values) - len(values) % _ROWS_PER_INSERT
    full = [
        (*constants, *chain.from_iterable(values[at : at + _ROWS_PER_INSERT]))
        for at in range(0, whole, _ROWS_PER_INSERT)
    ]
    if full:
        tx.connection.exec_driver_sql(into + ",".join([one_row] * _ROWS_PER_INSERT), full)
    if values[whole:]:
        rest = (*constants, *chain.from_iterable(values[whole:]))
        tx.connection.exec_driver_sql(into + ",".join([one_row] * (len(values) - whole)), rest)


def _copy(tx: Transaction, columns: EventColumns) -> None:
    """Send the rows as COPY's text format, which is quicker made here than value by value in the driver."""
    texts: list[Iterable[str]] = []
    for name, value in columns.constant.items():
        zone = "+00" if name in _MOMENTS else ""
        texts.append(repeat(NULL if value == "" else f"{value}{zone}"))
    for name, values in columns.varying.items():
        texts.append(_fields(name, values))
    copy_lines(tx, f"task_event ({columns.names})", ["\t".join(line) + "\n" for line in zip(*texts)])  # noqa: B905 - repeat() has no end


def _fields(name: str, values: Sequence[Any]) -> Iterable[str]:
    """Return a column's values as fields."""
    if name in _FIELDS:
        return map(_FIELDS[name], values)
    distinct = {value: field(value) for value in set(values)}  # a page has few
    if name != "group_id":
        distinct[""] = NULL
    return [distinct[value] for value in values]


def _text_or_null(value: str) -> str:
    return field(value) if value else NULL


def _number_or_null(value: Any) -> str:
    return NULL if value == "" else str(value)


def _bytes_or_null(value: Any) -> str:
    return NULL if value == "" else f"\\\\x{value.hex()}"


def _moment_or_null(value: str) -> str:
    return f"{value}+00" if value else NULL


_FIELDS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("timestamp", "ordinal", "seq", "revision"), str),
    "timestamp_text": field,
    **dict.fromkeys(("data", "extra", "tool_call_id"), _text_or_null),
    **dict.fromkeys(("run_id", "duration_ms", "input_tokens", "output_tokens", "cost"), _number_or_null),
    **dict.fromkeys(("digest", "canonical"), _bytes_or_null),
    **dict.fromkeys(_MOMENTS, _moment_or_null),
}
"""How the values of a column are written; those of the others, of which a page has few, as texts."""


class _Moments:
    """When each row is first seen, as text: the transaction's time, but for rows that share a seq.

    Those are told apart, and sort behind the rows that have the seq already, by microseconds.
    """

    def __init__(self, tx: Transaction, log: TaskLog, rows: Sequence[NewRow]) -> None:
        self.now = self._text(tx.now)
        self._latest = {
            place: max(tx.now, _last_seen(tx, log, place)) for place in {row.seq for row in rows if row.tie}
        }
        self.are_one = not self._latest

    def of(self, row: NewRow) -> str:
        """Return a row's moment."""
        if not row.tie:
            return self.now
        return self._text(self._latest[row.seq] + timedelta(microseconds=row.tie))

    def _text(self, when: datetime) -> str:
        return f"{when:%Y-%m-%d %H:%M:%S.%f}"


def _last_seen(tx: Transaction, log: TaskLog, place: int) -> datetime:
    """Return when the last of the rows that share a seq was stored: a later one must sort behind it."""
    columns = task_event.c
    seq = -place if log.newest_first else place
    statement = select(func.max(columns.first_seen_at)).where(
        columns.task_id == log.task_id, columns.seq == seq
    )
    found: datetime | None = tx.connection.execute(statement).scalar()
    return found or tx.now
