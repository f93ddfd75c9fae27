"""What is not archived yet? Records in the order in which they go to the log, from one snapshot.

The journal tells it (see `archive_journal.py`): its rows that are visible in the snapshot belong to the
events that are visible there, neither more nor less. A task's notes are told one by one, in their order,
each with the payload that it made. A task that is to be archived as a whole is told as it stands: every row
with all of its revisions, then which rows are marked vanished; of its other notes only those are told that
no row holds (turns, and marks that were set or taken away). How a task is tracked is told behind all of its
notes, if that has changed or its rows were turned: so the order of its log that is told there is that of its
rows as told so far.

The `seq` of a record is that of the moment at which it was noted: a turn told behind it turns it.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import bindparam, select

from maia_sync.errors import DatabaseError
from maia_sync.store.archive_journal import Changes, decode_changes, names_in
from maia_sync.store.archive_log import Marks
from maia_sync.store.archive_numbered import HOLDS, QUARANTINE, RUNS, SENT
from maia_sync.store.archive_tasks import read_retold, read_tracked, record_of, told_as
from maia_sync.store.archive_versions import (
    MOST_RECORDS,
    Version,
    batches,
    missing,
    read_marked,
    read_versions,
    read_whole,
)
from maia_sync.store.archived import Record, TaskFacts
from maia_sync.store.moments import as_given, require_row
from maia_sync.store.schema import archive_journal

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from maia_sync.store.archive_journal import Names, RowName
    from maia_sync.store.archive_numbered import Numbered
    from maia_sync.store.database import Database, Transaction

_TASKS: Final = 500
_NOTES: Final = 20
"""Notes whose changes are in memory at once; each names MOST_NAMES rows at most."""
_TOLD_AT_ONCE: Final = 400
_FEW: Final = 250
_journal = archive_journal.c
_WAITS = _journal.checkpoint_id.is_(None)
_WAITING_TASKS = select(_journal.task_id).where(_WAITS).distinct().order_by(_journal.task_id).limit(_TASKS)
_WAITING_TASKS_AFTER = _WAITING_TASKS.where(_journal.task_id > bindparam("after_task"))
_OF_NOTE: Final = (_journal.id, _journal.run_id, _journal.noted_at)
_CHANGES = select(_journal.id, _journal.changes).where(_journal.id.in_(bindparam("ids", expanding=True)))
_STREAMED: Final = {"stream_results": True}


class _Note(NamedTuple):
    """One row of the journal, without its changes."""

    id: int
    run_id: int | None
    noted_at: datetime
    whole: bool
    turned: bool


class _Wanted(NamedTuple):
    """A revision that a note names, and that is still to be read."""

    version: Version
    note: _Note
    turned: bool
    """The task's log has been turned an odd number of times since."""


_Told: TypeAlias = Record | _Wanted


@contextmanager
def open_unarchived(database: Database, *, most: int) -> Iterator[Unarchived]:
    """Open a snapshot of what is not archived yet; about so many records of it, whole tasks apart."""
    with database.transaction(snapshot=True) as tx:
        unarchived = Unarchived(tx, most=most)
        try:
            yield unarchived
        finally:
            unarchived.close()


