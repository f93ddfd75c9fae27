"""Which events of a task are stored, and how do a page's decisions get there?

Places are turned into `seq`, and back, in this module and in `bulk.py` only (see model.TaskLog).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sqlalchemy import and_, bindparam, func, insert, literal, select, update

from maia_sync.facet_settings import FACETS
from maia_sync.model import EventKey, SeenRows, StoredRow, TaskLog
from maia_sync.store.archive_journal import MOST_NAMES
from maia_sync.store.digest_key import KEYED_BYTES, is_keyed
from maia_sync.store.facets import FacetRow, as_stored
from maia_sync.store.look_ups import (
    LOOK_UP_BEHIND,
    LOOK_UP_BEHIND_OF_FEW,
    LOOK_UP_CANONICALS,
    LOOK_UP_NAMES,
    OF_KEY,
)
from maia_sync.store.named_rows import name_values, select_named
from maia_sync.store.reporting import text_of
from maia_sync.store.schema import task_event, task_event_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select

    from maia_sync.model import ChangedRow
    from maia_sync.store.archive_journal import Journal
    from maia_sync.store.database import Transaction
    from maia_sync.store.facets import FacetReader
    from maia_sync.store.named_rows import RowName

_CHUNK = 400
_ENDLESS = 2**63 - 1
_columns = task_event.c
_NAME = (_columns.group_id, _columns.timestamp, _columns.ordinal)
_OF_ROW = (
    (_columns.task_id == bindparam("of_task"))
    & (_columns.group_id == bindparam("of_group"))
    & (_columns.timestamp == bindparam("of_timestamp"))
    & (_columns.ordinal == bindparam("of_ordinal"))
)


_HIGHEST = select(func.max(_columns.ordinal)).where(_columns.task_id == bindparam("of_task"), OF_KEY)
_PAYLOAD = ("data", "extra", "timestamp_text", "digest")
_PAYLOADS_OF_NAMES = select_named(*_PAYLOAD)
_PAYLOADS_BETWEEN = select(*_NAME, *(_columns[name] for name in _PAYLOAD)).where(
    _columns.task_id == bindparam("of_task"), _columns.seq.between(bindparam("low"), bindparam("high"))
)
_KEYED = (
    select(_columns.digest)
    .where(
        _columns.task_id == bindparam("of_task"),
        _columns.pruned_at.is_not(None),
        func.length(_columns.digest) == KEYED_BYTES,  # else it was gone when it was archived
    )
    .limit(1)
)


class Payload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored event's payload, to the letter."""

    data: str | None
    extra: str | None
    timestamp_text: str | None
    removed: bool = False
    """It is not there any more: the row is known by keyed digests."""


class UnseenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A stored event that upstream did not serve."""

    group_id: str
    timestamp_text: str | None
    ordinal: int


class Revised(msgspec.Struct, frozen=True, kw_only=True):
    """What changed payloads have come to, in their order."""

    facets: list[FacetRow]
    revisions: list[int]
    """The number that each has now."""


class KeyRows(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored under some keys: the rows that may equal a payload asked for, and the next ordinals."""

    rows: list[StoredRow]
    next_ordinals: dict[EventKey, int]


def _turned(log: TaskLog, number: int) -> int:
    """Turn a place into a seq, or a seq into a place."""
    return -number if log.newest_first else number


def turn_seqs(tx: Transaction, task_id: str, journal: Journal) -> None:
    """Turn a log round: it was stored as if served oldest-first, and is not, or the other way about."""
    statement = update(task_event).where(_columns.task_id == task_id).values(seq=-_columns.seq)
    tx.connection.execute(statement)
    journal.note_turn()


def read_ends(tx: Transaction, log: TaskLog) -> tuple[int, int] | None:
    """Return the first and the last place of a task's rows, or None if it has none."""
    of_task = _columns.task_id == log.task_id
    # Each in a query of its own: SQLite answers either from the index's end, but not both at once.
    ends = (select(end(_columns.seq)).where(of_task).scalar_subquery() for end in (func.min, func.max))
    statement = select(*ends)
    lowest, highest = tx.connection.execute(statement).one()
    if lowest is None:
        return None
    return (-highest, -lowest) if log.newest_first else (lowest, highest)


