"""Is a payload gone from the database as it should be? Emptied, and known again by the right keyed digests.

What was pruned lies in the archive: its payload there must be the one by which it is known again here. What
was erased lies nowhere: archive and database must both say so.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.archive.entry import text_of_moment
from maia_sync.archive.finding import counted
from maia_sync.store import archive_compare
from maia_sync.store.digest_key import KEYED_BYTES, is_keyed
from maia_sync.store.moments import read_moment
from maia_sync.sync.payload_digest import KeyedDigests, digest_of_payload, keyed_digests_of

if TYPE_CHECKING:
    from datetime import datetime

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.finding import Findings
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.verify_segments import ArchivedRow
    from maia_sync.store.archive_compare import RemovedPayload
    from maia_sync.store.archive_rows import StoredRow
    from maia_sync.store.archived import Removed as RemovedBefore
    from maia_sync.store.database import Database, Transaction
    from maia_sync.store.digest_key import DigestKey

_MOST_KEPT: Final = 1_000
"""Rows that are kept until it is known whether they differ."""
_ALL_CANONICALS: Final = 20_000
"""So many are compared in any case ..."""
_OF_THE_OTHERS: Final = 32
"""... and one of so many of the others."""
ERASED: Final = "has a payload in the database, and it was erased from the archive"
_ONLY_PRUNED: Final = "was erased from the archive, and is only pruned in the database"
_OTHERWISE: Final = "was erased at another moment, says the database"
_EARLY: Final = "is erased in the database, and the archive has its payload still"


class _Row(NamedTuple):
    """A row of the database, and the entry that tells of it."""

    place: str
    number: int


class Removed:
    """Compares what the database says it no longer has with what the archive holds of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.pruned = 0
        """Payloads that the archive alone has."""
        self.erased = 0
        """Payloads that neither has."""
        self._matched = 0
        self._unmatched = 0
        """Pruned ones whose digests were not made with the key that is here, if there is one."""
        self._foreign: list[_Row] = []
        """The first of them."""
        self._early: defaultdict[str, list[_Row]] = defaultdict(list)
        """Of each task, what is erased here, and not in the archive as it was read."""

    def of_event(self, row: ArchivedRow, place: str, left: RemovedPayload | None) -> str | None:
        """Tell what is wrong with an event's payload that was taken out; None for nothing."""
        wrong = self.of_missing(left)
        if wrong is not None or left is None:
            return wrong
        if row.erased and left.erased_at is None:
            return _ONLY_PRUNED
        if left.erased_at is not None and not row.erased:
            self._note_early(row, place)
            return None
        self._count(row)
        if row.erased and not is_told_as(row.erased_at or "", left.erased_at):
            return _OTHERWISE
        if row.erased:
            raw = row.record.raw or b""
            digests = KeyedDigests(raw[:KEYED_BYTES], raw[KEYED_BYTES:])
            return _fault_of_digests(left, digests, has_canonical=True)
        key = self._key_of(left.digest, _Row(place, row.number))
        return None if key is None else self._fault_of_pruned(key, row, left)

    def of_missing(self, left: RemovedPayload | None, told: RemovedBefore | None = None) -> str | None:
        """Tell what is wrong with the row of an event's payload that was taken out, whatever that was.

        `told`: what its entry tells of it, if it was taken out before it was archived.
        """
        if left is None:
            return "is missing from the database"
        if left.has_facets:
            return "has something in the database that was read from its payload, which was taken out"
        if told is not None and told.digest not in (None, _hex(left.digest)):
            return "has another digest in the database"
        if told is not None and left.is_newest and told.canonical not in (None, _hex(left.canonical)):
            return "has another canonical in the database"
        return _fault_of_moments(left)

    def of_row(self, entry: Entry, row: ArchivedRow | None, place: str, stored: StoredRow) -> str | None:
        """Tell what is wrong with the payload of a row with an id, as far as it was taken out."""
        wrong = _fault_of_row(entry, row, stored)
        if wrong is not None or row is None or not stored.is_pruned:
            return wrong
        if stored.is_erased and not row.erased:
            self._note_early(row, place)
            return None
        self._count(row)
        if entry.type != "quarantine":
            return None
        expected: bytes | None = row.record.raw or b""
        if not row.erased:
            key = self._key_of(stored.digest, _Row(place, row.number))
            expected = stored.digest if key is None else key.of(sha256(expected or b"").digest())
        return None if stored.digest == expected else "has another digest in the database"

    def compare(self, tx: Transaction, log: LogReader, findings: Findings) -> None:
        """Report what is erased in the database alone, unless an erasure since this checkpoint was of it."""
        erasing = archive_compare.read_erasing(tx, log.head.size) if self._early else set()
        for task_id, rows in self._early.items():
            for each in rows if task_id not in erasing else ():
                findings.add("database", each.place, f"{_EARLY} (entry {each.number} of the archive)")
        for each in self._foreign if self._matched else ():
            said = "has a digest in the database that was made with another key than others"
            findings.add("database", each.place, f"{said} (entry {each.number} of the archive)")

    def notes(self) -> list[str]:
        """Return what is no difference, and should be known."""
        if not self._unmatched or self._matched:
            return []
        number = counted(self._unmatched, "payload")
        told = f"{number} that the database has pruned could not be compared with the archive's"
        return [f"{told}: the key of their digests is not that in archive.digest_key_file"]

    def _count(self, row: ArchivedRow) -> None:
        if row.erased:
            self.erased += 1
        else:
            self.pruned += 1

    def _note_early(self, row: ArchivedRow, place: str) -> None:
        early = self._early[row.entry.task or ""]
        if len(early) < _MOST_KEPT:
            early.append(_Row(place, row.number))

    def _fault_of_pruned(self, key: DigestKey, row: ArchivedRow, left: RemovedPayload) -> str | None:
        """Compare keyed digests with those of the archived payload.

        `canonical` takes twenty times as long as all else, and nothing but a poll that brings the payload in
        another spelling depends on it: of very many it is compared in some that nobody can foretell.
        """
        data = None if row.data is None else row.data.decode()
        payload = (data, row.record.extra, row.record.timestamp_text)
        is_compared = self.pruned <= _ALL_CANONICALS or not secrets.randbelow(_OF_THE_OTHERS)
        if left.is_newest and is_compared:
            return _fault_of_digests(left, keyed_digests_of(key, *payload), has_canonical=True)
        digests = KeyedDigests(key.of(digest_of_payload(*payload)), b"")
        return _fault_of_digests(left, digests, has_canonical=False)

    def _key_of(self, stored: object, row: _Row) -> DigestKey | None:
        """Return the key by which a keyed digest is compared; None if that was not made with it."""
        key = self._database.digest_key.load()
        is_by_another = isinstance(stored, bytes) and is_keyed(stored) and key and not key.has_made(stored)
        if key is not None and not is_by_another:
            self._matched += 1
            return key
        self._unmatched += 1
        if len(self._foreign) < _MOST_KEPT:
            self._foreign.append(row)
        return None


