"""Which payloads does an erasure mean, and in which files do they lie? The log alone tells it.

What is found is spooled to a file without a name, so that memory holds one chunk of the log at most.
"""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_right
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.archive.entry import (
    PAYLOAD_TYPES,
    RedactedFacts,
    SegmentFacts,
    decode_entry,
    facts_of,
)
from maia_sync.archive.erasing import EarlierErasure
from maia_sync.archive.manifest import Sum
from maia_sync.archive.segment import parse_segment_path
from maia_sync.archive.selection import Selection, nanoseconds, nanoseconds_of, selection_of
from maia_sync.errors import ArchiveDiffers, ArchiveError
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.archived import ErasureFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date
    from types import TracebackType
    from typing import Self

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.log_reader import LogReader

_OTHERS: Final = tuple(b'{"v":1,"type":"%b"' % kind for kind in (b"segment", b"redacted", b"erasure"))
_KINDS: Final = tuple(sorted(PAYLOAD_TYPES))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OF_EACH: Final = 3
"""Numbers that are kept of an entry: its index, its age, its type."""
_ASKED_EVERY: Final = 65_536


def _always() -> bool:
    return True


class File(NamedTuple):
    """A data segment, and which of its payloads are meant."""

    path: str
    """Where its rows were written first."""
    current: Sum
    """What has come in its place, or else itself."""
    facts: SegmentFacts
    entries: frozenset[int]


class _Found(NamedTuple):
    """Where in the spool stands what was found for a segment."""

    facts: SegmentFacts
    at: int
    numbers: int


class Scan:
    """What a log tells of a task's payloads; what is younger than `before` is left out. A context manager."""

    def __init__(self, log: LogReader, task_id: str, before: int | None) -> None:
        self._log = log
        self._meant = Selection(log.head.size, task_id, before)
        self._waiting: dict[date | None, array[int]] = {}
        """By their date: the entries of the chunk in hand."""
        with spooling():
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - it lasts as long as this does
        self._found: list[_Found] = []
        self._newer: dict[str, Sum] = {}
        """By the path of what was replaced."""
        self._earlier: list[Selection] = []
        """Erasures of this task."""
        self.erasures: list[EarlierErasure] = []
        """The same, as a person is told of them."""
        self.knows_task = False
        self.last_erasure = 0
        """The highest number that an erasure of any task has."""

    def read(self, goes_on: Callable[[], bool] = _always) -> None:
        """Read the log, as long as it `goes_on`, which is asked now and then. Raises ArchiveDiffers."""
        needle = b'"task":"%b"' % self._meant.task.encode()
        for first, bundle in self._log.entries():
            if not first % _ASKED_EVERY and not goes_on():
                return
            for index, encoded in enumerate(bundle, first):
                if needle in encoded or encoded.startswith(_OTHERS):
                    try:
                        self._take(index, decode_entry(encoded))
                    except ValueError as error:
                        raise ArchiveDiffers(f"entry {index} of the log cannot be read") from error
        if self._waiting:
            raise ArchiveDiffers("the log does not tell where the payloads of its last entries lie")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def _take(self, index: int, entry: Entry) -> None:
        facts = facts_of(entry) if entry.task is None else None
        if isinstance(facts, SegmentFacts):
            self._take_segment(facts)
        elif isinstance(facts, RedactedFacts):
            self._newer[facts.replaces] = Sum(facts.sha256, facts.path)
        elif entry.type == "erasure":
            self.last_erasure = max(self.last_erasure, entry.id or 0)
        if entry.task != self._meant.task:
            return
        self.knows_task = True
        selection = selection_of(index, entry)
        if selection is not None:
            self._earlier.append(selection)
            self.erasures.append(_told(index, entry))
        if self._meant.selects(index, entry):
            found = self._waiting.setdefault(_date_of(entry), array("q"))
            found.extend((index, nanoseconds_of(entry), _KINDS.index(entry.type)))

    def _take_segment(self, facts: SegmentFacts) -> None:
        parsed = parse_segment_path(facts.path)
        found = None if parsed is None else self._waiting.pop(parsed.day, None)
        if found is None:
            return
        if not facts.first <= found[0] <= found[-_OF_EACH] < facts.end:
            raise ArchiveDiffers(f"the log does not tell where the payload of entry {found[0]} lies")
        with spooling():
            at = self._spool.tell()
            self._spool.write(found.tobytes())
            self._spool.flush()
        self._found.append(_Found(facts, at, len(found)))

    def count(self) -> Counter[str]:
        """Return how many payloads there are still of each type, among those that are meant."""
        counts: Counter[str] = Counter()
        gone = Gone(self._earlier)
        for found in self._found:
            numbers = self._read(found)
            counts.update(_KINDS[numbers[at + 2]] for at in _still_there(numbers, gone))
        return counts

    def files(self) -> Iterator[File]:
        """Yield the files that have such payloads, in the order of their paths."""
        gone = Gone(self._earlier)
        for found in sorted(self._found, key=lambda found: found.facts.path):
            numbers = self._read(found)
            entries = frozenset(numbers[at] for at in _still_there(numbers, gone))
            if entries:
                yield File(found.facts.path, self._current(found.facts), found.facts, entries)

    def _current(self, facts: SegmentFacts) -> Sum:
        current = Sum(facts.sha256, facts.path)
        while current.path in self._newer:
            current = self._newer[current.path]
        return current

    def _read(self, found: _Found) -> array[int]:
        numbers: array[int] = array("q")
        with spooling():
            self._spool.seek(found.at)
            numbers.fromfile(self._spool, found.numbers)
        return numbers


