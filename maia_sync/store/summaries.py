"""What do a task's events come to, by group and by quarter of an hour? Two tables, kept up to date.

They are written in the transaction that writes the events. New events are added to what is there. What
cannot be taken back out of a minimum (a changed payload, an event that vanished or came back) has its
group and its quarter summed up again from the rows. They are written below SQLAlchemy, as in `bulk`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import and_, select

from maia_sync.facet_settings import FACETS
from maia_sync.store.copying import NULL, copy_lines, field
from maia_sync.store.facets import as_read
from maia_sync.store.reporting import labels_of, last_of_slot, read_zone, slot_of, text_of
from maia_sync.store.schema import task_event
from maia_sync.store.sums import Sums, by_group, by_slot, count_vanished, sum_up

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from maia_sync.model import NewRow
    from maia_sync.store.database import Transaction
    from maia_sync.store.facets import FacetRow
    from maia_sync.store.sums import Cells

_COUNTS: Final = (
    "events",
    "user_messages",
    "agent_messages",
    "tool_calls",
    "tool_errors",
    "errors",
    "input_tokens",
    "output_tokens",
    "cost",
    "vanished_events",
)
_TIMES: Final = ("first_at", "last_at", "asked_at", "answered_at")
_OF_TURN: Final = (*_TIMES, "user_id", "user_at", "agent_name", "agent_at", "steps", *_COUNTS)
_CHUNK = 400
_columns = task_event.c


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    """A summary: its name, the key beside task_id, what of a row is read back, and all that is written."""

    name: str
    key: str
    read: tuple[str, ...]
    columns: tuple[str, ...]
    moments: frozenset[int]
    """Which of the columns hold moments."""
    nullable: frozenset[int] = frozenset()
    """Which of them can be NULL: it is written as "", as in `bulk`."""


TURN = _Table(
    name="task_turn",
    key="group_id",
    read=_OF_TURN,
    columns=("task_id", "group_id", "day", "hour_at", "started_at", *_OF_TURN),
    moments=frozenset((3, 4, 5, 6, 7, 8, 10, 12)),
    nullable=frozenset(range(2, 13)),
)
ACTIVITY = _Table(
    name="task_activity",
    key="slot_at",
    read=_COUNTS,
    columns=("task_id", "slot_at", "day", "hour_at", "hour", *_COUNTS),
    moments=frozenset((1, 3)),
)


def add_events(tx: Transaction, task_id: str, rows: Sequence[NewRow], facets: Sequence[FacetRow]) -> None:
    """Add new events, with their facets, to what is there."""
    if not rows:
        return
    cells = sum_up(
        (row.event.group_id, row.event.occurred_at, each) for row, each in zip(rows, facets, strict=True)
    )
    zone = read_zone(tx, for_writing=True)
    write_activity(tx, task_id, by_slot(cells), zone, known=None)
    write_turns(tx, task_id, by_group(cells), zone, known=None)


def sum_again(
    tx: Transaction, task_id: str, events: Iterable[tuple[str, str | None]], *, but: str | None = None
) -> None:
    """Sum up again the groups and the quarters of some events, each by group_id and occurred_at.

    The group `but` is left for later.
    """
    groups: set[str] = set()
    slots: set[str] = set()
    for group_id, occurred_at in events:
        groups.add(group_id)
        if occurred_at is not None:
            slots.add(slot_of(occurred_at))
    if groups:
        sum_rows_again(tx, task_id, groups.difference(() if but is None else (but,)), slots)


def sum_rows_again(tx: Transaction, task_id: str, groups: Iterable[str], slots: Iterable[str]) -> None:
    """Sum up again some groups, and some quarters by when they began."""
    zone = read_zone(tx, for_writing=True)
    names = sorted(groups)
    for at in range(0, len(names), _CHUNK):
        some = names[at : at + _CHUNK]
        cells = read_cells(tx, task_id, _columns.group_id.in_(some))
        write_turns(tx, task_id, by_group(cells), zone, known=some)
    for slot_at in sorted(slots):
        first = datetime.fromisoformat(f"{slot_at}+00:00")
        cells = read_cells(tx, task_id, _columns.occurred_at.between(first, last_of_slot(first)))
        write_activity(tx, task_id, by_slot(cells), zone, known=[slot_at])


def read_cells(tx: Transaction, task_id: str, condition: Any) -> Cells:
    """Sum up stored rows."""
    cells: Cells = {}
    names = (_columns.group_id, _columns.occurred_at, _columns.vanished_at)
    statement = select(*names, *(_columns[name] for name in FACETS)).where(
        and_(_columns.task_id == task_id, condition)
    )
    vanished: list[tuple[str, str | None]] = []

    def present() -> Iterator[tuple[str, str | None, FacetRow]]:
        for group_id, occurred_at, vanished_at, *facets in tx.connection.execute(statement):
            at = None if occurred_at is None else text_of(occurred_at)
            if vanished_at is None:
                yield group_id, at, as_read(facets)
            else:
                vanished.append((group_id, at))

    sum_up(present(), cells)
    count_vanished(vanished, cells)
    return cells


def write_turns(
    tx: Transaction, task_id: str, groups: dict[str, Sums], zone: str, *, known: Collection[str] | None
) -> None:
    """Write what groups come to: in place of the `known` rows, or, if None, added to what there is."""
    if known is None:
        stored = read_stored(tx, TURN, task_id, sorted(groups))
        for group_id, values in stored.items():
            groups[group_id].add(Sums.of_stored_turn(values))
        known = stored
    rows = []
    for group_id, sums in groups.items():
        started_at = sums.started_at
        day, hour_at, _ = ("",) * 3 if not started_at else labels_of(slot_of(started_at), zone)
        rows.append((task_id, group_id, day, hour_at, started_at, *sums.of_turn(), *sums.counts()))
    _replace(tx, TURN, task_id, known, rows)


def write_activity(
    tx: Transaction, task_id: str, slots: dict[str, Sums], zone: str, *, known: Collection[str] | None
) -> None:
    """Write what quarters of an hour come to: in place of the `known` rows, or added to what there is."""
    if known is None:
        stored = read_stored(tx, ACTIVITY, task_id, sorted(slots))
        for slot_at, counts in stored.items():
            slots[slot_at].add(Sums.of_stored_counts(counts))
        known = stored
    rows = [(task_id, slot_at, *labels_of(slot_at, zone), *sums.counts()) for slot_at, sums in slots.items()]
    _replace(tx, ACTIVITY, task_id, known, rows)


def read_stored(
    tx: Transaction, table: _Table, task_id: str, keys: Sequence[str]
) -> dict[str, tuple[Any, ...]]:
    """Return what is stored under some keys; moments as text."""
    found: dict[str, tuple[Any, ...]] = {}
    start = f"SELECT {', '.join((table.key, *table.read))} FROM {table.name} WHERE task_id ="
    if tx.is_postgresql:
        kind = "text" if table.key == "group_id" else "timestamptz"
        values = list(keys) if kind == "text" else [f"{key}+00" for key in keys]
        rows = tx.connection.exec_driver_sql(
            f"{start} %s AND {table.key} = ANY(%s::{kind}[])", (task_id, values)
        )
        for row in rows:
            key, *values = (text_of(each) if isinstance(each, datetime) else each for each in row)
            found[key] = tuple("" if each is None else each for each in values)
        return found
    for at in range(0, len(keys), _CHUNK):
        some = keys[at : at + _CHUNK]
        marks = ",".join("?" * len(some))
        rows = tx.connection.exec_driver_sql(f"{start} ? AND {table.key} IN ({marks})", (task_id, *some))
        for key, *values in rows:
            found[key] = tuple("" if each is None else each for each in values)
    return found


def _replace(
    tx: Transaction, table: _Table, task_id: str, known: Collection[str], rows: list[tuple[Any, ...]]
) -> None:
    """Put rows in place of those that are stored under the known keys."""
    if tx.is_postgresql:
        _replace_by_copy(tx, table, task_id, known, rows)
        return
    gone = set(known).difference(row[1] for row in rows)
    for key in sorted(gone):
        tx.connection.exec_driver_sql(
            f"DELETE FROM {table.name} WHERE task_id = ? AND {table.key} = ?", (task_id, key)
        )
    if rows:
        marks = ",".join("nullif(?, '')" if at in table.nullable else "?" for at in range(len(table.columns)))
        statement = f"INSERT OR REPLACE INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"
        tx.connection.exec_driver_sql(statement, rows)


def _replace_by_copy(
    tx: Transaction, table: _Table, task_id: str, known: Collection[str], rows: list[tuple[Any, ...]]
) -> None:
    if known:
        kind = "text" if table.key == "group_id" else "timestamptz"
        values = list(known) if kind == "text" else [f"{key}+00" for key in known]
        tx.connection.exec_driver_sql(
            f"DELETE FROM {table.name} WHERE task_id = %s AND {table.key} = ANY(%s::{kind}[])",
            (task_id, values),
        )
    lines = [
        "\t".join(
            NULL
            if value == "" and at in table.nullable
            else f"{value}+00"
            if at in table.moments
            else field(str(value))
            for at, value in enumerate(row)
        )
        + "\n"
        for row in rows
    ]
    if lines:
        copy_lines(tx, f"{table.name} ({', '.join(table.columns)})", lines)
