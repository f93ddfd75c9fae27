"""Which payloads does the database still hold, to be compared with archived ones? And who has pruned what?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from sqlalchemy import exists, func, insert, or_, select, text, update

from maia_sync.store.digest_key import KEYED_BYTES
from maia_sync.store.schema import (
    archive_erasure,
    archive_prune,
    quarantine,
    sent_message,
    task_event,
    task_event_revision,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from sqlalchemy import Table

    from maia_sync.store.database import Transaction

_columns = archive_prune.c


# Payloads


class PayloadName(NamedTuple):
    """One payload of a task's events."""

    group_id: str
    timestamp: int
    ordinal: int
    revision: int


class HeldPayload(NamedTuple):
    """What is stored of one that was not taken out."""

    data: str | None
    extra: str | None
    timestamp_text: str | None
    digest: bytes


_STORED: Final = "data, extra, timestamp_text, digest"
_NAMED: Final = 'task_id = ? AND group_id = ? AND "timestamp" = ? AND ordinal = ? AND revision = ?'
_ON_SQLITE: Final = tuple(
    f"SELECT {_STORED} FROM {table} WHERE {_NAMED} AND pruned_at IS NULL"
    for table in ("task_event", "task_event_revision")
)
_ON_POSTGRESQL: Final = text(
    " UNION ALL ".join(
        "SELECT k.place, found.* FROM unnest(CAST(:groups AS text[]), CAST(:timestamps AS bigint[]), "
        "CAST(:ordinals AS integer[]), CAST(:revisions AS integer[])) WITH ORDINALITY "
        'AS k(group_id, "timestamp", ordinal, revision, place) CROSS JOIN LATERAL (SELECT '
        "CAST(e.data AS text), CAST(e.extra AS text), e.timestamp_text, e.digest "
        f"FROM {table} AS e WHERE e.task_id = (SELECT CAST(:of_task AS uuid)) AND e.group_id = k.group_id "
        'AND e."timestamp" = k."timestamp" AND e.ordinal = k.ordinal AND e.revision = k.revision '
        "AND e.pruned_at IS NULL LIMIT 1) AS found"
        for table in ("task_event", "task_event_revision")
    )
)


def read_held_payloads(
    tx: Transaction, task_id: str, names: Sequence[PayloadName]
) -> list[HeldPayload | None]:
    """Return what is stored under each name, in their order; None where nothing is, or no longer."""
    if tx.is_postgresql:
        return _held_on_postgresql(tx, task_id, names)
    cursor = tx.connection.connection.cursor()  # by the driver itself: see archive_versions
    found: list[HeldPayload | None] = []
    try:
        for name in names:
            rows = (cursor.execute(statement, (task_id, *name)).fetchone() for statement in _ON_SQLITE)
            row = next((row for row in rows if row is not None), None)
            found.append(None if row is None else HeldPayload._make(row))
    finally:
        cursor.close()
    return found


def _held_on_postgresql(
    tx: Transaction, task_id: str, names: Sequence[PayloadName]
) -> list[HeldPayload | None]:
    found: list[HeldPayload | None] = [None] * len(names)
    columns = zip(("groups", "timestamps", "ordinals", "revisions"), zip(*names, strict=True), strict=False)
    values = {"of_task": task_id, **{name: list(column) for name, column in columns}}
    for place, data, extra, stamp, digest in tx.connection.execute(_ON_POSTGRESQL, values) if names else ():
        found[place - 1] = HeldPayload(data, extra, stamp, bytes(digest))
    return found


def read_held_elements(tx: Transaction, ids: Sequence[int]) -> dict[int, bytes]:
    """Return the elements in quarantine that are archived and were not taken out, by their ids."""
    columns = quarantine.c
    statement = select(columns.id, columns.raw).where(*_is_there(quarantine, ids))
    return {number: bytes(raw) for number, raw in tx.connection.execute(statement)}


def read_held_messages(tx: Transaction, ids: Sequence[int], *, settled: timedelta) -> dict[int, str]:
    """Return the sent messages that are archived and were not taken out, by their ids.

    One of which nobody knows what became of it may be archived once more: not before it is so old.
    """
    columns = sent_message.c
    is_settled = or_(columns.outcome != "unknown", columns.sent_at < tx.now - settled)
    statement = select(columns.id, columns.request).where(*_is_there(sent_message, ids), is_settled)
    return {number: request for number, request in tx.connection.execute(statement)}  # noqa: C416 - rows are no pairs to mypy


