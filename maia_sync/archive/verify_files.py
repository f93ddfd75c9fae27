"""Do the files around the log fit it: copies of checkpoints, SHA256SUMS, what a create has left beyond it?"""

from __future__ import annotations

import fcntl
import os
import sys
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from maia_sync.archive.finding import counted
from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.inventory import beyond_of
from maia_sync.archive.layout import (
    CHECKPOINT,
    CHECKPOINTS,
    UNFINISHED,
    checkpoint_path,
    parse_checkpoint_path,
    read_unfinished,
    size_needed,
)
from maia_sync.archive.manifest import MANIFEST, Sum, decode_manifest, encode_manifest
from maia_sync.archive.note import open_checkpoint
from maia_sync.archive.segment import parse_segment_path
from maia_sync.errors import ArchiveDiffers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maia_sync.archive.finding import Findings
    from maia_sync.archive.inventory import Inventory
    from maia_sync.archive.log_reader import LogReader
    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.verifying import Comparison, Stopped

_LEFTOVER: Final = (
    "belongs to no checkpoint: nothing vouches for it. A create that was cut off leaves such files, and the "
    "next one deletes them; nobody knows of one"
)


_FEW: Final = 3
"""Files that are named one by one."""


def check_copies(
    place: Place,
    key: VerifierKey,
    log: LogReader,
    inventory: Inventory,
    findings: Findings,
    *,
    stopped: Stopped,
) -> int:
    """Compare the copies of all checkpoints up to the log's size with the log; return how many were."""
    head = log.head
    newest = checkpoint_path(head.size)
    copy = place.read(newest)
    if copy is None:
        findings.add("file", newest, "is missing: it is the copy of the newest checkpoint")
    elif copy != place.read(CHECKPOINT) and _is_still(place, key, head):
        findings.add("checkpoint", newest, f"and {CHECKPOINT} are not the same to the letter")
    sizes = [size for size in inventory.copied if size <= head.size]
    for number, size in enumerate(sizes):
        if stopped() is not None:
            return number
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
            return f"is the checkpoint of {counted(copied.size, 'entry')}"
        if size and log.root_at(size) == copied.root:
            return None
    except ArchiveDiffers as error:
        return str(error)
    return f"and {CHECKPOINT} {contradiction(key)}"


def contradiction(key: VerifierKey) -> str:
    """Tell what it means that two checkpoints are of different logs: nobody but the key's owner can do it."""
    return (
        f"are both signed by the key of {key.name} (id {key.key_id.hex()}) and contradict each other: the "
        "history was rewritten, or archive and database were put back to an older state and went on from "
        "there"
    )


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
    more = _ahead(found, lines, size)
    if more is not None:
        return more
    for number, (there, should) in enumerate(zip_longest(found, lines), 1):
        if there != should:
            findings.add("manifest", MANIFEST, f"is not what the log tells, from line {number} on")
            break
    return []


def _ahead(found: Sequence[Sum], lines: Sequence[tuple[str, str]], size: int) -> list[str] | None:
    """Return the paths that a list names beyond a log of this size; None if it is no such list.

    Lines are added to it, and an erasure puts files of the same segments in the place of others, before
    the checkpoint is published that covers them.
    """
    behind = [each.path for each in found[len(lines) :]]
    if len(found) < len(lines) or not all(size_needed(path) for path in behind):
        return None
    changed = [(there.path, old[1]) for there, old in zip(found, lines, strict=False) if there != Sum(*old)]
    if not all(_is_redacted_from(new, old) for new, old in changed):
        return None
    named = [*(new for new, _ in changed), *behind]
    return named if len(beyond_of(named, size)) == len(named) else None


def _is_redacted_from(path: str, old: str) -> bool:
    """Tell whether a file of this path can stand for that other one, once payloads were erased from it."""
    new, before = parse_segment_path(path), parse_segment_path(old)
    return (
        new is not None
        and before is not None
        and new.redacted is not None
        and new[:3] == before[:3]
        and new.redacted > (before.redacted or -1)
    )


def check_replaced(
    place: Place, comparison: Comparison | None, replaced: Mapping[str, int], size: int, findings: Findings
) -> list[str]:
    """Report files that are still there though an erasure has put others in their place.

    `replaced` are those that were there, with the entries that tell so. Returns a note instead of those whose
    erasure is not finished: the next create deletes them.
    """
    if not replaced:
        return []
    erasing = _erasing(place, comparison)  # files are deleted before an erasure counts as finished
    folders = {f"{path.rpartition('/')[0]}/" for path in replaced}
    there = {each.path for folder in folders for each in place.list(folder)}
    left = [path for path in sorted(replaced) if path in there]
    waiting = [path for path in left if any(since <= replaced[path] < end for since, end in erasing)]
    for path in sorted({*left}.difference(waiting)):
        told = f"entry {replaced[path]} of the log tells that another file has taken its place"
        findings.add("file", path, f"holds payloads that were erased, and is still there: {told}")
    if not waiting:
        return []
    lie = "1 file" if len(waiting) == 1 else f"{len(waiting):,} files"
    who = (
        find_writer(place, comparison, size)
        or "an erasure that is not finished: the next create deletes them"
    )
    return [f"{lie} from which payloads were erased lie there still, of {who}"]


