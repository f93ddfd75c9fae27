"""Which files lie in an archive, and which of them should be there? All are listed before any is read."""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from maia_sync.archive.finding import counted
from maia_sync.archive.folder import LINK, NEW, NO_FILE, FolderPlace
from maia_sync.archive.layout import CHECKPOINT, CHECKPOINTS, UNFINISHED, parse_checkpoint_path, size_needed
from maia_sync.archive.limits import most_bytes
from maia_sync.archive.manifest import MANIFEST
from maia_sync.archive.place import oversize
from maia_sync.archive.segment import parse_segment_path
from maia_sync.archive.tiles import WIDTH, TilePath, parse_path, partials_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.archive.finding import Findings
    from maia_sync.archive.place import FileThere, Place
    from maia_sync.archive.verifying import Stopped

_MOST_ODD: Final = 100_000
_SUMS_BYTES: Final = 64 << 20
"""Of SHA256SUMS, in any case ..."""
_SUM_BYTES: Final = 200
"""... and more for each data segment."""
_FIRST: Final = frozenset((CHECKPOINT, MANIFEST, "checkpoints"))
"""What is read to know with what all else is to be compared."""
_FOLDERS: Final = frozenset(("data", "tile"))
_FOREIGN: Final = "belongs to no archive: it has been put there, or renamed"


class Inventory:
    """The files of an archive, as far as they are not plainly in order at the first look."""

    def __init__(self, size: int) -> None:
        self.size = size
        """That of the log when the files were listed."""
        self.files = 0
        self.checkpoints: list[int] = []
        """Sizes of which there is a copy of a checkpoint; sorted."""
        self.later: list[int] = []
        """Those of which one has come since the files were listed; sorted."""
        self.segments: set[str] = set()
        self.partials: set[str] = set()
        self.odd: list[str] = []
        """Files beyond the checkpoint at the time, or of no archive."""
        self.unborn: list[str] = []
        """What a writer to a folder had not yet given its name."""
        self.has_unfinished = False
        self.is_archive = False
        """Whether there is any file that archives have."""
        self.is_safe = True
        """Whether what all begins with may be read: no links, no devices, nothing of an impossible size."""

    @property
    def copied(self) -> list[int]:
        """All sizes of which there is a copy of a checkpoint, sorted."""
        return sorted([*self.checkpoints, *self.later])

    def look_again(self, place: Place) -> None:
        """Take note of checkpoints that have come since the files were listed."""
        sizes = {parse_checkpoint_path(each.path) for each in place.list(CHECKPOINTS)}
        self.later = sorted(size for size in sizes.difference(self.checkpoints) if size is not None)

    def judge(self, size: int, findings: Findings) -> list[str]:
        """Report what is in no log of this size, as its name tells; return what a create beyond it writes."""
        beyond = list(self.unborn)
        for path in sorted(self.odd):
            needed = size_needed(path)
            if needed is None:
                findings.add("file", path, _FOREIGN)
            elif needed > size:
                beyond.append(path)
        sizes = [each for each in self.copied if each <= size]
        for path in sorted(self.partials):
            if (size_needed(path) or 0) <= size and not _is_needed(path, sizes):
                findings.add(
                    "file",
                    path,
                    "belongs to no checkpoint of this archive: it has been put there, or renamed",
                )
        return beyond

    def missing_partials(
        self, size: int, findings: Findings, *, beyond: Iterable[str], faulty: Iterable[str]
    ) -> set[str]:
        """Report partial files that a checkpoint needs, and that no full one stands in for.

        A create may delete them once the full ones are there, and publish its checkpoint only after these
        were copied. Returns the full files beyond this size that stand in for partial ones, which are not
        among the `faulty` ones.
        """
        full_ones = {path for path in beyond if not any(each.startswith(f"{path}.p/") for each in faulty)}
        stand_ins: set[str] = set()
        for earlier in self.checkpoints:
            if earlier > size:
                continue
            for path in partials_of(earlier):
                full = TilePath(path.level, path.number)
                if full.end <= size or str(path) in self.partials:
                    continue
                if str(full) in full_ones:
                    stand_ins.add(str(full))
                    continue
                needs = f"which the checkpoint of {counted(earlier, 'entry')} needs"
                findings.add("file", str(path), f"is missing, {needs}")
        return stand_ins