class Gone:
    """Tells which payloads some erasures of a task, as the log tells of them in their order, have meant."""

    def __init__(self, erasures: Sequence[Selection]) -> None:
        self._ats = [one.at for one in erasures]
        limits = [inf if one.before is None else one.before for one in erasures]
        self._limits = [*accumulate(reversed(limits), max)][::-1]
        """The latest limit of each erasure and those behind it: theirs are the ones that mean an entry."""

    def has(self, index: int, age: int) -> bool:
        """Tell whether an erasure behind this entry has meant one of its age."""
        at = bisect_right(self._ats, index)
        return at < len(self._ats) and age < self._limits[at]


def _still_there(numbers: Sequence[int], gone: Gone) -> Iterator[int]:
    """Yield where among these numbers an entry begins that no earlier erasure has meant."""
    for at in range(0, len(numbers), _OF_EACH):
        if not gone.has(numbers[at], numbers[at + 1]):
            yield at


@contextmanager
def spooling() -> Iterator[None]:
    """Have it said in a sentence if there is no room for temporary files. Raises ArchiveError."""
    try:
        yield
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ArchiveError(f"cannot write a temporary file: {reason}; nothing was erased") from error


def _told(index: int, entry: Entry) -> EarlierErasure:
    """Return what an erasure's entry tells. Raises ValueError for what is none."""
    facts = facts_of(entry)
    if not isinstance(facts, ErasureFacts) or entry.received is None:
        raise ValueError("no erasure")
    return EarlierErasure(
        entry=index,
        erased_at=datetime.fromisoformat(entry.received),
        before=None if facts.before is None else datetime.fromisoformat(facts.before),
        payloads=facts.payloads,
    )


def _date_of(entry: Entry) -> date | None:
    """Return the date under which the row of an entry lies: see chunk.py."""
    if entry.timestamp is None:  # it is no event's
        return (_EPOCH + timedelta(microseconds=nanoseconds(entry.received or "") // 1_000)).date()
    if entry.timestamp == NO_TIMESTAMP:
        return None
    return (_EPOCH + timedelta(microseconds=entry.timestamp // 1_000)).date()
