"""How large can a file of an archive be? What is larger was not written by us, and is not read."""

from __future__ import annotations

from typing import Final

from maia_sync.archive.layout import CHECKPOINT, UNFINISHED, parse_checkpoint_path
from maia_sync.archive.manifest import MANIFEST
from maia_sync.archive.tiles import WIDTH, parse_path

_NOTE: Final = 100_000
"""Bytes of a checkpoint, with the signatures of many witnesses."""
_UNFINISHED: Final = 4_096
_TILE: Final = 32 * WIDTH
_BUNDLE: Final = WIDTH * (2 + 65_535)
MOST_MANIFEST: Final = 512 << 20
"""Bytes of SHA256SUMS: some four million data segments."""
_ANY: Final = 2 << 30
"""Bytes of a data segment: no database holds a payload of more than half of that. And of any other file."""


def most_bytes(path: str) -> int:
    """Return how many bytes a file with this path has at most."""
    if path in (CHECKPOINT, UNFINISHED):
        return _NOTE if path == CHECKPOINT else _UNFINISHED
    if path == MANIFEST:
        return MOST_MANIFEST
    tile = parse_path(path)
    if tile is not None:
        return _BUNDLE if tile.level is None else _TILE
    return _NOTE if parse_checkpoint_path(path) is not None else _ANY
