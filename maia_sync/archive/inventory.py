"""Which files lie in an archive, and which of them should be there? All are listed before any is read."""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.layout import CHECKPOINT, UNFINISHED, parse_checkpoint_path, size_needed
from maia_sync.archive.manifest import MANIFEST
from maia_sync.archive.segment import parse_segment_path
from maia_sync.archive.tiles import WIDTH, TilePath, parse_path, partials_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.archive.finding import Findings
    from maia_sync.archive.place import FileThere, Place

_MOST_ODD: Final = 100_000
_TILE_BYTES: Final = 32 * WIDTH
_BUNDLE_BYTES: Final = WIDTH * (2 + 65_535)
_SMALL: Final = 100_000
"""Bytes of a checkpoint, and of `unfinished`, at most."""
_SEGMENT_BYTES: Final = 2 << 30
NEW: Final = ".new"
"""Where a folder's writer puts files before they get their names; such files are not listed."""
_FOREIGN: Final = "belongs to no archive: it has been put there, or renamed"


class Inventory:
    """The files of an archive, as far as they are not plainly in order at the first look."""

    def __init__(self) -> None:
        self.files = 0
        self.checkpoints: list[int] = []
        """Sizes of which there is a copy of a checkpoint; sorted."""
        self.segments: set[str] = set()
        self.partials: set[str] = set()
        self.odd: list[str] = []
        """Files beyond the checkpoint at the time, or of no archive."""
        self.unborn: list[str] = []
        """What a writer to a folder had not yet given its name."""
        self.has_unfinished = False
        self.is_safe = True
        """Whether all may be read: there are no links, no devices and nothing of an impossible size."""

    def judge(self, size: int, findings: Findings) -> list[str]:
        """Report what is in no log of this size, as its name tells; return what a create beyond it writes."""
        beyond = list(self.unborn)
        for path in sorted(self.odd):
            needed = size_needed(path)
            if needed is None:
                findings.add("file", path, _FOREIGN)
            elif needed > size:
                beyond.append(path)
        sizes = [each for each in self.checkpoints if each <= size]
        for path in sorted(self.partials):
            if (size_needed(path) or 0) <= size and not _is_needed(path, sizes):
                findings.add(
                    "file",
                    path,
                    "belongs to no checkpoint of this archive: it has been put there, or renamed",
                )
        return beyond

    def missing_partials(self, size: int, findings: Findings) -> None:
        """Report partial files that an earlier checkpoint needs, and that no full one stands in for."""
        for earlier in self.checkpoints:
            if earlier > size:
                continue
            for path in partials_of(earlier):
                if TilePath(path.level, path.number).end > size and str(path) not in self.partials:
                    findings.add(
                        "file", str(path), f"is missing, which the checkpoint of {earlier:,} entries needs"
                    )


def take_inventory(place: Place, size: int, findings: Findings) -> Inventory:
    """List all files; `size` is that of the log as it was just now, for what is in order then."""
    inventory = Inventory()
    for file in place.list():
        inventory.files += 1
        fault = _fault_of(place, file)
        if fault is not None:
            inventory.is_safe = False
            findings.add("file", file.path, fault)
            continue
        _sort_in(inventory, file.path, size)
    inventory.checkpoints.sort()
    inventory.unborn = _unborn(place)
    return inventory


def fault_of_file(place: Place, path: str) -> str | None:
    """Tell what is wrong with a file before it is read; None for nothing, and where there is none."""
    if not isinstance(place, FolderPlace):
        return None
    try:
        there = os.lstat(os.path.join(place.name, path))  # noqa: PTH118 - a file's path, as it came
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(there.st_mode):
        return _fault_of_size(path, there.st_size)
    if stat.S_ISLNK(there.st_mode):
        return "is a link to another place: an archive holds none, so it has been put there"
    return "is no file: it has been put there"


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
    tile = parse_path(path)
    if tile is not None:
        most = _BUNDLE_BYTES if tile.level is None else _TILE_BYTES
    elif parse_segment_path(path) is not None:
        most = _SEGMENT_BYTES
    elif path in (CHECKPOINT, UNFINISHED) or parse_checkpoint_path(path) is not None:
        most = _SMALL
    else:
        return None
    return f"has {size:,} bytes, and can have {most:,} at most" if size > most else None


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
