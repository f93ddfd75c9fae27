"""What is a stretch of a task's log, as somebody reads it? Events with their facets, in reading order.

Rows come one by one, from a place forwards or backwards, so that whoever reads can stop when it is enough: a
payload can have megabytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import and_, column, func, literal, or_, select, table, text, tuple_

from maia_sync.facet_settings import FACETS
from maia_sync.store.column_types import UtcTimestamp
from maia_sync.store.schema import quarantine, task_event, task_event_revision, task_turn

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from sqlalchemy import ColumnElement, Row, Select

    from maia_sync.store.database import Transaction
    from maia_sync.store.named_rows import RowName
    from maia_sync.store.reading import Position

_columns = task_event.c
_ORDER: Final = (
    *(_columns.seq, _columns.first_seen_at, _columns.ordinal, _columns.group_id, _columns.timestamp),
)
_AT_ONCE: Final = 5
"""Rows that are fetched together: a few megabytes at most."""
_IS_BARE_CALL: Final = text("event_kind IN ('tool_call', 'tool_result') AND tool_call_id IS NULL")
"""To the letter as the index has it: SQLite would not know it by it else."""
_MOST_BARE_CALLS: Final = 20_000
MOST_SUMMED_UP: Final = 50_000
"""Turns of a task; summing up so many takes a tenth of a second."""
_MOST_OF_A_GROUP: Final = 2_000
_MOST_QUARANTINED: Final = 200
_SHOWN_OF_RAW: Final = 4_096


class TimelineRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One stored event with its facets; None where a facet is not told."""

    task_id: str
    group_id: str
    timestamp: int
    ordinal: int
    data: str | None
    extra: str | None
    occurred_at: datetime | None
    timestamp_text: str | None
    seq: int
    digest: bytes
    revision: int
    first_seen_at: datetime
    last_changed_at: datetime
    vanished_at: datetime | None
    run_id: int | None
    event_type: str | None = None
    event_kind: str | None = None
    actor: str | None = None
    user_id: str | None = None
    agent_name: str | None = None
    model: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    status: str | None = None
    outcome: str | None = None
    error_type: str | None = None
    duration_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    pruned_at: datetime | None = None
    """When its payload was taken out of this database, if it was."""
    erased_at: datetime | None = None
    """... and out of the archive, too."""

    @property
    def position(self) -> Position:
        """Where it stands in the reading order."""
        return (self.seq, self.first_seen_at, self.ordinal, self.group_id, self.timestamp)

    @property
    def name(self) -> RowName:
        """What names it within its task."""
        return (self.group_id, self.timestamp, self.ordinal)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a group of events comes to, as v_turn tells it."""

    group_id: str
    user_id: str | None
    agent_name: str | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_seconds: float | None
    events: int
    tool_calls: int
    tool_errors: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost: float


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """What a task's log comes to, as v_task tells it."""

    first_at: datetime | None
    last_at: datetime | None
    events: int
    turns: int
    tool_calls: int
    errors: int
    cost: float
    vanished_events: int


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call and where its result stands, as v_tool_call tells it."""

    group_id: str
    tool_call_id: str | None
    duration_ms: float | None
    outcome: str | None
    call_seq: int
    result_seq: int | None


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier payload of an event."""

    revision: int
    data: str | None
    extra: str | None
    timestamp_text: str | None
    seen_at: datetime
    superseded_at: datetime
    run_id: int | None
    pruned_at: datetime | None = None
    erased_at: datetime | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An element in quarantine: the beginning of its bytes, and how many they are."""

    id: int
    quarantined_at: datetime
    reason: str
    raw: bytes
    size: int
    pruned_at: datetime | None = None
    erased_at: datetime | None = None


class Standing(msgspec.Struct, frozen=True):
    """What can change of a log up to a place: how much of it there is."""

    events: int
    revisions: int
    vanished: int


_OF_ROW: Final = tuple(
    _columns[name] for name in TimelineRow.__struct_fields__ if name not in FACETS
) + tuple(_columns[name] for name in FACETS)


def _view(name: str, of: type[msgspec.Struct]) -> Any:
    """Return a view as a table whose moments are read like those of a table."""
    moments = [each for each in of.__struct_fields__ if each.endswith("_at")]
    others = [each for each in of.__struct_fields__ if each not in moments]
    task_id = column("task_id", _columns.task_id.type)
    return table(name, task_id, *map(column, others), *(column(each, UtcTimestamp()) for each in moments))


_v_task = _view("v_task", Whole)
_v_turn = _view("v_turn", Turn)
_v_tool_call = _view("v_tool_call", Call)


def iterate_rows(
    tx: Transaction,
    task_id: str,
    *,
    start: Position | None = None,
    seq: int | None = None,
    backwards: bool = False,
    limit: int,
) -> Generator[TimelineRow]:
    """Yield the rows behind a place, or with `backwards` those before it, away from it.

    Without a place, from the log's first row, or backwards from its last one. `seq` is where the first row
    may stand at the earliest. Close the iterator when it is enough.
    """
    statement = _ordered(select(*_OF_ROW), task_id, start, backwards=backwards)
    if seq is not None:
        statement = statement.where(_columns.seq >= seq)
    # PostgreSQL would sort a whole log unless it knew that only a few rows are wanted.
    statement = statement.limit(limit)
    options = {"stream_results": True, "yield_per": _AT_ONCE}
    with tx.connection.execute(statement, execution_options=options) as rows:
        for row in rows:
            yield _from_row(row)


def read_neighbour(
    tx: Transaction, task_id: str, place: Position, *, backwards: bool = False
) -> Position | None:
    """Return the place next to this one, or None at the log's end."""
    statement = _ordered(select(*_ORDER), task_id, place, backwards=backwards).limit(1)
    return _place(tx, statement)


