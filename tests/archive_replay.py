"""What does an archive's log come to? Its records one after another, held against the rows of a database.

It knows nothing of the journal: a record is what store/archived.py says that it is. The rows are read by
the database's plain driver.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, update

from maia_sync.store import archive_log
from maia_sync.store.archive_reading import open_unarchived
from maia_sync.store.archived import TaskFacts
from maia_sync.store.schema import (
    archive_checkpoint,
    archive_journal,
    quarantine,
    sent_message,
    sync_run,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from oracle import Copy

    from maia_sync.store.archived import Record
    from maia_sync.store.database import Database

ORIGIN = "test.example/maia-sync"
Name = tuple[str, str, int, int]
"""task, group, timestamp, ordinal"""


class Payload(NamedTuple):
    """What was told of one revision."""

    received_at: datetime
    data: str | None
    extra: str | None
    timestamp_text: str | None
    run_id: int | None


class Replay:
    """What the records so far come to."""

    def __init__(self) -> None:
        self.told = 0
        self.kinds: dict[str, int] = {}
        self.payloads: dict[Name, list[Payload]] = {}
        self.seqs: dict[Name, int] = {}
        self.vanished: dict[Name, datetime] = {}
        self.numbered: dict[tuple[str, int], list[Record]] = {}
        self.tasks: dict[str, TaskFacts] = {}
        self.turned: set[str] = set()
        """Tasks whose rows were turned round since it was told how they are tracked."""
        self.came_back: set[Name] = set()
        """Told to be served again, and never told to have vanished."""

    def take(self, records: list[Record]) -> None:
        """Add records, in their order; each has to make sense behind those before it."""
        for record in records:
            self.told += 1
            self.kinds[record.type] = self.kinds.get(record.type, 0) + 1
            self._take(record)

    def _take(self, record: Record) -> None:
        if record.number is not None:
            self.numbered.setdefault((record.type, record.number), []).append(record)
            return
        assert record.task_id is not None
        if record.type == "task":
            assert isinstance(record.facts, TaskFacts)
            is_turned = record.task_id in self.turned
            assert is_turned or record.facts != self.tasks.get(record.task_id), "nothing new of it"
            self.turned.discard(record.task_id)
            self.tasks[record.task_id] = record.facts
            return
        if record.type == "turned":
            mine = [name for name in self.seqs if name[0] == record.task_id]
            self.seqs.update({name: -self.seqs[name] for name in mine})
            self.turned.add(record.task_id)
            return
        assert record.group_id is not None
        assert record.timestamp is not None
        assert record.ordinal is not None
        name = (record.task_id, record.group_id, record.timestamp, record.ordinal)
        if record.type in ("event", "revision"):
            versions = self.payloads.setdefault(name, [])
            assert record.revision == len(versions), (
                f"{name}: revision {record.revision} behind {len(versions)}"
            )
            assert (record.type == "event") == (not versions)
            assert record.seq is not None
            versions.append(
                Payload(record.received_at, record.data, record.extra, record.timestamp_text, record.run_id)
            )
            assert record.seq == self.seqs.setdefault(name, record.seq), f"{name}: another seq"
            return
        assert name in self.payloads, f"{name}: {record.type} before it was told"
        if record.type == "vanished":
            assert name not in self.vanished, f"{name}: vanished twice"
            self.vanished[name] = record.received_at
        else:
            assert record.type == "returned", record.type
            if self.vanished.pop(name, None) is None:
                self.came_back.add(name)


def rows_of(copy: Copy) -> tuple[dict[Name, list[Payload]], dict[Name, int], dict[Name, datetime]]:
    """Return all payloads, seqs and marks of a database, as `Replay` has them."""
    text = "::text" if copy.is_postgresql else ""
    payloads: dict[Name, list[Payload]] = {}
    seqs: dict[Name, int] = {}
    vanished: dict[Name, datetime] = {}
    earlier = copy.ask(
        f'SELECT task_id, group_id, "timestamp", ordinal, revision, seen_at, data{text}, extra{text}, '
        "timestamp_text, run_id FROM task_event_revision "
        'ORDER BY task_id, group_id, "timestamp", ordinal, revision'
    )
    for task_id, group, timestamp, ordinal, revision, *payload in earlier:
        versions = payloads.setdefault((str(task_id), group, timestamp, ordinal), [])
        assert revision == len(versions)
        versions.append(_payload(payload))
    newest = copy.ask(
        f'SELECT task_id, group_id, "timestamp", ordinal, revision, seq, vanished_at, '
        f"CASE WHEN revision = 0 THEN first_seen_at ELSE last_changed_at END, data{text}, extra{text}, "
        "timestamp_text, run_id FROM task_event"
    )
    for task_id, group, timestamp, ordinal, revision, seq, vanished_at, *payload in newest:
        name = (str(task_id), group, timestamp, ordinal)
        versions = payloads.setdefault(name, [])
        assert revision == len(versions)
        versions.append(_payload(payload))
        seqs[name] = seq
        if vanished_at is not None:
            vanished[name] = moment(vanished_at)
    return payloads, seqs, vanished


def tasks_of(copy: Copy) -> dict[str, TaskFacts]:
    """Return how a database's tasks are tracked, as far as they are archived."""
    sources: dict[str, list[str]] = {}
    for task_id, source in copy.ask("SELECT task_id, source FROM task_source ORDER BY source"):
        sources.setdefault(str(task_id), []).append(source)
    orders = {str(task_id): order for task_id, order in copy.ask("SELECT task_id, log_order FROM checkpoint")}
    rows = copy.ask("SELECT task_id, label, status, tracked_at, paused_by FROM task WHERE archived")
    return {
        str(task_id): TaskFacts(
            label=label,
            status=status,
            tracked_at=moment(tracked_at),
            paused_by=paused_by,
            sources=tuple(sources.get(str(task_id), ())),
            log_order=orders.get(str(task_id)),
        )
        for task_id, label, status, tracked_at, paused_by in rows
    }


