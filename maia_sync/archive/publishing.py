"""How does a checkpoint that the database knows as pending become the archive's, though a death may cut in?

Whatever it covers is there, durably, before it is signed. So whoever comes next after a death (recovery.py)
goes on with the same files and the same checkpoint. Nothing else is ever signed in its place: a log must not
sign two histories (C2SP tlog-checkpoint).
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from maia_sync.archive.entry import RedactedFacts, SegmentFacts, decode_entry, facts_of
from maia_sync.archive.layout import CHECKPOINT, checkpoint_path
from maia_sync.archive.log_reader import LogReader
from maia_sync.archive.log_writer import LogWriter
from maia_sync.archive.manifest import MANIFEST, Sum
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.tiles import WIDTH
from maia_sync.errors import ArchiveDiffers
from maia_sync.store import archive_log

if TYPE_CHECKING:
    from maia_sync.archive.entry import Facts
    from maia_sync.archive.lease import Lease
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.store.archive_log import CheckpointRow
    from maia_sync.store.database import Database


class Front(NamedTuple):
    """The files that are another after each checkpoint; None for one that is not there yet."""

    checkpoint: bytes | None
    manifest: bytes | None


class Written(NamedTuple):
    """What lies at the place beyond its checkpoint, and waits for the next one."""

    entries: Counter[str]
    """By type, without those that tell of segments."""
    sums: list[Sum]
    """Of new segments."""
    segment_bytes: int
    redactions: dict[str, Sum]
    """Of segments in the place of others, by the paths of those."""


def publish(
    database: Database, place: Place, lease: Lease, number: int, size: int, *, old: Front, new: Front
) -> None:
    """Put a pending checkpoint of so many entries into the archive, and note that it is done.

    `old` is what its writer has seen there. Raises ArchiveBusy if that is another by now: another process
    has gone on in its place.
    """
    checkpoint, manifest = new.checkpoint or b"", new.manifest or b""
    if manifest != old.manifest:
        place.swap(MANIFEST, old.manifest, manifest)
    copy = checkpoint_path(size)
    copied = place.read(copy)
    if copied is None:
        place.write_new(copy, checkpoint)
    elif copied != checkpoint:
        raise ArchiveDiffers(f"{place.name}: {copy} is not the checkpoint that was signed")
    place.settle()
    lease.keep()
    place.swap(CHECKPOINT, old.checkpoint, checkpoint)
    with database.transaction(durable=True) as tx:
        lease.keep_in(tx)
        archive_log.complete_checkpoint(tx, number)


def read_covered(place: Place, before: TreeHead | None, pending: CheckpointRow, key: VerifierKey) -> Written:
    """Return what a pending checkpoint adds to the one before, once all of it is known to be there.

    Raises ArchiveDiffers if it is not, or not as it was signed.
    """
    try:
        return _read_covered(place, before, pending, key)
    except ArchiveDiffers as error:
        raise ArchiveDiffers(
            f"a create was cut off once it had signed a checkpoint of {pending.head.size:,} entries, and "
            f"what that covers is not there as it was: {error}. Another history in its place must not be "
            f"signed; nothing was changed. Bring the files back, or {archive_log.ANEW}"
        ) from error


def _read_covered(place: Place, before: TreeHead | None, pending: CheckpointRow, key: VerifierKey) -> Written:
    head = open_checkpoint(pending.note.encode(), key)
    since = 0 if before is None else before.size
    if head != TreeHead(*pending.head) or head.size <= since:
        raise ArchiveDiffers("the database's note of it was altered")
    LogWriter.open(place, head)
    if before is not None and LogReader(place, head).root_at(since) != before.root:
        raise ArchiveDiffers(f"{place.name}: it does not go on from the checkpoint of {since:,} entries")
    return read_added(place, since, head)


def read_added(place: Place, since: int, head: TreeHead) -> Written:
    """Return what a log has from an entry on; each tile, bundle and segment of it is there, and right.

    A segment in whose place another has come since need not be there. Raises ArchiveDiffers if one is not.
    """
    log = LogReader(place, head)
    for number in range(since // WIDTH, -(-head.size // WIDTH)):
        log.tile(0, number)
    entries: Counter[str] = Counter()
    sums: dict[str, Sum] = {}
    redactions: dict[str, Sum] = {}
    for first, bundle in log.entries(since):
        for index, encoded in enumerate(bundle, first):
            kind, facts = _decoded(place, index, encoded)
            if isinstance(facts, SegmentFacts):
                sums[facts.path] = Sum(facts.sha256, facts.path)
            elif isinstance(facts, RedactedFacts):
                redactions[facts.replaces] = Sum(facts.sha256, facts.path)
            else:
                entries[kind] += 1
    there = [each for each in (*sums.values(), *redactions.values()) if each.path not in redactions]
    size = sum(_size_of_segment(place, each) for each in there)
    return Written(entries, [each for each in there if each.path in sums], size, redactions)


def _decoded(place: Place, index: int, encoded: bytes) -> tuple[str, Facts | None]:
    try:
        entry = decode_entry(encoded)
        return entry.type, facts_of(entry)
    except ValueError as error:
        raise ArchiveDiffers(f"{place.name}: entry {index} cannot be read") from error


def _size_of_segment(place: Place, named: Sum) -> int:
    content = place.read(named.path)
    if content is None:
        raise ArchiveDiffers(f"{place.name}: {named.path} is missing")
    if sha256(content).hexdigest() != named.sha256:
        raise ArchiveDiffers(f"{place.name}: {named.path} is damaged")
    return len(content)
