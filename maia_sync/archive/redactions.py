"""Which file stands for a data segment from which payloads were erased? The log is asked before it is read.

Such a file's name tells which entry of the log binds its bytes. Only if that entry names the file is it
trusted, and nothing is read of it before. A later erasure puts another one in its place; whoever reads for
hours may meet one that is newer than the checkpoint he began with.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from maia_sync.archive.entry import RedactedFacts, decode_entry, facts_of
from maia_sync.archive.layout import CHECKPOINT
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.segment import parse_segment_path
from maia_sync.archive.selection import nanoseconds_of, selection_of
from maia_sync.archive.tiles import WIDTH
from maia_sync.errors import ArchiveDiffers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.segment import SegmentPath
    from maia_sync.archive.selection import Selection


class Redacted(NamedTuple):
    """A file that stands for a data segment, as the entry of this index binds it."""

    number: int
    facts: RedactedFacts


class _OfTask:
    """The erasures of one task, in the order of their entries."""

    __slots__ = ("before", "selections")

    def __init__(self) -> None:
        self.selections: list[Selection] = []
        self.before: int | None = 0
        """None of them means what is not older; None: there is one that means all."""

    def add(self, selection: Selection) -> None:
        """Take one in."""
        if selection.before is None or self.before is None:
            self.before = None
        elif not self.selections or selection.before > self.before:
            self.before = selection.before
        insort(self.selections, selection, key=_place_of)


class Erasures:
    """The erasures of a log between two of its entries; more of them may become known later.

    It holds none of its own: there are as many of these as files.
    """

    __slots__ = ("_all", "_by_task", "_end", "_first")

    def __init__(
        self, by_task: Mapping[str, _OfTask], all_of_them: Sequence[int], first: int, end: int
    ) -> None:
        self._by_task = by_task
        self._all = all_of_them
        self._first = first
        self._end = end

    def __bool__(self) -> bool:
        at = bisect_left(self._all, self._first)
        return at < len(self._all) and self._all[at] < self._end

    def of(self, index: int, entry: Entry) -> int | None:
        """Return the index of the first erasure's entry that means this entry's payload; None for none."""
        of_task = self._by_task.get(entry.task or "")
        if of_task is None:
            return None
        try:
            if of_task.before is not None and nanoseconds_of(entry) >= of_task.before:
                return None
            selections = of_task.selections
            for at in range(bisect_left(selections, self._first, key=_place_of), len(selections)):
                each = selections[at]
                if each.at >= self._end:
                    break
                if each.selects(index, entry):
                    return each.at
        except ValueError:  # a moment of the entry that is none
            pass
        return None


def _place_of(selection: Selection) -> int:
    return selection.at


class Redactions:
    """The files of a place that stand for others, as far as the log of a trusted head names them."""

    def __init__(self, place: Place, key: VerifierKey, log: LogReader) -> None:
        self._place = place
        self._key = key
        self._log = log
        self._size = log.head.size
        self._newest: dict[SegmentPath, Redacted] = {}
        self._met: set[int] = set()
        self._moments: dict[int, str] = {}
        """When each erasure was, by the index of its entry."""
        self._all: list[int] = []
        """These indexes, from small to large."""
        self._by_task: defaultdict[str, _OfTask] = defaultdict(_OfTask)
        self._unread: set[SegmentPath] = set()

    def learn(self, paths: Iterable[str]) -> None:
        """Ask the log for those among a place's files that stand for others, and which erasures they know."""
        entries = _Entries(self._log)
        parsed = ((parse_segment_path(path), path) for path in paths)
        asked = [(each.redacted, path) for each, path in parsed if each and each.redacted is not None]
        while asked:
            asked = [(number, path) for number, path in asked if number not in self._met]
            before = [self._learn(entries, number, path) for number, path in sorted(asked)]
            asked = [each for each in before if each is not None]

    def _learn(self, entries: _Entries, number: int, path: str) -> tuple[int, str] | None:
        """Take a file in, if the log names it; return the one that it has replaced, if that is such a one."""
        segment = parse_segment_path(path)
        if segment is None or number >= self._log.head.size:
            return None
        plain = segment._replace(redacted=None)
        entry = entries.at(number)
        if entry is None:
            self._unread.add(plain)
            return None
        facts = _redacted_facts(entry)
        if facts is None or facts.path != path:
            return None
        self._met.add(number)
        newest = self._newest.get(plain)
        if newest is None or newest.number < number:
            self._newest[plain] = Redacted(number, facts)
        self._learn_erasure(entries, facts.erasure)
        replaced = parse_segment_path(facts.replaces)
        if replaced is None or replaced.redacted is None or replaced.redacted >= number:
            return None
        return replaced.redacted, facts.replaces

    def _learn_erasure(self, entries: _Entries, number: int) -> None:
        if number in self._moments or not 0 <= number < self._log.head.size:
            return
        entry = entries.at(number)
        try:
            selection = None if entry is None else selection_of(number, entry)
        except ValueError:
            return  # told of where the log is read in its order
        if entry is not None and selection is not None:
            self.take(selection, entry.received or "")

    def take(self, selection: Selection, moment: str) -> None:
        """Take note of what an erasure means that the log tells of, and of when it was."""
        self._moments[selection.at] = moment
        insort(self._all, selection.at)
        self._by_task[selection.task].add(selection)

    def newest(self, segment: SegmentPath) -> Redacted | None:
        """Return the file that stands for a data segment, of which this is the original's path."""
        return self._newest.get(segment)

    def is_unread(self, path: str) -> bool:
        """Tell whether another file may stand for it, of which the entry cannot be read."""
        segment = parse_segment_path(path)
        return segment is not None and segment._replace(redacted=None) in self._unread

    def look_again(self, segment: SegmentPath, folder: str) -> Redacted | None:
        """Return the file that stands for a data segment by now, if it was erased from meanwhile."""
        try:
            head = open_checkpoint(self._place.read(CHECKPOINT) or b"", self._key)
            if head.size > self._log.head.size:
                log = LogReader(self._place, head)
                if log.root_at(self._log.head.size) != self._log.head.root:
                    return None
                self._log = log
        except ArchiveDiffers:
            return None  # whatever is wrong with that is told of by itself
        self.learn(each.path for each in self._place.list(folder))
        return self._newest.get(segment)

    def known_to(self, number: int | None) -> Erasures:
        """Return the erasures that were before the file of this number; an original knows of none."""
        return Erasures(self._by_task, self._all, 0, number or 0)

    def owed_by(self, number: int | None) -> Erasures:
        """Return those that the log tells of, and that such a file does not know of."""
        return Erasures(self._by_task, self._all, 0 if number is None else number + 1, self._size)

    def moment_of(self, number: int) -> str:
        """Return when an erasure was that is known, as its entry tells it."""
        return self._moments[number]


class _Entries:
    """Single entries of a log; those of a bundle are read together."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._number = -1
        self._held: list[bytes] | None = None

    def at(self, index: int) -> Entry | None:
        """Return an entry; None if it cannot be read."""
        number, place = divmod(index, WIDTH)
        if number != self._number:
            self._number = number
            try:
                self._log.check_edge()
                self._held = self._log.bundle(number)
            except ArchiveDiffers:
                self._held = None
        if self._held is None:
            return None
        try:
            return decode_entry(self._held[place])
        except (ValueError, IndexError):
            return None


def _redacted_facts(entry: Entry) -> RedactedFacts | None:
    try:
        facts = facts_of(entry)
    except ValueError:
        return None
    return facts if isinstance(facts, RedactedFacts) else None
