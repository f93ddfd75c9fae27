"""How do a page's new events get into the database quickly? Each driver's own fastest way.

SQLAlchemy's executemany costs about twice the driver's own, so this statement goes below it: SQLite by
INSERTs of many rows each (one step in SQLite, during which Python's lock is free), PostgreSQL by COPY. So
do those of summaries, windows, leases and the ends of walks, which run with every page; all others are
SQLAlchemy Core.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from sqlalchemy import func, select

from maia_sync.facet_settings import FACETS
from maia_sync.page_events import NewRows, events_of
from maia_sync.store.copying import NULL, copy_lines, field
from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from maia_sync.model import NewRow, TaskLog
    from maia_sync.store.database import Transaction
    from maia_sync.store.facets import FacetColumns, FacetReader

_ROWS_PER_INSERT = 25
"""What is left over goes in one of its own. More is not quicker, and takes longer to prepare."""
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
) -> FacetColumns:
    """Insert events with their facets, and return these.

    If one of the events' keys is stored already, the transaction ends with KeysTaken.

    The whole transaction, on purpose: a savepoint, or a statement that can be undone alone, has
    SQLite keep a copy of every page that it touches, which costs a fifth of the insert.
    """
    facets = reader.read_all(events_of(rows).data)
    if not rows:
        return facets
    columns = _columns(tx, log, rows, facets, reader.told)
    columns.constant.update(run_id="" if run_id is None else run_id, facets_version=reader.version)
    insert_columns(tx, columns)
    return facets


def insert_columns(tx: Transaction, columns: EventColumns) -> None:
    """Insert rows into `task_event`; moments as `YYYY-MM-DD HH:MM:SS.ffffff` in UTC."""
    if tx.is_postgresql:
        _copy(tx, columns)
    else:
        _insert(tx, columns)


def _columns(
    tx: Transaction, log: TaskLog, rows: Sequence[NewRow], facets: FacetColumns, told: Collection[str]
) -> EventColumns:
    events = events_of(rows)
    constant: dict[str, Any] = {"task_id": log.task_id, "revision": 0}
    varying: dict[str, Sequence[Any]] = {
        "group_id": events.group_ids,
        "timestamp": events.timestamps,
        "data": _or_empty(events.data),
        "occurred_at": _or_empty(events.occurred_ats),
        "timestamp_text": events.timestamp_texts,
        "digest": events.digests,
    }
    if events.extras is not None and any(events.extras):
        varying["extra"] = _or_empty(events.extras)
    if isinstance(rows, NewRows):
        constant["ordinal"] = 0
        varying["seq"] = rows.places
    else:
        varying["ordinal"] = [row.ordinal for row in rows]
        varying["seq"] = [row.seq for row in rows]
        if any(row.canonical for row in rows):
            varying["canonical"] = [row.canonical or "" for row in rows]
    if log.newest_first:
        varying["seq"] = [-place for place in varying["seq"]]
    # Once told, always there: ever other columns would take ever other statements to be prepared.
    varying.update((name, values) for name, values in zip(FACETS, facets, strict=True) if name in told)
    moments = _Moments(tx, log, rows)
    for name in ("first_seen_at", "last_changed_at"):
        if moments.are_one:
            constant[name] = moments.now
        else:
            varying[name] = [moments.of(row) for row in rows]
    return EventColumns(constant=constant, varying=varying)


def _or_empty(column: Sequence[Any]) -> Sequence[Any]:
    return column if None not in column else [each or "" for each in column]


def _insert(tx: Transaction, columns: EventColumns) -> None:
    """Insert by statements of many rows each; what is the same in all is bound once for each statement."""
    varying = columns.varying
    varying["digest"] = [bytearray(digest) for digest in varying["digest"]]  # see EventColumns
    known = tuple(value != "" for value in columns.constant.values())
    same = [value for value in columns.constant.values() if value != ""]
    nullable = tuple(
        name in FACETS or ("" in values and name not in _EMPTY_OR_NULL) for name, values in varying.items()
    )
    values = list(zip(*varying.values(), strict=True))
    whole = len(values) - len(values) % _ROWS_PER_INSERT
    for start, end, rows in ((0, whole, _ROWS_PER_INSERT), (whole, len(values), len(values) - whole)):
        if end > start:
            statement = _insert_statement(columns.names, known, nullable, rows)
            some = [(*same, *chain.from_iterable(values[at : at + rows])) for at in range(start, end, rows)]
            tx.connection.exec_driver_sql(statement, some)


@lru_cache(maxsize=64)
def _insert_statement(names: str, known: tuple[bool, ...], nullable: tuple[bool, ...], rows: int) -> str:
    """Return the statement for so many rows; `known`: which of the values that all share are not NULL.

    No parameter has a number: since Python 3.12 the sqlite3 module asks for the name of each that it binds, a
    number is a name, and SQLite finds it by looking through them all.
    """
    # nullif() would cost as much as binding a value; to compare costs a fifth of that.
    chosen = [
        *("?" if is_known else "NULL" for is_known in known),
        *(
            f"CASE WHEN column{at} = '' THEN NULL ELSE column{at} END" if each else f"column{at}"
            for at, each in enumerate(nullable, 1)
        ),
    ]
    row = f"({','.join('?' * len(nullable))})"
    values = ",".join([row] * rows)
    return f"INSERT OR ROLLBACK INTO task_event ({names}) SELECT {','.join(chosen)} FROM (VALUES {values})"


def _copy(tx: Transaction, columns: EventColumns) -> None:
    """Send the rows as COPY's text format, which is quicker made here than value by value in the driver."""
    same = [_fields(name, (value,)) for name, value in columns.constant.items()]
    start = "\t".join(chain.from_iterable(same))
    texts = [_fields(name, values) for name, values in columns.varying.items()]
    lines = map("\t".join, zip(repeat(start), *texts))
    copy_lines(tx, f"task_event ({columns.names})", lines)


