"""What do a task's events come to, by group and by quarter of an hour? Two tables, kept up to date.

They are written in the transaction that writes the events. New events are added to what is there, by one
statement for each table and without reading it. What cannot be taken back out of a minimum (a changed
payload, an event that vanished or came back) has its group and its quarter summed up again from the rows.
They are written below SQLAlchemy, as in `bulk`.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import and_, select

from maia_sync.store.copying import NULL, copy_lines, field
from maia_sync.store.reporting import labels_of, last_of_slot, read_zone, slot_of, text_of
from maia_sync.store.schema import task_event
from maia_sync.store.sums import COUNTED, LATE, Sums, by_group, by_slot, count_vanished, counted_of, sum_up

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from maia_sync.store.database import Transaction
    from maia_sync.store.facets import FacetColumns
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
_LAST: Final = ("last_at", "answered_at")
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


def add_events(
    tx: Transaction,
    task_id: str,
    group_ids: Sequence[str],
    moments: Sequence[str | None],
    facets: FacetColumns,
) -> None:
    """Add new events to what is there: their groups, when they occurred (see Event), their facets."""
    if not group_ids:
        return
    cells = sum_up(group_ids, moments, counted_of(facets))
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
    statement = select(*names, *(_columns[name] for name in COUNTED)).where(
        and_(_columns.task_id == task_id, condition)
    )
    for rows in tx.connection.execute(statement).partitions(_CHUNK):
        add_stored(rows, cells)
    return cells


def add_stored(rows: Iterable[Sequence[Any]], cells: Cells) -> None:
    """Add stored events to cells, each by group_id, occurred_at, vanished_at, and as COUNTED is stored."""
    vanished: list[tuple[str, str | None]] = []
    present: list[tuple[Any, ...]] = []
    for group_id, occurred_at, vanished_at, *counted in rows:
        at = None if occurred_at is None else text_of(occurred_at)
        if vanished_at is None:
            present.append((group_id, at, *counted))
        else:
            vanished.append((group_id, at))
    if present:
        group_ids, moments, *columns = zip(*present, strict=True)
        sum_up(group_ids, moments, tuple(columns), cells)
    count_vanished(vanished, cells)


def write_turns(
    tx: Transaction, task_id: str, groups: dict[str, Sums], zone: str, *, known: Collection[str] | None
) -> None:
    """Write what groups come to: in place of the `known` rows, or, if None, added to what there is."""
    rows = []
    for group_id, sums in groups.items():
        started_at = sums.started_at
        day, hour_at, _ = ("",) * 3 if not started_at else labels_of(slot_of(started_at), zone)
        rows.append((task_id, group_id, day, hour_at, started_at, *sums.of_turn(), *sums.counts()))
    _write(tx, TURN, task_id, known, rows)


def write_activity(
    tx: Transaction, task_id: str, slots: dict[str, Sums], zone: str, *, known: Collection[str] | None
) -> None:
    """Write what quarters of an hour come to: in place of the `known` rows, or added to what there is."""
    rows = [(task_id, slot_at, *labels_of(slot_at, zone), *sums.counts()) for slot_at, sums in slots.items()]
    _write(tx, ACTIVITY, task_id, known, rows)


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


def _write(
    tx: Transaction, table: _Table, task_id: str, known: Collection[str] | None, rows: list[tuple[Any, ...]]
) -> None:
    if known is not None:
        _replace(tx, table, task_id, known, rows)
    elif rows and tx.is_postgresql:
        tx.connection.exec_driver_sql(_adding(table, is_postgresql=True), (_as_json(table, rows),))
    elif rows:
        tx.connection.exec_driver_sql(_adding(table, is_postgresql=False), rows)


@cache
def _adding(table: _Table, *, is_postgresql: bool) -> str:
    """Return the statement that adds rows to what is there under their keys.

    PostgreSQL takes them as one JSON text: what is short is planned in half the time of arrays.
    """
    columns = ", ".join(table.columns)
    rows = (
        f"SELECT {columns} FROM json_populate_recordset(NULL::{table.name}, %s::json)"
        if is_postgresql
        else f"VALUES ({_marks(table)})"
    )
    sums = _sums_of_turn(is_postgresql=is_postgresql) if table is TURN else {}
    changes = {name: f"t.{name} + excluded.{name}" for name in _COUNTS} | sums
    return (
        f"INSERT INTO {table.name} AS t ({columns}) {rows} ON CONFLICT (task_id, {table.key}) DO UPDATE SET "
        + ", ".join(f"{name} = {value}" for name, value in changes.items())
    )


def _sums_of_turn(*, is_postgresql: bool) -> dict[str, str]:
    """Return what the turn's own columns come to where one row is added to another, as `Sums.add` has it."""
    late, by_character = ("'infinity'", ' COLLATE "C"') if is_postgresql else (f"'{LATE}'", "")

    def extreme(name: str) -> str:
        one, other, is_last = f"t.{name}", f"excluded.{name}", name in _LAST
        if is_postgresql:
            return f"{'greatest' if is_last else 'least'}({one}, {other})"
        # SQLite's say NULL if one of the two is.
        return f"{'max' if is_last else 'min'}(coalesce({one}, {other}), coalesce({other}, {one}))"

    def earlier_name(name: str, at: str) -> str:
        one, other = (
            f"(coalesce({row}.{at}, {late}), {row}.{name}{by_character})" for row in ("excluded", "t")
        )
        is_other = f"t.{name} IS NULL OR {one} < {other}"
        return f"CASE WHEN {is_other} THEN excluded.{name} ELSE t.{name} END"

    one, other = (
        f"({row}.asked_at IS NULL, coalesce({row}.started_at, {late}))" for row in ("excluded", "t")
    )
    return {
        "steps": "t.steps + excluded.steps",
        **{name: extreme(name) for name in (*_TIMES, "user_at", "agent_at")},
        "user_id": earlier_name("user_id", "user_at"),
        "agent_name": earlier_name("agent_name", "agent_at"),
        "started_at": f"coalesce({extreme('asked_at')}, {extreme('first_at')})",
        **{
            name: f"CASE WHEN {one} < {other} THEN excluded.{name} ELSE t.{name} END"
            for name in ("day", "hour_at")
        },
    }


def _as_json(table: _Table, rows: list[tuple[Any, ...]]) -> str:
    told = [
        {
            name: f"{value}+00" if at in table.moments else value
            for at, (name, value) in enumerate(zip(table.columns, row, strict=True))
            if value != "" or at not in table.nullable
        }
        for row in rows
    ]
    return msgspec.json.encode(told).decode()


def _marks(table: _Table) -> str:
    return ",".join("nullif(?, '')" if at in table.nullable else "?" for at in range(len(table.columns)))


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
        into = f"INSERT OR REPLACE INTO {table.name} ({', '.join(table.columns)})"
        statement = f"{into} VALUES ({_marks(table)})"
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
        for row in rows
    ]
    if lines:
        copy_lines(tx, f"{table.name} ({', '.join(table.columns)})", lines)
