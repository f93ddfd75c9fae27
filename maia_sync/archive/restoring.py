"""What does an archive put into an empty database while it is verified? Chunk by chunk, in the log's order.

Entries wait until the segments of their chunk have been compared with them; then all of a chunk is written
in one transaction, which also says how far the database has come. Nothing is written once anything was found
to be wrong.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from maia_sync.archive.entry import PAYLOAD_TYPES, facts_of
from maia_sync.archive.layout import read_unfinished
from maia_sync.archive.retelling import kind_of
from maia_sync.archive.selection import nanoseconds
from maia_sync.archive.undated import moment_told_by
from maia_sync.archive.verify_segments import MOST_WAITING
from maia_sync.archive.verifying import DatabaseFigures
from maia_sync.errors import Bug
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store import restoring
from maia_sync.store.archived import (
    ErasureFacts,
    HoldFacts,
    QuarantineFacts,
    Removed,
    RunFacts,
    SentFacts,
    TaskFacts,
)
from maia_sync.store.digest_key import KEYED_BYTES
from maia_sync.store.reporting import text_of
from maia_sync.store.restored_events import TO_BE_TOLD, EventRows, RestoredPayload, moment_of
from maia_sync.store.schema import archive_hold, quarantine, sent_message, sync_run
from maia_sync.sync.canonical import canonical_of_payload
from maia_sync.sync.payload_digest import digest_of_payload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from sqlalchemy import Table

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.place import Place
    from maia_sync.archive.verify_segments import ArchivedRow
    from maia_sync.store.database import Database, Transaction
    from maia_sync.store.facets import FacetReader

_ENOUGH: Final = 5_000
_ENOUGH_SIZE: Final = 8 << 20
"""So many entries, or bytes of payload, are worth a transaction."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVENTS: Final = frozenset(("event", "revision"))
_OF_PAYLOAD: Final = frozenset(("raw", "request", "digest", "pruned_at", "erased_at"))
"""Columns that an entry without the payload says nothing of, where an earlier one had it."""
_TABLES: Final[dict[str, Table]] = {
    "quarantine": quarantine,
    "sent": sent_message,
    "run": sync_run,
    "hold": archive_hold,
}


