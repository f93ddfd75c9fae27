"""How is a payload taken out of the database, and what stays? Key, order, moments and a keyed digest do.

Rows stay where they are. `pruned_at` tells that a payload is gone from this database, `erased_at` that it is
gone from the archive as well. What the archive's log tells of an event's timestamp stays; nothing else that
was read from its payload does, so what was summed up from it is summed up again without it.

Whoever calls these for events holds the task's lock (`facets.lock_task`): no walk writes to its rows then.
They are written below SQLAlchemy, as in `bulk`: there may be a million of them in one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, update

from maia_sync.facet_settings import FACETS
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store import summing
from maia_sync.store.schema import quarantine, sent_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table

    from maia_sync.store.database import Transaction

_LONGEST_TIMESTAMP: Final = 64
"""Characters of a timestamp's text that the log tells (see archive/entry.py), so that it stays."""
_AT_ONCE: Final = 1_000
_NOTHING: Final = "null"
"""What stands in place of a sent message, which cannot be NULL: JSON's."""
_NAMED: Final = ("group_id", '"timestamp"', "ordinal", "revision")
_TYPES: Final = ("text", "bigint", "integer", "integer", "bytea", "bytea")
_DIGEST: Final = len(_NAMED)
"""Where the digests begin in an EmptiedEvent."""
_HAS_INSTANT: Final = f'"timestamp" <> {NO_TIMESTAMP}'
_IS_TOLD: Final = f"length(timestamp_text) <= {_LONGEST_TIMESTAMP}"
_PAYLOAD: Final = (
    "data = NULL",
    "extra = NULL",
    f"timestamp_text = CASE WHEN {_HAS_INSTANT} AND {_IS_TOLD} THEN timestamp_text END",
)
_READ_FROM_IT: Final = (
    f"occurred_at = CASE WHEN {_HAS_INSTANT} THEN occurred_at END",
    *(f"{name} = NULL" for name in FACETS),
)
_TABLES: Final = (
    ("task_event", (*_PAYLOAD, *_READ_FROM_IT), ("digest", "canonical")),
    ("task_event_revision", _PAYLOAD, ("digest",)),
)
"""Which tables hold payloads of events, and what is written to each when one is taken out."""
_IS_THERE: Final = "pruned_at IS NULL"
_IS_PRUNED: Final = "pruned_at IS NOT NULL AND erased_at IS NULL"


class _Change(NamedTuple):
    """What is written to a table's rows."""

    table: str
    columns: tuple[str, ...]
    digests: tuple[str, ...]
    marks: tuple[str, ...]
    """Columns that get the transaction's time."""
    condition: str


class EmptiedEvent(NamedTuple):
    """A revision of an event whose payload is taken out; by its keyed digests it is known again."""

    group_id: str
    timestamp: int
    ordinal: int
    revision: int
    digest: bytes
    canonical: bytes


def empty_events(
    tx: Transaction, task_id: str, rows: Sequence[EmptiedEvent], *, erased: bool, sum_again: bool = True
) -> int:
    """Take payloads out, whichever table holds those revisions now; return how many were there.

    Of those that were taken out before it is noted that they are erased, too, if they are. With `sum_again`
    off, the caller calls `sum_task_again` in the same transaction, behind the last of them.
    """
    emptied = 0
    for at in range(0, len(rows), _AT_ONCE):
        some = rows[at : at + _AT_ONCE]
        lost = summing.read_lost(tx, task_id, {row[:3]: row.revision for row in some}) if sum_again else None
        emptied += _empty(tx, task_id, some, erased=erased)
        if lost is not None:
            summing.sum_without(tx, task_id, lost)
    return emptied


def sum_task_again(tx: Transaction, task_id: str) -> None:
    """Sum up all that is stored of a task; memory holds a part of it at a time."""
    summing.sum_task_again(tx, task_id)


def empty_quarantined(tx: Transaction, rows: Sequence[tuple[int, bytes]], *, erased: bool) -> int:
    """Take elements out of quarantine, each by its id and the keyed digest by which it is known again.

    Returns how many were there.
    """
    emptied = {"raw": b"", "digest": bindparam("keyed")}
    return _empty_numbered(
        tx, quarantine, [{"of_id": number, "keyed": keyed} for number, keyed in rows], emptied, erased=erased
    )


