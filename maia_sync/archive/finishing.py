"""What is left to do of an erasure that has been signed? Replaced files are deleted, free pages scrubbed.

The database knows which erasures are not finished (`archive_erasure.scrubbed_at`), so that whoever comes next
after a death goes on with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.archive.entry import RedactedFacts, decode_entry, facts_of
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.note import open_checkpoint
from maia_sync.errors import ArchiveDiffers, DatabaseError
from maia_sync.store.erasing import note_scrubbed, read_unfinished_erasures
from maia_sync.store.scrubbing import scrub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.lease import Lease
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.store.database import Database
    from maia_sync.store.erasing import UnfinishedErasure

REDACTED = b'"type":"redacted"'
"""Stands in the entries that tell of it, and hardly in others."""


def delete_replaced(database: Database, place: Place, key: VerifierKey, lease: Lease) -> None:
    """Delete the files that were replaced by erasures whose checkpoint stands, durably.

    Raises ArchiveDiffers if the log cannot be read, and ArchiveError if they cannot be deleted.
    """
    with database.transaction(write=False) as tx:
        unfinished = read_unfinished_erasures(tx, key.name)
    for erasure in unfinished:
        replaced = list(_replaced_by(place, key, erasure))
        lease.keep()
        place.delete(replaced)
    if unfinished:
        place.settle()


def _replaced_by(place: Place, key: VerifierKey, erasure: UnfinishedErasure) -> Iterator[str]:
    head = open_checkpoint(erasure.note.encode(), key)
    if head != TreeHead(*erasure.head):
        raise ArchiveDiffers("the database's note of the checkpoint of an erasure was altered")
    for first, bundle in LogReader(place, head).entries(erasure.since):
        for index, encoded in enumerate(bundle, first):
            facts = _facts_of(place, index, encoded) if REDACTED in encoded else None
            if facts is not None:
                yield facts.replaces


def _facts_of(place: Place, index: int, encoded: bytes) -> RedactedFacts | None:
    try:
        facts = facts_of(decode_entry(encoded))
    except ValueError as error:
        raise ArchiveDiffers(f"{place.name}: entry {index} cannot be read") from error
    return facts if isinstance(facts, RedactedFacts) else None


def finish_erasures(database: Database, place: Place, key: VerifierKey, lease: Lease) -> str | None:
    """Finish whatever erasures are not; return why the database cannot be scrubbed, or None.

    While it is scrubbed nobody else can write to it, or use it at all on PostgreSQL.
    """
    with database.transaction(write=False) as tx:
        unfinished = read_unfinished_erasures(tx, None)
    if not unfinished:
        return None
    delete_replaced(database, place, key, lease)
    lease.keep()
    try:
        trouble = scrub(database)
    except DatabaseError as error:
        trouble = str(error)
    if trouble is None:
        with database.transaction(durable=True) as tx:
            note_scrubbed(tx, [erasure.id for erasure in unfinished])
    return trouble
