"""Where does the next create go on? What the place and the database say of the last one, and what it left.

The database knows which checkpoint lies there: the last one that was done, or the one that was pending when
a create was cut off. Anything else is refused before a file is touched. A pending one is signed, and so it is
never dropped: it becomes the archive's, with the files that were there before it was signed.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from maia_sync.archive.finding import counted
from maia_sync.archive.layout import (
    CHECKPOINT,
    CHECKPOINTS,
    UNFINISHED,
    Unfinished,
    parse_checkpoint_path,
    read_unfinished,
    size_needed,
)
from maia_sync.archive.log_key import wrong_key
from maia_sync.archive.log_writer import delete_beyond, delete_old_partials
from maia_sync.archive.manifest import MANIFEST, Sum, decode_manifest, encode_manifest
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.publishing import Front, publish, read_added, read_covered
from maia_sync.archive.segment import FOLDER as SEGMENTS
from maia_sync.archive.segment import parse_segment_path
from maia_sync.archive.tiles import FOLDER as TILES
from maia_sync.archive.tiles import parse_path, partials_of
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError, ConfigError
from maia_sync.store import archive_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from maia_sync.archive.lease import Lease
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.publishing import Written
    from maia_sync.store.archive_log import CheckpointRow
    from maia_sync.store.database import Database


_LONGEST_SHOWN: Final = 100


def read_head(place: Place, key: VerifierKey) -> TreeHead | None:
    """Return the head that a place's checkpoint tells; None if there is none.

    Raises ArchiveDiffers unless the checkpoint is signed by this key.
    """
    return _head_of(place, place.read(CHECKPOINT), key)


def _head_of(place: Place, content: bytes | None, key: VerifierKey) -> TreeHead | None:
    if content is None:
        return None
    try:
        return open_checkpoint(content, key)
    except ArchiveDiffers as error:
        raise ArchiveDiffers(f"{place.name}: {error}") from error


class Standing(NamedTuple):
    """Where a create goes on, and what the one before it has left."""

    head: TreeHead | None
    """The checkpoint's at the place; None if there is none yet."""
    pending: CheckpointRow | None
    is_published: bool
    """Whether the pending checkpoint is the one that lies at the place."""
    unfinished: Unfinished | None
    front: Front
    """What lies there."""

    @property
    def is_cut_off(self) -> bool:
        """Whether a create before was cut off."""
        return self.pending is not None or self.unfinished is not None


def require_begun(database: Database, place: Place, key: VerifierKey) -> None:
    """Refuse what can be refused before a place is locked: another key, and an archive that is not there.

    Nothing that another process does meanwhile leads to a refusal. Raises ConfigError and ArchiveDiffers.
    """
    _require_key(database, place, key)
    with database.transaction(write=False) as tx:
        done = archive_log.last_checkpoint(tx, key.name, "done")
    if done is not None and place.read(CHECKPOINT) is None:
        raise ArchiveDiffers(_apart(place, None, [done.head.size]))


def examine(database: Database, place: Place, key: VerifierKey) -> Standing:
    """Return where a create goes on; changes nothing. To be asked while the place is locked.

    Raises ArchiveDiffers where place and database have no checkpoint in common, ConfigError for another key
    than the log's, and ArchiveError and ArchiveBusy for a place that is not free for this log.
    """
    _require_key(database, place, key)
    front = Front(place.read(CHECKPOINT), place.read(MANIFEST))
    head = _head_of(place, front.checkpoint, key)
    unfinished = read_unfinished(place)
    if unfinished is not None and unfinished.origin not in ("", key.name):
        raise ArchiveBusy(
            f"{place.name}: the archive of {unfinished.origin} is being written there, or was begun there: "
            "name another place as archive.url"
        )
    with database.transaction(write=False) as tx:
        pending = archive_log.last_checkpoint(tx, key.name, "pending")
        done = archive_log.last_checkpoint(tx, key.name, "done")
    is_published = pending is not None and head == TreeHead(*pending.head)
    if not is_published and head != (None if done is None else TreeHead(*done.head)):
        raise ArchiveDiffers(_apart(place, head, [each.head.size for each in (done, pending) if each]))
    if head is None and pending is None and unfinished is None:
        _require_empty(place)
    if head is not None and front.manifest is None:
        raise ArchiveDiffers(f"{place.name}: {MANIFEST} is missing: bring it back from a copy")
    return Standing(head, pending, is_published, unfinished, front)


