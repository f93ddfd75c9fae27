"""In which files does a log lie, and what do they hold? Tiles and entry bundles (C2SP tlog-tiles), no I/O.

Tile N of level L holds 256 hashes: of entries at level 0, above it each is the root over one full tile of
the level below. A bundle holds the 256 entries of a tile of level 0. The last of each level may be partial.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH: Final = 256
"""Hashes in a full tile, and entries in a full bundle."""
FOLDER: Final = "tile/"
_HIGHEST_LEVEL: Final = 63
_LONGEST_ENTRY: Final = 65_535
_PATH: Final = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class TilePath(NamedTuple):
    """What a path says of a tile, or of a bundle."""

    level: int | None
    """None for a bundle."""
    number: int
    """Which one of its level, from 0."""
    width: int | None = None
    """Of a partial one; None if it is full."""

    @property
    def end(self) -> int:
        """How many entries a tree has at least that has this file."""
        return (self.number * WIDTH + (self.width or WIDTH)) * int(WIDTH ** (self.level or 0))

    def __str__(self) -> str:
        if self.level is None:
            return bundle_path(self.number, self.width)
        return tile_path(self.level, self.number, self.width)


def tile_path(level: int, index: int, width: int | None = None) -> str:
    """Return where a tile lies; `width` is that of a partial one."""
    return f"tile/{level}/{_numbered(index, width)}"


def bundle_path(index: int, width: int | None = None) -> str:
    """Return where a bundle lies; `width` is that of a partial one."""
    return f"tile/entries/{_numbered(index, width)}"


def _numbered(index: int, width: int | None) -> str:
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.append(f"x{index % 1000:03}")
    partial = "" if width is None or width == WIDTH else f".p/{width}"
    return "/".join(reversed(parts)) + partial


def parse_path(path: str) -> TilePath | None:
    """Return what a path says, or None if it is not just as `tile_path` or `bundle_path` would write it."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    level = None if match["level"] == "entries" else int(match["level"])
    width = None if match["width"] is None else int(match["width"])
    parsed = TilePath(level, int(match["index"].replace("x", "").replace("/", "")), width)
    possible = (level or 0) <= _HIGHEST_LEVEL and (width or 1) < WIDTH
    return parsed if possible and str(parsed) == path else None


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return a bundle's bytes: each entry after its length. Raises ValueError for one that is too long."""
    if any(len(entry) > _LONGEST_ENTRY for entry in entries):
        raise ValueError("an entry of a log has at most 65,535 bytes")
    parts: list[bytes] = []
    for entry in entries:
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_bundle(encoded: bytes) -> list[bytes]:
    """Return a bundle's entries. Raises ValueError for what is none."""
    entries: list[bytes] = []
    place, end = 0, len(encoded)
    while place < end:
        start = place + 2
        place = start + int.from_bytes(encoded[place:start], "big")
        entries.append(encoded[start:place])
    if place != end or len(entries) > WIDTH:
        raise ValueError("this is no bundle of a log's entries")
    return entries


def split_tile(encoded: bytes) -> list[bytes]:
    """Return a tile's hashes. Raises ValueError for what is no tile."""
    if len(encoded) % 32 or not 0 < len(encoded) <= 32 * WIDTH:
        raise ValueError("this is no tile of hashes")
    return [encoded[start : start + 32] for start in range(0, len(encoded), 32)]


def tiles_of(size: int) -> Iterator[TilePath]:
    """Yield every file of a tree of this size: bundles, then tiles, level by level."""
    levels: list[int | None] = [None, *range(height(size))]
    for level in levels:
        full, width = divmod(size // WIDTH ** (level or 0), WIDTH)
        yield from (TilePath(level, index) for index in range(full))
        if width:
            yield TilePath(level, full, width)


def partials_of(size: int) -> Iterator[TilePath]:
    """Yield the partial files of a tree of this size: at most a bundle and a tile of each level."""
    levels: list[int | None] = [None, *range(height(size))]
    for level in levels:
        full, width = divmod(size // WIDTH ** (level or 0), WIDTH)
        if width:
            yield TilePath(level, full, width)


def height(size: int) -> int:
    """Return how many levels of tiles a tree of this size has."""
    levels = 0
    while size:
        size //= WIDTH
        levels += 1
    return levels
