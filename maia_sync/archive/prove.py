"""How is one event proven to somebody who has neither the archive nor the database? A file with all it takes.

The entry is found by what SHA256SUMS names and the data segments tell of themselves; the log is not read.
Whatever is found is verified before it is written down.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.archive.entry import (
    PAYLOAD_TYPES,
    RedactedFacts,
    SegmentFacts,
    decode_entry,
    facts_of,
    payload_hash,
)
from maia_sync.archive.finding import counted, place_of_event
from maia_sync.archive.inventory import fault_of_file
from maia_sync.archive.layout import CHECKPOINT
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.manifest import MANIFEST
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.proof import Proof
from maia_sync.archive.segment import FOLDER, parse_segment_path, segment_path
from maia_sync.archive.segment_search import find_rows, read_payload
from maia_sync.archive.selection import selection_of
from maia_sync.errors import ArchiveDiffers, ArchiveError, UsageError
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archive_compare import read_names_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.entry import Entry, Facts
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.store.database import Database

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class EventAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Which event is meant."""

    task_id: str
    group_id: str
    timestamp: int
    """Nanoseconds since the Unix epoch, or NO_TIMESTAMP."""
    ordinal: int
    revision: int | None = None
    """None for the newest one that is archived."""

    def __str__(self) -> str:
        stamp = "none" if self.timestamp == NO_TIMESTAMP else self.timestamp
        return place_of_event(self.task_id, self.group_id, stamp, self.ordinal)


def prove(place: Place, key: VerifierKey, event: EventAddress | int, *, with_payload: bool = True) -> Proof:
    """Return the proof of an event, or of the entry that has a number in the log.

    Raises UsageError if there is none in the archive, ArchiveDiffers if the archive does not bear it out, and
    ArchiveError, also for a payload that was erased.
    """
    log, checkpoint = open_log(place, key)
    head = log.head
    number = event if isinstance(event, int) else find_entry(place, log, event)
    if not 0 <= number < head.size:
        raise UsageError(
            f"the log has no entry {number}: it has {counted(head.size, 'entry')}, numbered from 0 on"
        )
    encoded = log.entry(number)
    salt = payload = None
    try:
        entry = decode_entry(encoded)
    except ValueError as error:
        raise ArchiveDiffers(f"{place.name}: entry {number} is no entry of maia-sync") from error
    if not isinstance(event, int):
        _require_is(event, number, entry)
    if with_payload and entry.type in PAYLOAD_TYPES:
        salt, payload = _payload(place, log, number, entry)
    return Proof(number, tuple(log.inclusion_path(number)), checkpoint, encoded, salt, payload)


def open_log(place: Place, key: VerifierKey) -> tuple[LogReader, str]:
    """Return what reads the log of an archive, with its checkpoint, which this key has signed.

    Raises ArchiveDiffers if it has not, and ArchiveError if there is no archive.
    """
    fault = fault_of_file(place, CHECKPOINT)
    if fault is not None:
        raise ArchiveDiffers(f"{place.name}: {CHECKPOINT} {fault}")
    checkpoint = place.read(CHECKPOINT)
    if checkpoint is None:
        raise ArchiveError(f"{place.name}: there is no archive")
    head = open_checkpoint(checkpoint, key)
    return LogReader(place, head), checkpoint.decode()


def find_at(database: Database, task_id: str, seq: int, revision: int | None) -> EventAddress:
    """Return the event that stands at a place of a task's log. Raises UsageError unless there is one."""
    with database.transaction(write=False) as tx:
        names = read_names_at(tx, task_id, seq)
    if not names:
        raise UsageError(f"task {task_id} has no event with seq {seq}")
    if len(names) > 1:
        raise UsageError(
            f"{len(names)} events of task {task_id} have seq {seq}: name one by --group, --timestamp and "
            "--ordinal"
        )
    group_id, timestamp, ordinal = names[0]
    return EventAddress(
        task_id=task_id, group_id=group_id, timestamp=timestamp, ordinal=ordinal, revision=revision
    )


def find_entry(place: Place, log: LogReader, event: EventAddress) -> int:
    """Return which entry of the log tells of an event. Raises UsageError if none does.

    The data segments that are looked into are those that the log tells of, to the byte.
    """
    sought: dict[str, str | int] = {
        "task_id": event.task_id,
        "group_id": event.group_id,
        "timestamp": event.timestamp,
        "ordinal": event.ordinal,
    }
    if event.revision is not None:
        sought["revision"] = event.revision
    # The newest revision is the one that was archived last.
    for path in reversed([*_segments(place, _day_of_instant(event.timestamp))]):
        found = find_rows(_read(place, log, path), sought)
        if found:
            return max(entry for entry, _ in found)
    revision = "" if event.revision is None else f" with revision {event.revision}"
    raise UsageError(f"the archive has no {event}{revision}: it may still wait to be archived")


def _require_is(event: EventAddress, number: int, entry: Entry) -> None:
    """Raise ArchiveDiffers unless an entry tells of the event that was asked for."""
    told = (entry.task, entry.group, entry.timestamp, entry.ordinal)
    asked = (event.task_id, event.group_id, event.timestamp, event.ordinal)
    is_revision = event.revision is None or event.revision == entry.revision
    if told != asked or entry.type not in ("event", "revision") or not is_revision:
        raise ArchiveDiffers(
            f"a data segment names entry {number} as that of {event}, and the log tells something else of "
            "it: nothing is proven"
        )


