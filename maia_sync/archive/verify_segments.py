"""Do the data segments hold what the log says, and nothing else? Files against entries, rows against entries.

A segment's SHA-256 stands in the log. A file with another one is not looked into: whoever altered it may want
just that.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.archive.entry import (
    PAYLOAD_TYPES,
    SALT_BYTES,
    Entry,
    is_told_in_entry,
    payload_hash,
    payload_of,
    text_of_moment,
)
from maia_sync.archive.finding import place_of_event
from maia_sync.archive.segment import parse_segment_path, read_segment
from maia_sync.errors import ArchiveDiffers
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archived import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from maia_sync.archive.chunk import Rows
    from maia_sync.archive.entry import SegmentFacts
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.place import Place

MOST_WAITING: Final = 4 * 65_536
"""Entries with a payload that may stand in the log before the segment with their rows does."""
_BY_RECEIPT: Final = frozenset(("quarantine", "sent"))
_COLUMNS: Final = (
    *("type", "task_id", "group_id", "timestamp", "ordinal", "revision", "run_id", "number", "received_at"),
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ArchivedRow(msgspec.Struct, frozen=True, gc=False):
    """A row of a segment with the entry that it belongs to; they agree with each other."""

    number: int
    """The entry's index in the log."""
    entry: Entry
    record: Record
    """What the row tells; its `data` stands beside it, in UTF-8."""
    data: bytes | None
    salt: bytes


class SegmentChecks:
    """Takes the log's entries in their order, and compares each segment once the log names it."""

    def __init__(
        self, place: Place, findings: Findings, take_rows: Callable[[Sequence[ArchivedRow]], None]
    ) -> None:
        self._place = place
        self._findings = findings
        self._take_rows = take_rows
        self._waiting: dict[int, Entry] = {}
        """Entries with a payload whose row has not been seen."""
        self._of_chunk: tuple[int, int] | None = None
        self._unread = False
        """Whether a segment of this chunk could not be read."""
        self._moment, self._moment_text = _EPOCH, text_of_moment(_EPOCH)
        self.lines: list[tuple[str, str]] = []
        """What SHA256SUMS should hold: sum and path of each segment in the log's order."""
        self.paths: set[str] = set()
        self.rows = 0
        self.bytes = 0
        self.unchecked = 0
        """Payloads that could not be compared, as their segment is missing or altered."""

    def take(self, index: int, entry: Entry) -> None:
        """Take an entry of what happened."""
        self._end_chunk()
        if entry.type not in PAYLOAD_TYPES:
            if entry.payload is not None:
                self._findings.add("entry", _entry(index), f"tells of a payload, which no {entry.type} has")
            return
        if entry.payload is None:
            self._findings.add("entry", _entry(index), f"tells of no payload, which each {entry.type} has")
            return
        self._waiting[index] = entry
        if len(self._waiting) > MOST_WAITING:
            self._report_rowless(index)

    def take_segment(self, index: int, facts: SegmentFacts) -> None:
        """Take the entry of a segment, and compare the file."""
        chunk = (facts.first, facts.end)
        if self._of_chunk not in (None, chunk):
            self._end_chunk()
        self._of_chunk = chunk
        parsed = parse_segment_path(facts.path)
        if parsed is None or parsed[1:3] != chunk or not 0 <= facts.first < facts.end <= index:
            self._findings.add("entry", _entry(index), "tells of a data segment by a name that cannot be")
            self._unread = True
            return
        if facts.path in self.paths:
            self._findings.add("entry", _entry(index), f"tells of {facts.path} a second time")
            return
        self.paths.add(facts.path)
        self.lines.append((facts.sha256, facts.path))
        content = self._read(index, facts)
        if content is None:
            self._unread = True
            return
        self.bytes += len(content)
        self._compare(content, facts, parsed.day)

    def skip(self) -> None:
        """Take note that entries could not be read: what is missing from now on may stand in them."""
        self._waiting.clear()
        self._of_chunk = None
        self._unread = True

    def end(self) -> None:
        """Report what is left when the log ends."""
        self._end_chunk()
        self._report_rowless(None)

    def _read(self, index: int, facts: SegmentFacts) -> bytes | None:
        try:
            content = self._place.read(facts.path)
        except ArchiveDiffers as error:
            self._findings.add("segment", facts.path, f"cannot be read: {error}")
            return None
        if content is None:
            self._findings.add("segment", facts.path, f"is missing: entry {index} of the log tells of it")
            return None
        if hashlib.sha256(content).hexdigest() != facts.sha256:
            self._findings.add(
                "segment",
                facts.path,
                f"has been altered or damaged: its SHA-256 is not the one in entry {index} of the log "
                f"(it holds the payloads of entries {facts.first} to {facts.end - 1})",
            )
            return None
        return content

    def _compare(self, content: bytes, facts: SegmentFacts, day: date | None) -> None:
        """Compare the rows of a file whose bytes are those that the log tells of."""
        before, last = self.rows, -1
        try:
            for rows in read_segment(content):
                agreeing: list[ArchivedRow] = []
                for index, record, data, salt in _records(rows):
                    if index <= last:
                        self._row(facts, index, "stands out of order, or a second time")
                    last = index
                    entry = self._entry_of_row(facts, index)
                    if entry is None:
                        continue
                    wrong = _difference(entry, record, day, self._text_of(record.received_at))
                    if wrong is None and _hash_of(record, data, salt) != entry.payload:
                        wrong = "the payload, whose hash is another"
                    if wrong is None:
                        agreeing.append(ArchivedRow(index, entry, record, data, salt))
                    else:
                        self._row_differs(facts, index, entry, wrong)
                self.rows += len(rows.entry)
                self._take_rows(agreeing)
        except ValueError as error:
            self._findings.add("segment", facts.path, f"cannot be read: {error}")
            self._unread = True
            return
        if self.rows - before != facts.rows:
            self._findings.add(
                "segment", facts.path, f"has {self.rows - before:,} rows, and the log tells of {facts.rows:,}"
            )

    def _entry_of_row(self, facts: SegmentFacts, index: int) -> Entry | None:
        """Return the entry that waits for this row, or report that none does."""
        entry = self._waiting.pop(index, None) if facts.first <= index < facts.end else None
        if entry is None and not self._unread:
            self._row(facts, index, "belongs to no entry of the log")
        return entry

    def _text_of(self, moment: datetime) -> str:
        """Return a moment as entries tell it; many rows in turn tell the same one."""
        if moment != self._moment:
            self._moment, self._moment_text = moment, text_of_moment(moment)
        return self._moment_text

    def _row_differs(self, facts: SegmentFacts, index: int, entry: Entry, wrong: str) -> None:
        what = place_of_event(entry.task, entry.group, entry.timestamp, entry.ordinal)
        self._row(facts, index, f"and the log tell different things of {what}: {wrong}")

    def _row(self, facts: SegmentFacts, index: int, sentence: str) -> None:
        self._findings.add("row", f"{facts.path}, row of entry {index}", sentence)

    def _end_chunk(self) -> None:
        """Report entries whose rows should have stood in the segments that have been read."""
        if self._of_chunk is None:
            return
        end = self._of_chunk[1]
        self._of_chunk = None
        self._report_rowless(end)

    def _report_rowless(self, end: int | None) -> None:
        rowless = [index for index in self._waiting if end is None or index < end]
        for index in rowless:
            entry = self._waiting.pop(index)
            if self._unread:
                self.unchecked += 1
                continue
            what = place_of_event(entry.task, entry.group, entry.timestamp, entry.ordinal)
            self._findings.add(
                "entry", _entry(index), f"has no row in any data segment: {entry.type}, {what}"
            )
        self._unread = False