def is_told_as(received: str, given: object) -> bool:
    """Compare a moment of an entry with one that the database gives as text, whatever that says."""
    try:
        if f"{received[:10]} {received[11:26]}" == given:
            return True
        return text_of_moment(read_moment(given)) == received
    except ValueError:
        return False


def _fault_of_digests(left: RemovedPayload, digests: KeyedDigests, *, has_canonical: bool) -> str | None:
    if left.digest != digests.digest:
        return "has another digest in the database"
    is_same = not (left.is_newest and has_canonical) or left.canonical == digests.canonical
    return None if is_same else "has another canonical in the database"


def _fault_of_row(entry: Entry, row: ArchivedRow | None, stored: StoredRow) -> str | None:
    """Tell how a row with an id, and what the archive has of it, cannot go together."""
    if not stored.is_pruned and not stored.is_erased:
        if entry.type == "missing":
            return "has a payload in the database, and it was gone when it was archived"
        return ERASED if row is not None and row.erased else None
    if entry.removed is not None and entry.removed.digest not in (None, _hex(stored.digest)):
        return "has another digest in the database"
    if stored.has_payload:
        return "has a payload in the database that was taken out, says the row"
    if not stored.is_pruned:
        return "has an erased_at in the database, and no pruned_at"
    return _fault_of_erased(row, stored.erased_at) if row is not None and row.erased else None


def _hex(digest: object) -> str | None:
    return digest.hex() if isinstance(digest, bytes) else None


def _fault_of_erased(row: ArchivedRow, erased_at: datetime | None) -> str | None:
    if erased_at is None:
        return _ONLY_PRUNED
    return None if text_of_moment(erased_at) == row.erased_at else _OTHERWISE


def _fault_of_moments(left: RemovedPayload) -> str | None:
    if left.pruned_at is None:
        return "has an erased_at in the database, and no pruned_at"
    for name, given in (("pruned_at", left.pruned_at), ("erased_at", left.erased_at)):
        try:
            if given is not None:
                read_moment(given)
        except ValueError:
            return f"has a {name} in the database that cannot be read"
    return None