def _fields(name: str, values: Sequence[Any]) -> Iterable[str]:
    """Return a column's values as fields."""
    if name in _FIELDS:
        return _FIELDS[name](values)
    distinct = {value: field(str(value)) for value in set(values)}  # a page has few
    if name != "group_id":
        distinct[""] = NULL
    return [distinct[value] for value in values]


def _texts_or_nulls(values: Sequence[str]) -> Iterable[str]:
    return values if _are_plain(values) else [field(value) if value else NULL for value in values]


def _texts(values: Sequence[str | None]) -> Iterable[str]:
    return values if _are_plain(values) else map(field, values)


def _are_plain(values: Sequence[str | None]) -> TypeGuard[Sequence[str]]:
    """Tell whether none of a page's texts is absent, empty, or has a character to be escaped."""
    if "" in values or None in values:
        return False
    together = "".join(cast("Sequence[str]", values))
    return not ("\\" in together or "\n" in together or "\r" in together or "\t" in together)


def _numbers_or_nulls(values: Sequence[Any]) -> Iterable[str]:
    return [NULL if value == "" else str(value) for value in values] if "" in values else map(str, values)


def _bytes_or_nulls(values: Sequence[Any]) -> Iterable[str]:
    return [NULL if value == "" else f"\\\\x{value.hex()}" for value in values]


def _moments_or_nulls(values: Sequence[str]) -> Iterable[str]:
    return [f"{value}+00" if value else NULL for value in values]


_FIELDS: dict[str, Callable[[Sequence[Any]], Iterable[str]]] = {
    **dict.fromkeys(("timestamp", "ordinal", "seq", "revision"), partial(map, str)),
    "timestamp_text": _texts,
    **dict.fromkeys(("data", "extra", "tool_call_id"), _texts_or_nulls),
    **dict.fromkeys(("run_id", "duration_ms", "input_tokens", "output_tokens", "cost"), _numbers_or_nulls),
    **dict.fromkeys(("digest", "canonical"), _bytes_or_nulls),
    **dict.fromkeys(_MOMENTS, _moments_or_nulls),
}
"""How the values of a column are written; those of the others, of which a page has few, as texts."""


class _Moments:
    """When each row is first seen, as text: the transaction's time, but for rows that share a seq.

    Those are told apart, and sort behind the rows that have the seq already, by microseconds.
    """

    def __init__(self, tx: Transaction, log: TaskLog, rows: Sequence[NewRow]) -> None:
        self.now = self._text(tx.now)
        self._latest = {place: max(tx.now, _last_seen(tx, log, place)) for place in _shared_places(rows)}
        self.are_one = not self._latest

    def of(self, row: NewRow) -> str:
        """Return a row's moment."""
        if not row.tie:
            return self.now
        return self._text(self._latest[row.seq] + timedelta(microseconds=row.tie))

    def _text(self, when: datetime) -> str:
        return f"{when:%Y-%m-%d %H:%M:%S.%f}"


def _shared_places(rows: Sequence[NewRow]) -> set[int]:
    return set() if isinstance(rows, NewRows) else {row.seq for row in rows if row.tie}


def _last_seen(tx: Transaction, log: TaskLog, place: int) -> datetime:
    """Return when the last of the rows that share a seq was stored: a later one must sort behind it."""
    columns = task_event.c
    seq = -place if log.newest_first else place
    statement = select(func.max(columns.first_seen_at)).where(
        columns.task_id == log.task_id, columns.seq == seq
    )
    found: datetime | None = tx.connection.execute(statement).scalar()
    return found or tx.now
