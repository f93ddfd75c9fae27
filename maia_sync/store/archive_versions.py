"""What did an event hold in each of its revisions? As records, as they go to the archive.

The newest revision stands in `task_event`, the earlier ones in `task_event_revision`. What a record says of
one must not depend on which of the two it is read from, so `occurred_at` is the instant in the event's key:
None also for the timestamps out of its range that `task_event` itself can tell. One whose payload was pruned
or erased before it could be archived is `missing`, as one whose row is gone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, select, text, type_coerce
from sqlalchemy.types import NullType

from maia_sync.errors import DatabaseError
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archived import Record, Removed
from maia_sync.store.digest_key import is_keyed
from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement, CursorResult, Table, TextClause

    from maia_sync.store.database import Transaction

MOST_RECORDS: Final = 1_000
"""In one list."""
_CHUNK: Final = 400
_LEAST_ROWS: Final = 50
_LENGTH: Final = 4 << 20
"""So much of payloads is read at once, roughly: most rows are small, and some are not."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_columns = task_event.c


class Version(NamedTuple):
    """One revision of one of a task's events."""

    group_id: str
    timestamp: int
    ordinal: int
    revision: int


_REVISION, _DATA, _SEQ = 3, 4, 11
"""Where these stand in a row of `task_event`."""