class Recovered(NamedTuple):
    """Where a create goes on, once everything is in order."""

    head: TreeHead | None
    front: Front
    was_cut_off: bool
    """Whether there was anything to put in order."""
    completed: int | None
    """The id of the checkpoint that was pending, if one was."""
    before: TreeHead | None
    """The checkpoint's head before ..."""
    written: Written | None
    """... and what was added, if it was not yet the archive's."""


def recover(database: Database, place: Place, key: VerifierKey, lease: Lease) -> Recovered:
    """Bring place and database to one checkpoint, and delete what belongs to none.

    Raises what `examine` does, and ArchiveDiffers if what a pending checkpoint covers is not there, and has
    changed nothing then; and ArchiveBusy if another process is at it by now.
    """
    standing = examine(database, place, key)
    before, pending, is_published, unfinished, front = standing
    written = None
    if not standing.is_cut_off and (before is None or not lease.was_left):
        return Recovered(before, front, was_cut_off=False, completed=None, before=before, written=None)
    newest = before if pending is None else TreeHead(*pending.head)
    size = 0 if newest is None else newest.size
    copies = require_none_signed(place, key, size)
    if pending is not None and is_published:
        with database.transaction(durable=True) as tx:
            lease.keep_in(tx)
            archive_log.complete_checkpoint(tx, pending.id)
    elif pending is not None:
        written = read_covered(place, before, pending, key)
        since = 0 if before is None else before.size
        sums = [*_sums_within(place, front.manifest, since, written.redactions), *written.sums]
        old, front = front, Front(pending.note.encode(), encode_manifest(sums))
        publish(database, place, lease, pending.id, size, old=old, new=front)
    beyond = [*copies, *_beyond(place, SEGMENTS, size)]
    if newest is not None and pending is None and unfinished is not None and unfinished.since < size:
        beyond += _strays(place, newest, unfinished.since)
    lease.keep()
    front = _shorten_manifest(place, front, size)
    place.delete(beyond)
    deleted = len(beyond) + delete_beyond(place, size)
    delete_old_partials(place, size, since=None if unfinished is None else unfinished.since)
    if unfinished is not None:
        place.delete([UNFINISHED])
    completed = None if pending is None else pending.id
    was_cut_off = standing.is_cut_off or deleted > 0
    return Recovered(
        newest, front, was_cut_off=was_cut_off, completed=completed, before=before, written=written
    )


def _require_key(database: Database, place: Place, key: VerifierKey) -> None:
    with database.transaction(write=False) as tx:
        wrong = wrong_key(tx, place, key)
    if wrong is not None:
        raise ConfigError([f"archive.key_file: {wrong}"])


def _shorten_manifest(place: Place, front: Front, size: int) -> Front:
    """Take those lines out of SHA256SUMS that a log of this size does not have; return the front then."""
    if not size:
        place.delete([MANIFEST])
        return front._replace(manifest=None)
    manifest = encode_manifest(_sums_within(place, front.manifest, size))
    if manifest != front.manifest:
        place.swap(MANIFEST, front.manifest, manifest)
    return front._replace(manifest=manifest)


def require_none_signed(place: Place, key: VerifierKey, size: int) -> list[str]:
    """Return the copies of checkpoints beyond a log of this size. Raises ArchiveDiffers if one is genuine."""
    copies = [*_beyond(place, CHECKPOINTS, size)]
    for path in copies:
        _require_unsigned(place, path, key)
    return copies


def _require_unsigned(place: Place, path: str, key: VerifierKey) -> None:
    """Raise ArchiveDiffers for a checkpoint that the key has signed, and the database knows nothing of."""
    try:
        head = open_checkpoint(place.read(path) or b"", key)
    except ArchiveDiffers:
        return
    raise ArchiveDiffers(
        f"{place.name}: the key has signed a checkpoint of {head.size:,} entries ({path}) that this database "
        "knows nothing of: it was put back to an older state. Another history in its place must not be "
        f"signed; nothing was changed. Put both back to the same moment, or {archive_log.ANEW}"
    )


def _beyond(place: Place, folder: str, size: int) -> Iterator[str]:
    for each in place.list(folder):
        if (size_needed(each.path) or 0) > size:
            yield each.path


