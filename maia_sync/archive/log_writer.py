"""How does the log grow? Entries are hashed, and written as bundles and tiles, each file once."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from maia_sync.archive.merkle import TreeHead, edge_root, leaf_hashes, root_of
from maia_sync.archive.tiles import (
    FOLDER,
    WIDTH,
    TilePath,
    decode_bundle,
    encode_bundle,
    parse_path,
    partials_of,
    split_tile,
)
from maia_sync.errors import ArchiveDiffers, Bug

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maia_sync.archive.place import Place

_CHECKPOINTS: Final = "checkpoints/"
_EARLIER: Final = 4
"""Checkpoints whose partial files are looked for, if nobody says which one was the last."""


class LogWriter:
    """Appends entries to the tree that lies at a place; `size` is how many it has."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._entries: list[bytes] = []
        self._levels: list[list[bytes]] = [[]]
        self._there: set[TilePath] = set()
        """Partial files of the size that was finished last."""
        self._full = 0
        """Entries in full bundles."""

    @classmethod
    def open(cls, place: Place, head: TreeHead | None) -> LogWriter:
        """Return a writer that goes on from a head, or begins a log.

        Raises ArchiveDiffers unless the right edge of the tree at the place reproduces the head's root.
        """
        writer = cls(place)
        if head is not None:
            writer._read_edge(head)
        return writer

    @property
    def size(self) -> int:
        """How many entries the tree has."""
        return self._full + len(self._entries)

    def append(self, entries: Iterable[bytes]) -> None:
        """Append entries; full bundles and tiles are written as they fill."""
        waiting = iter(entries)
        while more := list(islice(waiting, WIDTH - len(self._entries))):
            self._entries += more
            if len(self._entries) == WIDTH:
                self._write_bundle()

    def finish(self) -> TreeHead:
        """Write the partial files of this size, and return the tree's head; more may be appended then."""
        self._levels[0] = leaf_hashes(self._entries)
        there = set(partials_of(self.size))
        for path in sorted(there - self._there, key=str):
            if path.level is None:
                self._place.write_new(str(path), self._encoded())
            else:
                self._place.write_new(str(path), b"".join(self._levels[path.level]))
        self._there = there
        return TreeHead(self.size, edge_root(self._levels))

    def _write_bundle(self) -> None:
        number = self._full // WIDTH
        self._place.write_new(str(TilePath(None, number)), self._encoded())
        self._levels[0] = leaf_hashes(self._entries)
        self._entries.clear()
        self._full += WIDTH
        for level, hashes in enumerate(self._levels):
            if len(hashes) < WIDTH:
                return
            self._place.write_new(str(TilePath(level, number)), b"".join(hashes))
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(root_of(hashes))
            hashes.clear()
            number //= WIDTH

    def _encoded(self) -> bytes:
        try:
            return encode_bundle(self._entries)
        except ValueError as error:
            raise Bug("an entry of the archive's log is too large") from error

    def _read_edge(self, head: TreeHead) -> None:
        self._full = head.size - head.size % WIDTH
        for path in partials_of(head.size):
            self._there.add(path)
            try:
                if path.level is None:
                    self._entries = decode_bundle(self._read(path))
                    continue
                self._levels += [[] for _ in range(path.level + 1 - len(self._levels))]
                self._levels[path.level] = split_tile(self._read(path))
            except ValueError as error:
                raise ArchiveDiffers(f"{self._place.name}: {path} is damaged: {error}") from error
        if leaf_hashes(self._entries) != self._levels[0]:
            raise ArchiveDiffers(
                f"{self._place.name}: the last entries of the log are not those that its tiles hash: nothing "
                "is appended to a log that has been altered"
            )
        if edge_root(self._levels) != head.root or self.size != head.size:
            raise ArchiveDiffers(
                f"{self._place.name}: the tiles at the end of the log do not make the root that its "
                f"checkpoint of {head.size} entries tells: nothing is appended to a log that has been altered"
            )

    def _read(self, path: TilePath) -> bytes:
        content = self._place.read(str(path))
        if content is None:
            raise ArchiveDiffers(
                f"{self._place.name}: {path} is missing, so nothing can be appended to the log"
            )
        return content


def delete_beyond(place: Place, size: int) -> int:
    """Delete the tiles and bundles that a tree of this size cannot have had; return how many there were.

    Partial files of earlier sizes stay.
    """
    listed = ((each.path, parse_path(each.path)) for each in place.list(FOLDER))
    beyond = [path for path, parsed in listed if parsed is not None and parsed.end > size]
    place.delete(beyond)
    return len(beyond)


def delete_old_partials(place: Place, size: int, *, since: int | None = None) -> None:
    """Delete partial files whose full ones are in a tree of this size.

    `since` is the size at the checkpoint before. Without it the names of the checkpoints are listed, and the
    partial files of the last few are looked for. Partial files of one tile lie together, so those of all
    checkpoints go as the tile becomes full.
    """
    sizes = [since] if since is not None else _earlier_sizes(place, size)
    tiles = {TilePath(path.level, path.number) for earlier in sizes for path in partials_of(earlier)}
    for tile in tiles:
        if tile.end <= size:
            place.delete([each.path for each in place.list(f"{tile}.p/")])


def _earlier_sizes(place: Place, size: int) -> list[int]:
    names = (each.path.removeprefix(_CHECKPOINTS) for each in place.list(_CHECKPOINTS))
    sizes = sorted(int(name) for name in names if name.isascii() and name.isdigit())
    return [earlier for earlier in sizes if earlier < size][-_EARLIER:]
