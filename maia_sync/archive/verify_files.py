"""Do the files around the log fit it: copies of checkpoints, SHA256SUMS, what a create has left beyond it?"""

from __future__ import annotations

import fcntl
import os
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.inventory import beyond_of
from maia_sync.archive.layout import CHECKPOINT, UNFINISHED, checkpoint_path, read_unfinished, size_needed
from maia_sync.archive.manifest import MANIFEST, Sum, decode_manifest, encode_manifest
from maia_sync.archive.note import open_checkpoint
from maia_sync.errors import ArchiveDiffers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.archive.finding import Findings
    from maia_sync.archive.inventory import Inventory
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.verifying import Comparison

_LEFTOVER: Final = (
    "belongs to no checkpoint: nothing vouches for it. A create that was cut off leaves such files, and the "
    "next one deletes them; nobody knows of one"
)


def check_copies(
    place: Place, key: VerifierKey, log: LogReader, inventory: Inventory, findings: Findings
) -> int:
    """Compare the copies of all checkpoints up to the log's size with the log; return how many there are."""
    head = log.head
    newest = checkpoint_path(head.size)
    copy = place.read(newest)
    if copy is None:
        findings.add("file", newest, "is missing: it is the copy of the newest checkpoint")
    elif copy != place.read(CHECKPOINT) and _is_still(place, key, head):
        findings.add("checkpoint", newest, f"and {CHECKPOINT} are not the same to the letter")
    sizes = [size for size in inventory.checkpoints if size <= head.size]
    for size in sizes:
        fault = _fault_of_copy(place, key, log, size)
        if fault is not None:
            findings.add("checkpoint", checkpoint_path(size), fault)
    return len(sizes)


def _is_still(place: Place, key: VerifierKey, head: TreeHead) -> bool:
    """Tell whether the checkpoint is no newer one by now: two readings of a file need not be of one."""
    try:
        return open_checkpoint(place.read(CHECKPOINT) or b"", key).size <= head.size
    except ArchiveDiffers:
        return False  # told of by itself


def _fault_of_copy(place: Place, key: VerifierKey, log: LogReader, size: int) -> str | None:
    content = place.read(checkpoint_path(size))
    if content is None:
        return None
    try:
        copied = open_checkpoint(content, key)
        if other_signatures(content):
            return "has lines that were not in it when it was made"
        if copied.size != size:
            return f"is the checkpoint of {copied.size:,} entries"
        if size and log.root_at(size) == copied.root:
            return None
    except ArchiveDiffers as error:
        return str(error)
    return "is signed by the key, and of another log: the key has signed two logs that contradict each other"


def other_signatures(checkpoint: bytes) -> int:
    """Return how many signature lines stand in a checkpoint besides the one by its key."""
    return checkpoint.decode(errors="replace").rpartition("\n\n")[2].count("\n") - 1


def check_manifest(
    content: bytes | None, lines: Sequence[tuple[str, str]], size: int, findings: Findings
) -> list[str]:
    """Compare SHA256SUMS with the segments that a log of this size tells of.

    Returns the paths that it names beyond.
    """
    expected = encode_manifest(Sum(*line) for line in lines)
    if (content or b"") == expected:
        return []
    if content is None:
        findings.add("manifest", MANIFEST, "is missing")
        return []
    try:
        found = [*decode_manifest(content)]
    except ValueError as error:
        findings.add("manifest", MANIFEST, f"cannot be read: {error}")
        return []
    more = beyond_of((each.path for each in found[len(lines) :]), size)
    is_ahead = len(more) == len(found) - len(lines) and all(size_needed(path) for path in more)
    if is_ahead and found[: len(lines)] == [Sum(*line) for line in lines]:
        return more
    for number, (there, should) in enumerate(zip_longest(found, lines), 1):
        if there != should:
            findings.add("manifest", MANIFEST, f"is not what the log tells, from line {number} on")
            break
    return []


class Beyond:
    """What lies at the place beyond the checkpoint: of a create at work or cut off, or put there."""

    def __init__(self, place: Place, key: VerifierKey, head: TreeHead, paths: list[str]) -> None:
        self._place = place
        self._key = key
        self._head = head
        self.paths = paths
        self.named: list[str] = []
        """Segments that SHA256SUMS names beyond the checkpoint."""

    def explain(self, comparison: Comparison | None, findings: Findings) -> list[str]:
        """Return a note if there is a create whose files they are; report each of them if there is none."""
        unfinished = read_unfinished(self._place)
        if not self.paths and not self.named and unfinished is None:
            return []
        writer = self._newer() or find_writer(self._place, comparison, self._head.size)
        if writer is not None:
            return [f"{len(self.paths):,} files beyond the checkpoint are those of {writer}"]
        if self.named:
            findings.add("manifest", MANIFEST, f"names {self.named[0]}, which no entry of the log tells of")
        for path in sorted(self.paths):
            if path.startswith("checkpoints/"):
                self._report_checkpoint(path, findings)
            else:
                findings.add("file", path, _LEFTOVER)
        if unfinished is None:
            return []
        if self.paths or unfinished.since > self._head.size or unfinished.origin != self._key.name:
            findings.add("file", UNFINISHED, _LEFTOVER)
            return []
        return [f"{UNFINISHED} is left of a create that was cut off, and nothing else of it is there"]

    def _newer(self) -> str | None:
        """Tell whether a create has finished since the checkpoint was read."""
        try:
            head = open_checkpoint(self._place.read(CHECKPOINT) or b"", self._key)
        except ArchiveDiffers:
            return None
        if head.size <= self._head.size or beyond_of([*self.paths, *self.named], head.size):
            return None
        return f"a checkpoint of {head.size:,} entries that was made meanwhile"

    def _report_checkpoint(self, path: str, findings: Findings) -> None:
        try:
            newer = open_checkpoint(self._place.read(path) or b"", self._key)
        except ArchiveDiffers as error:
            findings.add("checkpoint", path, str(error))
            return
        if newer.size <= self._head.size:
            findings.add("checkpoint", path, f"is the checkpoint of {newer.size:,} entries")
            return
        findings.add(
            "rollback",
            CHECKPOINT,
            f"tells of {self._head.size:,} entries, and the key has signed {newer.size:,} as well ({path}): "
            "the archive has been put back to an older state",
        )


def find_writer(place: Place, comparison: Comparison | None, size: int) -> str | None:
    """Tell which create writes beyond a log of this size, or was cut off; None if nobody knows of one."""
    writer = None if comparison is None else comparison.writer(size)
    if writer is None and _is_locked(place):
        writer = "a create that is at work"
    return writer


def _is_locked(place: Place) -> bool:
    """Tell whether another process holds a folder's lock, without taking it from anyone."""
    if not isinstance(place, FolderPlace):
        return False
    try:
        descriptor = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
