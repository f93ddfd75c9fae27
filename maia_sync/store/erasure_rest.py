"""What is left of a task once what the archive has of it was erased? Payloads that the archive does not know.

An older version may have stored them without noting that for the archive, or somebody has altered rows since.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - a NamedTuple's
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Text, case, cast, func, or_, select, true

from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archive_journal import decode_changes, names_in
from maia_sync.store.digest_key import KEYED_BYTES
from maia_sync.store.schema import (
    archive_journal,
    quarantine,
    sent_message,
    task,
    task_event,
    task_event_revision,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Table

    from maia_sync.store.database import Transaction

_NOTHING: Final = "null"
"""What stands in place of a sent message that was taken out."""
_MOST_WAITING: Final = 10_000
_KEYED: Final = (task_event, task_event_revision, quarantine)


class Limit(NamedTuple):
    """Which payloads are meant: those of a task that are older than that, or all."""

    task_id: str
    before: datetime | None
    nanoseconds: int | None
    """The same limit, since the epoch."""


def count_payloads(tx: Transaction, limit: Limit) -> int:
    """Return how many payloads the database holds that are meant.

    An event is as old as it says, and what tells of no time as the receipt of that very revision: as in an
    erasure (archive/selection.py). A row counts as well that holds something though it says that its payload
    was taken out.
    """
    return sum(
        int(tx.connection.execute(select(func.count()).where(*_meant(table, limit))).scalar_one())
        for table in _TABLES
    )


def count_pruned(tx: Transaction, limit: Limit) -> int:
    """Return how many payloads that are meant were pruned and not erased: the archive alone has them."""
    return sum(
        int(
            tx.connection.execute(
                select(func.count()).where(
                    *_of_age(table, limit), table.c.pruned_at.is_not(None), table.c.erased_at.is_(None)
                )
            ).scalar_one()
        )
        for table in _TABLES
    )


def is_enrolled(tx: Transaction, task_id: str) -> bool:
    """Tell whether what comes to a task is noted for the archive; if not, all of it waits, without a note."""
    enrolled = select(task.c.task_id).where(task.c.task_id == task_id, task.c.archived.is_(true()))
    return tx.connection.execute(enrolled).first() is not None


def count_waiting(tx: Transaction, limit: Limit) -> int | None:
    """Return how many of these wait to be archived, as the journal and their rows tell; to be erased later.

    None if the whole task waits, or what does is so much, or so odd, that it is better archived first. The
    caller holds the task's lock.
    """
    columns = archive_journal.c
    notes = select(columns.whole, columns.turned, columns.changes).where(
        columns.task_id == limit.task_id, columns.checkpoint_id.is_(None)
    )
    number = left = 0
    for whole, turned, changes in tx.connection.execute(notes.limit(_MOST_WAITING + 1)).all():
        try:
            versions = _versions_in(changes)
        except ValueError:
            return None
        left += 1 + len(versions)
        if whole or turned or left > _MOST_WAITING:
            return None
        number += sum(_is_held(tx, limit, version) for version in versions)
    for table in (quarantine, sent_message):
        waiting = select(func.count()).where(*_meant(table, limit), table.c.checkpoint_id.is_(None))
        number += int(tx.connection.execute(waiting).scalar_one())
    return number


def _versions_in(changes: str | None) -> list[tuple[str, int, int, int]]:
    told = decode_changes(changes)
    revised = [(group_id, *place) for group_id, places in told.revised.items() for place in places]
    return [*((*name, 0) for name in names_in(told.new)), *revised]


def _is_held(tx: Transaction, limit: Limit, version: tuple[str, int, int, int]) -> bool:
    for table in (task_event, task_event_revision):
        columns = table.c
        named = (columns.group_id, columns.timestamp, columns.ordinal, columns.revision)
        same = (column == value for column, value in zip(named, version, strict=True))
        if _is_any(tx, table, (*_meant(table, limit), *same)):
            return True
    return False


def _meant(table: Table, limit: Limit) -> list[ColumnElement[bool]]:
    is_there, _ = _TABLES[table]
    return [*_of_age(table, limit), is_there]


def _of_age(table: Table, limit: Limit) -> list[ColumnElement[bool]]:
    columns = table.c
    _, age = _TABLES[table]
    meant = [columns.task_id == limit.task_id]
    if limit.before is not None:
        older: ColumnElement[bool] = age < limit.before
        if "timestamp" in columns:
            by_itself = columns.timestamp < limit.nanoseconds
            older = case((columns.timestamp == NO_TIMESTAMP, older), else_=by_itself)
        meant.append(older)
    return meant


def count_keyed_by_others(tx: Transaction, task_id: str, key_id: bytes) -> int:
    """Return how many payloads that were taken out of a task stand under digests by other keys than this."""
    return sum(
        int(
            tx.connection.execute(
                select(func.count()).where(table.c.task_id == task_id, *_by_others(table, key_id))
            ).scalar_one()
        )
        for table in _KEYED
    )


def is_any_pruned_by_others(tx: Transaction, key_id: bytes) -> bool:
    """Tell whether payloads, of any task, were pruned and not erased by another key than this."""
    return any(
        _is_any(tx, table, (table.c.erased_at.is_(None), *_by_others(table, key_id))) for table in _KEYED
    )


def is_any_keyed_by(tx: Transaction, key_id: bytes) -> bool:
    """Tell whether a payload, of any task, was taken out by this key."""
    return any(
        _is_any(tx, table, (table.c.pruned_at.is_not(None), _key_id_in(table, key_id) == key_id))
        for table in _KEYED
    )


def _is_any(tx: Transaction, table: Table, conditions: Sequence[ColumnElement[bool]]) -> bool:
    one = select(table.c.task_id).where(*conditions).limit(1)
    if table is task_event:
        one = one.order_by(table.c.task_id)  # as the partial index has them
    return tx.connection.execute(one).first() is not None


def _by_others(table: Table, key_id: bytes) -> tuple[ColumnElement[bool], ...]:
    is_keyed = func.length(table.c.digest) == KEYED_BYTES  # else it was gone when it was archived
    return table.c.pruned_at.is_not(None), is_keyed, _key_id_in(table, key_id) != key_id


def _key_id_in(table: Table, key_id: bytes) -> ColumnElement[bytes]:
    return func.substr(table.c.digest, 1, len(key_id), type_=table.c.digest.type)


def _is_there(table: Table) -> ColumnElement[bool]:
    """Return whether the payload of an event is there; told by a row's header alone on SQLite."""
    columns = table.c
    return or_(columns.pruned_at.is_(None), columns.data.is_not(None), columns.extra.is_not(None))


_events, _sent = task_event.c, sent_message.c
_TABLES: Final[dict[Table, tuple[ColumnElement[bool], ColumnElement[datetime]]]] = {
    task_event: (
        _is_there(task_event),
        case((_events.revision == 0, _events.first_seen_at), else_=_events.last_changed_at),
    ),
    task_event_revision: (_is_there(task_event_revision), task_event_revision.c.seen_at),
    quarantine: (
        or_(quarantine.c.pruned_at.is_(None), func.length(quarantine.c.raw) > 0),
        quarantine.c.quarantined_at,
    ),
    sent_message: (
        or_(_sent.pruned_at.is_(None), cast(_sent.request, Text) != _NOTHING),
        _sent.sent_at,
    ),
}
"""When a row of each table holds a payload, and when that was received."""