class Restoring:
    """A verifying.Comparison that compares with nothing, and writes what was verified to a database."""

    def __init__(
        self,
        place: Place,
        origin: str,
        database: Database,
        reader: FacetReader,
        *,
        head: TreeHead,
        sizes: Sequence[int],
        done: int,
    ) -> None:
        self._place = place
        self._origin = origin
        self._database = database
        self._head = head
        self._sizes = sizes
        """Of the archive's checkpoints, from small to large."""
        self._findings: Findings | None = None
        self._indexes: list[int] = []
        self._waiting: list[Entry | None] = []
        """The entries that have these indexes; None in place of one whose row is awaited."""
        self._rows: dict[int, RestoredPayload | tuple[Entry, ArchivedRow]] = {}
        self._is_read = False
        """Whether rows have come since the last entry: by the next one all have that are awaited."""
        self._awaited = 0
        self._size = 0
        """Of the payloads that wait, roughly."""
        self._is_lacking = False
        """Whether rows did not come: a file is missing, which may be told of as late as at the end."""
        self._writing = _Writing(reader)
        self.done = done
        """Up to this entry all is in the database."""
        self.began_at = done
        self.entries: Counter[str] = Counter()
        """What was restored now, by type."""
        self.erased = 0
        self.last_run = 0, ""
        """The highest id of a run in the log, and when the first of what it brought was received."""
        self.notes: list[str] = []

    # What verify_archive asks for

    def prepare(self, findings: Findings) -> bytes | None:
        """Take note of where findings are told."""
        self._findings = findings
        return None

    def stranger(self) -> str | None:
        """Tell that this database belongs to the archive."""
        return None

    def take_entry(self, index: int, entry: Entry) -> None:
        """Take an entry; those before it are written once their rows have come, and they are enough."""
        self._note_run(entry)
        if index < self.done:
            return
        if self._is_read or len(self._waiting) > MOST_WAITING:
            self._is_read = False
            self._is_lacking = self._is_lacking or self._awaited > 0
        if self._is_lacking:
            self._forget()
        elif not self._awaited and (len(self._waiting) >= _ENOUGH or self._size >= _ENOUGH_SIZE):
            self._write()
        has_payload = entry.type in PAYLOAD_TYPES
        self._awaited += has_payload
        self._indexes.append(index)
        self._waiting.append(None if has_payload else entry)

    def _note_run(self, entry: Entry) -> None:
        number = entry.id if entry.type == "run" else entry.run
        if number is not None and number > self.last_run[0]:
            self.last_run = number, _text_of(entry.received)

    def take_rows(self, rows: Sequence[ArchivedRow]) -> None:
        """Take payloads, each with its entry."""
        for row in rows:
            if row.number >= self.done:
                is_event = row.entry.type in _EVENTS
                self._rows[row.number] = _payload_of(row) if is_event else (row.entry, row)
                self.erased += row.erased
                self._awaited -= 1
                self._size += len(row.data or b"") + len(row.record.raw or b"")
                self._is_read = True

    def skip(self) -> None:
        """Write nothing more: what is missing was reported."""
        self._forget()

    def end(self, log: LogReader, copies: AbstractSet[int]) -> None:
        """Write the rest."""
        del copies
        if log.head == self._head and self.done < self._head.size:
            self._write(self._head.size)

    def writer(self, size: int) -> str | None:
        """Tell of a create that was cut off, if one has left its mark: the database that knew it is lost.

        What lies beyond the checkpoint is not read, and the next create deletes it.
        """
        left = read_unfinished(self._place)
        is_ours = left is not None and left.origin == self._origin and left.since <= size
        return "a create that was cut off while the database was still there" if is_ours else None

    def erasing(self) -> list[tuple[int, int]] | None:
        """Return None: the database that knew of erasures that are not finished is lost."""
        return None

    def figures(self) -> DatabaseFigures:
        """Return that nothing was compared."""
        none = (name for name in DatabaseFigures.__struct_fields__ if name != "place")
        return DatabaseFigures(place=self._database.place, **dict.fromkeys(none, 0))

    @property
    def is_wrong(self) -> bool:
        """Tell whether anything was found to be wrong."""
        return self._findings is not None and self._findings.count > 0

    def _write(self, end: int | None = None) -> None:
        """Write what waits; it is all up to an entry, or else up to the last one here."""
        if self.is_wrong or self._is_lacking or self._awaited:
            self._forget()
            return
        end = self._indexes[-1] + 1 if end is None else end
        number = bisect_right(self._sizes, self.done) + 1
        received: dict[int, str] = {}
        """When the last of what each checkpoint covers was received."""
        with self._database.transaction() as tx:
            restoring.advance_restore(tx, since=self.done, entries=end)  # first, so that others wait here
            self._writing.use(tx)
            for index, entry in zip(self._indexes, self._waiting, strict=True):
                while number <= len(self._sizes) and self._sizes[number - 1] <= index:
                    received[number] = self._writing.latest
                    number += 1
                self._take(index, entry, number)
            self._writing.end()
            last = bisect_right(self._sizes, end)
            received.update(dict.fromkeys(range(number, last + 1), self._writing.latest))
            restoring.date_checkpoints(tx, {each: moment_of(text) for each, text in received.items()})
        self.done = end
        self._forget()

    def _forget(self) -> None:
        self._indexes.clear()
        self._waiting.clear()
        self._rows.clear()
        self._is_read = False
        self._awaited = self._size = 0

    def _take(self, index: int, entry: Entry | None, checkpoint_id: int) -> None:
        if entry is not None:
            self.entries[entry.type] += 1
            self._writing.take(entry, checkpoint_id)
            return
        row = self._rows[index]
        if isinstance(row, RestoredPayload):
            self.entries["revision" if row.revision else "event"] += 1
            self._writing.take_payload(row)
        else:
            self.entries[row[0].type] += 1
            self._writing.take(row[0], checkpoint_id, row[1])