def read_rows_of_keys(
    tx: Transaction, log: TaskLog, keys: Sequence[EventKey], canonicals_of: Callable[[EventKey], list[bytes]]
) -> KeyRows:
    """Return the stored rows of these keys that can equal a payload.

    A key with one row comes with that row. A key with many (every event of a log without
    timestamps has one key) comes with the rows of the wanted canonical digests alone, so that a
    page never reads a log; `canonicals_of` is asked for these keys only.
    """
    rows: dict[RowName, StoredRow] = {}
    next_ordinals: dict[EventKey, int] = {}
    for row in read_rows_of_names(tx, log, [(*key, 0) for key in keys]):
        rows[(row.group_id, row.timestamp, 0)] = row
        next_ordinals[(row.group_id, row.timestamp)] = 1
    for key in [key for key in next_ordinals if rows[(*key, 0)].canonical is not None]:
        of_key = {"of_group": key[0], "of_timestamp": key[1]}
        highest = tx.connection.execute(_HIGHEST, {"of_task": log.task_id, **of_key}).scalar_one()
        next_ordinals[key] = int(highest) + 1
        wanted = canonicals_of(key)
        for at in range(0, len(wanted), _CHUNK):
            some = wanted[at : at + _CHUNK]
            for row in _looked_up(tx, log, LOOK_UP_CANONICALS, canonicals=some, **of_key):
                rows[(row.group_id, row.timestamp, row.ordinal)] = row
    return KeyRows(rows=list(rows.values()), next_ordinals=next_ordinals)


def read_rows_of_names(tx: Transaction, log: TaskLog, names: Sequence[RowName]) -> list[StoredRow]:
    """Return the stored rows of these names."""
    rows: list[StoredRow] = []
    for at in range(0, len(names), _CHUNK):
        values = name_values(tx, log.task_id, names[at : at + _CHUNK])
        rows += _looked_up(tx, log, LOOK_UP_NAMES[tx.is_postgresql], **values)
    return rows


def read_rows_of_key_behind(
    tx: Transaction, log: TaskLog, key: EventKey, after: int, limit: int, *, stored: int
) -> list[StoredRow]:
    """Return up to `limit` rows of one key, of which so many are stored, behind a place in the walk."""
    of_key = {"of_group": key[0], "of_timestamp": key[1]}
    queries = LOOK_UP_BEHIND_OF_FEW if stored <= _CHUNK else LOOK_UP_BEHIND
    return _looked_up(tx, log, queries, after_seq=_turned(log, after), most=limit, **of_key)


def _looked_up(
    tx: Transaction, log: TaskLog, queries: Mapping[bool, Select[Any]], **values: Any
) -> list[StoredRow]:
    found = tx.connection.execute(queries[log.newest_first], {"of_task": log.task_id, **values})
    return [_identity(log, row, tied=bool(row.beside), next_seq=row.behind) for row in found]


def _identity(log: TaskLog, row: Any, *, tied: bool, next_seq: int | None = None) -> StoredRow:
    group_id, timestamp, ordinal, seq, digest, canonical, vanished_at = row[:7]
    return StoredRow(
        group_id=group_id,
        timestamp=timestamp,
        ordinal=ordinal,
        seq=-seq if log.newest_first else seq,
        digest=digest,
        canonical=canonical,
        vanished=vanished_at is not None,
        tied=tied,
        next_seq=None if next_seq is None else _turned(log, next_seq),
    )


def read_payloads(tx: Transaction, task_id: str, rows: Sequence[StoredRow]) -> dict[RowName, Payload]:
    """Return the rows' payloads by (group_id, timestamp, ordinal)."""
    payloads: dict[RowName, Payload] = {}
    for at in range(0, len(rows), _CHUNK):
        chunk = [(row.group_id, row.timestamp, row.ordinal) for row in rows[at : at + _CHUNK]]
        payloads |= _payloads(tx, _PAYLOADS_OF_NAMES[tx.is_postgresql], **name_values(tx, task_id, chunk))
    return payloads


def read_payloads_between(tx: Transaction, log: TaskLog, first: int, last: int) -> dict[RowName, Payload]:
    """Return the payloads from one place to another by (group_id, timestamp, ordinal)."""
    low, high = sorted((_turned(log, first), _turned(log, last)))
    return _payloads(tx, _PAYLOADS_BETWEEN, of_task=log.task_id, low=low, high=high)


def _payloads(tx: Transaction, query: Select[Any], **values: Any) -> dict[RowName, Payload]:
    return {
        (group_id, timestamp, ordinal): Payload(
            data=data,
            extra=extra,
            timestamp_text=text,
            removed=data is None and extra is None and is_keyed(digest),
        )
        for group_id, timestamp, ordinal, data, extra, text, digest in tx.connection.execute(query, values)
    }


def read_keyed_digest(tx: Transaction, task_id: str) -> bytes | None:
    """Return a digest that stands in place of a payload that was removed; None if the task has none."""
    found: bytes | None = tx.connection.execute(_KEYED, {"of_task": task_id}).scalar()
    return found


