"""Do the data segments hold what the log says, and nothing else? Files against entries, rows against entries.

A segment's SHA-256 stands in the log. A file with another one is not looked into: whoever altered it may want
just that. Where payloads were erased, a newer file stands for the one that the log told of first; rows that
an erasure means must be empty in it, and all others full.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from maia_sync.archive.entry import PAYLOAD_TYPES, Entry, RedactedFacts, text_of_moment
from maia_sync.archive.finding import place_of_event
from maia_sync.archive.segment import parse_segment_path, read_segment
from maia_sync.archive.segment_rows import difference, hash_of, left_of, rows_of
from maia_sync.archive.told_segments import ToldSegments
from maia_sync.errors import ArchiveDiffers
from maia_sync.store.archived import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maia_sync.archive.entry import SegmentFacts
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.place import Place
    from maia_sync.archive.redactions import Erasures, Redacted, Redactions
    from maia_sync.archive.segment import SegmentPath
    from maia_sync.archive.segment_rows import Row

MOST_WAITING: Final = 4 * 65_536
"""Entries with a payload that may stand in the log before the segment with their rows does."""
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
    erased: bool = False
    """Whether the payload was erased: then `record.raw` has its keyed digests (entry.RedactedFacts)."""
    erased_at: str | None = None
    """When it was, as the entry of the erasure tells it."""


class _File(NamedTuple):
    """A file with the rows of a data segment."""

    path: str
    sha256: str
    rows: int
    told_by: int
    """The index of the entry that binds its bytes."""
    segment: SegmentPath
    """The path of the file that the log told of first."""
    known: Erasures
    """Those that were before this file: what they mean is empty in it."""
    owed: Erasures
    """Later ones: what they mean should no longer be there."""


class SegmentChecks:
    """Takes the log's entries in their order, and compares each segment once the log names it."""

    def __init__(
        self, place: Place, findings: Findings, take_rows: Callable[[Sequence[ArchivedRow]], None]
    ) -> None:
        self._place = place
        self._findings = findings
        self._take_rows = take_rows
        self._redactions: Redactions | None = None
        self._waiting: dict[int, Entry] = {}
        """Entries with a payload whose row has not been seen."""
        self._of_chunk: tuple[int, int] | None = None
        self._unread = False
        """Whether a segment of this chunk could not be read."""
        self._absent: dict[int, int] = {}
        """Segments without a file, by their numbers, with the entries that tell of them."""
        self._emptied: Counter[int] = Counter()
        """Payloads that are gone, by the index of the erasure's entry."""
        self._is_whole = True
        """Whether all rows could be compared, and agreed."""
        self._moment, self._moment_text = _EPOCH, text_of_moment(_EPOCH)
        self.told = ToldSegments(findings)
        self.rows = 0
        self.erased = 0
        """Rows whose payload was erased."""
        self.bytes = 0
        self.unchecked = 0
        """Payloads that could not be compared, as their segment is missing or altered."""

    def use(self, redactions: Redactions) -> None:
        """Take note of which files stand for others, before the first entry."""
        self._redactions = redactions

    def take(self, index: int, entry: Entry) -> None:
        """Take an entry of what happened."""
        self._end_chunk()
        if entry.type not in PAYLOAD_TYPES:
            if entry.payload is not None:
                self._findings.add("entry", _entry(index), f"tells of a payload, which no {entry.type} has")
            if entry.type == "erasure":
                self.told.take_erasure(index, entry)
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
        is_fitting = parsed is not None and parsed[1:] == (*chunk, None)
        if parsed is None or not is_fitting or not 0 <= facts.first < facts.end <= index:
            self._findings.add("entry", _entry(index), "tells of a data segment by a name that cannot be")
            self._unread = True
            return
        if facts.path in self.told:
            self._findings.add("entry", _entry(index), f"tells of {facts.path} a second time")
            return
        number = self.told.add(facts.path, facts.sha256, facts.rows)
        file = self._file_of(parsed, index, facts)
        content = self._read(file)
        if content is None:  # an erasure may have come between
            newer = self._standing.look_again(parsed, _folder(facts.path))
            if newer is not None and newer.number > file.told_by:
                file = self._redacted(parsed, newer)
                content = self._read(file)
        if content is None:
            self._absent[number] = index
            self._unread = True
            return
        if hashlib.sha256(content).hexdigest() != file.sha256:
            self._findings.add(
                "segment",
                file.path,
                f"has been altered or damaged: its SHA-256 is not the one in entry {file.told_by} of the log "
                f"(it holds the payloads of entries {facts.first} to {facts.end - 1})",
            )
            self._unread = True
            return
        self.bytes += len(content)
        self._compare(content, file)

    def take_redacted(self, index: int, facts: RedactedFacts) -> None:
        """Take the entry of a file in another's place; it was compared where its segment was told of."""
        self._end_chunk()
        number = self.told.replace(index, facts)
        segment = parse_segment_path(facts.path)
        if number is None or segment is None:
            return
        plain = segment._replace(redacted=None)
        newest = self._standing.newest(plain)
        if newest is None or newest.number < index:
            newest = self._standing.look_again(plain, _folder(facts.path))
        if newest is None or newest.number < index:
            self._absent[number] = index

    def skip(self) -> None:
        """Take note that entries could not be read: what is missing from now on may stand in them."""
        self._waiting.clear()
        self._of_chunk = None
        self._unread = True
        self._is_whole = False

    def end(self) -> None:
        """Report what is left when the log ends."""
        self._end_chunk()
        self._report_rowless(None)
        self.told.end(self._emptied if self._is_whole and not self.unchecked else None)
        for number, index in self._absent.items():
            path = self.told.path(number)
            if self._standing.is_unread(path):
                continue  # the file that stands for it by now is named by an entry that cannot be read
            self._findings.add("segment", path, f"is missing: entry {index} of the log tells of it")

    @property
    def _standing(self) -> Redactions:
        assert self._redactions is not None  # noqa: S101 - use comes first
        return self._redactions

    def _file_of(self, segment: SegmentPath, index: int, facts: SegmentFacts) -> _File:
        """Return the file with a segment's rows."""
        newest = self._standing.newest(segment)
        return self._file(segment, index, facts) if newest is None else self._redacted(segment, newest)

    def _redacted(self, segment: SegmentPath, newest: Redacted) -> _File:
        return self._file(segment, newest.number, newest.facts)

    def _file(self, segment: SegmentPath, told_by: int, facts: SegmentFacts | RedactedFacts) -> _File:
        at = told_by if isinstance(facts, RedactedFacts) else None
        known, owed = self._standing.known_to(at), self._standing.owed_by(at)
        return _File(facts.path, facts.sha256, facts.rows, told_by, segment, known, owed)

    def _read(self, file: _File) -> bytes | None:
        try:
            return self._place.read(file.path)
        except ArchiveDiffers as error:
            self._findings.add("segment", file.path, f"cannot be read: {error}")
            return None

    def _compare(self, content: bytes, file: _File) -> None:
        """Compare the rows of a file whose bytes are those that the log tells of."""
        before, last = self.rows, -1
        is_erased_from = bool(file.known or file.owed)
        try:
            for rows in read_segment(content):
                agreeing: list[ArchivedRow] = []
                for row in rows_of(rows):
                    index = row[0]
                    if index <= last:
                        self._row(file, index, "stands out of order, or a second time")
                    last = index
                    entry = self._entry_of_row(file, index)
                    if entry is None:
                        continue
                    by: int | None = None
                    if is_erased_from or row[3] is None:
                        by, wrong = _emptied_by(file, entry, row)
                        if wrong is not None:
                            self._row(file, index, wrong)
                            continue
                    agreed = self._agreed(file, entry, row, by)
                    if agreed is not None:
                        agreeing.append(agreed)
                self.rows += len(rows.entry)
                self._take_rows(agreeing)
        except ValueError as error:
            self._findings.add("segment", file.path, f"cannot be read: {error}")
            self._unread = True
            return
        if self.rows - before != file.rows:
            self._findings.add(
                "segment", file.path, f"has {self.rows - before:,} rows, and the log tells of {file.rows:,}"
            )

    def _agreed(self, file: _File, entry: Entry, row: Row, by: int | None) -> ArchivedRow | None:
        """Return a row that agrees with its entry, or report how it does not.

        `by`: the erasure that has emptied it, if one has.
        """
        index, record, data, salt = row
        is_empty = by is not None
        received = self._text_of(record.received_at)
        wrong = difference(entry, record, file.segment.day, received, is_erased=is_empty)
        if wrong is None and not is_empty and hash_of(record, data, salt) != entry.payload:
            wrong = "the payload, whose hash is another"
        if wrong is None:
            if by is None:
                return ArchivedRow(index, entry, record, data, salt or b"")
            self.erased += 1
            self._emptied[by] += 1
            at = self._standing.moment_of(by)
            return ArchivedRow(index, entry, record, data, b"", erased=True, erased_at=at)
        what = place_of_event(entry.task, entry.group, entry.timestamp, entry.ordinal)
        self._row(file, index, f"and the log tell different things of {what}: {wrong}")
        return None

    def _entry_of_row(self, file: _File, index: int) -> Entry | None:
        """Return the entry that waits for this row, or report that none does."""
        entry = self._waiting.pop(index, None) if file.segment.first <= index < file.segment.end else None
        if entry is None and not self._unread:
            self._row(file, index, "belongs to no entry of the log")
        return entry

    def _text_of(self, moment: datetime) -> str:
        """Return a moment as entries tell it; many rows in turn tell the same one."""
        if moment != self._moment:
            self._moment, self._moment_text = moment, text_of_moment(moment)
        return self._moment_text

    def _row(self, file: _File, index: int, sentence: str) -> None:
        self._is_whole = False
        self._findings.add("row", f"{file.path}, row of entry {index}", sentence)

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


def _emptied_by(file: _File, entry: Entry, row: Row) -> tuple[int | None, str | None]:
    """Return which erasure has emptied a row, if any has, and what is wrong with that it is empty, or not."""
    index, record, data, salt = row
    by = file.known.of(index, entry)
    if by is not None:
        left = left_of(record, data, salt)
        return by, None if left is None else f"was erased, says entry {by} of the log, and {left}"
    if salt is None:
        return None, "has lost its payload, and no erasure of the log means it"
    owed = file.owed.of(index, entry)
    if owed is None:
        return None, None
    return None, f"was to be erased, says entry {owed} of the log, and its payload is still there"


def _entry(index: int) -> str:
    return f"entry {index}"


def _folder(path: str) -> str:
    return f"{path.rpartition('/')[0]}/"