def find_turn_start(tx: Transaction, task_id: str, group_id: str) -> int | None:
    """Return the `seq` of a group's first event; None if there is no such group.

    Only those with the earliest timestamps are looked at: a group can be a whole log of a million events.
    """
    earliest = (
        select(_columns.seq)
        .where(_columns.task_id == task_id, _columns.group_id == group_id)
        .order_by(_columns.timestamp, _columns.ordinal)
        .limit(_MOST_OF_A_GROUP)
        .subquery()
    )
    found: int | None = tx.connection.execute(select(func.min(earliest.c.seq))).scalar_one()
    return found


def read_event(tx: Transaction, task_id: str, name: RowName) -> TimelineRow | None:
    """Return an event by its name."""
    row = tx.connection.execute(select(*_OF_ROW).where(*_is(_columns, task_id, name))).one_or_none()
    return None if row is None else _from_row(row)


def read_revisions(
    tx: Transaction, task_id: str, name: RowName, *, limit: int, before: int | None = None
) -> list[Revision]:
    """Return an event's earlier payloads, the latest first, those before a revision."""
    columns = task_event_revision.c
    wanted = [columns[each] for each in Revision.__struct_fields__]
    statement = select(*wanted).where(*_is(columns, task_id, name)).order_by(columns.revision.desc())
    if before is not None:
        statement = statement.where(columns.revision < before)
    rows = tx.connection.execute(statement.limit(limit))
    return [Revision(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def read_whole(tx: Transaction, task_id: str) -> Whole | None:
    """Return what a task's log comes to; None if it is not tracked, or has too many turns to sum up."""
    turns = select(literal(1)).where(task_turn.c.task_id == task_id).limit(MOST_SUMMED_UP + 1)
    if _count(tx, select(func.count()).select_from(turns.subquery())) > MOST_SUMMED_UP:
        return None
    wanted = [_v_task.c[each] for each in Whole.__struct_fields__]
    row = tx.connection.execute(select(*wanted).where(_v_task.c.task_id == task_id)).one_or_none()
    return None if row is None else Whole(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name


def read_turns(tx: Transaction, task_id: str, group_ids: Sequence[str]) -> dict[str, Turn]:
    """Return what the groups come to, by group."""
    wanted = [_v_turn.c[each] for each in Turn.__struct_fields__]
    statement = select(*wanted).where(_v_turn.c.task_id == task_id, _v_turn.c.group_id.in_(group_ids))
    return {row.group_id: Turn(**row._mapping) for row in tx.connection.execute(statement)}  # noqa: SLF001


def read_calls(
    tx: Transaction, task_id: str, lowest_seq: int, highest_seq: int, *, bare_in: Sequence[str]
) -> list[Call]:
    """Return the tool calls that stand in a stretch of the log, and of bare ones those whose results do.

    Bare calls have no id. They are looked for in the groups `bare_in`, and not at all where a task has so
    many that this would take long.
    """
    columns = _v_tool_call.c
    wanted = [columns[each] for each in Call.__struct_fields__]
    inside = columns.call_seq.between(lowest_seq, highest_seq)
    statements = [select(*wanted).where(columns.tool_call_id.is_not(None), inside)]
    if bare_in and not _has_many_bare_calls(tx, task_id):
        ends = columns.result_seq.between(lowest_seq, highest_seq)
        statements.append(
            select(*wanted).where(
                columns.tool_call_id.is_(None), columns.group_id.in_(bare_in), or_(inside, ends)
            )
        )
    return [
        Call(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
        for statement in statements
        for row in tx.connection.execute(statement.where(columns.task_id == task_id))
    ]


def _has_many_bare_calls(tx: Transaction, task_id: str) -> bool:
    bare = select(literal(1)).where(_columns.task_id == task_id, _IS_BARE_CALL).limit(_MOST_BARE_CALLS + 1)
    return _count(tx, select(func.count()).select_from(bare.subquery())) > _MOST_BARE_CALLS


def read_call_places(
    tx: Transaction, task_id: str, call_ids: Sequence[str], *, vanished: bool = False
) -> dict[str, int]:
    """Return where the calls of these ids stand, or with `vanished` have stood: their `seq`."""
    vanished_at = _columns.vanished_at
    statement = (
        select(_columns.tool_call_id, func.min(_columns.seq))
        .where(
            _columns.task_id == task_id,
            _columns.tool_call_id.in_(call_ids),
            _columns.event_kind == "tool_call",
            vanished_at.is_not(None) if vanished else vanished_at.is_(None),
        )
        .group_by(_columns.tool_call_id)
    )
    return {str(call_id): int(seq) for call_id, seq in tx.connection.execute(statement)}


def iterate_calls(tx: Transaction, task_id: str, seqs: Sequence[int]) -> Generator[TimelineRow]:
    """Yield the tool calls that stand at these places, in no order. Close the iterator when it is enough."""
    statement = select(*_OF_ROW).where(
        _columns.task_id == task_id,
        _columns.seq.in_(seqs),
        _columns.event_kind == "tool_call",
        _columns.vanished_at.is_(None),
    )
    options = {"stream_results": True, "yield_per": _AT_ONCE}
    with tx.connection.execute(statement, execution_options=options) as rows:
        for row in rows:
            yield _from_row(row)


def read_standing(tx: Transaction, task_id: str, place: Position | None) -> Standing:
    """Return how much of a log there is up to a place (None: before its first row), for comparing later."""
    of_task = select(func.count()).select_from(task_event).where(_columns.task_id == task_id)
    revisions = (
        select(func.count()).select_from(task_event_revision).where(task_event_revision.c.task_id == task_id)
    )
    events = 0
    if place is not None:
        at_seq = of_task.where(_columns.seq == place[0], ~_is_beyond(place, backwards=False))
        events = _count(tx, of_task.where(_columns.seq < place[0])) + _count(tx, at_seq)
    return Standing(
        events=events,
        revisions=_count(tx, revisions),
        vanished=_count(tx, of_task.where(_columns.vanished_at.is_not(None))),
    )


def read_refused(
    tx: Transaction, task_id: str, *, before: int | None = None, limit: int = _MOST_QUARANTINED
) -> list[Refused]:
    """Return a task's elements in quarantine, the latest first, those before an id."""
    columns = quarantine.c
    # SQLite's substr() makes NULL of no bytes at all.
    raw = func.coalesce(func.substr(columns.raw, 1, _SHOWN_OF_RAW), b"", type_=columns.raw.type)
    size = func.length(columns.raw)
    statement = (
        select(
            *(columns.id, columns.quarantined_at, columns.reason, raw.label("raw"), size.label("size")),
            *(columns.pruned_at, columns.erased_at),
        )
        .where(columns.task_id == task_id)
        .order_by(columns.id.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(columns.id < before)
    return [Refused(**row._mapping) for row in tx.connection.execute(statement)]  # noqa: SLF001


def read_refused_bytes(tx: Transaction, task_id: str, number: int) -> bytes | None:
    """Return the bytes of an element in quarantine."""
    statement = select(quarantine.c.raw).where(quarantine.c.task_id == task_id, quarantine.c.id == number)
    found: bytes | None = tx.connection.execute(statement).scalar_one_or_none()
    return found


def _ordered(statement: Select[Any], task_id: str, place: Position | None, *, backwards: bool) -> Select[Any]:
    order = [each.desc() if backwards else each for each in _ORDER]
    statement = statement.where(_columns.task_id == task_id).order_by(*order)
    return statement if place is None else statement.where(_is_beyond(place, backwards=backwards))


def _is_beyond(place: Position, *, backwards: bool) -> ColumnElement[bool]:
    """Compare by seq first, alone, so that the index on (task_id, seq) leads to the place."""
    seq, *rest = place
    others = tuple_(*(literal(value, type_=each.type) for value, each in zip(rest, _ORDER[1:], strict=True)))
    if backwards:
        return and_(_columns.seq <= seq, or_(_columns.seq < seq, tuple_(*_ORDER[1:]) < others))
    return and_(_columns.seq >= seq, or_(_columns.seq > seq, tuple_(*_ORDER[1:]) > others))


def _is(columns: Any, task_id: str, name: RowName) -> tuple[ColumnElement[bool], ...]:
    group_id, timestamp, ordinal = name
    return (
        columns.task_id == task_id,
        columns.group_id == group_id,
        columns.timestamp == timestamp,
        columns.ordinal == ordinal,
    )


def _place(tx: Transaction, statement: Select[Any]) -> Position | None:
    row = tx.connection.execute(statement).one_or_none()
    return None if row is None else (row[0], row[1], row[2], row[3], row[4])


def _count(tx: Transaction, statement: Select[Any]) -> int:
    return int(tx.connection.execute(statement).scalar_one())


def _from_row(row: Row[Any]) -> TimelineRow:
    return TimelineRow(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