class _Writing:
    """One transaction after the other, in which entries become rows."""

    def __init__(self, reader: FacetReader) -> None:
        self._events = EventRows(reader)
        self._rows: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in _TABLES}
        """By their ids."""
        self._retold: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in _TABLES}
        """Those that are told without a payload, which the database may hold, or know to be erased."""
        self._tasks: dict[str, TaskFacts] = {}
        self._first_received: dict[str, str] = {}
        self._tx: Transaction | None = None
        self.latest = ""
        """When the last of what is restored so far was received."""

    def use(self, tx: Transaction) -> None:
        """Write in this transaction from now on."""
        self._tx = tx

    def take_payload(self, payload: RestoredPayload) -> None:
        """Take a payload of an event."""
        self._first_received.setdefault(payload.task_id, payload.received_at)
        self._events.add(payload)
        self.latest = max(self.latest, payload.received_at)

    def take(self, entry: Entry, checkpoint_id: int, row: ArchivedRow | None = None) -> None:
        """Take another entry, in the log's order."""
        received = _text_of(entry.received)
        self.latest = max(self.latest, received)
        kind, task_id = entry.type, entry.task or ""
        if kind in _TABLES:
            self._rows[kind][entry.id or 0] = _row_of(entry, checkpoint_id, row)
            if kind == "quarantine":
                self._first_received.setdefault(task_id, received)
        elif kind in ("vanished", "returned"):
            name = (task_id, entry.group or "", entry.timestamp or 0, entry.ordinal or 0)
            self._events.mark(name, received if kind == "vanished" else "")
        elif kind == "missing":
            self._take_missing(entry, checkpoint_id)
        elif kind == "turned":
            self.end()
            self._events.turn(self._open, task_id)
            restoring.turn_order(self._open, task_id)
        elif kind == "task":
            facts = facts_of(entry)
            if isinstance(facts, TaskFacts):
                self._tasks[task_id] = facts
        elif kind == "erasure":
            self.end()
            self._take_erasure(entry, checkpoint_id)

    def _take_missing(self, entry: Entry, checkpoint_id: int) -> None:
        kind = kind_of(entry)
        now = self._open.now
        if kind is None:
            self.take_payload(_payload_of_missing(entry, now))
        elif kind in _TABLES:
            row = _row_of_missing(entry, checkpoint_id, now)
            earlier = self._rows[kind].get(row["id"])
            if earlier is None:
                self._retold[kind][row["id"]] = row
            else:
                earlier.update((name, value) for name, value in row.items() if name not in _OF_PAYLOAD)

    def _take_erasure(self, entry: Entry, checkpoint_id: int) -> None:
        facts = facts_of(entry)
        if not isinstance(facts, ErasureFacts):
            return
        before = None if facts.before is None else moment_of(_text_of(facts.before))
        values = {
            "id": entry.id,
            "task_id": entry.task,
            "before_at": before,
            "reason": facts.reason,
            "basis": facts.basis,
            "erased_by": facts.erased_by,
            "erased_at": moment_of(_text_of(entry.received)),
            "payloads": facts.payloads,
            "checkpoint_id": checkpoint_id,
        }
        exact = 0 if facts.before is None else nanoseconds(facts.before)
        restoring.put_erasure(self._open, values, before, exact)

    def end(self) -> None:
        """Write what was taken so far."""
        tx = self._open
        first = {
            task_id: moment
            for task_id, text in self._first_received.items()
            if (moment := moment_of(text)) is not None
        }
        restoring.put_tasks(tx, first)
        self._first_received.clear()
        restoring.put_told_tasks(tx, self._tasks)
        self._tasks.clear()
        self._events.write(tx)
        for kind, rows in self._rows.items():
            restoring.put_rows(tx, _TABLES[kind], list(rows.values()))
            restoring.put_rows(tx, _TABLES[kind], list(self._retold[kind].values()), but=_OF_PAYLOAD)
            rows.clear()
            self._retold[kind].clear()

    @property
    def _open(self) -> Transaction:
        assert self._tx is not None  # noqa: S101 - use comes first
        return self._tx


def _payload_of(row: ArchivedRow) -> RestoredPayload:
    record, entry = row.record, row.entry
    data = None if row.data is None else row.data.decode()
    text, ordinal, canonical = record.timestamp_text, record.ordinal or 0, None
    if row.erased:
        digests = record.raw or b""
        digest, canonical = digests[:KEYED_BYTES], digests[KEYED_BYTES:]
    else:
        digest = digest_of_payload(data, record.extra, text)
        if ordinal:
            canonical = canonical_of_payload(data, record.extra, text)
    return RestoredPayload(
        record.task_id or "",
        record.group_id or "",
        record.timestamp or 0,
        ordinal,
        record.revision or 0,
        data,
        record.extra,
        text,
        _occurred_at(record.timestamp, record.occurred_at, text),
        record.seq or 0,
        _text_of(entry.received),
        record.run_id,
        digest,
        canonical,
        TO_BE_TOLD if row.erased else "",
        TO_BE_TOLD if row.erased else "",
    )


