"""What does the log hold, and is it the log that the checkpoint signs? All that is read is verified first.

A full tile is verified by the hash over it, which stands in the tile above; the last tiles of all levels
together by the root. A bundle is verified by the hashes of its entries.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from maia_sync.archive.log_check import DAMAGED, check_tiles
from maia_sync.archive.merkle import EMPTY_ROOT, edge_root, leaf_hash, leaf_hashes, node_hash, root_of
from maia_sync.archive.tile_files import TileFiles
from maia_sync.archive.tiles import WIDTH, height, partials_of
from maia_sync.errors import ArchiveDiffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.place import Place

_KEPT: Final = 64
"""Tiles that are kept in memory: 8 KiB of hashes each."""
_TILE_BITS: Final = 8
"""A tile spans so many levels of the tree."""


def _never() -> None:
    return None


class LogReader:
    """Reads the tree of a trusted head; raises ArchiveDiffers, with the file's name, where it differs."""

    def __init__(self, place: Place, head: TreeHead) -> None:
        self._files = TileFiles(place, head.size)
        self._edge: dict[int, list[bytes]] | None = None
        self._kept: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()
        self.head = head

    def check_edge(self) -> dict[int, list[bytes]]:
        """Return the last tile of each level, if partial. Raises ArchiveDiffers unless they make the root."""
        if self._edge is not None:
            return self._edge
        paths = [path for path in partials_of(self.head.size) if path.level is not None]
        edge = {path.level or 0: self._files.hashes(path) for path in paths}
        if edge_root(edge.get(level, []) for level in range(height(self.head.size))) != self.head.root:
            listed = ", ".join(map(str, paths)) or "none"
            raise ArchiveDiffers(
                f"{self._files.place.name}: the last tiles ({listed}) do not make the root that the "
                f"checkpoint of {self.head.size} entries signs"
            )
        self._edge = edge
        return edge

    def check_tiles(self, stopped: Callable[[], object] = _never) -> Iterator[tuple[str, str]]:
        """Yield every file of the log that is not as it should be, and what is wrong with it.

        Looks at each tile and each bundle of this size, and at the partial ones of earlier sizes that are
        there. Files beyond this size are left alone. Ends early once `stopped` returns something, or after a
        thousand files that are missing or cannot be read.
        """
        return check_tiles(self._files, self.head, stopped)

    def entries(self, start: int = 0) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the entries from an index on, bundle by bundle, each list with its first entry's index."""
        self.check_edge()
        numbers = range(start // WIDTH, -(-self.head.size // WIDTH))
        with self._files.ahead(self._files.path(None, number) for number in numbers):
            for number in numbers:
                skipped = max(0, start - number * WIDTH)
                entries = self.bundle(number)[skipped:]
                if entries:
                    yield number * WIDTH + skipped, entries

    def entry(self, index: int) -> bytes:
        """Return one entry. Raises IndexError if the log does not have so many."""
        self._require(index < self.head.size and index >= 0)
        number, place = divmod(index, WIDTH)
        path = self._files.path(None, number)
        entry = self._files.entries(path)[place]
        if leaf_hash(entry) != self.tile(0, number)[place]:
            raise self._files.differs(path, DAMAGED)
        return entry

    def inclusion_path(self, index: int) -> list[bytes]:
        """Return the hashes that prove an entry, from its neighbour up. Raises IndexError."""
        self._require(index < self.head.size and index >= 0)
        path: list[bytes] = []
        start, end = 0, self.head.size
        while end - start > 1:
            cut = start + _largest_power_below(end - start)
            if index < cut:
                path.append(self._root(cut, end))
                end = cut
            else:
                path.append(self._root(start, cut))
                start = cut
        return path[::-1]

    def root_at(self, size: int) -> bytes:
        """Return the root that the tree had at an earlier size. Raises IndexError if it is larger now."""
        self._require(0 <= size <= self.head.size)
        self.check_edge()
        return self._root(0, size) if size else EMPTY_ROOT

    def tile(self, level: int, number: int) -> list[bytes]:
        """Return a tile's hashes, as many as this tree has."""
        edge = self.check_edge()
        path = self._files.path(level, number)
        if path.width is not None:
            return edge[level]
        kept = self._kept.get((level, number))
        if kept is not None:
            self._kept.move_to_end((level, number))
            return kept
        hashes = self._files.hashes(path)
        if root_of(hashes) != self._hash_of_tile(level, number):
            raise self._files.differs(path, DAMAGED)
        self._kept[level, number] = hashes
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return hashes

    def bundle(self, number: int) -> list[bytes]:
        """Return the entries of a bundle, as many as this tree has."""
        path = self._files.path(None, number)
        entries = self._files.entries(path)
        hashes = leaf_hashes(entries)
        if path.width is None:
            right = root_of(hashes) == self._hash_of_tile(0, number)
        else:
            right = hashes == self.tile(0, number)
        if not right:
            raise self._files.differs(path, DAMAGED)
        return entries

    def _hash_of_tile(self, level: int, number: int) -> bytes:
        return self.tile(level + 1, number // WIDTH)[number % WIDTH]

    def _root(self, start: int, end: int) -> bytes:
        """Return the root over a range that the tree is cut into, or would be at an earlier size."""
        size = end - start
        if size & (size - 1):
            cut = start + _largest_power_below(size)
            return node_hash(self._root(start, cut), self._root(cut, end))
        level, inner = divmod(size.bit_length() - 1, _TILE_BITS)
        number, place = divmod(start >> (level * _TILE_BITS), WIDTH)
        return root_of(self.tile(level, number)[place : place + (1 << inner)])

    def _require(self, possible: bool) -> None:  # noqa: FBT001 - what must hold
        if not possible:
            raise IndexError(f"the log has {self.head.size} entries")


def _largest_power_below(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)
