"""Where does the next create go on? What the place and the database say of the last one, and what it left.

The place's checkpoint decides, as it is what others have seen. The database knows which checkpoint it is
to be: the last one that was done, or the one that was pending when a create was cut off. Anything else is
refused before a file is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.archive.layout import (
    CHECKPOINT,
    CHECKPOINTS,
    UNFINISHED,
    read_unfinished,
    size_needed,
)
from maia_sync.archive.log_writer import delete_beyond, delete_old_partials
from maia_sync.archive.manifest import MANIFEST, decode_manifest, encode_manifest
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.segment import FOLDER as SEGMENTS
from maia_sync.archive.tiles import FOLDER as TILES
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError
from maia_sync.store import archive_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.store.database import Database


def read_head(place: Place, key: VerifierKey) -> TreeHead | None:
    """Return the head that a place's checkpoint tells; None if there is none.

    Raises ArchiveDiffers unless the checkpoint is signed by this key.
    """
    content = place.read(CHECKPOINT)
    if content is None:
        return None
    try:
        return open_checkpoint(content, key)
    except ArchiveDiffers as error:
        raise ArchiveDiffers(f"{place.name}: {error}") from error


def recover(database: Database, place: Place, key: VerifierKey) -> tuple[TreeHead | None, bool]:
    """Bring place and database to one checkpoint; return its head, and whether a create had been cut off.

    Raises ArchiveDiffers, and has changed nothing, where there is no such checkpoint.
    """
    head = read_head(place, key)
    unfinished = read_unfinished(place)
    if unfinished is not None and unfinished.origin not in ("", key.name):
        raise ArchiveBusy(
            f"{place.name}: the archive of {unfinished.origin} is being written there, or was begun there"
        )
    with database.transaction(write=False) as tx:
        pending = archive_log.last_checkpoint(tx, key.name, "pending")
        done = archive_log.last_checkpoint(tx, key.name, "done")
    is_published = pending is not None and head == TreeHead(*pending.head)
    if not is_published and head != (None if done is None else TreeHead(*done.head)):
        raise ArchiveDiffers(_apart(place, head, [each.head.size for each in (done, pending) if each]))
    if pending is None and unfinished is None:
        if head is None:
            _require_empty(place)
        return head, False
    if is_published and pending is not None:
        with database.transaction(durable=True) as tx:
            archive_log.complete_checkpoint(tx, pending.id)
    size = 0 if head is None else head.size
    delete_leftovers(place, size)
    delete_old_partials(place, size, since=None if unfinished is None else unfinished.since)
    if pending is not None and not is_published:
        with database.transaction(durable=True) as tx:
            archive_log.drop_pending(tx, key.name)
    place.delete([UNFINISHED])
    return head, True


def delete_leftovers(place: Place, size: int) -> None:
    """Delete what a create has written beyond a checkpoint that it did not get to replace."""
    manifest = place.read(MANIFEST)
    if manifest is not None:
        _shorten_manifest(place, manifest, size)
    delete_beyond(place, size)
    place.delete([*_beyond(place, SEGMENTS, size), *_beyond(place, CHECKPOINTS, size)])


def _beyond(place: Place, folder: str, size: int) -> Iterator[str]:
    for each in place.list(folder):
        if (size_needed(each.path) or 0) > size:
            yield each.path


def _shorten_manifest(place: Place, manifest: bytes, size: int) -> None:
    try:
        sums = [*decode_manifest(manifest)]
    except ValueError as error:
        raise ArchiveDiffers(f"{place.name}: {error}") from error
    kept = [each for each in sums if (size_needed(each.path) or 0) <= size]
    if not size:
        place.delete([MANIFEST])
    elif len(kept) < len(sums):
        place.replace(MANIFEST, encode_manifest(kept))


def _require_empty(place: Place) -> None:
    for folder in (TILES, CHECKPOINTS):
        if next(iter(place.list(folder)), None) is not None:
            raise ArchiveError(
                f"{place.name}: there are files of an archive, but no checkpoint: bring it back from a copy, "
                "or name another place as archive.url"
            )


def _apart(place: Place, head: TreeHead | None, known: list[int]) -> str:
    there = "holds no archive" if head is None else f"ends at {head.size:,} entries"
    ours = " and ".join(f"{size:,}" for size in known)
    wrote = f"this database has written one of {ours} entries" if known else "this database has written none"
    return (
        f"the archive at {place.name} {there}, but {wrote}: the archive or the database was put back to an "
        "older state, or they do not belong together; nothing was changed"
    )