def _payload(columns: list[Any]) -> Payload:
    received_at, data, extra, text, run_id = columns
    return Payload(moment(received_at), data, extra, text, run_id)


def moment(value: Any) -> datetime:
    """Return a moment as the driver gives it, in UTC."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    assert isinstance(value, datetime)
    return value.astimezone(UTC)


def assert_archived(replay: Replay, copy: Copy, story: str = "") -> None:
    """The records so far come to just what the database holds."""
    payloads, seqs, vanished = rows_of(copy)
    assert replay.payloads.keys() == payloads.keys(), story
    assert replay.payloads == payloads, story
    assert replay.seqs == seqs, story
    assert replay.vanished == vanished, story
    assert replay.tasks == tasks_of(copy), story
    for table, kind in (("quarantine", "quarantine"), ("sent_message", "sent"), ("archive_hold", "hold")):
        ids = {number for (number,) in copy.ask(f"SELECT id FROM {table}")}
        assert {number for of, number in replay.numbered if of == kind} == ids, story
    ended = {number for (number,) in copy.ask("SELECT id FROM sync_run WHERE ended_at IS NOT NULL")}
    assert {number for of, number in replay.numbered if of == "run"} == ended, story


def _nothing() -> None:
    pass


def archive(
    database: Database,
    replay: Replay,
    *,
    most: int = 500_000,
    meanwhile: Callable[[], None] = _nothing,
    cut_off: str = "",
) -> int:
    """Archive what waits, in rounds, as a create does; returns how many records there were.

    `meanwhile` is done once, between the reading and the marking. `cut_off`: the create is killed `before` or
    `after` its checkpoint is the archive's, and the next one makes good for it.
    """
    enrol(database)
    told = 0
    while True:
        with open_unarchived(database, most=most) as unarchived:
            records = [record for some in unarchived.records() for record in checked(some)]
        if not records:
            return told
        meanwhile()
        meanwhile = _nothing
        open_one(database, told=replay.told + len(records), marks=unarchived.marks)
        if cut_off == "before":
            drop_pending(database, ORIGIN)
            replay.tasks.clear()  # told anew, as nobody knows what was
            return told
        with database.transaction() as tx:
            pending = archive_log.last_checkpoint(tx, ORIGIN, "pending")
            assert pending is not None
            assert pending.head.size == replay.told + len(records)
            archive_log.complete_checkpoint(tx, pending.id)
        replay.take(records)
        told += len(records)
        if cut_off == "after":
            return told


def checked(records: list[Record]) -> list[Record]:
    """Return a list that is as long as lists of records may be."""
    assert 0 < len(records) <= 1_000
    return records


def enrol(database: Database) -> int:
    """Enrol all tasks, a few at a time."""
    enrolled = 0
    while True:
        with database.transaction() as tx:
            archive_log.start_log(tx, ORIGIN)
            more = archive_log.enrol_tasks(tx, 3)
        if not more:
            return enrolled
        enrolled += more


def open_one(database: Database, *, told: int, marks: archive_log.Marks) -> int:
    """Note a checkpoint of so many records as pending."""
    with database.transaction() as tx:
        return archive_log.open_checkpoint(
            tx, origin=ORIGIN, head=(told, bytes(32)), note="signed", marks=marks
        )


def drop_pending(database: Database, origin: str) -> None:
    """Let a checkpoint never have been signed, and what it covered wait: no create does such a thing."""
    with database.transaction() as tx:
        pending = archive_log.last_checkpoint(tx, origin, "pending")
        if pending is None:
            return
        for table in (archive_journal, quarantine, sent_message, sync_run):
            marked = table.c.checkpoint_id == pending.id
            tx.connection.execute(update(table).where(marked).values(checkpoint_id=None))
        tx.connection.execute(update(task).values(archived_as=None))
        tx.connection.execute(delete(archive_checkpoint).where(archive_checkpoint.c.id == pending.id))
