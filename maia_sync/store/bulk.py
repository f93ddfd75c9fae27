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

    from maia_sync.model import NewRow
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
_INTO = f"task_event ({', '.join(_COLUMNS)})"


def insert_new_rows(tx: Transaction, task_id: str, rows: Sequence[NewRow], run_id: int | None) -> None:
    """Insert events. Raises the driver's unique violation if one of their keys is stored already."""
    if not rows:
        return
    if tx.is_postgresql:
        _copy(tx, _values(tx, task_id, rows, run_id, utc="+00"))
        return
    values = _values(tx, task_id, rows, run_id, utc="")
    for at in range(0, len(values), _ROWS_PER_INSERT):
        chunk = values[at : at + _ROWS_PER_INSERT]
        statement = f"INSERT INTO {_INTO} VALUES {','.join([_ONE_ROW] * len(chunk))}"
        tx.connection.exec_driver_sql(statement, tuple(chain.from_iterable(chunk)))


def _values(
    tx: Transaction, task_id: str, rows: Sequence[NewRow], run_id: int | None, *, utc: str
) -> list[tuple[Any, ...]]:
    """Return the rows as both drivers take them: timestamps as text in UTC."""
    shared = {row.seq for row in rows if row.tie}
    latest = {seq: max(tx.now, _last_seen(tx, task_id, seq)) for seq in shared}
    plain = _moment(tx.now, utc)
    values: list[tuple[Any, ...]] = []
    for row in rows:
        event = row.event
        moment = plain if not row.tie else _moment(latest[row.seq] + timedelta(microseconds=row.tie), utc)
        values.append(
            (
                task_id,
                event.group_id,
                event.timestamp,
                row.ordinal,
                event.data,
                event.extra,
                event.occurred_at and event.occurred_at + utc,
                event.timestamp_text,
                row.seq,
                event.digest,
                row.canonical,
                0,
                moment,
                moment,
                run_id,
            )
        )
    return values


def _moment(when: datetime, utc: str) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S.%f}{utc}"


def _last_seen(tx: Transaction, task_id: str, seq: int) -> datetime:
    """Return when the last of the rows that share a seq was stored: a later one must sort behind it."""
    columns = task_event.c
    statement = select(func.max(columns.first_seen_at)).where(columns.task_id == task_id, columns.seq == seq)
    found: datetime | None = tx.connection.execute(statement).scalar()
    return found or tx.now


def _copy(tx: Transaction, values: list[tuple[Any, ...]]) -> None:
    driver: Any = tx.connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {_INTO} FROM STDIN") as copy:
        for row in values:
            copy.write_row(row)
