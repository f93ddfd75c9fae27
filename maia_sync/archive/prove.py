"""How is one event proven to somebody who has neither the archive nor the database? A file with all it takes.

The entry is found by what SHA256SUMS names and the data segments tell of themselves; the log is not read.
Whatever is found is verified before it is written down.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.archive.entry import PAYLOAD_TYPES, decode_entry, payload_hash, payload_of
from maia_sync.archive.finding import place_of_event
from maia_sync.archive.layout import CHECKPOINT
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.manifest import MANIFEST
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.proof import Proof
from maia_sync.archive.segment import FOLDER, parse_segment_path, segment_path
from maia_sync.archive.segment_search import find_rows, read_row
from maia_sync.errors import ArchiveDiffers, ArchiveError, UsageError
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archive_compare import read_names_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.entry import Entry
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
    ArchiveError.
    """
    checkpoint = place.read(CHECKPOINT)
    if checkpoint is None:
        raise ArchiveError(f"{place.name}: there is no archive")
    head = open_checkpoint(checkpoint, key)
    number = event if isinstance(event, int) else find_entry(place, event)
    if not 0 <= number < head.size:
        raise UsageError(f"the log has no entry {number:,}: its {head.size:,} entries are numbered from 0 on")
    log = LogReader(place, head)
    encoded = log.entry(number)
    salt = payload = None
    entry = decode_entry(encoded)
    if with_payload and entry.type in PAYLOAD_TYPES:
        salt, payload = _payload(place, number, entry)
    return Proof(number, tuple(log.inclusion_path(number)), checkpoint.decode(), encoded, salt, payload)


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


def find_entry(place: Place, event: EventAddress) -> int:
    """Return which entry of the log tells of an event. Raises UsageError if none does."""
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
        found = find_rows(_read(place, path), sought)
        if found:
            return max(entry for entry, _ in found)
    revision = "" if event.revision is None else f" with revision {event.revision}"
    raise UsageError(f"the archive has no {event}{revision}: it may still wait to be archived")


def _payload(place: Place, number: int, entry: Entry) -> tuple[bytes, bytes]:
    """Return an entry's salt and payload. Raises ArchiveDiffers unless they are those that it binds."""
    for path in _segments(place, _day(entry)):
        parsed = parse_segment_path(path)
        if parsed is None or not parsed.first <= number < parsed.end:
            continue
        found = read_row(_read(place, path), number)
        if found is None:
            continue
        record, salt = found
        payload = payload_of(record)
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
    for match in re.finditer(rb"  (" + re.escape(folder) + rb"/[0-9]{12}-[0-9]{12}\.parquet)\n", held):
        yield match[1].decode()


def _read(place: Place, path: str) -> bytes:
    content = place.read(path)
    if content is None:
        raise ArchiveDiffers(f"{place.name}: {path} is missing")
    return content


def _day(entry: Entry) -> date | None:
    if entry.type in ("quarantine", "sent"):
        return date.fromisoformat((entry.received or "")[:10])
    return _day_of_instant(NO_TIMESTAMP if entry.timestamp is None else entry.timestamp)


def _day_of_instant(timestamp: int) -> date | None:
    if timestamp == NO_TIMESTAMP:
        return None
    return (_EPOCH + timedelta(microseconds=timestamp // 1_000)).date()