def empty_sent(tx: Transaction, ids: Sequence[int], *, erased: bool) -> int:
    """Take the texts of sent messages out; return how many were there."""
    numbers = [{"of_id": number} for number in ids]
    return _empty_numbered(tx, sent_message, numbers, {"request": _NOTHING}, erased=erased)


def _empty_numbered(
    tx: Transaction, table: Table, rows: list[dict[str, Any]], emptied: dict[str, Any], *, erased: bool
) -> int:
    if not rows:
        return 0
    columns = table.c
    of_id = columns.id == bindparam("of_id")
    values = {**emptied, "pruned_at": tx.now, "erased_at": tx.now if erased else None}
    taken = update(table).where(of_id, columns.pruned_at.is_(None)).values(values)
    count = tx.connection.execute(taken, rows).rowcount
    if erased and count < len(rows):
        again = {name: value for name, value in emptied.items() if name == "digest"}
        gone = update(table).where(of_id, columns.erased_at.is_(None)).values(**again, erased_at=tx.now)
        tx.connection.execute(gone, rows)
    return count


def _empty(tx: Transaction, task_id: str, rows: Sequence[EmptiedEvent], *, erased: bool) -> int:
    """Empty rows in `task_event`, and what is not there in `task_event_revision`; return how many of both."""
    marks = ("pruned_at", "erased_at") if erased else ("pruned_at",)
    done = 0
    for table, columns, digests in _TABLES:
        if done < len(rows):
            done += _write(tx, task_id, rows, _Change(table, columns, digests, marks, _IS_THERE))
    if erased and done < len(rows):
        for table, _, digests in _TABLES:  # by the key that there is: the one of then may be lost
            _write(tx, task_id, rows, _Change(table, (), digests, ("erased_at",), _IS_PRUNED))
    return done


def _write(tx: Transaction, task_id: str, rows: Sequence[EmptiedEvent], change: _Change) -> int:
    if tx.is_postgresql:
        return _write_on_postgresql(tx, task_id, rows, change)
    marks = ", ".join((*change.columns, *(f"{name} = ?" for name in (*change.marks, *change.digests))))
    named = " AND ".join(f"{name} = ?" for name in ("task_id", *_NAMED))
    statement = f"UPDATE {change.table} SET {marks} WHERE {named} AND {change.condition}"
    moments = (f"{tx.now:%Y-%m-%d %H:%M:%S.%f}",) * len(change.marks)
    digests = slice(_DIGEST, _DIGEST + len(change.digests))
    values = [(*moments, *told[digests], task_id, *told[:_DIGEST]) for told in map(_whole, rows)]
    return tx.connection.exec_driver_sql(statement, values).rowcount


def _write_on_postgresql(tx: Transaction, task_id: str, rows: Sequence[EmptiedEvent], change: _Change) -> int:
    """Write a change to rows that are looked up one after another, whatever the planner knows of the task.

    See `named_rows`.
    """
    arrays = ", ".join(f"%s::{kind}[]" for kind in _TYPES)
    named = " AND ".join(f"stored.{name} = named.{name}" for name in _NAMED)
    marks = (
        *change.columns,
        *(f"{name} = %s" for name in change.marks),
        *(f"{name} = found.{name}" for name in change.digests),
    )
    one = (
        f"SELECT stored.ctid AS place FROM {change.table} AS stored "
        f"WHERE stored.task_id = (SELECT %s::uuid) AND {named} AND {change.condition} LIMIT 1"
    )
    all_of_them = (
        f"SELECT place, named.digest, named.canonical FROM unnest({arrays}) "
        f"AS named ({', '.join(_NAMED)}, digest, canonical) CROSS JOIN LATERAL ({one}) AS stored"
    )
    statement = (
        f"UPDATE {change.table} SET {', '.join(marks)} FROM ({all_of_them}) AS found "
        f"WHERE {change.table}.ctid = found.place"
    )
    columns = [list(column) for column in zip(*rows, strict=True)]
    values = (*[tx.now] * len(change.marks), *columns, task_id)
    return tx.connection.exec_driver_sql(statement, values).rowcount


def _whole(row: EmptiedEvent) -> tuple[Any, ...]:
    return row