def revise_events(
    tx: Transaction, task_id: str, changed: Sequence[ChangedRow], run_id: int | None, reader: FacetReader
) -> Revised:
    """Put changed payloads in place; the earlier go to `task_event_revision`."""
    if not changed:
        return Revised(facets=[], revisions=[])
    facets = [reader.read(change.event.data) for change in changed]
    names = [_name(task_id, change.row) for change in changed]
    keep = (
        "task_id",
        "group_id",
        "timestamp",
        "ordinal",
        "revision",
        "data",
        "extra",
        "timestamp_text",
        "digest",
        "pruned_at",
        "erased_at",
    )
    superseded = select(
        *(_columns[name] for name in keep),
        _columns.last_changed_at,
        literal(tx.now, type_=task_event_revision.c.superseded_at.type),
        _columns.run_id,
    ).where(_OF_ROW)
    columns = [*keep, "seen_at", "superseded_at", "run_id"]
    kept = task_event_revision.c.revision
    history = insert(task_event_revision).from_select(columns, superseded).returning(kept)
    revisions = [int(tx.connection.execute(history, name).scalar_one()) + 1 for name in names]
    replace = (
        update(task_event)
        .where(_OF_ROW)
        .values(
            {
                name: bindparam(f"new_{name}")
                for name in ("data", "extra", "timestamp_text", "occurred_at", "digest", "canonical", *FACETS)
            }
        )
        .values(
            revision=_columns.revision + 1,
            last_changed_at=tx.now,
            vanished_at=None,
            pruned_at=None,
            erased_at=None,
            run_id=run_id,
            facets_version=reader.version,
        )
    )
    tx.connection.execute(
        replace,
        [
            {**name, **_new_values(change, of_row)}
            for name, change, of_row in zip(names, changed, facets, strict=True)
        ],
    )
    return Revised(facets=facets, revisions=revisions)


def _new_values(change: ChangedRow, facets: FacetRow) -> dict[str, Any]:
    event = change.event
    return {
        **{f"new_{name}": value for name, value in zip(FACETS, as_stored(facets), strict=True)},
        "new_data": event.data,
        "new_extra": event.extra,
        "new_timestamp_text": event.timestamp_text,
        "new_occurred_at": event.occurred_at and _moment(event.occurred_at),
        "new_digest": event.digest,
        "new_canonical": change.canonical,
    }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def unmark_vanished(tx: Transaction, task_id: str, rows: Sequence[StoredRow]) -> None:
    """Take the mark from rows that upstream serves again."""
    if rows:
        statement = update(task_event).where(_OF_ROW).values(vanished_at=None)
        tx.connection.execute(statement, [_name(task_id, row) for row in rows])


def store_canonicals(tx: Transaction, task_id: str, canonicals: Sequence[tuple[StoredRow, bytes]]) -> None:
    """Note the canonical digests of rows whose key has got a second payload."""
    if canonicals:
        statement = update(task_event).where(_OF_ROW).values(canonical=bindparam("new_canonical"))
        tx.connection.execute(
            statement, [{**_name(task_id, row), "new_canonical": canonical} for row, canonical in canonicals]
        )


def _name(task_id: str, row: StoredRow) -> dict[str, Any]:
    return _of_name(task_id, row.group_id, row.timestamp, row.ordinal)


def _of_name(task_id: str, group_id: str, timestamp: int, ordinal: int) -> dict[str, Any]:
    return {"of_task": task_id, "of_group": group_id, "of_timestamp": timestamp, "of_ordinal": ordinal}


