"""How far is a database restored from an archive, and how do rows that are no events come back?

What is restored of it is written in the transactions that move `archive_restore.entries`: so whoever goes on
after a death begins where the last of them ended. The last one of all says that the database is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, inspect, select, text, update
from sqlalchemy import table as any_table

from maia_sync.errors import ArchiveError
from maia_sync.model import NO_TIMESTAMP, WALKED_STATUSES
from maia_sync.store.archive_tasks import told_as
from maia_sync.store.restored_events import TO_BE_TOLD, moment_of
from maia_sync.store.schema import (
    archive_checkpoint,
    archive_erasure,
    archive_hold,
    archive_log,
    archive_restore,
    checkpoint,
    quarantine,
    sent_message,
    sync_run,
    task,
    task_event,
    task_event_revision,
    task_source,
)
from maia_sync.store.tasks import chunks
from maia_sync.store.upserting import upserting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from sqlalchemy import Table

    from maia_sync.store.archived import TaskFacts
    from maia_sync.store.database import Database, Transaction

_BESIDE: Final = frozenset(("alembic_version", "reporting_zone"))
"""Tables that may hold something in a database which counts as empty."""
_IDENTIFIED: Final = (
    archive_checkpoint,
    archive_erasure,
    archive_hold,
    quarantine,
    sent_message,
    sync_run,
)
"""Tables whose rows keep their ids."""
_columns = archive_restore.c
_NEWEST_FIRST: Final = ("newest-first", "newest-first?")
_TOLD: Final = ("label", "status", "tracked_at", "paused_by")
"""Columns of `task` that the archive tells."""
_LOG_START: Final = -(2**62)
"""Where walks compare from at the start of a log (sync/order.py)."""


class RestoreRow(NamedTuple):
    """From which archive a database is restored, and how far that has come."""

    origin: str
    tree_size: int
    root_hash: bytes
    entries: int
    completed_at: datetime | None


class KnownCheckpoint(NamedTuple):
    """A checkpoint that lies in the archive."""

    tree_size: int
    root_hash: bytes
    note: str


def tables_in_use(database: Database) -> list[str]:
    """Return the tables of a database, ours or not, that hold something."""
    with database.transaction(write=False) as tx:
        return [
            name
            for name in sorted(inspect(tx.connection).get_table_names())
            if name not in _BESIDE
            and tx.connection.execute(select(text("1")).select_from(any_table(name)).limit(1)).first()
        ]


def read_restore(tx: Transaction) -> RestoreRow | None:
    """Return what this database is, or was, restored from; None if it never was."""
    row = tx.connection.execute(
        select(*(_columns[name] for name in RestoreRow._fields)).order_by(_columns.started_at.desc())
    ).first()
    return None if row is None else RestoreRow(row[0], row[1], bytes(row[2]), row[3], row[4])


def begin_restore(tx: Transaction, origin: str, known: Sequence[KnownCheckpoint]) -> None:
    """Note from which archive this database is restored, and its checkpoints up to its head."""
    head = known[-1]
    tx.connection.execute(
        insert(archive_restore).values(
            origin=origin, tree_size=head.tree_size, root_hash=head.root_hash, started_at=tx.now
        )
    )
    tx.connection.execute(insert(archive_log).values(origin=origin, started_at=tx.now))
    tx.connection.execute(
        insert(archive_checkpoint),
        [
            {
                "id": number,
                "origin": origin,
                **each._asdict(),
                "status": "done",
                "created_at": tx.now,
                "completed_at": tx.now,
            }
            for number, each in enumerate(known, 1)
        ],
    )


def advance_restore(tx: Transaction, *, since: int, entries: int) -> None:
    """Note up to which entry the transaction restores. Raises ArchiveError if another process has gone on."""
    moved = update(archive_restore).where(_columns.entries == since, _columns.completed_at.is_(None))
    if tx.connection.execute(moved.values(entries=entries)).rowcount != 1:
        raise ArchiveError("another process is restoring the same database: leave it to that one")


def date_checkpoints(tx: Transaction, received_at: Mapping[int, datetime | None]) -> None:
    """Note, by id, when the last of what checkpoints cover was received: they were made no earlier."""
    rows = [{"of_id": number, "made_at": moment} for number, moment in received_at.items() if moment]
    if rows:
        made_at: Any = bindparam("made_at", type_=archive_checkpoint.c.created_at.type)
        dated = update(archive_checkpoint).where(archive_checkpoint.c.id == bindparam("of_id"))
        tx.connection.execute(dated.values(created_at=made_at, completed_at=made_at), rows)


# Rows with an id


def put_rows(
    tx: Transaction, table: Table, rows: Sequence[Mapping[str, Any]], but: AbstractSet[str] = frozenset()
) -> None:
    """Write rows with their ids; what is stored of one stays in the columns `but`."""
    if not rows:
        return
    into = upserting(tx)(table)
    names = rows[0].keys() - {"id", *but}
    again = into.on_conflict_do_update(
        index_elements=["id"], set_={name: into.excluded[name] for name in sorted(names)}
    )
    tx.connection.execute(again, list(rows))


def put_lost_run(tx: Transaction, number: int, started: datetime) -> None:
    """Keep the id of a run that was never archived, though what it brought was, unless it is known.

    No other run may take that id. The next create tells what is known of it.
    """
    lost = {
        "id": number,
        "kind": "sync",
        "worker": "unknown",
        "started_at": started,
        "ended_at": tx.now,
        "status": "lost",
        "error": "it was not archived before the database was lost: nothing else is known of it",
    }
    into = upserting(tx)
    tx.connection.execute(into(sync_run).values(lost).on_conflict_do_nothing())


def put_erasure(
    tx: Transaction, values: Mapping[str, Any], before: datetime | None, nanoseconds: int
) -> None:
    """Note an erasure, and when the payloads of it were erased that have been restored so far.

    Files that it has replaced may lie there still, so it counts as one that the next create has to finish.
    It means those from before a moment: events by their own, which `nanoseconds` tells, others by receipt.
    """
    put_rows(tx, archive_erasure, [values])
    mark = moment_of(TO_BE_TOLD)
    for table, received in (
        (task_event, task_event.c.last_changed_at),
        (task_event_revision, task_event_revision.c.seen_at),
        (quarantine, quarantine.c.quarantined_at),
        (sent_message, sent_message.c.sent_at),
    ):
        meant = update(table).where(table.c.task_id == values["task_id"], table.c.erased_at == mark)
        if before is not None and "timestamp" in table.c:
            has_instant = table.c.timestamp != NO_TIMESTAMP
            meant = meant.where(
                (has_instant & (table.c.timestamp < nanoseconds)) | (~has_instant & (received < before))
            )
        elif before is not None:
            meant = meant.where(received < before)
        when = values["erased_at"]
        tx.connection.execute(meant.values(pruned_at=when, erased_at=when))


def has_untold(tx: Transaction) -> bool:
    """Tell whether a payload was found to be erased, and no erasure that was restored is of it."""
    mark = moment_of(TO_BE_TOLD)
    return any(
        tx.connection.execute(
            select(table.c.task_id).where(table.c.pruned_at.is_not(None), table.c.erased_at == mark).limit(1)
        ).first()
        is not None
        for table in (task_event, task_event_revision, quarantine, sent_message)
    )


# Tasks


def put_tasks(tx: Transaction, first_received: Mapping[str, datetime]) -> None:
    """Track tasks of which something was received, unless they are known; by id, when the first was."""
    if first_received:
        into = upserting(tx)
        fresh = {"status": "active", "next_poll_at": tx.now, "archived": True}
        rows = [
            {"task_id": task_id, "tracked_at": first_received[task_id], **fresh}
            for task_id in sorted(first_received)
        ]
        tx.connection.execute(into(task).on_conflict_do_nothing(), rows)


def put_told_tasks(tx: Transaction, told: Mapping[str, TaskFacts]) -> None:
    """Track tasks as the archive tells it last."""
    for some in chunks(told):
        rows = [
            {
                "task_id": task_id,
                **{name: getattr(told[task_id], name) for name in _TOLD},
                "next_poll_at": tx.now if told[task_id].status in WALKED_STATUSES else None,
                "archived": True,
                "archived_as": told_as(told[task_id]),
            }
            for task_id in some
        ]
        into = upserting(tx)(task)
        again = {name: into.excluded[name] for name in rows[0] if name != "task_id"}
        tx.connection.execute(into.on_conflict_do_update(index_elements=["task_id"], set_=again), rows)
        tx.connection.execute(delete(task_source).where(task_source.c.task_id.in_(some)))
        sources = [
            {"task_id": task_id, "source": source} for task_id in some for source in told[task_id].sources
        ]
        if sources:
            tx.connection.execute(insert(task_source), sources)
        _put_orders(tx, {task_id: told[task_id].log_order for task_id in some})


def turn_order(tx: Transaction, task_id: str) -> None:
    """Note that a task's rows were turned round, so that its log's order is the other one; not surely."""
    found = select(checkpoint.c.log_order).where(checkpoint.c.task_id == task_id)
    was = tx.connection.execute(found).scalar()
    _put_orders(tx, {task_id: None if was in _NEWEST_FIRST else "newest-first?"})


def _put_orders(tx: Transaction, orders: Mapping[str, str | None]) -> None:
    """Have the next walks begin at their logs' start, and know in which order the rows stand.

    That of a log that is served newest-first reads all of it: nobody knows what an interrupted walk left out.
    """
    tx.connection.execute(delete(checkpoint).where(checkpoint.c.task_id.in_(list(orders))))
    rows = [
        {
            "task_id": task_id,
            "compare_seq": _LOG_START,
            "log_order": order,
            "epoch": 0,
            "updated_at": tx.now,
            "reconcile_seq": _LOG_START if order in _NEWEST_FIRST else None,
            "reconcile_started_at": tx.now if order in _NEWEST_FIRST else None,
        }
        for task_id, order in orders.items()
        if order is not None
    ]
    if rows:
        tx.connection.execute(insert(checkpoint), rows)


# The end


def complete_restore(tx: Transaction) -> None:
    """Note that all is restored; from now on the database can be used."""
    if tx.is_postgresql:
        for table in _IDENTIFIED:
            highest = select(func.max(table.c.id)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(table.name, "id")
            tx.connection.execute(
                select(func.setval(sequence, func.coalesce(highest, 1), highest.is_not(None)))
            )
        tx.connection.execute(text("ANALYZE"))
    tx.connection.execute(update(archive_restore).values(completed_at=tx.now))