class Unarchived:
    """What is not archived yet, as an open transaction sees it: one that keeps seeing the same."""

    def __init__(self, tx: Transaction, *, most: int) -> None:
        self._tx = tx
        self._left = most
        self.marks = Marks()
        """What `records` has covered; complete once it is exhausted."""
        self._notes_of_task = (
            select(*(as_given(tx, column) for column in _OF_NOTE), _journal.whole, _journal.turned)
            .where(_WAITS, _journal.task_id == bindparam("of_task"))
            .order_by(_journal.id)
        )
        self._reading = self._all()

    def records(self) -> Iterator[list[Record]]:
        """Yield lists of at most 1,000 records: of tasks, then of what has an id. Once."""
        few: list[Record] = []
        for records in self._reading:
            few += records
            if len(few) >= _FEW:
                if len(few) > MOST_RECORDS:
                    yield few[: -len(records)]
                    few = records
                yield few
                few = []
        if few:
            yield few

    def close(self) -> None:
        """Read no further."""
        self._reading.close()

    def _all(self) -> Generator[list[Record], None, None]:
        for task_id in _waiting_tasks(self._tx):
            if self._left <= 0:
                return
            yield from self._of_task(task_id)
        if self._left > 0:
            for records in read_retold(self._tx, self.marks.tasks):
                yield self._retold(records)
        for kind, marks in (
            (QUARANTINE, self.marks.quarantine),
            (SENT, self.marks.sent),
            (RUNS, self.marks.runs),
            (HOLDS, self.marks.holds),
        ):
            yield from self._numbered(kind, marks)

    def _of_task(self, task_id: str) -> Iterator[list[Record]]:
        notes = [
            _note_of(row) for row in self._tx.connection.execute(self._notes_of_task, {"of_task": task_id})
        ]
        before = len(self.marks.journal)
        whole = next((note for note in notes if note.whole), None)
        told = self._noted(task_id, notes) if whole is None else self._whole(task_id, notes, whole)
        for records in told:
            self._left -= len(records)
            yield records
        # The order that was told last need not be that of rows that were turned.
        again = any(note.turned for note in notes)
        if len(self.marks.journal) - before < len(notes):
            if again:
                self.marks.tasks[task_id] = None
        else:
            found = (record_of(self._tx, one, again=again) for one in read_tracked(self._tx, task_id))
            yield self._retold([record for record in found if record is not None])

    def _retold(self, records: list[Record]) -> list[Record]:
        """Note how tasks are told to be tracked."""
        for record in records:
            if record.task_id is not None and isinstance(record.facts, TaskFacts):
                self.marks.tasks[record.task_id] = told_as(record.facts)
        self._left -= len(records)
        return records

    # A task that is to be archived as a whole

    def _whole(self, task_id: str, notes: Sequence[_Note], whole: _Note) -> Iterator[list[Record]]:
        others = [note for note in notes if not note.whole]
        yield [_record_of_turn(task_id, note) for note in others if note.turned]
        yield from read_whole(self._tx, task_id, whole.noted_at)
        marked: set[RowName] = set()
        for _, changes in self._changes(others):
            marked.update(names_in(changes.returned), names_in(changes.vanished))
        for records in read_marked(self._tx, task_id):
            yield [record for record in records if _name_of(record) not in marked]
        for note, changes in self._changes(others):
            yield from _lists(_records_of_marks(task_id, note, changes))
        self.marks.journal.extend(note.id for note in notes)

    # A task whose changes have been noted since it was archived

    def _noted(self, task_id: str, notes: Sequence[_Note]) -> Iterator[list[Record]]:
        turns = sum(note.turned for note in notes)
        told: list[_Told] = []
        ids: list[int] = []
        for note, changes in self._changes(notes):
            turns -= note.turned
            told += _told_by(task_id, note, changes, turned=turns % 2 == 1)
            ids.append(note.id)
            if len(told) >= _TOLD_AT_ONCE:
                yield from self._read(task_id, told)
                self.marks.journal.extend(ids)
                if self._left <= 0:
                    return
                told, ids = [], []
        yield from self._read(task_id, told)
        self.marks.journal.extend(ids)

    def _read(self, task_id: str, told: Sequence[_Told]) -> Iterator[list[Record]]:
        for at in range(0, len(told), _TOLD_AT_ONCE):
            some = told[at : at + _TOLD_AT_ONCE]
            wanted = [each.version for each in some if isinstance(each, _Wanted)]
            found = read_versions(self._tx, task_id, wanted)
            yield [each if isinstance(each, Record) else _found(task_id, each, found) for each in some]

    def _changes(self, notes: Sequence[_Note]) -> Iterator[tuple[_Note, Changes]]:
        for at in range(0, len(notes), _NOTES):
            some = notes[at : at + _NOTES]
            rows = self._tx.connection.execute(_CHANGES, {"ids": [note.id for note in some]})
            texts = {number: text for number, text in rows}  # noqa: C416 - rows are no pairs to mypy
            for note in some:
                yield note, _decoded(note.id, texts.get(note.id))

    # What has a number, and belongs to no event

    def _numbered(self, kind: Numbered, marks: dict[int, int]) -> Iterator[list[Record]]:
        if self._left <= 0:
            return
        most = {"most": self._left}
        columns = [*kind.select.selected_columns]
        given = kind.waiting.with_only_columns(*(as_given(self._tx, column) for column in columns))
        found = self._tx.connection.execute(given, most, execution_options=_STREAMED)
        for some in batches(found, kind.weighs):
            rows = [require_row(columns, row) for row in some]
            self._left -= len(rows)
            marks.update((row.id, kind.state_of(row)) for row in rows)
            yield [kind.record_of(row) for row in rows]


