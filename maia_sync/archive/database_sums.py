"""Do archive and database agree as wholes: payloads of each task, marks, numbers, checkpoints?

The archive's side is summed up while the log is read: a few numbers for each task, an entry for each event
that is marked vanished, a bit for each row with an id. The database's side is read in one snapshot.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from maia_sync.archive.database_checkpoints import compare_checkpoints
from maia_sync.archive.database_removed import is_told_as
from maia_sync.archive.entry import decode_entry
from maia_sync.archive.finding import place_of_event
from maia_sync.archive.numbers import Numbers
from maia_sync.archive.retelling import TABLES
from maia_sync.store import archive_compare, archive_log
from maia_sync.store.archive_rows import read_numbers

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.note import VerifierKey
    from maia_sync.store.archive_compare import StoredCheckpoint
    from maia_sync.store.archive_rows import Kind
    from maia_sync.store.database import Transaction

_KINDS: Final = tuple(TABLES)
_PAYLOADS: Final = frozenset(("event", "revision"))
_OF_EVENTS: Final = frozenset((*_PAYLOADS, "missing"))
_MOST_NAMED: Final = 2_000_000
"""Payloads that are kept in memory, as hashes, to find out which rows of a task are too many."""


class Sums(NamedTuple):
    """What the database has that the archive does not have yet."""

    waiting: int
    not_enrolled: int


class TaskSums:
    """What is told of one task: how many names there are, and a sum of their hashes that no other names make.

    Python's hashes differ from process to process, so nobody can choose names that make the same sum.
    """

    __slots__ = ("events", "hashes", "revisions", "signs", "turns")

    def __init__(self) -> None:
        self.events = 0
        self.revisions = 0
        """Payloads that were superseded: as many as there are later ones."""
        self.hashes = 0
        self.turns: tuple[int, ...] = ()
        """The entries that tell of turns."""
        self.signs = 0
        """Bits: 1 if a row stands in the database as after an even number of turns, 2 as after an odd one."""

    @property
    def payloads(self) -> tuple[int, int, int]:
        """What two tellings of the same payloads have in common."""
        return self.events, self.revisions, self.hashes


class _Waiting:
    """What waits to be archived of one task."""

    def __init__(self) -> None:
        self.is_whole = False
        self.new: set[tuple[str, int, int]] = set()
        self.revised: set[tuple[str, int, int, int]] = set()
        self.turns = 0
        self.marked: set[tuple[str, int, int]] = set()

    def added_to(self, told: TaskSums) -> TaskSums:
        """Return what is told of a task and what waits together."""
        both = TaskSums()
        both.events = told.events + len(self.new)
        both.revisions = told.revisions + len(self.revised)
        superseded = ((group, stamp, ordinal, at - 1) for group, stamp, ordinal, at in self.revised)
        both.hashes = told.hashes + sum(map(hash, self.new)) + sum(map(hash, superseded))
        return both


class ArchiveSums:
    """Sums up the entries of a log, and compares the sums with the database."""

    def __init__(self) -> None:
        self.is_whole = True
        """Whether all entries were read."""
        self._tasks: defaultdict[str, TaskSums] = defaultdict(TaskSums)
        self._vanished: dict[int, tuple[int, str]] = {}
        """Of events that are marked vanished, by the hash of their key: entry, and when they were."""
        self._numbers: dict[Kind, Numbers] = {kind: Numbers() for kind in _KINDS}
        self._others: dict[tuple[Kind, int], tuple[int, str]] = {}
        """Rows that are not as their latest entry says: that entry, and how they differ."""
        self._gone = 0
        self._emptied = 0
        """Rows that stand in the database, and had lost their payload when they were archived."""
        self._counted: set[int] = set()
        """Hashes of names that were taken though their payloads are missing."""

    def take(self, index: int, entry: Entry) -> None:
        """Take an entry, in the log's order."""
        kind = entry.type
        if entry.task is None or kind in TABLES or kind == "missing":
            return
        sums = self._tasks[entry.task]
        if kind in _PAYLOADS:
            if self._counted and _hash_of_payload(entry) in self._counted:
                return
            if kind == "event":
                sums.events += 1
                sums.hashes += hash((entry.group, entry.timestamp, entry.ordinal))
            else:
                sums.revisions += 1
                sums.hashes += hash((entry.group, entry.timestamp, entry.ordinal, (entry.revision or 0) - 1))
        elif kind == "turned":
            sums.turns += (index,)
        elif kind == "vanished":
            self._vanished[_hash_of(entry)] = (index, entry.received or "")
        elif kind == "returned":
            self._vanished.pop(_hash_of(entry), None)

    def note_emptied(self) -> None:
        """Take note of a row that had lost its payload when it was archived."""
        self._emptied += 1

    def take_missing(self, entry: Entry, *, is_there: bool) -> None:
        """Take an entry of an event's payload that was gone; its row may stand in the database, empty."""
        if not is_there:
            self._gone += 1
            return
        self.note_emptied()
        kind = "revision" if entry.revision else "event"
        self.take(0, msgspec.structs.replace(entry, type=kind))
        self._counted.add(_hash_of_payload(entry))

    def take_seq(self, task_id: str, index: int, archived: int, stored: int) -> bool:
        """Take the place of an event in its task, then and now; False if no turn makes one of the other.

        Entries with turns may have been taken that come behind this one.
        """
        if archived == stored == 0:
            return True
        if archived not in (stored, -stored):
            return False
        sums = self._tasks[task_id]
        is_odd = (archived != stored) != (bisect_left(sums.turns, index) % 2 == 1)
        sums.signs |= 2 if is_odd else 1
        return True

    def has_numbered(self, kind: Kind, number: int) -> bool:
        """Tell whether an entry of this row with an id was taken."""
        return number in self._numbers[kind]

    def take_numbered(self, kind: Kind, index: int, entry: Entry, wrong: str | None) -> None:
        """Take an entry of a row with an id, and how the database differs from it. The latest one counts."""
        number = entry.id or 0
        self._numbers[kind].add(number)
        if wrong is None:
            self._others.pop((kind, number), None)
        else:
            self._others[kind, number] = (index, wrong)

    def notes(self) -> list[str]:
        """Return what is no difference, and should be known."""
        notes: list[str] = []
        if self._gone:
            were = "payload was" if self._gone == 1 else "payloads were"
            said = f"{self._gone:,} {were} gone from the database before they could be archived"
            notes.append(f"{said}: the log has an entry for each")
        if self._emptied:
            had = "payload had" if self._emptied == 1 else "payloads had"
            said = (
                f"{self._emptied:,} {had} been taken out of the database before this log could tell of them"
            )
            notes.append(f"{said}: it has an entry for each, and an earlier log may have what they were")
        return notes

    def compare(
        self,
        tx: Transaction,
        log: LogReader,
        key: VerifierKey,
        findings: Findings,
        *,
        done: StoredCheckpoint | None,
        copies: AbstractSet[int],
    ) -> Sums:
        """Report how the database differs, as a snapshot shows it."""
        compare_checkpoints(tx, log, key, findings, done=done, copies=copies)
        size = log.head.size
        waiting = _read_waiting(tx, size, findings)
        enrolled = archive_compare.read_enrolled(tx)
        self._compare_numbers(tx, size, findings)
        is_older = done is not None and done.size > size
        if self.is_whole and not is_older:  # what has come since is noted for a day only
            self._compare_counts(tx, log, waiting, enrolled, findings)
            self._compare_turns(waiting, findings)
            self._compare_marks(tx, log, waiting, enrolled, findings)
        return Sums(
            waiting=archive_log.count_waiting(tx, dated=False).rows,
            not_enrolled=sum(not archived for archived in enrolled.values()),
        )

    def _compare_numbers(self, tx: Transaction, size: int, findings: Findings) -> None:
        for kind in _KINDS:
            met = self._numbers[kind]
            for number, is_archived in read_numbers(tx, kind, size):
                if not is_archived:
                    self._others.pop((kind, number), None)
                elif self.is_whole and number not in met:
                    findings.add(
                        "database",
                        f"row {number} of {TABLES[kind]}",
                        "is marked as archived, and no entry of the archive tells of it",
                    )
        for (kind, number), (index, wrong) in sorted(self._others.items()):
            findings.add(
                "database", f"row {number} of {TABLES[kind]}", f"{wrong} (entry {index} of the archive)"
            )

    # Events

    def _compare_counts(
        self,
        tx: Transaction,
        log: LogReader,
        waiting: dict[str, _Waiting],
        enrolled: dict[str, bool],
        findings: Findings,
    ) -> None:
        stored = _sum_up(tx)
        differing: dict[str, _Waiting] = {}
        for task_id in sorted(stored.keys() | self._tasks.keys(), key=str):
            told = self._tasks.get(task_id)
            if told is None and enrolled.get(task_id) is False:
                continue
            waits = waiting.get(task_id) or _Waiting()
            fault = _fault_of_task(told, enrolled.get(task_id), is_whole=waits.is_whole)
            if fault is not None:
                findings.add("database", f"task {task_id}", fault)
            if waits.is_whole:
                continue
            there, expected = stored.get(task_id) or TaskSums(), waits.added_to(told or TaskSums())
            if there.payloads != expected.payloads:
                findings.add(
                    "database",
                    f"task {task_id}",
                    f"has {there.events:,} events and {there.revisions:,} earlier payloads in the database, "
                    f"and not the {expected.events:,} and {expected.revisions:,} that the archive tells of "
                    f"(with {len(waits.new):,} and {len(waits.revised):,} that wait to be archived)",
                )
                differing[task_id] = waits
        if differing:
            _name_surplus(tx, log, differing, findings)

    def _compare_turns(self, waiting: dict[str, _Waiting], findings: Findings) -> None:
        for task_id, sums in self._tasks.items():
            waits = waiting.get(task_id)
            if waits is not None and (waits.turns or waits.is_whole):
                continue  # it may have been turned while it was compared
            if sums.signs not in (0, 2 if len(sums.turns) % 2 else 1):
                findings.add(
                    "database",
                    f"task {task_id}",
                    "has rows whose place (seq) has another sign than it should have",
                )

    def _compare_marks(
        self,
        tx: Transaction,
        log: LogReader,
        waiting: dict[str, _Waiting],
        enrolled: dict[str, bool],
        findings: Findings,
    ) -> None:
        changed = {hash((task_id, *name)) for task_id, waits in waiting.items() for name in waits.marked}
        for task_id, group, timestamp, ordinal, moment in archive_compare.read_vanished(tx):
            key = hash((task_id, group, timestamp, ordinal))
            told = self._vanished.pop(key, None)
            waits = waiting.get(task_id)
            if key in changed or not enrolled.get(task_id) or (waits is not None and waits.is_whole):
                continue
            place = _place_of(task_id, group, timestamp, ordinal)
            if told is None:
                findings.add("database", place, "is marked vanished in the database, and not by the archive")
            elif not is_told_as(told[1], moment):
                findings.add(
                    "database",
                    place,
                    f"vanished at another moment, says the database (entry {told[0]} of the archive)",
                )
        for key, (index, _) in self._vanished.items():
            if key in changed:
                continue
            entry = decode_entry(log.entry(index))
            waits = waiting.get(entry.task or "")
            if waits is None or not waits.is_whole:
                findings.add(
                    "database",
                    place_of_event(entry.task, entry.group, entry.timestamp, entry.ordinal),
                    f"is not marked vanished in the database (entry {index} of the archive tells that it is)",
                )


