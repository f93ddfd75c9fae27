"""Does the database still hold what the archive tells? Each entry is looked up while the log is read.

What has to be seen as a whole is compared at the end (database_sums.py). The database goes on changing
meanwhile; what its journal says of the time since the checkpoint waits, and is no difference.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, get_args

from maia_sync.archive.database_sums import ArchiveSums, Sums
from maia_sync.archive.entry import entry_of, payload_hash, payload_of
from maia_sync.archive.finding import counted, place_of_event
from maia_sync.archive.retelling import TABLES, lasting_difference
from maia_sync.archive.undated import moment_told_by
from maia_sync.archive.verifying import DatabaseFigures
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store import archive_compare, archive_log
from maia_sync.store.archive_compare import Kind
from maia_sync.store.moments import open_reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.verify_segments import ArchivedRow
    from maia_sync.store.archive_compare import EventName, StoredCheckpoint, StoredPayload
    from maia_sync.store.archived import Record
    from maia_sync.store.database import Database

_COLUMNS: Final = ("data", "extra", "timestamp_text", "time of receipt", "run_id")
_AT_ONCE: Final = 2_000
_EVENTS: Final = frozenset(("event", "revision"))
_NUMBERED: Final = frozenset(get_args(Kind))


class AgainstDatabase:
    """A verifying.Comparison with the database that an archive was made of."""

    def __init__(self, database: Database, key: VerifierKey) -> None:
        self._database = database
        self._key = key
        self._origin = key.name
        self._findings: Findings | None = None
        self._sums = ArchiveSums()
        self._runs: list[tuple[int, Entry]] = []
        self._events = 0
        self._rows = 0
        self._done: StoredCheckpoint | None = None
        self._figures = Sums(waiting=0, not_enrolled=0)
        self.notes: list[str] = []
        """What is no difference, and should be known."""

    def prepare(self, findings: Findings) -> bytes | None:
        """Note what should be there, before the archive is looked at; return the newest checkpoint."""
        self._findings = findings
        with open_reading(self._database) as tx:
            self._done = archive_compare.read_newest(tx, self._origin, "done")
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
            for kind in ("quarantine", "sent"):
                of_kind = [row for row in some if row.entry.type == kind]
                self._compare_numbered(kind, [(row.number, row.entry, row.salt) for row in of_kind])

    def take_entry(self, index: int, entry: Entry) -> None:
        """Take what needs no payload; all entries are handed over, in their order."""
        self._sums.take(index, entry)
        if entry.type == "run":
            self._runs.append((index, entry))
            if len(self._runs) >= _AT_ONCE:
                self._compare_runs()

    def skip(self) -> None:
        """Take note that not all entries could be read: what is missing may stand in them."""
        self._sums.is_whole = False

    def end(self, log: LogReader, copies: AbstractSet[int]) -> None:
        """Compare what has to be seen as a whole; `copies`: the sizes of checkpoints that lie there."""
        self._compare_runs()
        with open_reading(self._database, snapshot=True) as tx:
            self._figures = self._sums.compare(tx, log, self._key, self._told, done=self._done, copies=copies)
        self.notes += self._sums.notes()

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

    def figures(self) -> DatabaseFigures:
        """Return what was compared."""
        return DatabaseFigures(
            place=self._database.place,
            events=self._events,
            rows=self._rows,
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
        self._events += len(rows)
        for row, name, stored in zip(rows, names, found, strict=True):
            if stored is None:
                wrong: str | None = "is missing from the database"
            elif isinstance(stored, str):
                wrong = f"has a {stored} in the database that is no number"
            elif name[4] and superseded[name] != stored.received_at:
                wrong = "superseded the one before it at another moment, says the database"
            else:
                wrong = self._difference(row, stored)
            if wrong is not None:
                entry = row.entry
                event = place_of_event(entry.task, entry.group, entry.timestamp, entry.ordinal)
                self._told.add(
                    "database",
                    f"{event}, revision {entry.revision}",
                    f"{wrong} (entry {row.number} of the archive)",
                )

    def _difference(self, row: ArchivedRow, stored: StoredPayload) -> str | None:
        """Tell how a payload in the database differs from the archived one; None if it does not."""
        entry = row.entry
        received = entry.received or ""
        record = row.record
        archived = (
            row.data,
            record.extra,
            record.timestamp_text,
            f"{received[:10]} {received[11:26]}",
            entry.run,
        )
        there = (stored.data, stored.extra, stored.timestamp_text, stored.received_at, stored.run_id)
        if archived != there:
            pairs = zip(_COLUMNS, archived, there, strict=True)
            return f"has another {next(name for name, one, other in pairs if one != other)} in the database"
        if stored.also_at not in (None, stored.received_at):
            return "has another first_seen_at or last_changed_at in the database"
        if stored.is_newest:
            if entry.timestamp == NO_TIMESTAMP:
                is_same = stored.occurred_at == moment_told_by(record.timestamp_text)
            else:
                is_same = _is_same(record.occurred_at, stored.occurred_at)
            if not is_same:
                return "has another occurred_at in the database"
        task_id, seq = entry.task or "", record.seq
        if seq is not None and not self._sums.take_seq(task_id, row.number, seq, stored.seq):
            return "has another seq, its place in the task, in the database"
        return None

    # What has an id

    def _compare_runs(self) -> None:
        self._compare_numbered("run", [(index, entry, b"") for index, entry in self._runs])
        self._runs.clear()

    def _compare_numbered(self, kind: Kind, items: Sequence[tuple[int, Entry, bytes]]) -> None:
        if not items:
            return
        with open_reading(self._database) as tx:
            found = archive_compare.read_numbered(tx, kind, sorted({entry.id or 0 for _, entry, _ in items}))
        self._rows += len(items)
        for index, entry, salt in items:
            number = entry.id or 0
            wrong, column = _how_it_differs(entry, salt, found.get(number))
            if column is not None:
                place = f"row {number} of {TABLES[kind]}"
                self._told.add("database", place, f"{column} (entry {index} of the archive)")
            self._sums.take_numbered(kind, index, entry, wrong)


def _how_it_differs(entry: Entry, salt: bytes, record: Record | str | None) -> tuple[str | None, str | None]:
    """Tell how a row differs from its entry, and how it does in what cannot have changed since."""
    if record is None:
        return "is missing from the database", None
    if isinstance(record, str):
        return None, f"has a {record} in the database that cannot be read"
    hashed = None if record.type == "run" else payload_hash(salt, payload_of(record))
    stored = entry_of(record, hashed)
    if stored == entry:
        return None, None
    column = lasting_difference(entry, stored)
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


def _is_same(moment: datetime | None, stored: str | None) -> bool:
    """Compare a moment with one that the database gives as text, in UTC."""
    if moment is None or stored is None:
        return moment is None and stored is None
    try:
        return datetime.fromisoformat(stored) == moment.replace(tzinfo=None)
    except (ValueError, TypeError):  # SQLite keeps whatever it is given
        return False