def _payload(place: Place, log: LogReader, number: int, entry: Entry) -> tuple[bytes, bytes]:
    """Return an entry's salt and payload. Raises ArchiveDiffers unless they are those that it binds."""
    for path in _segments(place, _day(entry)):
        parsed = parse_segment_path(path)
        if parsed is None or not parsed.first <= number < parsed.end:
            continue
        found = read_payload(_read(place, log, path), number)
        if found is None:
            continue
        salt, payload = found
        if salt is None:
            raise _erased(place, log, number, entry, path)
        if payload_hash(salt, payload) != entry.payload:
            raise ArchiveDiffers(
                f"{place.name}: the payload of entry {number} in {path} is not the one that the log tells of"
            )
        return salt, payload
    raise ArchiveDiffers(
        f"{place.name}: the payload of entry {number} is in no data segment; a proof can be made without it"
    )


def _segments(place: Place, day: date | None) -> Iterator[str]:
    """Yield the segments of a day, in the log's order."""
    folder = segment_path(day, 0, 0).rpartition("/")[0].encode()
    held = place.read(MANIFEST) or b""
    assert folder.startswith(FOLDER.encode())  # noqa: S101 - that is what a segment's path begins with
    for match in re.finditer(
        rb"  (" + re.escape(folder) + rb"/[0-9]{12}-[0-9]{12}(?:-[0-9]{12})?\.parquet)\n", held
    ):
        yield match[1].decode()


def _read(place: Place, log: LogReader, path: str) -> bytes:
    """Return a segment's bytes. Raises ArchiveDiffers unless they are those that the log tells of."""
    content = place.read(path)
    if content is None:
        raise ArchiveDiffers(f"{place.name}: {path} is missing")
    if hashlib.sha256(content).hexdigest() != _sum_in_log(log, path):
        raise ArchiveDiffers(
            f"{place.name}: {path} has been altered or damaged: its SHA-256 is not the one in the log"
        )
    return content


def _sum_in_log(log: LogReader, path: str) -> str | None:
    """Return the SHA-256 that the log tells of a segment: the entries behind its rows' tell of it.

    Of one from which payloads were erased, the entry that its name tells does.
    """
    parsed = parse_segment_path(path)
    if parsed is None or max(parsed.end, parsed.redacted or 0) >= log.head.size:
        return None
    if parsed.redacted is not None:
        redacted = _redacted_facts(log, path)
        return None if redacted is None else redacted.sha256
    for _, entries in log.entries(parsed.end):
        for encoded in entries:
            facts = _facts(encoded)
            if not isinstance(facts, SegmentFacts) or (facts.first, facts.end) != (parsed.first, parsed.end):
                return None
            if facts.path == path:
                return facts.sha256
    return None


def _facts(encoded: bytes) -> Facts | None:
    try:
        return facts_of(decode_entry(encoded))
    except ValueError:
        return None


def _redacted_facts(log: LogReader, path: str) -> RedactedFacts | None:
    """Return what the log tells of a file from which payloads were erased; None for any other file."""
    parsed = parse_segment_path(path)
    if parsed is None or parsed.redacted is None or parsed.redacted >= log.head.size:
        return None
    facts = _facts(log.entry(parsed.redacted))
    return facts if isinstance(facts, RedactedFacts) and facts.path == path else None


def _erased(place: Place, log: LogReader, number: int, entry: Entry, path: str) -> ArchiveError:
    """Return the error that tells by which erasure a payload was lost, that lay in this file."""
    said = f"{place.name}: the payload of entry {number} was erased"
    meant: list[int] = []
    facts = _redacted_facts(log, path)
    while facts is not None and not (meant and facts.erasure >= meant[-1]):
        if _is_meant(log, facts.erasure, number, entry):
            meant.append(facts.erasure)
        facts = _redacted_facts(log, facts.replaces) if facts.replaces < facts.path else None
    if not meant:
        return ArchiveDiffers(f"{said}, and no erasure of the log means it")
    return ArchiveError(
        f"{said}: `maia-sync archive entries --from {meant[-1]} --limit 1` tells when, by whom and why. That "
        "it was received can be proven still: see --without-payload"
    )


def _is_meant(log: LogReader, erasure: int, number: int, entry: Entry) -> bool:
    try:
        selection = selection_of(erasure, decode_entry(log.entry(erasure)))
        return selection is not None and selection.selects(number, entry)
    except (ValueError, IndexError):
        return False


def _day(entry: Entry) -> date | None:
    try:
        if entry.type in ("quarantine", "sent"):
            return date.fromisoformat((entry.received or "")[:10])
        return _day_of_instant(NO_TIMESTAMP if entry.timestamp is None else entry.timestamp)
    except (ValueError, OverflowError) as error:
        raise ArchiveDiffers("the entry tells of a moment that cannot be: it has no payload") from error


def _day_of_instant(timestamp: int) -> date | None:
    if timestamp == NO_TIMESTAMP:
        return None
    return (_EPOCH + timedelta(microseconds=timestamp // 1_000)).date()