def _fault_of_task(told: TaskSums | None, is_enrolled: bool | None, *, is_whole: bool) -> str | None:  # noqa: FBT001
    if is_enrolled is None:
        return "has rows, and does not stand in the table task"
    if not is_enrolled:
        return "is archived, and the table task does not tell that it is"
    if is_whole and told is not None and told.events:
        return "is noted to be archived as a whole, and was archived before"
    return None


def _sum_up(tx: Transaction) -> defaultdict[str, TaskSums]:
    stored: defaultdict[str, TaskSums] = defaultdict(TaskSums)
    for task_id, names in archive_compare.read_event_names(tx):
        sums = stored[task_id]
        sums.events += len(names)
        sums.hashes += sum(map(hash, names))
    for task_id, names in archive_compare.read_superseded_names(tx):
        sums = stored[task_id]
        sums.revisions += len(names)
        sums.hashes += sum(map(hash, names))
    return stored


def _place_of(task_id: str, group: object, timestamp: int, ordinal: int) -> str:
    """Name a row of the database, where a group may be anything."""
    return place_of_event(task_id, group if isinstance(group, str) else str(group), timestamp, ordinal)


def _hash_of(entry: Entry) -> int:
    return hash((entry.task, entry.group, entry.timestamp, entry.ordinal))