def _as_driven(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Leave a moment as the driver gives it: SQLAlchemy's reading takes longer than all else of a row."""
    return type_coerce(column, NullType())


def _contents(table: Table) -> tuple[ColumnElement[Any], ...]:
    contents = (table.c[name] for name in _CONTENTS)
    return tuple(_as_driven(column) if column.name in _MOMENTS else column for column in contents)


_CONTENTS: Final = (
    "group_id",
    "timestamp",
    "ordinal",
    "revision",
    "data",
    "extra",
    "timestamp_text",
    "run_id",
    "pruned_at",
    "erased_at",
    "digest",
)
_MOMENTS: Final = frozenset(("pruned_at", "erased_at"))
_OF_TASK: Any = bindparam("of_task")
_WHOLE = (
    select(
        *_contents(task_event),
        _columns.seq,
        _as_driven(_columns.first_seen_at),
        _as_driven(_columns.last_changed_at),
        _columns.canonical,
    )
    .where(_columns.task_id == _OF_TASK)
    .order_by(_columns.seq, _columns.first_seen_at, _columns.ordinal)
)
_MARKED = (
    select(
        _columns.group_id,
        _columns.timestamp,
        _columns.ordinal,
        _columns.seq,
        _as_driven(_columns.vanished_at),
    )
    .where(_columns.task_id == _OF_TASK, _columns.vanished_at.is_not(None))
    .order_by(_columns.vanished_at, _columns.group_id, _columns.timestamp, _columns.ordinal)
)


def read_whole(tx: Transaction, task_id: str, noted_at: datetime) -> Iterator[list[Record]]:
    """Yield every revision of every event of a task, in reading order; a revision that is gone as `missing`.

    `noted_at`: when the task was noted to be read.
    """
    of_task = {"of_task": task_id}
    whole = tx.connection.execute(_WHOLE, of_task, execution_options={"stream_results": True})
    for rows in batches(whole, _DATA):
        if any(row[_REVISION] for row in rows):
            yield from _with_revisions(tx, task_id, rows, noted_at)
        else:
            yield [_record(task_id, row) for row in rows]


def read_marked(tx: Transaction, task_id: str) -> Iterator[list[Record]]:
    """Yield a record of each of a task's events that is marked vanished, the earliest mark first."""
    of_task = {"of_task": task_id}
    with tx.connection.execute(_MARKED, of_task, execution_options={"stream_results": True}) as marked:
        for rows in marked.partitions(MOST_RECORDS):
            yield [
                Record(
                    type="vanished",
                    task_id=task_id,
                    group_id=group_id,
                    timestamp=timestamp,
                    ordinal=ordinal,
                    received_at=_moment(vanished_at, task_id, seq),
                )
                for group_id, timestamp, ordinal, seq, vanished_at in rows
            ]


def read_versions(tx: Transaction, task_id: str, versions: Iterable[Version]) -> dict[Version, Record]:
    """Return the records of these revisions of a task's events; of those that are stored."""
    found: dict[Version, Record] = {}
    rest = iter(versions)
    while some := list(islice(rest, _CHUNK)):
        current = _read_current(tx, task_id, some)
        earlier: list[Version] = []
        for version in some:
            row = current.get(version[:3])
            if row is not None and row[_REVISION] == version.revision:
                found[version] = _record(task_id, row)
            elif row is not None:
                earlier.append(version)
        for version, superseded in _read_superseded(tx, task_id, earlier).items():
            seq = current[version[:3]][_SEQ]
            found[version] = _record_of_superseded(task_id, superseded, seq)
    return found


def _read_current(
    tx: Transaction, task_id: str, versions: Sequence[Version]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    names = list({version[:3] for version in versions})
    return {row[:3]: row for row in _look_up(tx, _CURRENT, task_id, names)}


def _read_superseded(
    tx: Transaction, task_id: str, versions: Sequence[Version]
) -> dict[Version, tuple[Any, ...]]:
    return {Version._make(row[:4]): row for row in _look_up(tx, _SUPERSEDED, task_id, versions)}


class _LookUp(NamedTuple):
    """How rows are read by their keys; the keys' columns are the first of each row."""

    on_sqlite: str
    """One row: a list of keys would have SQLite read the whole task."""
    on_postgresql: TextClause
    """Many: with LIMIT each is looked up by its key (for the inner SELECT see named_rows.py)."""


def _looking_up(table: str, key: dict[str, str], moments: Sequence[str]) -> _LookUp:
    columns = ", ".join(f'e."{name}"' for name in (*_CONTENTS, *moments))
    one = " AND ".join(f'e."{name}" = ?' for name in ("task_id", *key))
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in key.items())
    same = " AND ".join(f'e."{name}" = k."{name}"' for name in key)
    names = ", ".join(f'"{name}"' for name in key)
    return _LookUp(
        on_sqlite=f"SELECT {columns} FROM {table} AS e WHERE {one}",
        on_postgresql=text(
            f"SELECT found.* FROM unnest({arrays}) AS k({names}) CROSS JOIN LATERAL (SELECT {columns} FROM "
            f"{table} AS e WHERE e.task_id = (SELECT CAST(:of_task AS uuid)) AND {same} LIMIT 1) AS found"
        ),
    )


_OF_ROW: Final = {"group_id": "text", "timestamp": "bigint", "ordinal": "integer"}
_CURRENT: Final = _looking_up("task_event", _OF_ROW, ("seq", "first_seen_at", "last_changed_at", "canonical"))
_SUPERSEDED: Final = _looking_up("task_event_revision", {**_OF_ROW, "revision": "integer"}, ("seen_at",))


def _look_up(
    tx: Transaction, how: _LookUp, task_id: str, keys: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that have these keys."""
    if not keys:
        return
    if tx.is_postgresql:
        names = ("group_id", "timestamp", "ordinal", "revision")
        arrays = {name: list(values) for name, values in zip(names, zip(*keys, strict=True), strict=False)}
        for row in tx.connection.execute(how.on_postgresql, {"of_task": task_id, **arrays}):
            yield tuple(row)
        return
    # By the driver itself: a statement of SQLAlchemy's for each key would take ten times as long.
    cursor = tx.connection.connection.cursor()
    try:
        for key in keys:
            row = cursor.execute(how.on_sqlite, (task_id, *key)).fetchone()
            if row is not None:
                yield row
    finally:
        cursor.close()


def _with_revisions(
    tx: Transaction, task_id: str, rows: Sequence[tuple[Any, ...]], noted_at: datetime
) -> Iterator[list[Record]]:
    versions = ((row, revision) for row in rows for revision in range(row[_REVISION] + 1))
    while some := list(islice(versions, _CHUNK)):
        wanted = [Version._make((*row[:3], revision)) for row, revision in some if revision < row[_REVISION]]
        superseded = _read_superseded(tx, task_id, wanted)
        records: list[Record] = []
        for row, revision in some:
            version = Version._make((*row[:3], revision))
            if revision == row[_REVISION]:
                records.append(_record(task_id, row))
            elif version in superseded:
                records.append(_record_of_superseded(task_id, superseded[version], row[_SEQ]))
            else:
                records.append(missing(task_id, version, noted_at))
        yield records


def missing(
    task_id: str,
    version: Version,
    noted_at: datetime,
    run_id: int | None = None,
    removed: Removed | None = None,
) -> Record:
    """Return the record of a revision that was noted, and is gone, or its payload is."""
    return Record(
        type="missing",
        task_id=task_id,
        group_id=version.group_id,
        timestamp=version.timestamp,
        ordinal=version.ordinal,
        revision=version.revision,
        received_at=noted_at,
        run_id=run_id,
        removed=removed,
    )


def _record(task_id: str, row: tuple[Any, ...]) -> Record:
    group_id, timestamp, ordinal, revision, data, extra, text, run_id, pruned, *rest = row
    erased, digest, seq, first, last, canonical = rest
    received_at = _moment(last if revision else first, task_id, seq)
    if pruned is not None:
        removed = Removed(
            seq=seq,
            pruned_at=_moment(pruned, task_id, seq),
            erased_at=None if erased is None else _moment(erased, task_id, seq),
            digest=_hex_of_keyed(digest),
            canonical=_hex_of_keyed(canonical),
        )
        return missing(task_id, Version(group_id, timestamp, ordinal, revision), received_at, run_id, removed)
    return Record(
        type="revision" if revision else "event",
        received_at=received_at,
        task_id=task_id,
        group_id=group_id,
        timestamp=timestamp,
        ordinal=ordinal,
        revision=revision,
        run_id=run_id,
        seq=seq,
        timestamp_text=text,
        occurred_at=None if timestamp == NO_TIMESTAMP else _EPOCH + timedelta(microseconds=timestamp // 1000),
        data=data,
        extra=extra,
    )


def _record_of_superseded(task_id: str, row: tuple[Any, ...], seq: int) -> Record:
    *contents, seen_at = row
    return _record(task_id, (*contents, seq, seen_at, seen_at, None))


def _hex_of_keyed(digest: bytes | None) -> str | None:
    return bytes(digest).hex() if digest is not None and is_keyed(digest) else None


def _moment(value: Any, task_id: str, seq: int) -> datetime:
    """Return a moment in UTC of what a driver gives: text on SQLite, without the offset."""
    try:
        if isinstance(value, str):
            return _moment_of_text(value)
        moment: datetime = value
        return moment.astimezone(UTC)
    except (ValueError, AttributeError) as error:
        raise DatabaseError(
            f"the event {task_id}/{seq} cannot be read: one of its moments in the database was altered"
        ) from error


@lru_cache(maxsize=64)  # a page's events share theirs
def _moment_of_text(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def batches(result: CursorResult[Any], payload: int) -> Iterator[Sequence[Any]]:
    """Yield rows by the list, fewer at a time the longer their payloads are: the column of this number."""
    size = _LEAST_ROWS
    with result:  # whoever has enough of it leaves no cursor open
        while rows := result.fetchmany(size):
            yield rows
            length = sum(len(row[payload]) for row in rows if row[payload] is not None)
            size = max(1, min(MOST_RECORDS, _LENGTH * len(rows) // (length + 1)))