def _strays(place: Place, head: TreeHead, since: int) -> Iterator[str]:
    """Yield what a writer that was overtaken has put among the files of the log that others went on with.

    `since` is the size of the log from which it went on. What the log itself does not tell of is not its own.
    """
    added = read_added(place, since, head)
    named = {each.path for each in (*added.sums, *added.redactions.values())}.difference(added.redactions)
    for each in place.list(SEGMENTS):
        segment = parse_segment_path(each.path)
        if segment is None or each.path in named:
            continue
        is_new = since <= segment.first and segment.end < head.size
        if is_new or (segment.redacted is not None and since <= segment.redacted < head.size):
            yield each.path
    copies = (parse_checkpoint_path(each.path) for each in place.list(CHECKPOINTS))
    sizes = {head.size, since, *(size for size in copies if size is not None and since < size < head.size)}
    needed = {str(path) for size in sizes for path in partials_of(size)}
    for each in place.list(TILES):
        tile = parse_path(each.path)
        is_new = tile is not None and tile.width is not None and since < tile.end <= head.size
        if is_new and each.path not in needed:
            yield each.path


def _sums_within(
    place: Place, manifest: bytes | None, size: int, redactions: Mapping[str, Sum] | None = None
) -> Iterator[Sum]:
    """Yield those lines of SHA256SUMS that a log of this size has.

    The lines of segments in whose place others come are replaced by theirs, whether or not they were before.
    """
    redactions = redactions or {}
    new = {each.path for each in redactions.values()}
    try:
        for line in decode_manifest(manifest or b""):
            each = redactions.get(line.path, line)
            if each.path in new or (size and (size_needed(each.path) or 0) <= size):
                yield each
            elif size:
                yield from _sum_before(place, each.path, size)
    except ValueError as error:
        raise ArchiveDiffers(f"{place.name}: {error}") from error


def _sum_before(place: Place, path: str, size: int) -> Iterator[Sum]:
    """Yield the line that one for a redacted segment has replaced, which a log of this size does not have."""
    segment = parse_segment_path(path)
    if segment is None or segment.redacted is None:
        return
    earlier: dict[int, str] = {}
    for each in place.list(f"{path.rpartition('/')[0]}/"):
        other = parse_segment_path(each.path)
        is_same = other is not None and other[:3] == segment[:3]
        if is_same and (size_needed(each.path) or 0) <= size:
            earlier[-1 if other is None or other.redacted is None else other.redacted] = each.path
    content = place.read(earlier[max(earlier)]) if earlier else None
    if content is not None:
        yield Sum(sha256(content).hexdigest(), earlier[max(earlier)])


def require_vacant(place: Place, origin: str) -> None:
    """Raise ArchiveError unless a log can be begun there that takes another's place."""
    unfinished = read_unfinished(place)
    is_ours = unfinished is not None and unfinished.origin == origin
    is_there = place.read(CHECKPOINT) is not None or (unfinished is not None and not is_ours)
    if is_there or not (is_ours or _is_empty(place)):
        raise ArchiveError(
            f"{place.name} holds an archive, or the beginning of one, and another log is begun at an empty "
            "place: name one as archive.url"
        )
    if not is_ours:
        _require_nothing_else(place)


def _is_empty(place: Place) -> bool:
    return all(next(iter(place.list(folder)), None) is None for folder in (TILES, CHECKPOINTS, SEGMENTS))


def _require_empty(place: Place) -> None:
    if not _is_empty(place):
        raise ArchiveError(
            f"{place.name}: there are files of an archive, but no checkpoint: bring it back from a copy, "
            "or name another place as archive.url"
        )
    _require_nothing_else(place)


def _require_nothing_else(place: Place) -> None:
    """Raise ArchiveError for files of somebody else; hidden ones, such as .DS_Store, come by themselves."""
    other = next((each.path for each in place.list() if not each.path.startswith(".")), None)
    if other is not None:
        raise ArchiveError(
            f"{place.name} holds no archive, but other files, such as {other[:_LONGEST_SHOWN]!a}: name a "
            "place of its own as archive.url"
        )


def _apart(place: Place, head: TreeHead | None, known: list[int]) -> str:
    ours = " and ".join(f"{size:,}" for size in known)
    wrote = f"this database has written one of {ours} entries" if known else "this database has written none"
    if head is None:
        return (
            f"{place.name} holds no archive, but {wrote}: is archive.url right? A path counts from the "
            "folder where maia-sync is started; nothing was changed. Bring the archive back, or "
            f"{archive_log.ANEW}"
        )
    return (
        f"the archive at {place.name} ends at {counted(head.size, 'entry')}, but {wrote}: the archive or the "
        "database was put back to an older state, or they do not belong together; nothing was changed. Put "
        f"both back to the same moment, or {archive_log.ANEW}"
    )