def _hash_of_payload(entry: Entry) -> int:
    return hash((entry.task, entry.group, entry.timestamp, entry.ordinal, entry.revision))


def _read_waiting(tx: Transaction, size: int, findings: Findings) -> dict[str, _Waiting]:
    waiting: defaultdict[str, _Waiting] = defaultdict(_Waiting)
    for note in archive_compare.read_waiting(tx, size):
        if not note.is_readable:
            findings.add(
                "database",
                f"row {note.id} of archive_journal",
                "has changes that cannot be read: it was altered",
            )
        of_task = waiting[note.task_id]
        of_task.is_whole |= note.is_whole
        of_task.turns += note.is_turn
        of_task.new.update(note.new)
        of_task.revised.update(note.revised)
        of_task.marked.update(note.marked)
    return dict(waiting)


def _name_surplus(
    tx: Transaction, log: LogReader, differing: dict[str, _Waiting], findings: Findings
) -> None:
    """Report the rows of these tasks that the archive does not know: its log is read once more."""
    known: set[int] = set()
    for _, entries in log.entries():
        for entry in map(decode_entry, entries):
            if entry.type in _OF_EVENTS and entry.task in differing and len(known) < _MOST_NAMED:
                known.add(_hash_of_payload(entry))
    if len(known) >= _MOST_NAMED:
        return
    for task_id, waits in differing.items():
        met: set[int] = set()
        for name in archive_compare.read_names(tx, task_id):
            hashed = hash(name)
            where = "in the database, and neither in the archive nor among what waits for it"
            if hashed in met:
                where = "in the database twice, as the newest payload and as an earlier one"
            elif hashed in known or _waits(waits, name[1:]):
                where = ""
            met.add(hashed)
            if where:
                place = _place_of(task_id, name[1], name[2], name[3])
                findings.add("database", f"{place}, revision {name[4]}", f"stands {where}")


def _waits(waits: _Waiting, name: tuple[str, int, int, int]) -> bool:
    return name in waits.revised or (name[3] == 0 and name[:3] in waits.new)