def _records(rows: Rows) -> Iterator[tuple[int, Record, bytes | None, bytes]]:
    """Yield each row: its entry's index, what it tells, its data in UTF-8, its salt.

    Raises ValueError for what no row can be.
    """
    for (
        index,
        type_,
        task_id,
        group_id,
        timestamp,
        timestamp_text,
        occurred_at,
        ordinal,
        revision,
        seq,
        received_at,
        run_id,
        number,
        data,
        extra,
        raw,
        salt,
    ) in zip(*rows, strict=True):
        if index is None or salt is None or received_at is None:
            raise ValueError("a row in it lacks what each row has")
        record = Record(
            type=type_,
            received_at=received_at,
            task_id=task_id,
            group_id=group_id,
            timestamp=timestamp,
            ordinal=ordinal,
            revision=revision,
            run_id=run_id,
            number=number,
            seq=seq,
            timestamp_text=timestamp_text,
            occurred_at=occurred_at,
            data="" if data is not None else None,  # what is hashed is made of the bytes, below
            extra=extra,
            raw=raw,
        )
        yield index, record, data, salt


def _difference(entry: Entry, record: Record, day: date | None, received: str) -> str | None:
    """Tell which column of a row is not what its entry says; None if none is, its payload apart."""
    told = (
        entry.type,
        entry.task,
        entry.group,
        entry.timestamp,
        entry.ordinal,
        entry.revision,
        entry.run,
        entry.id,
        entry.received,
    )
    stands = (
        record.type,
        record.task_id,
        record.group_id,
        record.timestamp,
        record.ordinal,
        record.revision,
        record.run_id,
        record.number,
        received,
    )
    if told != stands:
        return next(name for name, one, other in zip(_COLUMNS, told, stands, strict=True) if one != other)
    if entry.timestamp_text != (record.timestamp_text if is_told_in_entry(record) else None):
        return "timestamp_text"
    moment = record.received_at if record.type in _BY_RECEIPT else record.occurred_at
    if not _is_the_instant(record) or day != (None if moment is None else moment.date()):
        return "occurred_at, or the date in the file's name"
    return None


def _hash_of(record: Record, data: bytes | None, salt: bytes) -> str | None:
    """Return what an entry should say of a payload; None if the salt is none."""
    if len(salt) != SALT_BYTES:
        return None
    payload = payload_of(record)
    if record.raw is None and data:  # payload_of was given no data, which stands in front of all else
        return payload_hash(salt, data + payload if payload else data)
    return payload_hash(salt, payload)


def _is_the_instant(record: Record) -> bool:
    """Tell whether the moment is that of the key, as far as the key can tell it."""
    if record.occurred_at is None or record.timestamp in (None, NO_TIMESTAMP):
        return True
    passed = record.occurred_at - _EPOCH
    micros = (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
    return micros == (record.timestamp or 0) // 1_000


def _entry(index: int) -> str:
    return f"entry {index}"