def _unseen(task_id: str, seen: SeenRows, by_run: int | None) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that together hold for the unmarked rows which reconciles were not served.

    One for each stretch of the task's order that `seen` leaves out: a single condition over all of
    them would be deeper than SQLite's expressions may be. Shared seqs belong to `_unseen_twins`.
    """
    low = -_ENDLESS
    shared = {(seq, seq) for seq, *_ in seen.tied}
    for start, end in (*sorted({*seen.ranges, *shared}), (_ENDLESS, _ENDLESS)):
        if start > low:
            yield and_(_unmarked(task_id, by_run), _columns.seq > low, _columns.seq < start)
        low = max(low, end)


def _unmarked(task_id: str, by_run: int | None) -> ColumnElement[bool]:
    unmarked = (_columns.task_id == task_id) & _columns.vanished_at.is_(None)
    return unmarked if by_run is None else unmarked & (_columns.run_id <= by_run)


class _Twin(NamedTuple):
    """A row that shares its seq with another."""

    group_id: str
    timestamp: int
    ordinal: int
    timestamp_text: str | None


def _unseen_twins(tx: Transaction, task_id: str, seen: SeenRows, by_run: int | None) -> list[_Twin]:
    """Return the unmarked rows that share a seq with a row that was served, but were not served.

    In the order of their seqs.
    """
    served = set(seen.tied)
    twins: list[_Twin] = []
    for seq in sorted({row[0] for row in served}):
        if any(low <= seq <= high for low, high in seen.ranges):
            continue
        statement = select(*_NAME, _columns.timestamp_text).where(
            _unmarked(task_id, by_run), _columns.seq == seq
        )
        twins += [
            twin
            for twin in map(_Twin._make, tx.connection.execute(statement))
            if (seq, *twin[:3]) not in served
        ]
    return twins


def _as_stored(log: TaskLog, seen: SeenRows) -> SeenRows:
    """Turn what was seen from places into seqs."""
    if not log.newest_first:
        return seen
    return SeenRows(
        ranges=tuple(sorted((-high, -low) for low, high in seen.ranges)),
        tied=tuple(sorted((-row[0], *row[1:]) for row in seen.tied)),
    )


def count_unseen(tx: Transaction, log: TaskLog, seen: SeenRows, *, by_run: int | None = None) -> int:
    """Count the unmarked rows that are not in `seen`; with `by_run`, of those stored up to that run."""
    task_id, seen = log.task_id, _as_stored(log, seen)
    return len(_unseen_twins(tx, task_id, seen, by_run)) + sum(
        int(tx.connection.execute(select(func.count()).select_from(task_event).where(condition)).scalar_one())
        for condition in _unseen(task_id, seen, by_run)
    )


def read_unseen(tx: Transaction, log: TaskLog, seen: SeenRows, *, limit: int) -> list[UnseenRow]:
    """Return the oldest unmarked rows that a reconcile was not served."""
    task_id, seen = log.task_id, _as_stored(log, seen)
    found = [
        UnseenRow(group_id=twin.group_id, timestamp_text=twin.timestamp_text, ordinal=twin.ordinal)
        for twin in _unseen_twins(tx, task_id, seen, None)[:limit]
    ]
    for condition in _unseen(task_id, seen, None):
        if len(found) >= limit:
            break
        statement = (
            select(_columns.group_id, _columns.timestamp_text, _columns.ordinal)
            .where(condition)
            .order_by(_columns.seq)
            .limit(limit - len(found))
        )
        found += [UnseenRow(**row._mapping) for row in tx.connection.execute(statement)]  # noqa: SLF001
    return found


def mark_vanished(
    tx: Transaction, log: TaskLog, seen: SeenRows, journal: Journal, *, by_run: int | None = None
) -> int:
    """Mark the unmarked rows that are not in `seen`, and note them; returns how many."""
    task_id, seen = log.task_id, _as_stored(log, seen)
    twins = [twin[:3] for twin in _unseen_twins(tx, task_id, seen, by_run)]
    if twins:
        of_twin = update(task_event).where(_OF_ROW).values(vanished_at=tx.now)
        tx.connection.execute(of_twin, [_of_name(task_id, *twin) for twin in twins])
        journal.note_vanished(twins)
    marked = len(twins)
    for condition in _unseen(task_id, seen, by_run):
        statement = update(task_event).where(condition).values(vanished_at=tx.now)
        if not journal.enrolled:
            marked += tx.connection.execute(statement).rowcount
            continue
        for rows in tx.connection.execute(statement.returning(*_NAME)).partitions(MOST_NAMES):
            journal.note_vanished([(group_id, timestamp, ordinal) for group_id, timestamp, ordinal in rows])
            marked += len(rows)
    return marked


def read_marked_just_now(tx: Transaction, task_id: str) -> Iterator[tuple[str, str | None]]:
    """Yield the rows that this transaction has marked vanished: group_id, occurred_at as text."""
    statement = select(_columns.group_id, _columns.occurred_at).where(
        _columns.task_id == task_id, _columns.vanished_at == tx.now
    )
    for group_id, occurred_at in tx.connection.execute(statement):
        yield group_id, None if occurred_at is None else text_of(occurred_at)


def count_unmarked_from(tx: Transaction, task_id: str, first_seq: int) -> int:
    """Return how many rows that are not marked vanished stand at or behind a place in the task's order."""
    condition = _unmarked(task_id, None) & (_columns.seq >= first_seq)
    return int(
        tx.connection.execute(select(func.count()).select_from(task_event).where(condition)).scalar_one()
    )


def count_events(tx: Transaction, task_id: str) -> int:
    """Return how many event rows the task has, vanished ones included."""
    statement = select(func.count()).select_from(task_event).where(_columns.task_id == task_id)
    return int(tx.connection.execute(statement).scalar_one())
