"""Which files of the log are not as they should be? All of them are looked at, and each is named.

From the root down: what a tile should hash to stands in the tile above it. A tile that does not is named, and
made again from the files below it where that is possible, so that they are not blamed for it.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from maia_sync.archive.merkle import edge_root, leaf_hashes, root_of
from maia_sync.archive.tiles import FOLDER, WIDTH, TilePath, height, parse_path, partials_of
from maia_sync.errors import ArchiveDiffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from maia_sync.archive.merkle import TreeHead
    from maia_sync.archive.tile_files import TileFiles

DAMAGED: Final = "is damaged: it does not belong to the log that the checkpoint signs"
_UNLIKE_TILE: Final = "is damaged: its entries are not those that its tile hashes"
_FORGED: Final = (
    "and the other tiles agree with one another, but make another root than the checkpoint signs: the log "
    "has been altered and its tiles have been made again"
)
Problem = tuple[str, str]
_MOST_UNREAD: Final = 1_000
"""Then the archive is not worth a longer look: a checkpoint can tell of any number of files."""


def check_tiles(files: TileFiles, head: TreeHead, stopped: Callable[[], object]) -> Iterator[Problem]:
    """Yield each file that differs, and what is wrong with it: see LogReader.check_tiles."""
    yield from _Check(files, head, stopped).problems()


class _Check:
    """One pass over all files of a tree."""

    def __init__(self, files: TileFiles, head: TreeHead, stopped: Callable[[], object]) -> None:
        self._files = files
        self._stopped = stopped
        self._unread = 0
        """Files of this size that are missing, or cannot be read."""
        self._head = head
        self._older = self._older_partials()

    def problems(self) -> Iterator[Problem]:
        edge = [path for path in partials_of(self._head.size) if path.level is not None]
        wrong: dict[TilePath, str] = {}
        best = self._best_edge(edge, wrong)
        yield from ((str(path), what) for path, what in wrong.items())
        for path, hashes in zip(edge, best, strict=True):
            yield from self._check_below(path, hashes)
        if self._unread > _MOST_UNREAD:
            yield (
                FOLDER,
                f"lacks more than {_MOST_UNREAD:,} files of this log: the others were not looked for",
            )

    def _best_edge(self, edge: list[TilePath], wrong: dict[TilePath, str]) -> list[list[bytes] | None]:
        """Return what the last tile of each level holds, or should hold; note in `wrong` which differ.

        Where they do not make the root, each may be the culprit: it is made again from what lies below it.
        """
        read = [self._hashes(path, wrong) for path in edge]
        if self._is_root(edge, read):
            return read
        again = [self._made_again(path) for path in edge]
        either = [[held, made] if held else [made] for held, made in zip(read, again, strict=True)]
        best = next((choice for choice in map(list, product(*either)) if self._is_root(edge, choice)), None)
        doubted = best or again
        for path, held, right in zip(edge, read, doubted, strict=True):
            if right is not None and held != right:
                wrong.setdefault(path, DAMAGED)
        if not wrong:
            wrong[edge[-1] if edge else TilePath(0, 0)] = _FORGED
        return best or [held or made for held, made in zip(read, again, strict=True)]

    def _is_root(self, edge: list[TilePath], hashes: list[list[bytes] | None]) -> bool:
        levels: list[list[bytes]] = [[] for _ in range(height(self._head.size))]
        for path, each in zip(edge, hashes, strict=True):
            if each is None:
                return False
            levels[path.level or 0] = each
        return edge_root(levels) == self._head.root

    def _check_below(self, path: TilePath, hashes: list[bytes] | None) -> Iterator[Problem]:
        """Check what a tile's hashes stand for, and the older partial files of the tile itself."""
        level = path.level or 0
        if hashes:
            yield from self._check_older(TilePath(level, path.number), hashes)
        if level == 0:
            yield from self._check_bundle(path, hashes)
            return
        below = [TilePath(level - 1, path.number * WIDTH + place) for place in range(path.width or WIDTH)]
        expected: Sequence[bytes | None] = hashes or [None] * len(below)
        with self._files.ahead(self._read_below(below)):
            for tile, its_hash in zip(below, expected, strict=True):
                yield from self._check_tile(tile, its_hash)

    def _read_below(self, tiles: list[TilePath]) -> Iterator[TilePath]:
        """Yield what is read for these tiles, in order, if they are of level 0."""
        for tile in tiles:
            if tile.level == 0:
                yield from (tile, TilePath(None, tile.number))

    def _check_tile(self, path: TilePath, expected: bytes | None) -> Iterator[Problem]:
        if self._unread > _MOST_UNREAD or self._stopped() is not None:
            return
        wrong: dict[TilePath, str] = {}
        hashes = self._hashes(path, wrong)
        if hashes is None or (expected is not None and root_of(hashes) != expected):
            wrong.setdefault(path, DAMAGED)
            again = self._made_again(path)
            if again is not None and (hashes is None or root_of(again) == expected):
                hashes = again
        yield from ((str(each), what) for each, what in wrong.items())
        yield from self._check_below(path, hashes)

    def _check_bundle(self, tile: TilePath, hashes: list[bytes] | None) -> Iterator[Problem]:
        path = TilePath(None, tile.number, tile.width)
        try:
            entries = self._files.entries(path)
        except ArchiveDiffers as error:
            self._unread += 1
            yield str(path), self._what(error, path)
            return
        if hashes is not None and leaf_hashes(entries) != hashes:
            yield str(path), _UNLIKE_TILE
        if hashes is not None:
            yield from self._check_older(TilePath(None, tile.number), hashes)

    def _check_older(self, full: TilePath, hashes: list[bytes]) -> Iterator[Problem]:
        for width in self._older.pop(full, []):
            path = full._replace(width=width)
            try:
                held = (
                    leaf_hashes(self._files.entries(path)) if path.level is None else self._files.hashes(path)
                )
            except ArchiveDiffers as error:
                yield str(path), self._what(error, path)
                continue
            if held != hashes[:width]:
                yield str(path), DAMAGED

    def _older_partials(self) -> dict[TilePath, list[int]]:
        """Return the widths of partial files that earlier sizes have left, by their full ones."""
        current = set(partials_of(self._head.size))
        older: dict[TilePath, list[int]] = {}
        for each in self._files.place.list(FOLDER):
            path = parse_path(each.path)
            if path is None or path.width is None or path in current or path.end > self._head.size:
                continue
            older.setdefault(path._replace(width=None), []).append(path.width)
        return older

    def _hashes(self, path: TilePath, wrong: dict[TilePath, str]) -> list[bytes] | None:
        try:
            return self._files.hashes(path)
        except ArchiveDiffers as error:
            self._unread += 1
            wrong[path] = self._what(error, path)
            return None

    def _made_again(self, path: TilePath) -> list[bytes] | None:
        """Return a tile's hashes, made from the files below it; None if one of them cannot be read."""
        level, width = path.level or 0, path.width or WIDTH
        try:
            if level == 0:
                return leaf_hashes(self._files.entries(path._replace(level=None)))
            below = (TilePath(level - 1, path.number * WIDTH + place) for place in range(width))
            return [root_of(self._files.hashes(each)) for each in below]
        except ArchiveDiffers:
            return None

    def _what(self, error: ArchiveDiffers, path: TilePath) -> str:
        return str(error).removeprefix(f"{self._files.place.name}: {path} ")
