"""What does the database hold of that which an archive tells? Look-ups by key, and sums to compare.

None of them holds a transaction open for long: who compares a whole archive asks anew for each thousand rows.
A revision's payload never changes, so it does not matter when it is looked up. Rows are read whatever
stands in them: a value that a column cannot hold is told of, and stops nothing.
"""

from __future__ import annotations

from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import LargeBinary, Text, cast, func, literal, or_, select, text

from maia_sync.facet_settings import FACETS
from maia_sync.store.archive_journal import decode_changes, names_in
from maia_sync.store.moments import as_given, moment_as_text, read_value
from maia_sync.store.schema import (
    archive_checkpoint,
    archive_erasure,
    archive_journal,
    archive_restore,
    task,
    task_event,
    task_event_revision,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.store.archive_journal import RowName
    from maia_sync.store.archive_log import CheckpointStatus
    from maia_sync.store.database import Transaction

_CHUNK: Final = 500
_STREAMED: Final = 2_000
EventName: TypeAlias = tuple[str, str, int, int, int]
"""(task_id, group_id, timestamp, ordinal, revision): one payload of an event."""


class StoredPayload(msgspec.Struct, frozen=True, gc=False):
    """What the database holds of one payload of an event; moments as `YYYY-MM-DD HH:MM:SS.ffffff` in UTC."""

    data: bytes | None
    extra: str | None
    timestamp_text: str | None
    occurred_at: str | None
    """Of the newest payload only: of earlier ones it is not stored."""
    is_newest: bool
    received_at: str
    also_at: str | None
    """A moment that is stored beside and can be no other than `received_at`; None if there is none."""
    run_id: int | None
    seq: int
    is_removed: bool
    """Whether the payload was taken out: see `read_removed`."""


class RemovedPayload(msgspec.Struct, frozen=True, gc=False):
    """What is left of a payload that was taken out; moments as above, and whatever else stands there."""

    pruned_at: str | None
    erased_at: str | None
    digest: bytes | str | float | None
    canonical: bytes | str | float | None
    """None of a superseded one, which has no such column."""
    is_newest: bool
    has_facets: bool
    """Whether something stands there still that was read from the payload."""


# Payloads


def read_payloads(tx: Transaction, names: Sequence[EventName]) -> list[StoredPayload | str | None]:
    """Return what is stored under each name, in their order; None where there is nothing.

    Of a row that has a `seq` or `revision` that is no number, return which of the two.
    """
    rows = (_from_postgresql if tx.is_postgresql else _from_sqlite)(tx, names)
    found: list[StoredPayload | str | None] = []
    earlier: list[int] = []
    for at, (row, name) in enumerate(zip(rows, names, strict=True)):
        stored: StoredPayload | str | None = None
        if row is not None and not type(row[4]) is type(row[5]) is int:
            stored = "seq" if type(row[5]) is int else "revision"
        elif row is not None and row[5] >= name[4]:
            data, extra, stamp, occurred_at, seq, revision, first_seen_at, last_changed_at, run_id, gone = row
            if revision > name[4]:
                earlier.append(at)
            also_at = None if name[4] else first_seen_at
            is_newest, is_removed = revision == name[4], gone is not None
            stored = StoredPayload(
                *(data, extra, stamp, occurred_at, is_newest),
                *(last_changed_at, also_at, run_id, seq, is_removed),
            )
        found.append(stored)
    if earlier:
        _put_earlier(tx, names, found, earlier)
    return found


def _put_earlier(
    tx: Transaction, names: Sequence[EventName], found: list[StoredPayload | str | None], places: list[int]
) -> None:
    """Put superseded payloads in the places of the newest ones."""
    read = _earlier_from_postgresql if tx.is_postgresql else _earlier_from_sqlite
    for at, row in zip(places, read(tx, [names[at] for at in places]), strict=True):
        newest = found[at]
        if row is None or not isinstance(newest, StoredPayload):
            found[at] = None
            continue
        data, extra, stamp, seen_at, run_id, gone = row
        found[at] = StoredPayload(
            data,
            extra,
            stamp,
            None,
            is_newest=False,
            received_at=seen_at,
            also_at=newest.also_at,
            run_id=run_id,
            seq=newest.seq,
            is_removed=gone is not None,
        )


def read_superseded_at(tx: Transaction, names: Sequence[EventName]) -> list[str | None]:
    """Return when the payloads before these, which are no first ones, were superseded."""
    before = [(*name[:4], name[4] - 1) for name in names]
    if tx.is_postgresql:
        found = _from_postgresql(tx, before, _POSTGRESQL_SUPERSEDED)
    else:
        cursor = tx.connection.connection.cursor()
        found = [cursor.execute(_SQLITE_SUPERSEDED, name).fetchone() for name in before]
    return [None if row is None else row[-1] for row in found]


_OF_ONE: Final = "task_id = ? AND group_id = ? AND timestamp = ? AND ordinal = ?"
_DATA: Final = "CASE typeof(data) WHEN 'blob' THEN 0 ELSE CAST(data AS BLOB) END"
"""The bytes of a text, and nothing that equals them if it is none."""
_GONE: Final = "COALESCE(pruned_at, erased_at)"
_SQLITE: Final = (
    f"SELECT {_DATA}, extra, timestamp_text, occurred_at, seq, revision, first_seen_at, "
    f"last_changed_at, run_id, {_GONE} FROM task_event WHERE {_OF_ONE}"
)
_SQLITE_EARLIER: Final = (
    f"SELECT {_DATA}, extra, timestamp_text, seen_at, run_id, {_GONE} FROM task_event_revision "
    f"WHERE {_OF_ONE} AND revision = ?"
)

_SQLITE_SUPERSEDED: Final = f"SELECT superseded_at FROM task_event_revision WHERE {_OF_ONE} AND revision = ?"


def _from_sqlite(tx: Transaction, names: Sequence[EventName]) -> list[tuple[Any, ...] | None]:
    # One look-up each, by the driver itself: a join with a list of keys takes longer.
    cursor = tx.connection.connection.cursor()
    return [cursor.execute(_SQLITE, name[:4]).fetchone() for name in names]


def _earlier_from_sqlite(tx: Transaction, names: Sequence[EventName]) -> list[tuple[Any, ...] | None]:
    cursor = tx.connection.connection.cursor()
    return [cursor.execute(_SQLITE_EARLIER, name).fetchone() for name in names]


_KEYS: Final = (
    "unnest(CAST(:tasks AS uuid[]), CAST(:groups AS text[]), CAST(:timestamps AS bigint[]), "
    "CAST(:ordinals AS int[]), CAST(:revisions AS int[])) WITH ORDINALITY "
    "AS k(task_id, group_id, timestamp, ordinal, revision, place)"
)
_SAME: Final = (
    "e.task_id = k.task_id AND e.group_id = k.group_id "
    "AND e.timestamp = k.timestamp AND e.ordinal = k.ordinal"
)
_POSTGRESQL: Final = text(
    "SELECT k.place, CAST(e.data AS text), CAST(e.extra AS text), e.timestamp_text, "
    f"{moment_as_text('e.occurred_at')}, e.seq, e.revision, {moment_as_text('e.first_seen_at')}, "
    f"{moment_as_text('e.last_changed_at')}, e.run_id, {_GONE} FROM {_KEYS} JOIN task_event e ON {_SAME}"
)
_POSTGRESQL_EARLIER: Final = text(
    "SELECT k.place, CAST(e.data AS text), CAST(e.extra AS text), e.timestamp_text, "
    f"{moment_as_text('e.seen_at')}, e.run_id, {_GONE} FROM {_KEYS} "
    f"JOIN task_event_revision e ON {_SAME} AND e.revision = k.revision"
)

_POSTGRESQL_SUPERSEDED: Final = text(
    f"SELECT k.place, NULL, {moment_as_text('e.superseded_at')} FROM {_KEYS} "
    f"JOIN task_event_revision e ON {_SAME} AND e.revision = k.revision"
)


def _from_postgresql(
    tx: Transaction, names: Sequence[EventName], statement: Any = _POSTGRESQL
) -> list[tuple[Any, ...] | None]:
    found: list[tuple[Any, ...] | None] = [None] * len(names)
    if not names:
        return found
    columns = ("tasks", "groups", "timestamps", "ordinals", "revisions")
    values = dict(zip(columns, map(list, zip(*names, strict=True)), strict=True))
    for place, data, *rest in tx.connection.execute(statement, values):
        found[place - 1] = (None if data is None else data.encode(), *rest)
    return found


def _earlier_from_postgresql(tx: Transaction, names: Sequence[EventName]) -> list[tuple[Any, ...] | None]:
    return _from_postgresql(tx, names, _POSTGRESQL_EARLIER)


_FACETS: Final = " OR ".join(f"e.{name} IS NOT NULL" for name in FACETS)
_REMOVED: Final = {
    "task_event": f"e.digest, e.canonical, 1, ({_FACETS})",
    "task_event_revision": "e.digest, NULL, 0, NULL",
}
"""What is read of a payload that was taken out, by the table in which its row stands."""
_MARKS: Final = ("pruned_at", "erased_at")


def read_removed(tx: Transaction, names: Sequence[EventName]) -> list[RemovedPayload | None]:
    """Return what is left of payloads that were taken out, in their order; None where no row is."""
    found: list[RemovedPayload | None] = [None] * len(names)
    read = _removed_from_postgresql if tx.is_postgresql else _removed_from_sqlite
    for table in _REMOVED:
        places = [at for at, held in enumerate(found) if held is None]
        for at, row in zip(places, read(tx, table, [names[at] for at in places]), strict=True):
            if row is not None:
                pruned_at, erased_at, digest, canonical, is_newest, has_facets = row
                found[at] = RemovedPayload(
                    pruned_at, erased_at, digest, canonical, bool(is_newest), bool(has_facets)
                )
    return found


def _removed_from_sqlite(
    tx: Transaction, table: str, names: Sequence[EventName]
) -> list[tuple[Any, ...] | None]:
    marks = ", ".join(f"e.{name}" for name in _MARKS)
    statement = f"SELECT {marks}, {_REMOVED[table]} FROM {table} e WHERE {_OF_ONE} AND revision = ?"
    cursor = tx.connection.connection.cursor()
    return [cursor.execute(statement, name).fetchone() for name in names]


def _removed_from_postgresql(
    tx: Transaction, table: str, names: Sequence[EventName]
) -> list[tuple[Any, ...] | None]:
    marks = ", ".join(moment_as_text(f"e.{name}") for name in _MARKS)
    statement = text(
        f"SELECT k.place, NULL, {marks}, {_REMOVED[table]} FROM {_KEYS} "
        f"JOIN {table} e ON {_SAME} AND e.revision = k.revision"
    )
    return [None if row is None else row[1:] for row in _from_postgresql(tx, names, statement)]


# Sums


def read_event_names(tx: Transaction) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Yield the names of all events, each task's in one list or several: (group_id, timestamp, ordinal)."""
    columns = task_event.c
    named = select(columns.task_id, columns.group_id, columns.timestamp, columns.ordinal)
    yield from _by_task(tx, named.order_by(columns.task_id))


def read_superseded_names(tx: Transaction) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Yield the names of all superseded payloads in the same way, with the revision behind the name."""
    columns = task_event_revision.c
    named = select(columns.task_id, columns.group_id, columns.timestamp, columns.ordinal, columns.revision)
    yield from _by_task(tx, named.order_by(columns.task_id))


def _by_task(tx: Transaction, statement: Any) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    rows = tx.connection.execute(statement, execution_options={"stream_results": True})
    for some in rows.partitions(_STREAMED):
        for task_id, group in groupby(some, itemgetter(0)):
            yield task_id, [tuple(row[1:]) for row in group]


def read_enrolled(tx: Transaction) -> dict[str, bool]:
    """Return of each task whether it is archived."""
    statement = select(task.c.task_id, task.c.archived)
    return {task_id: bool(archived) for task_id, archived in tx.connection.execute(statement)}


def read_told(tx: Transaction) -> Iterator[tuple[str, Any, Any]]:
    """Yield each task, as what it was told last, and since when it is tracked; as they are given."""
    statement = select(task.c.task_id, as_given(tx, task.c.archived_as), as_given(tx, task.c.tracked_at))
    for row in _streamed(tx, statement):
        yield row[0], row[1], row[2]


def read_erasing(tx: Transaction, size: int) -> set[str]:
    """Return the tasks of which payloads were erased since a log had this size."""
    erasures, checkpoints = archive_erasure.c, archive_checkpoint.c
    statement = (
        select(erasures.task_id)
        .join(archive_checkpoint, checkpoints.id == erasures.checkpoint_id)
        .where(checkpoints.tree_size > size)
    )
    return set(tx.connection.execute(statement).scalars())


def read_unscrubbed(tx: Transaction, origin: str) -> list[tuple[int, int]]:
    """Return the sizes of a log before and after each erasure that is not finished."""
    found: list[tuple[int, int]] = []
    checkpoints, erasures = archive_checkpoint.c, archive_erasure.c
    unfinished = (
        select(as_given(tx, checkpoints.id), as_given(tx, checkpoints.tree_size))
        .join(archive_erasure, checkpoints.id == erasures.checkpoint_id)
        .where(checkpoints.origin == origin, erasures.scrubbed_at.is_(None))
    )
    for number, size in tx.connection.execute(unfinished).all():
        earlier = select(func.max(checkpoints.tree_size)).where(
            checkpoints.origin == origin, checkpoints.id < number
        )
        since = tx.connection.execute(earlier).scalar_one()
        if isinstance(size, int):
            found.append((since if isinstance(since, int) else 0, size))
    return found


def read_end_of_lacking(tx: Transaction, origin: str) -> int | None:
    """Return up to which entry of a log payloads may have been taken out before they were archived.

    None: all may, as the database was archived in another log before. Else those may that a restore has
    brought back as they were archived; no others, as nothing is pruned or erased that is not archived.
    """
    others = select(archive_checkpoint.c.id).where(archive_checkpoint.c.origin != origin).limit(1)
    if tx.connection.execute(others).first() is not None:
        return None
    columns = archive_restore.c
    restored = select(func.max(columns.tree_size)).where(columns.origin == origin)
    size = tx.connection.execute(restored).scalar_one()
    return size if isinstance(size, int) else 0


def read_vanished(tx: Transaction) -> Iterator[tuple[str, str, int, int, Any]]:
    """Yield the events that are marked vanished: their keys, and when they were, as moments.read_moment."""
    columns = task_event.c
    vanished_at = as_given(tx, columns.vanished_at)
    statement = select(
        columns.task_id, columns.group_id, columns.timestamp, columns.ordinal, vanished_at
    ).where(columns.vanished_at.is_not(None))
    for row in _streamed(tx, statement):
        yield row[0], row[1], row[2], row[3], row[4]


def read_names(tx: Transaction, task_id: str) -> Iterator[EventName]:
    """Yield the names of all payloads of a task."""
    for table in (task_event, task_event_revision):
        columns = table.c
        statement = select(
            columns.task_id, columns.group_id, columns.timestamp, columns.ordinal, columns.revision
        ).where(columns.task_id == _as_stored(task_id))
        for row in _streamed(tx, statement):
            yield row[0], row[1], row[2], row[3], row[4]


def _as_stored(task_id: str) -> Any:
    """Return what to compare a column with: text that was no UTF-8 cannot be bound (moments.open_reading)."""
    if not isinstance(task_id, str) or task_id.isascii():
        return task_id
    return cast(literal(task_id.encode(errors="surrogateescape"), LargeBinary), Text)


def read_names_at(tx: Transaction, task_id: str, seq: int) -> list[RowName]:
    """Return the events of a task that have this seq: one, as a rule."""
    columns = task_event.c
    statement = (
        select(columns.group_id, columns.timestamp, columns.ordinal)
        .where(columns.task_id == task_id, columns.seq == seq)
        .limit(_CHUNK)
    )
    return [(group, timestamp, ordinal) for group, timestamp, ordinal in tx.connection.execute(statement)]


def _streamed(tx: Transaction, statement: Any, at_once: int = _STREAMED) -> Iterable[Any]:
    return tx.connection.execute(statement, execution_options={"yield_per": at_once})


# What waits


class WaitingNote(NamedTuple):
    """What one row of the journal tells that is not archived yet."""

    id: int
    task_id: str
    is_whole: bool
    """All that was stored of the task then waits."""
    is_turn: bool
    is_readable: bool
    """Whether its changes could be read; if not, it tells of none."""
    new: list[RowName]
    revised: list[tuple[str, int, int, int]]
    """With the revision that each became."""
    marked: list[RowName]
    """Rows that were marked vanished, or whose mark was taken away."""


def read_waiting(tx: Transaction, size: int) -> Iterator[WaitingNote]:
    """Yield what the journal tells that a log of this size does not, task by task."""
    columns = archive_journal.c
    later = select(archive_checkpoint.c.id).where(archive_checkpoint.c.tree_size > size)
    statement = (
        select(columns.id, columns.task_id, columns.whole, columns.turned, columns.changes)
        .where(or_(columns.checkpoint_id.is_(None), columns.checkpoint_id.in_(later)))
        .order_by(columns.task_id, columns.id)
    )
    for number, task_id, whole, turned, told in _streamed(tx, statement, 100):
        try:
            changes, is_readable = decode_changes(told), True
        except (ValueError, TypeError):
            changes, is_readable = decode_changes(None), False
        yield WaitingNote(
            number,
            task_id,
            whole,
            turned,
            is_readable,
            [*names_in(changes.new)],
            [(group, *place) for group, places in changes.revised.items() for place in places],
            [*chain(names_in(changes.returned), names_in(changes.vanished))],
        )


# Checkpoints


class StoredCheckpoint(NamedTuple):
    """A checkpoint of an archive, as its row tells of it."""

    id: int
    size: int
    root: bytes
    note: str
    fault: str | None
    """A column that holds what it cannot hold: if it is one of NAMING, nothing but the id is known."""


NAMING: Final = ("tree_size", "root_hash", "note")
"""The columns that say which checkpoint it is."""


def read_checkpoints(tx: Transaction, origin: str) -> Iterator[StoredCheckpoint]:
    """Yield every checkpoint of an archive, from old to new."""
    others = [column for column in archive_checkpoint.c if column.name not in ("id", "origin", *NAMING)]
    columns = [*_columns_naming(), *others]
    statement = (
        select(*(as_given(tx, column) for column in columns))
        .where(archive_checkpoint.c.origin == origin)
        .order_by(archive_checkpoint.c.id)
    )
    for row in _streamed(tx, statement):
        yield _checkpoint_of(columns, row)


def read_newest(tx: Transaction, origin: str, status: CheckpointStatus) -> StoredCheckpoint | None:
    """Return the newest checkpoint of this status that can be read; None if there is none."""
    columns = _columns_naming()
    statement = (
        select(*(as_given(tx, column) for column in columns))
        .where(archive_checkpoint.c.origin == origin, archive_checkpoint.c.status == status)
        .order_by(archive_checkpoint.c.id.desc())
    )
    with tx.connection.execute(statement, execution_options={"yield_per": 10}) as rows:
        read = (_checkpoint_of(columns, row) for row in rows)
        return next((each for each in read if each.fault is None), None)


def has_newer(tx: Transaction, origin: str, size: int) -> bool:
    """Tell whether there is a checkpoint of a larger log, be it pending."""
    columns = archive_checkpoint.c
    newer = select(columns.id).where(columns.origin == origin, columns.tree_size > size).limit(1)
    return tx.connection.execute(newer).first() is not None


def _columns_naming() -> list[Any]:
    return [archive_checkpoint.c[name] for name in ("id", *NAMING)]


def _checkpoint_of(columns: Sequence[Any], row: Any) -> StoredCheckpoint:
    fault: str | None = None
    for column, given in zip(columns, row, strict=True):
        try:
            read_value(column, given)
        except ValueError:
            fault = fault or str(column.name)
    if fault in NAMING:
        return StoredCheckpoint(row.id, 0, b"", "", fault)
    return StoredCheckpoint(row.id, row.tree_size, bytes(row.root_hash), row.note, fault)
