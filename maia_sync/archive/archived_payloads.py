"""Which old payloads does an archive hold that was just verified? Task by task, from its data segments."""

from __future__ import annotations

from datetime import UTC
from hashlib import sha256
from itertools import groupby
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from maia_sync.archive.entry import RedactedFacts, SegmentFacts, decode_entry, facts_of
from maia_sync.archive.segment import parse_segment_path, read_segment
from maia_sync.archive.selection import nanoseconds_at
from maia_sync.errors import ArchiveDiffers
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.pruning import PayloadName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from maia_sync.archive.chunk import Rows
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.place import Place
    from maia_sync.archive.segment import SegmentPath
    from maia_sync.store.pruning import DonePrune

Kind: TypeAlias = Literal["event", "quarantine", "sent"]
_KINDS: Final[dict[str, Kind]] = {
    "event": "event",
    "revision": "event",
    "quarantine": "quarantine",
    "sent": "sent",
}
MOST_HELD: Final = 20_000
"""Payloads that are read before they are handed on, task by task ..."""
MOST_HELD_BYTES: Final = 16 << 20
"""... or so many bytes of them."""
_OF_FILES: Final = (b'"type":"segment"', b'"type":"redacted"')
"""What entries hold that tell of files, and no others: in their texts, quotes are escaped."""


class ArchivedPayload(NamedTuple):
    """A payload that the archive holds."""

    name: PayloadName | None
    """Of an event's payload; None for what has a number."""
    number: int
    """The id of its row, for what has one."""
    data: bytes | None
    extra: str | None
    timestamp_text: str | None
    raw: bytes | None
    month: str
    """2026-01: by its age."""

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.raw or b"") + len(self.data or b"") + len((self.extra or "").encode())


_Old: TypeAlias = tuple[tuple[str, Kind], ArchivedPayload]
"""A payload that is old enough, of this task and kind."""


class Batch(NamedTuple):
    """Payloads of one kind and one task."""

    task_id: str
    kind: Kind
    payloads: list[ArchivedPayload]


def read_batches(
    place: Place, log: LogReader, before: datetime, *, most: int, done: DonePrune | None = None
) -> Iterator[Batch]:
    """Yield the payloads that are older than that, in lists of so many at most; those erased are left out.

    `log` has the head that was verified. Segments are not read in which an earlier prune has left nothing
    that is so old. Raises ArchiveDiffers for a file that has changed since.
    """
    limit, held = nanoseconds_at(before), _Held()
    for path, digest in _files_of(log).items():
        parsed = parse_segment_path(path)
        if parsed is None or not _may_hold(parsed, before, done):
            continue
        content = place.read(path)
        if content is None or sha256(content).hexdigest() != digest:
            raise ArchiveDiffers(
                f"{place.name}: {path} is no longer what it was when it was verified just now"
            )
        try:
            for rows in read_segment(content):
                held.take(_old_rows(rows, limit))
                if held.is_full:
                    yield from held.take_out(most)
        except ValueError as error:
            raise ArchiveDiffers(f"{place.name}: {path} cannot be read: {error}") from error
    yield from held.take_out(most)


def _may_hold(segment: SegmentPath, before: datetime, done: DonePrune | None) -> bool:
    """Tell whether a segment may hold payloads from before that which an earlier prune has not taken out.

    Its folder's date tells how old they are. One without is read each time.
    """
    day = segment.day
    if day is None:
        return True
    if done is not None and segment.end <= done.size and day < done.before.astimezone(UTC).date():
        return False
    return day <= before.astimezone(UTC).date()


def _files_of(log: LogReader) -> dict[str, str]:
    """Return the data segments that are there, with their SHA-256, as the log tells of them."""
    files: dict[str, str] = {}
    for _, entries in log.entries():
        for encoded in entries:
            if not any(each in encoded for each in _OF_FILES):
                continue
            facts = facts_of(decode_entry(encoded))
            if isinstance(facts, RedactedFacts):
                files.pop(facts.replaces, None)
            if isinstance(facts, RedactedFacts | SegmentFacts):
                files[facts.path] = facts.sha256
    return files


class _Held:
    """Payloads that were read and not handed on yet: of a task, each create may have brought a few."""

    def __init__(self) -> None:
        self._payloads: list[_Old] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Tell whether they should be handed on before more are read."""
        return len(self._payloads) >= MOST_HELD or self._bytes >= MOST_HELD_BYTES

    def take(self, payloads: Iterable[_Old]) -> None:
        """Take payloads in."""
        for each in payloads:
            self._payloads.append(each)
            self._bytes += each[1].size

    def take_out(self, most: int) -> Iterator[Batch]:
        """Yield all of them, by task and kind, and else in the order in which they came."""
        payloads, self._payloads, self._bytes = sorted(self._payloads, key=_of_batch), [], 0
        for (task_id, kind), group in groupby(payloads, key=_of_batch):
            of_task = [payload for _, payload in group]
            for at in range(0, len(of_task), most):
                yield Batch(task_id, kind, of_task[at : at + most])


def _of_batch(old: _Old) -> tuple[str, Kind]:
    return old[0]


def _old_rows(rows: Rows, limit: int) -> Iterator[_Old]:
    for at, (salt, type_, timestamp) in enumerate(zip(rows.salt, rows.type, rows.timestamp, strict=True)):
        if not salt:  # it was erased
            continue
        is_timed = timestamp is not None and timestamp != NO_TIMESTAMP
        age = timestamp if is_timed else nanoseconds_at(rows.received_at[at])
        if age is None or age >= limit:
            continue
        moment = rows.occurred_at[at] if is_timed else rows.received_at[at]
        kind = _KINDS[type_]
        name = None
        if kind == "event":
            name = PayloadName(
                rows.group_id[at] or "", timestamp or 0, rows.ordinal[at] or 0, rows.revision[at] or 0
            )
        payload = ArchivedPayload(
            name=name,
            number=rows.number[at] or 0,
            data=rows.data[at],
            extra=rows.extra[at],
            timestamp_text=rows.timestamp_text[at],
            raw=rows.raw[at],
            month=f"{moment or rows.received_at[at]:%Y-%m}",
        )
        yield (rows.task_id[at] or "", kind), payload