def _erasing(place: Place, comparison: Comparison | None) -> list[tuple[int, int]]:
    """Return the sizes of the log before and after each erasure that is not finished.

    Without a database that knows, the mark of a writer at work, or cut off, tells where it has begun.
    """
    known = None if comparison is None else comparison.erasing()
    if known is not None:
        return known
    unfinished = read_unfinished(place)
    return [] if unfinished is None else [(unfinished.since, sys.maxsize)]


class Beyond:
    """What lies at the place beyond the checkpoint: of a create at work or cut off, or put there."""

    def __init__(self, place: Place, key: VerifierKey, head: TreeHead, paths: list[str]) -> None:
        self._place = place
        self._key = key
        self._head = head
        self.paths = paths
        self.named: list[str] = []
        """Segments that SHA256SUMS names beyond the checkpoint."""
        self.stand_ins: set[str] = set()
        """Full tiles and bundles that take the place of partial ones of this log."""
        self._published = 0
        """The size of the newest log that the key has signed."""

    def take_for_partials(self, stand_ins: set[str]) -> None:
        """Take note of full files that are explained, as partial ones that they begin with are gone."""
        self.stand_ins = stand_ins
        self.paths = [path for path in self.paths if path not in stand_ins]

    def explain(self, comparison: Comparison | None, findings: Findings) -> list[str]:
        """Return a note if there is a create whose files they are; report them if there is none."""
        unfinished = read_unfinished(self._place)
        notes = self._notes_on_stand_ins()
        if not self.paths and not self.named and unfinished is None:
            return notes
        writer = self._newer() or find_writer(self._place, comparison, self._head.size)
        if writer is not None:
            return [*notes, _told_of_writer(len(self.paths), writer)]
        unsigned = self._report_checkpoints(findings)
        is_ours = unfinished is not None and (
            unfinished.since <= self._head.size and unfinished.origin == self._key.name
        )
        if is_ours and not self.paths and not self.named:
            return [
                *notes,
                f"{UNFINISHED} is left of a create that was cut off, and nothing else of it is there",
            ]
        if len(unsigned) > _FEW or (is_ours and unsigned and comparison is None):
            self._report_together(unsigned, findings, is_ours=is_ours, is_asked=comparison is not None)
            return notes
        if self.named and not self._is_published(self.named):
            findings.add("manifest", MANIFEST, f"names {self.named[0]}, which no entry of the log tells of")
        for path in unsigned:
            findings.add("file", path, _LEFTOVER)
        if unfinished is not None and not (is_ours and self._published):
            findings.add("file", UNFINISHED, _LEFTOVER)
        return notes

    def _notes_on_stand_ins(self) -> list[str]:
        if not self.stand_ins:
            return []
        number = counted(len(self.stand_ins), "full file")
        return [f"read in place of partial ones, which later creates delete: {number} beyond the checkpoint"]

    def _report_together(
        self, paths: Sequence[str], findings: Findings, *, is_ours: bool, is_asked: bool
    ) -> None:
        """Report many files as the one thing that they are: what a create has left."""
        number = counted(len(paths), "file")
        who = "nobody knows of one that is at work" if is_asked else "nothing vouches for them"
        what = (
            "the next create deletes them"
            if is_asked
            else "copy again when no create is at work, or verify with the database"
        )
        if is_ours:
            said = f"is of a create that has left {number} beyond the checkpoint"
            findings.add("file", UNFINISHED, f"{said}, and {who}: {what}")
            return
        said = f"and {counted(len(paths) - 1, 'more file')} lie beyond the checkpoint"
        findings.add("file", paths[0], f"{said}, as in a copy made during a create, and {who}: {what}")

    def _newer(self) -> str | None:
        """Tell whether a create has finished since the checkpoint was read."""
        try:
            head = open_checkpoint(self._place.read(CHECKPOINT) or b"", self._key)
        except ArchiveDiffers:
            return None
        if head.size <= self._head.size or beyond_of([*self.paths, *self.named], head.size):
            return None
        return f"a checkpoint of {counted(head.size, 'entry')} that was made meanwhile"

    def _report_checkpoints(self, findings: Findings) -> list[str]:
        """Report checkpoints beyond this one; return the files that none of them vouches for."""
        others = []
        for path in sorted(self.paths, reverse=True):
            if not path.startswith(CHECKPOINTS):
                others.append(path)
                continue
            try:
                newer = open_checkpoint(self._place.read(path) or b"", self._key)
            except ArchiveDiffers as error:
                findings.add("checkpoint", path, str(error))
                continue
            if newer.size != parse_checkpoint_path(path):
                findings.add("checkpoint", path, f"is the checkpoint of {counted(newer.size, 'entry')}")
                continue
            self._published = max(self._published, newer.size)
            findings.add(
                "rollback",
                CHECKPOINT,
                f"tells of {counted(self._head.size, 'entry')}, and the key has signed {newer.size:,} too "
                f"({path}): the archive has been put back to an older state, or was copied during a create",
            )
        return [path for path in reversed(others) if not self._is_published([path])]

    def _is_published(self, paths: Sequence[str]) -> bool:
        """Tell whether a log of the size that the key has signed as well has these files."""
        return not beyond_of(paths, self._published)


def _told_of_writer(files: int, writer: str) -> str:
    are = "is that" if files == 1 else "are those"
    return f"{counted(files, 'file')} beyond the checkpoint {are} of {writer}"


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
