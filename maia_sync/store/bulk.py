"""How do a page's new events get into the database quickly? Each driver's own fastest way.

SQLAlchemy's executemany costs about twice the driver's own, so this one statement goes below it:
SQLite by INSERTs of many rows each (one step in SQLite, during which Python's lock is free),
PostgreSQL by COPY. Everything else in `store/` is SQLAlchemy Core.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from maia_sync.model import NewRow, TaskLog
    from maia_sync.store.database import Transaction

_COLUMNS = (
    "task_id",
    "group_id",
    '"timestamp"',
    "ordinal",
    "data",
    "extra",
    "occurred_at",
    "timestamp_text",
    "seq",
    "digest",
    "canonical",
    "revision",
    "first_seen_at",
    "last_changed_at",
    "run_id",
)
_ROWS_PER_INSERT = 200  # 3,000 parameters: a tenth of SQLite's limit, and long past where it matters
_ONE_ROW = "(" + ",".join("?" * len(_COLUMNS)) + ")"
_NULL = r"\N"
_INTO = f"task_event ({', '.join(_COLUMNS)})"


def insert_new_rows(tx: Transaction, log: TaskLog, rows: Sequence[NewRow], run_id: int | None) -> None:
    """Insert events; if one of their keys is stored already, the transaction ends with KeysTaken.

    The whole transaction, on purpose: a savepoint, or a statement that can be undone alone, has
    SQLite keep a copy of every page that it touches, which costs a fifth of the insert.
    """
    if not rows:
        return
    if tx.is_postgresql:
        _copy(tx, log, rows, run_id)
        return
    values = _values(tx, log, rows, run_id)
    for at in range(0, len(values), _ROWS_PER_INSERT):
        chunk = values[at : at + _ROWS_PER_INSERT]
        statement = f"INSERT OR ROLLBACK INTO {_INTO} VALUES {','.join([_ONE_ROW] * len(chunk))}"
        tx.connection.exec_driver_sql(statement, tuple(chain.from_iterable(chunk)))


def _values(
    tx: Transaction, log: TaskLog, rows: Sequence[NewRow], run_id: int | None
) -> list[tuple[Any, ...]]:
    """Return the rows as SQLite takes them: timestamps as text in UTC."""
    moments = _Moments(tx, log, rows, "")
    task_id, sign = log.task_id, -1 if log.newest_first else 1
    values: list[tuple[Any, ...]] = []
    for row in rows:
        event = row.event
        moment = moments.of(row)
        values.append(
            (
                task_id,
                event.group_id,
                event.timestamp,
                row.ordinal,
                event.data,
                event.extra,
                event.occurred_at,
                event.timestamp_text,
                sign * row.seq,
                event.digest,
                row.canonical,
                0,
                moment,
                moment,
                run_id,
            )
        )
    return values


class _Moments:
    """When each row is first seen, as text: the transaction's time, but for rows that share a seq.

    Those are told apart, and sort behind the rows that have the seq already, by microseconds.
    """

    def __init__(self, tx: Transaction, log: TaskLog, rows: Sequence[NewRow], utc: str) -> None:
        self._utc = utc
        self.now = self._text(tx.now)
        self._latest = {
            place: max(tx.now, _last_seen(tx, log, place)) for place in {row.seq for row in rows if row.tie}
        }

    def of(self, row: NewRow) -> str:
        """Return a row's moment."""
        if not row.tie:
            return self.now
        return self._text(self._latest[row.seq] + timedelta(microseconds=row.tie))

    def _text(self, when: datetime) -> str:
        return f"{when:%Y-%m-%d %H:%M:%S.%f}{self._utc}"


def _last_seen(tx: Transaction, log: TaskLog, place: int) -> datetime:
    """Return when the last of the rows that share a seq was stored: a later one must sort behind it."""
    columns = task_event.c
    seq = -place if log.newest_first else place
    statement = select(func.max(columns.first_seen_at)).where(
        columns.task_id == log.task_id, columns.seq == seq
    )
    found: datetime | None = tx.connection.execute(statement).scalar()
    return found or tx.now


def _copy(tx: Transaction, log: TaskLog, rows: Sequence[NewRow], run_id: int | None) -> None:
    """Send the rows as COPY's text format, which is quicker made here than value by value in the driver.

    Format: PostgreSQL documentation, COPY, "Text Format".
    """
    moments = _Moments(tx, log, rows, "+00")
    task_id, sign = log.task_id, -1 if log.newest_first else 1
    run = _NULL if run_id is None else str(run_id)
    as_a_rule = f"\t0\t{moments.now}\t{moments.now}\t{run}\n"
    groups: dict[str, str] = {}  # a page has few; each is escaped once
    lines: list[str] = []
    for row in rows:
        event = row.event
        group = groups.get(event.group_id)
        if group is None:
            group = groups[event.group_id] = _field(event.group_id)
        canonical = _NULL if row.canonical is None else f"\\\\x{row.canonical.hex()}"
        if event.occurred_at is None:  # a readable timestamp has nothing in it to escape
            times = f"{_NULL}\t{_field(event.timestamp_text)}"
        else:
            times = f"{event.occurred_at}+00\t{event.timestamp_text}"
        if not row.tie:
            rest = as_a_rule
        else:
            moment = moments.of(row)
            rest = f"\t0\t{moment}\t{moment}\t{run}\n"
        extra = _NULL if event.extra is None else _field(event.extra)
        lines.append(
            f"{task_id}\t{group}\t{event.timestamp}\t{row.ordinal}\t{_field(event.data)}\t{extra}\t{times}"
            f"\t{sign * row.seq}\t\\\\x{event.digest.hex()}\t{canonical}{rest}"
        )
    driver: Any = tx.connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {_INTO} FROM STDIN") as copy:
        copy.write("".join(lines).encode())


def _field(text: str | None) -> str:
    """Write one text field of COPY's text format."""
    if text is None:
        return _NULL
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text or "\t" in text or "\r" in text:
        text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return text