def _payload_of_missing(entry: Entry, now: datetime) -> RestoredPayload:
    """Return a payload that was gone when it was archived: its row tells so.

    It is known again if the entry has its keyed digests; else it equals nothing.
    """
    removed = entry.removed or Removed()
    name = (entry.task or "", entry.group or "", entry.timestamp or 0, entry.ordinal or 0)
    instant = None if name[2] == NO_TIMESTAMP else _EPOCH + timedelta(microseconds=name[2] // 1_000)
    nothing = sha256(repr(("missing", *name, entry.revision)).encode()).digest()
    digest = _bytes_of(removed.digest, nothing)
    return RestoredPayload(
        *name,
        revision=entry.revision or 0,
        data=None,
        extra=None,
        timestamp_text=None,
        occurred_at=_occurred_at(entry.timestamp, instant, None),
        seq=removed.seq,
        received_at=_text_of(entry.received),
        run_id=entry.run,
        digest=digest,
        canonical=_bytes_of(removed.canonical, nothing),
        pruned_at=text_of(removed.pruned_at or now),
        erased_at="" if removed.erased_at is None else text_of(removed.erased_at),
    )


def _occurred_at(timestamp: int | None, instant: datetime | None, text: str | None) -> str | None:
    if timestamp == NO_TIMESTAMP:
        return moment_told_by(text)
    return None if instant is None else instant.replace(tzinfo=None).isoformat(" ", "microseconds")


def _row_of(entry: Entry, checkpoint_id: int, row: ArchivedRow | None) -> dict[str, Any]:
    """Return the row of a table that an entry tells of."""
    facts, received = facts_of(entry), moment_of(_text_of(entry.received))
    of_row: dict[str, Any] = {"id": entry.id, "checkpoint_id": checkpoint_id}
    if isinstance(facts, RunFacts):
        return {**of_row, **_columns_of(facts)}
    if isinstance(facts, HoldFacts):
        return {**of_row, "task_id": entry.task, "held_at": received, **_columns_of(facts)}
    if row is None:
        raise Bug(f"an entry of the archive tells of a row by what is no {entry.type}")
    erased_at = moment_of(TO_BE_TOLD) if row.erased else None
    of_row.update(task_id=entry.task, pruned_at=erased_at, erased_at=erased_at)
    if isinstance(facts, SentFacts):
        request = "null" if row.erased else (row.data or b"null").decode()
        return {**of_row, "sent_at": received, "request": request, **_columns_of(facts)}
    raw = row.record.raw or b""
    return {
        **of_row,
        "run_id": entry.run,
        "quarantined_at": received,
        "reason": facts.reason if isinstance(facts, QuarantineFacts) else "",
        "raw": b"" if row.erased else raw,
        "digest": raw if row.erased else sha256(raw).digest(),
    }


def _row_of_missing(entry: Entry, checkpoint_id: int, now: datetime) -> dict[str, Any]:
    """Return a row whose payload was gone when it was archived."""
    told = entry.facts if isinstance(entry.facts, msgspec.Raw) else b""
    of_row: dict[str, Any] = {"id": entry.id, "checkpoint_id": checkpoint_id, "task_id": entry.task}
    removed = entry.removed or Removed()
    of_row.update(pruned_at=removed.pruned_at or now, erased_at=removed.erased_at)
    received = moment_of(_text_of(entry.received))
    if kind_of(entry) == "sent":
        sent = msgspec.json.decode(told, type=SentFacts)
        return {**of_row, "sent_at": received, "request": "null", **_columns_of(sent)}
    return {
        **of_row,
        "run_id": entry.run,
        "quarantined_at": received,
        **_columns_of(msgspec.json.decode(told, type=QuarantineFacts)),
        "raw": b"",
        "digest": _bytes_of(removed.digest, sha256(f"missing {entry.id}".encode()).digest()),
    }


def _bytes_of(digest: str | None, otherwise: bytes) -> bytes:
    try:
        return otherwise if digest is None else bytes.fromhex(digest)
    except ValueError:
        return otherwise


def _columns_of(facts: msgspec.Struct) -> dict[str, Any]:
    """Return facts as the columns that have their names; their moments are aware."""
    return {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value
        for name in facts.__struct_fields__
        for value in (getattr(facts, name),)
    }


def _text_of(received: str | None) -> str:
    """Return a moment that an entry tells, as `YYYY-MM-DD HH:MM:SS.ffffff` in UTC."""
    return "" if received is None else f"{received[:10]} {received[11:26]}"