def take_inventory(place: Place, size: int, findings: Findings, stopped: Stopped) -> Inventory:
    """List all files; `size` is that of the log as it was just now, for what is in order then.

    Not all of them once `stopped` returns a signal.
    """
    inventory = Inventory(size)
    sums = 0
    for file in place.list():
        if stopped() is not None:
            break
        inventory.files += 1
        sums = file.size if file.path == MANIFEST else sums
        inventory.is_archive |= _is_of_archives(file.path)
        fault = _fault_of(place, file)
        if fault is not None:
            inventory.is_safe &= not _is_in_the_way(place, file.path)
            findings.add("file", file.path, fault)
            continue
        _sort_in(inventory, file.path, size)
    most = max(_SUMS_BYTES, _SUM_BYTES * len(inventory.segments))
    if sums > most:
        inventory.is_safe = False
        findings.add("file", MANIFEST, oversize(sums, most))
    inventory.checkpoints.sort()
    inventory.unborn = _unborn(place)
    return inventory


def _is_of_archives(path: str) -> bool:
    """Tell whether archives alone have files of this name: anybody may have written SHA256SUMS."""
    return path in (CHECKPOINT, UNFINISHED) or size_needed(path) is not None


def fault_of_file(place: Place, path: str) -> str | None:
    """Tell what is wrong with a file before it is read; None for nothing, and where there is none."""
    if not isinstance(place, FolderPlace):
        return None
    try:
        there = _look(place, path)
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(there.st_mode):
        return _fault_of_size(path, there.st_size)
    if stat.S_ISLNK(there.st_mode):
        return LINK
    return NO_FILE


def _unborn(place: Place) -> list[str]:
    if not isinstance(place, FolderPlace):
        return []
    try:
        return sorted(f"{NEW}/{name}" for name in os.listdir(os.path.join(place.name, NEW)))  # noqa: PTH118, PTH208
    except OSError:
        return []


def _fault_of(place: Place, file: FileThere) -> str | None:
    return fault_of_file(place, file.path) or _fault_of_size(*file)


def _fault_of_size(path: str, size: int) -> str | None:
    if not _is_of_archives(path) and path != MANIFEST:
        return None
    most = most_bytes(path)
    return oversize(size, most) if size > most else None


def _look(place: FolderPlace, path: str) -> os.stat_result:
    return os.lstat(os.path.join(place.name, path))  # noqa: PTH118 - a file's path, as it came


def _is_in_the_way(place: Place, path: str) -> bool:
    """Tell whether nothing can be compared because of a file with a fault; others are just not read."""
    if path.partition("/")[0] not in _FIRST and path not in _FOLDERS:
        return False
    try:
        return not (isinstance(place, FolderPlace) and stat.S_ISDIR(_look(place, path).st_mode))
    except OSError:
        return True


def _sort_in(inventory: Inventory, path: str, size: int) -> None:
    if path in (CHECKPOINT, MANIFEST):
        return
    if path == UNFINISHED:
        inventory.has_unfinished = True
        return
    needed = size_needed(path)
    if (needed is None or needed > size) and len(inventory.odd) < _MOST_ODD:
        inventory.odd.append(path)
    copied = parse_checkpoint_path(path)
    if copied is not None:
        inventory.checkpoints.append(copied)
    elif parse_segment_path(path) is not None:
        inventory.segments.add(path)
    elif needed is not None and ".p/" in path:
        inventory.partials.add(path)


def _is_needed(path: str, sizes: Sequence[int]) -> bool:
    """Tell whether a tree of one of these sizes has this partial file."""
    tile = parse_path(path)
    if tile is None or tile.width is None:
        return False
    span = WIDTH ** (tile.level or 0)
    lowest = (tile.number * WIDTH + tile.width) * span
    at = bisect_left(sizes, lowest)
    return at < len(sizes) and sizes[at] < lowest + span


def beyond_of(paths: Iterable[str], size: int) -> list[str]:
    """Return those files that no log of this size has."""
    return [path for path in paths if (size_needed(path) or size + 1) > size]
