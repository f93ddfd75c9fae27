"""What is left to do of an erasure that has been signed? Replaced files are deleted, free pages scrubbed.

The database knows which erasures are not finished (`archive_erasure.scrubbed_at`), so that whoever comes next
after a death goes on with them. Neither of the two waits for the other: files may be there that nobody can
delete, and readers who keep the database from being scrubbed.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from maia_sync.archive.entry import RedactedFacts, decode_entry, facts_of
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.note import open_checkpoint
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError, DatabaseError
from maia_sync.store.erasing import note_scrubbed, read_unfinished_erasures
from maia_sync.store.scrubbing import note_rewritten, scrub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.archive.creating import Stopped
    from maia_sync.archive.lease import Lease
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.store.database import Database
    from maia_sync.store.erasing import UnfinishedErasure

REDACTED = b'"type":"redacted"'
"""Stands in the entries that tell of it, and hardly in others."""
_ERASED: Final = "the payloads were taken out of the database, and the log tells of the erasure, but "
_SIGNED: Final = (
    "the payloads were taken out of the database, and the erasure is signed, but it is not finished"
)
_REST: Final = (
    "The next `maia-sync archive` verb that writes, such as create, completes the log, deletes files that "
    "were replaced, and rids the database's free pages of what was erased"
)
_AGAIN: Final = "The next `maia-sync archive` verb that writes tries again"
_LARGEST_MARK: Final = 0x7FFF_FFFF


def _never() -> None:
    return None


@contextmanager
def behind_commit() -> Iterator[None]:
    """Have errors say that an erasure has been made, once it is signed, and that not all of it is done."""
    try:
        yield
    except (ArchiveError, DatabaseError) as error:
        error.args = (f"{_SIGNED}: {error}. {_REST}",)
        raise


def delete_replaced(
    database: Database, place: Place, key: VerifierKey, lease: Lease
) -> tuple[list[int], str | None]:
    """Delete the files that were replaced by erasures whose checkpoint stands, durably.

    Returns the erasures of which none is left, and why there are others, or None. Raises ArchiveDiffers if
    the log cannot be read, and ArchiveBusy if another process writes it by now.
    """
    with database.transaction(write=False) as tx:
        unfinished = read_unfinished_erasures(tx)
    deleted: list[int] = []
    trouble = None
    for erasure in unfinished:
        if erasure.origin == key.name and erasure.is_done:
            replaced = list(_replaced_by(place, key, erasure))
            lease.keep()
            left = _delete_all(place, replaced)
            trouble = trouble or left
            deleted += [erasure.id] if left is None else []
    return deleted, trouble


def _delete_all(place: Place, paths: Sequence[str]) -> str | None:
    """Delete files; one that cannot be deleted keeps the others from nothing. Returns why, or None."""
    trouble = _delete(place, paths)
    if trouble is None or len(paths) == 1:
        return trouble
    troubles = [_delete(place, [path]) for path in paths]
    return next((each for each in troubles if each is not None), None)


def _delete(place: Place, paths: Sequence[str]) -> str | None:
    try:
        place.delete(paths)
        place.settle()
    except (ArchiveBusy, ArchiveDiffers):
        raise
    except ArchiveError as error:
        return str(error)
    return None


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


def finish_erasures(
    database: Database, place: Place, key: VerifierKey, lease: Lease, stopped: Stopped = _never
) -> str | None:
    """Finish whatever erasures are not; return why something of them is left, or None.

    While the database is scrubbed nobody else can write to it, or use it at all on PostgreSQL.
    """
    with database.transaction(write=False) as tx:
        unfinished = read_unfinished_erasures(tx)
    if not unfinished:
        return None
    with behind_commit():
        deleted, files_left = delete_replaced(database, place, key, lease)
        lease.keep()
        unscrubbed = _scrub(database, unfinished, stopped)
        if unscrubbed is None:
            _note(database, unfinished, deleted)
    troubles = [*_files_left(files_left, unfinished, key), *([] if unscrubbed is None else [unscrubbed])]
    return ". Besides, ".join(troubles) or None


def _note(database: Database, unfinished: Sequence[UnfinishedErasure], deleted: Sequence[int]) -> None:
    """Note what is finished, now that the database is scrubbed."""
    # Of no log: nothing is known of files, as somebody has said who had to (see README).
    finished = [each.id for each in unfinished if each.id in deleted or each.origin is None]
    if finished:
        with database.transaction(durable=True) as tx:
            note_scrubbed(tx, finished)
    if len(finished) < len(unfinished):
        with suppress(DatabaseError):  # then the next one writes all of the database anew once more
            note_rewritten(database, _mark_of(unfinished))


def _scrub(database: Database, unfinished: Sequence[UnfinishedErasure], stopped: Stopped) -> str | None:
    try:
        return scrub(database, stopped, mark=_mark_of(unfinished))
    except DatabaseError as error:
        return (
            f"what was erased still lies in free pages of the database's files, which could not be written "
            f"anew: {error}. {_AGAIN}"
        )


def _mark_of(unfinished: Sequence[UnfinishedErasure]) -> int:
    """Return a number that stands for these erasures, and not for those that come after them."""
    newest = unfinished[-1]
    digest = sha256(f"{newest.id} {newest.head.root.hex()}".encode()).digest()
    return int.from_bytes(digest[:4]) & _LARGEST_MARK or 1


def _files_left(
    reason: str | None, unfinished: Sequence[UnfinishedErasure], key: VerifierKey
) -> Iterator[str]:
    if reason is not None:
        yield f"{_ERASED}files of the archive that hold them cannot be deleted: {reason}. {_AGAIN}"
    others = sorted({each.origin for each in unfinished if each.origin not in (None, key.name)} - {None})
    for origin in others:
        yield (
            f"{_ERASED}an erasure in the log of {origin}, the one before this, was not finished: files of "
            "its archive may still hold what was erased"
        )