def _note_of(row: Any) -> _Note:
    read = require_row(_OF_NOTE, row[: len(_OF_NOTE)])
    return _Note(read.id, read.run_id, read.noted_at, row.whole, row.turned)


def _waiting_tasks(tx: Transaction) -> Iterator[str]:
    """Yield the tasks of which something waits, by id."""
    found = list(tx.connection.execute(_WAITING_TASKS).scalars())
    while found:
        yield from found
        found = list(tx.connection.execute(_WAITING_TASKS_AFTER, {"after_task": found[-1]}).scalars())


def _told_by(task_id: str, note: _Note, changes: Changes, *, turned: bool) -> Iterator[_Told]:
    """Yield what a note tells, in the order in which it happened."""
    if note.turned:
        yield _record_of_turn(task_id, note)
    for group_id, timestamp, ordinal in names_in(changes.new):
        yield _Wanted(Version(group_id, timestamp, ordinal, 0), note, turned)
    for group_id, places in changes.revised.items():
        for place in places:
            yield _Wanted(Version(group_id, *place), note, turned)
    yield from _records_of_marks(task_id, note, changes)


def _found(task_id: str, wanted: _Wanted, found: Mapping[Version, Record]) -> Record:
    record = found.get(wanted.version)
    if record is None:
        return missing(task_id, wanted.version, wanted.note.noted_at, wanted.note.run_id)
    if not wanted.turned:
        return record
    if record.removed is not None and record.removed.seq is not None:
        turned = msgspec.structs.replace(record.removed, seq=-record.removed.seq)
        return msgspec.structs.replace(record, removed=turned)
    return record if record.seq is None else msgspec.structs.replace(record, seq=-record.seq)


def _record_of_turn(task_id: str, note: _Note) -> Record:
    return Record(type="turned", received_at=note.noted_at, task_id=task_id, run_id=note.run_id)


def _records_of_marks(task_id: str, note: _Note, changes: Changes) -> Iterator[Record]:
    marks: tuple[tuple[Literal["returned", "vanished"], Names], ...] = (
        ("returned", changes.returned),
        ("vanished", changes.vanished),
    )
    for kind, names in marks:
        for group_id, timestamp, ordinal in names_in(names):
            yield Record(
                type=kind,
                received_at=note.noted_at,
                task_id=task_id,
                group_id=group_id,
                timestamp=timestamp,
                ordinal=ordinal,
                run_id=note.run_id,
            )


def _name_of(record: Record) -> tuple[str | None, int | None, int | None]:
    return record.group_id, record.timestamp, record.ordinal


def _decoded(number: int, text: str | None) -> Changes:
    try:
        return decode_changes(text)
    except ValueError as error:
        raise DatabaseError(f"row {number} of archive_journal cannot be read: it was altered") from error


def _lists(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while some := list(islice(rest, MOST_RECORDS)):
        yield some