def _is_there(table: Table, ids: Sequence[int]) -> list[Any]:
    columns = table.c
    return [columns.id.in_(ids), columns.pruned_at.is_(None), columns.checkpoint_id.is_not(None)]


def read_keyed_digest(tx: Transaction) -> bytes | None:
    """Return a keyed digest that stands in place of a payload; None if none does."""
    for table in (task_event, task_event_revision, quarantine):
        if table is not task_event and not _was_anything_removed(tx):
            return None
        is_keyed = func.length(table.c.digest) == KEYED_BYTES  # else it was gone when it was archived
        statement = select(table.c.digest).where(table.c.pruned_at.is_not(None), is_keyed)
        if table is task_event:
            statement = statement.order_by(table.c.task_id)  # as the partial index has them
        digest = tx.connection.execute(statement.limit(1)).scalar()
        if digest is not None:
            return bytes(digest)
    return None


def _was_anything_removed(tx: Transaction) -> bool:
    pruned = exists(select(_columns.id).where(_columns.payloads > 0))
    erased = exists(select(archive_erasure.c.id))
    return bool(tx.connection.execute(select(or_(pruned, erased))).scalar())


# Prunes


class PruneRow(msgspec.Struct, frozen=True, kw_only=True):
    """One prune, as its row tells of it."""

    id: int
    older_than_at: datetime
    """Payloads from before that were meant."""
    pruned_by: str
    started_at: datetime
    ended_at: datetime | None
    """None: it is at work, or was cut off."""
    payloads: int
    """How many were taken out."""
    held: int
    """How many were not, as a legal hold is on them."""


class DonePrune(NamedTuple):
    """What a prune has done that has ended by itself, and has left nothing because of a hold."""

    before: datetime
    """Nothing from before that is left of what the log told of then."""
    size: int
    """That of the log."""


def begin_prune(tx: Transaction, older_than_at: datetime, pruned_by: str, *, origin: str, size: int) -> int:
    """Note that a prune begins of what a log holds, as large as it was verified; return its id."""
    values = {
        "older_than_at": older_than_at,
        "pruned_by": pruned_by,
        "started_at": tx.now,
        "origin": origin,
        "tree_size": size,
    }
    return int(
        tx.connection.execute(insert(archive_prune).values(values).returning(_columns.id)).scalar_one()
    )


def note_pruned(tx: Transaction, number: int, payloads: int) -> None:
    """Note that a prune has taken out more payloads, in the transaction in which it has."""
    statement = (
        update(archive_prune).where(_columns.id == number).values(payloads=_columns.payloads + payloads)
    )
    tx.connection.execute(statement)


def end_prune(tx: Transaction, number: int, held: int) -> None:
    """Note that a prune has ended, and how many payloads it has left because of holds."""
    statement = update(archive_prune).where(_columns.id == number).values(ended_at=tx.now, held=held)
    tx.connection.execute(statement)


def read_last_prune(tx: Transaction) -> PruneRow | None:
    """Return the latest prune; None if there was none."""
    return _read_prune(tx)


def read_last_whole_prune(tx: Transaction) -> PruneRow | None:
    """Return the latest prune that has ended by itself; None if there was none."""
    return _read_prune(tx, _columns.ended_at.is_not(None))


def read_done_prune(tx: Transaction, origin: str, *, settled: timedelta) -> DonePrune | None:
    """Return what the latest prune has done that has left nothing of a log; None if there was none.

    What is younger than `settled` when a prune begins may be left by it (see `read_held_messages`).
    """
    statement = (
        select(_columns.older_than_at, _columns.started_at, _columns.tree_size)
        .where(
            _columns.ended_at.is_not(None),
            _columns.held == 0,
            _columns.origin == origin,
            _columns.tree_size.is_not(None),
        )
        .order_by(_columns.id.desc())
        .limit(1)
    )
    row = tx.connection.execute(statement).one_or_none()
    if row is None:
        return None
    return DonePrune(min(row.older_than_at, row.started_at - settled), row.tree_size)


def _read_prune(tx: Transaction, *conditions: Any) -> PruneRow | None:
    named = [_columns[name] for name in PruneRow.__struct_fields__]
    statement = select(*named).where(*conditions).order_by(_columns.id.desc()).limit(1)
    row = tx.connection.execute(statement).one_or_none()
    return None if row is None else PruneRow(**row._mapping)  # noqa: SLF001 - public name


def count_unscrubbed(tx: Transaction) -> int:
    """Return how many erasures have left something in the free pages of the database."""
    statement = select(func.count()).where(archive_erasure.c.scrubbed_at.is_(None))
    return int(tx.connection.execute(statement).scalar_one())
