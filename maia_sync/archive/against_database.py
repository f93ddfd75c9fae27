"""Does the database still hold what the archive tells? Each entry is looked up while the log is read.

What has to be seen as a whole is compared at the end (database_sums.py). The database goes on changing
meanwhile; what its journal says of the time since the checkpoint waits, and is no difference.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from maia_sync.archive.database_removed import ERASED, Removed
from maia_sync.archive.database_sums import ArchiveSums, Sums
from maia_sync.archive.database_tasks import ToldTasks
from maia_sync.archive.entry import entry_of, payload_hash, payload_of
from maia_sync.archive.finding import counted, place_of_event
from maia_sync.archive.retelling import TABLES, kind_of, lasting_difference
from maia_sync.archive.undated import moment_told_by
from maia_sync.archive.verifying import DatabaseFigures
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store import archive_compare, archive_log
from maia_sync.store.archive_compare import StoredPayload
from maia_sync.store.archive_rows import StoredRow, read_numbered
from maia_sync.store.moments import open_reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.verify_segments import ArchivedRow
    from maia_sync.store.archive_compare import EventName, RemovedPayload, StoredCheckpoint
    from maia_sync.store.archive_rows import Kind
    from maia_sync.store.database import Database, Transaction

_COLUMNS: Final = ("data", "extra", "timestamp_text", "time of receipt", "run_id")
_AT_ONCE: Final = 2_000
_EVENTS: Final = frozenset(("event", "revision"))
_WITH_ID: Final = frozenset(("quarantine", "sent"))
_TOO_EARLY: Final = "lost its payload in the database before it was archived, which only an alteration can do"
_LOOSE: Final = frozenset(("run", "hold", "erasure", "missing"))
"""What is told of without a payload."""


class _Item(NamedTuple):
    """An entry of a row with an id; with what the archive holds of its payload, if it has one."""

    number: int
    entry: Entry
    row: ArchivedRow | None


class AgainstDatabase:
    """A verifying.Comparison with the database that an archive was made of."""

    def __init__(self, database: Database, key: VerifierKey) -> None:
        self._database = database
        self._key = key
        self._origin = key.name
        self._findings: Findings | None = None
        self._sums = ArchiveSums()
        self._tasks = ToldTasks()
        self._removed = Removed(database)
        self._loose: list[_Item] = []
        self._missing: dict[EventName, _Item] = {}
        self._events = 0
        self._rows = 0
        self._done: StoredCheckpoint | None = None
        self._figures = Sums(waiting=0, not_enrolled=0)
        self._may_lack: int | None = 0
        """Up to this entry payloads may have been taken out before they were archived; None: all may."""
        self.notes: list[str] = []
        """What is no difference, and should be known."""

    def prepare(self, findings: Findings) -> bytes | None:
        """Note what should be there, before the archive is looked at; return the newest checkpoint."""
        self._findings = findings
        with open_reading(self._database) as tx:
            self._done = archive_compare.read_newest(tx, self._origin, "done")
            self._may_lack = archive_compare.read_end_of_lacking(tx, self._origin)
        return None if self._done is None else self._done.note.encode()

    def stranger(self) -> str | None:
        """Tell why nothing of this database need be compared: another one has written the archive."""
        with open_reading(self._database) as tx:
            is_known = archive_log.has_checkpoint(tx, self._origin)
            origin = archive_log.read_origin(tx)
        if not is_known:
            return (
                "this database has not written this archive: verify it with the one that has, or with "
                "--no-database"
            )
        if origin != self._origin:
            return (
                f"this database is archived as {origin}, and not as {self._origin}: its earlier log "
                "is verified with --no-database"
            )
        return None

    def take_rows(self, rows: Sequence[ArchivedRow]) -> None:
        """Compare things with a payload."""
        for at in range(0, len(rows), _AT_ONCE):
            some = rows[at : at + _AT_ONCE]
            self._compare_events([row for row in some if row.entry.type in _EVENTS])
            self._compare_numbered(
                [_Item(row.number, row.entry, row) for row in some if row.entry.type in _WITH_ID]
            )

    def take_entry(self, index: int, entry: Entry) -> None:
        """Take what needs no payload; all entries are handed over, in their order."""
        if entry.type == "task":
            self._tasks.take(index, entry, self._told)
            return
        if self._missing and entry.type in _EVENTS and _name_of(entry) in self._missing:
            self._compare_missing()
        self._sums.take(index, entry)
        if entry.type in _LOOSE:
            self._take_loose(index, entry)

    def _take_loose(self, index: int, entry: Entry) -> None:
        if entry.id is not None:
            self._loose.append(_Item(index, entry, None))
        else:
            self._missing[_name_of(entry)] = _Item(index, entry, None)
        if len(self._loose) + len(self._missing) >= _AT_ONCE:
            self._compare_loose()

    def skip(self) -> None:
        """Take note that not all entries could be read: what is missing may stand in them."""
        self._sums.is_whole = False

    def end(self, log: LogReader, copies: AbstractSet[int]) -> None:
        """Compare what has to be seen as a whole; `copies`: the sizes of checkpoints that lie there."""
        self._compare_loose()
        with open_reading(self._database, snapshot=True) as tx:
            self._figures = self._sums.compare(tx, log, self._key, self._told, done=self._done, copies=copies)
            self._removed.compare(tx, log, self._told)
            if self._sums.is_whole:
                self._tasks.compare(tx, log, self._origin, self._told)
        self.notes += [*self._sums.notes(), *self._removed.notes()]

    def writer(self, size: int) -> str | None:
        """Tell which create is at work, or was cut off, beyond a log of this size; None for none."""
        with open_reading(self._database) as tx:
            for status in ("pending", "done"):
                found = archive_compare.read_newest(tx, self._origin, status)
                if found is not None and found.size > size:
                    what = "is at work or was cut off" if status == "pending" else "has just finished"
                    return f"a create that {what}: its checkpoint has {counted(found.size, 'entry')}"
            owner = archive_log.read_writer(tx, self._origin)
        return None if owner is None else f"a create by {owner}, which is at work or was cut off"

    def erasing(self) -> list[tuple[int, int]] | None:
        """Return the sizes of the log before and after each erasure that is not finished."""
        with open_reading(self._database) as tx:
            return archive_compare.read_unscrubbed(tx, self._origin)

    def figures(self) -> DatabaseFigures:
        """Return what was compared."""
        return DatabaseFigures(
            place=self._database.place,
            events=self._events,
            rows=self._rows,
            pruned=self._removed.pruned,
            erased=self._removed.erased,
            waiting=self._figures.waiting,
            not_enrolled=self._figures.not_enrolled,
        )

    @property
    def _told(self) -> Findings:
        assert self._findings is not None  # noqa: S101 - prepare comes first
        return self._findings

    # Events

    def _compare_events(self, rows: Sequence[ArchivedRow]) -> None:
        if not rows:
            return
        names = [_name_of(row.entry) for row in rows]
        revised = [name for name in names if name[4]]
        with open_reading(self._database) as tx:
            found = archive_compare.read_payloads(tx, names)
            superseded = dict(zip(revised, archive_compare.read_superseded_at(tx, revised), strict=True))
            left = _read_removed(tx, names, found)
        self._events += len(rows)
        for row, name, stored in zip(rows, names, found, strict=True):
            entry = row.entry
            event = place_of_event(entry.task, entry.group, entry.timestamp, entry.ordinal)
            place = f"{event}, revision {entry.revision}"
            if not isinstance(stored, StoredPayload):
                wrong = _unreadable(stored)
            elif name[4] and superseded[name] != stored.received_at:
                wrong = "superseded the one before it at another moment, says the database"
            else:
                wrong = self._difference(row, stored)
                if wrong is None and stored.is_removed:
                    wrong = self._removed.of_event(row, place, left[name])
            if wrong is not None:
                self._told.add("database", place, f"{wrong} (entry {row.number} of the archive)")

    def _difference(self, row: ArchivedRow, stored: StoredPayload) -> str | None:
        """Tell how a payload in the database differs from the archived one; None if it does not."""
        if row.erased and not stored.is_removed:
            return ERASED
        entry = row.entry
        received = entry.received or ""
        record = row.record
        payload = (row.data, record.extra, record.timestamp_text)
        if stored.is_removed:
            payload = (None, None, entry.timestamp_text)
        archived = (*payload, f"{received[:10]} {received[11:26]}", entry.run)
        there = (stored.data, stored.extra, stored.timestamp_text, stored.received_at, stored.run_id)
        if archived != there:
            pairs = zip(_COLUMNS, archived, there, strict=True)
            name = next(name for name, one, other in pairs if one != other)
            of = ", of a payload that was taken out" if stored.is_removed else ""
            return f"has another {name} in the database{of}"
        if stored.also_at not in (None, stored.received_at):
            return "has another first_seen_at or last_changed_at in the database"
        if stored.is_newest and not _is_at(row, stored):
            return "has another occurred_at in the database"
        task_id, seq = entry.task or "", record.seq
        if seq is not None and not self._sums.take_seq(task_id, row.number, seq, stored.seq):
            return "has another seq, its place in the task, in the database"
        return None

    def _compare_missing(self) -> None:
        """Compare payloads that were gone when they were archived: their rows may stand there, empty."""
        items = dict(self._missing)
        self._missing.clear()
        names = list(items)
        with open_reading(self._database) as tx:
            found = archive_compare.read_payloads(tx, names)
            left = _read_removed(tx, names, found)
        for (name, item), stored in zip(items.items(), found, strict=True):
            is_there, entry = isinstance(stored, StoredPayload) and stored.is_removed, item.entry
            self._sums.take_missing(entry, is_there=is_there)
            wrong = self._removed.of_missing(left[name], entry.removed) if is_there else None
            if wrong is None and is_there and not self._may_be_lacking(item.number):
                wrong = f"{_TOO_EARLY} (entry {item.number} of the archive)"
            if wrong is None and isinstance(stored, StoredPayload) and is_there:
                is_left = stored.data is not None or stored.extra is not None
                wrong = "has a payload in the database that was taken out" if is_left else None
            if wrong is not None:
                event = place_of_event(entry.task, entry.group, entry.timestamp, entry.ordinal)
                self._told.add("database", f"{event}, revision {entry.revision}", wrong)

    # What has an id

    def _compare_loose(self) -> None:
        self._compare_numbered(self._loose)
        self._loose.clear()
        if self._missing:
            self._compare_missing()

    def _compare_numbered(self, items: Sequence[_Item]) -> None:
        by_kind: defaultdict[Kind, list[_Item]] = defaultdict(list)
        for item in items:
            kind = kind_of(item.entry)
            if kind is not None:
                by_kind[kind].append(item)
        for kind, of_kind in by_kind.items():
            ids = sorted({item.entry.id or 0 for item in of_kind})
            with open_reading(self._database) as tx:
                found = read_numbered(tx, kind, ids)
            self._rows += len(of_kind)
            for item in of_kind:
                self._compare_item(kind, item, found.get(item.entry.id or 0))

    def _compare_item(self, kind: Kind, item: _Item, stored: StoredRow | str | None) -> None:
        number = item.entry.id or 0
        place = f"row {number} of {TABLES[kind]}"
        wrong, column = _how_it_differs(item, stored)
        if wrong is column is None and isinstance(stored, StoredRow):
            was_told = self._sums.has_numbered(kind, number)  # with what it was: of a message more is known
            is_back = item.entry.type == "missing" and was_told and not stored.is_pruned  # by a restore
            column = None if is_back else self._removed.of_row(item.entry, item.row, place, stored)
            if item.entry.type == "missing" and stored.is_pruned and not was_told:
                self._sums.note_emptied()
                if column is None and not self._may_be_lacking(item.number):
                    column = _TOO_EARLY
        if column is not None:
            self._told.add("database", place, f"{column} (entry {item.number} of the archive)")
        self._sums.take_numbered(kind, item.number, item.entry, wrong)

    def _may_be_lacking(self, number: int) -> bool:
        """Tell whether the row of an entry may have lost its payload before it was archived."""
        return self._may_lack is None or number < self._may_lack


def _read_removed(
    tx: Transaction, names: Sequence[EventName], found: Sequence[StoredPayload | str | None]
) -> dict[EventName, RemovedPayload | None]:
    pairs = zip(names, found, strict=True)
    removed = [name for name, stored in pairs if isinstance(stored, StoredPayload) and stored.is_removed]
    return dict(zip(removed, archive_compare.read_removed(tx, removed), strict=True)) if removed else {}


def _how_it_differs(item: _Item, stored: StoredRow | str | None) -> tuple[str | None, str | None]:
    """Tell how a row differs from its entry, and how it does in what cannot have changed since."""
    if stored is None:
        return "is missing from the database", None
    if isinstance(stored, str):
        return None, f"has a {stored} in the database that cannot be read"
    entry, row, record = item.entry, item.row, stored.record
    hashed = entry.payload
    if row is not None and not row.erased and not stored.is_pruned:
        hashed = payload_hash(row.salt, payload_of(record))
    if entry.type == "missing":
        record = msgspec.structs.replace(record, type="missing")
    now = entry_of(record, hashed)
    if entry.type == "missing":  # what was pruned then may be erased since
        now = msgspec.structs.replace(now, removed=entry.removed)
    if now == entry:
        return None, None
    column = lasting_difference(entry, now)
    if column is not None:
        return None, f"has another {column} in the database, which cannot have changed since it was archived"
    return "is another in the database", None


def _name_of(entry: Entry) -> EventName:
    return (
        entry.task or "",
        entry.group or "",
        entry.timestamp or 0,
        entry.ordinal or 0,
        entry.revision or 0,
    )


def _unreadable(column: str | None) -> str | None:
    if column is None:
        return "is missing from the database"
    return f"has a {column} in the database that is no number"


def _is_at(row: ArchivedRow, stored: StoredPayload) -> bool:
    """Tell whether the database says rightly when an event occurred."""
    if row.entry.timestamp != NO_TIMESTAMP:
        return _is_same(row.record.occurred_at, stored.occurred_at)
    if stored.is_removed:  # only the payload's text could tell
        return stored.occurred_at is None
    return stored.occurred_at == moment_told_by(row.record.timestamp_text)


def _is_same(moment: datetime | None, stored: str | None) -> bool:
    """Compare a moment with one that the database gives as text, in UTC."""
    if moment is None or stored is None:
        return moment is None and stored is None
    try:
        return datetime.fromisoformat(stored) == moment.replace(tzinfo=None)
    except (ValueError, TypeError):  # SQLite keeps whatever it is given
        return False
