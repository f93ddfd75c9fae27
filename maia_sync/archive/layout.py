"""What are the files of an archive called that are neither tiles nor segments?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from maia_sync.archive.segment import parse_segment_path
from maia_sync.archive.tiles import parse_path
from maia_sync.errors import ArchiveDiffers

if TYPE_CHECKING:
    from maia_sync.archive.place import Place

CHECKPOINT: Final = "checkpoint"
"""The newest signed tree head: who reads an archive begins here."""
CHECKPOINTS: Final = "checkpoints/"
"""A copy of every checkpoint that was ever made, by its size."""
UNFINISHED: Final = "unfinished"
"""There while a create is at work, or after one was cut off: then files may lie beyond the checkpoint."""
_COPY: Final = re.compile(rf"{CHECKPOINTS}([0-9]{{12}})")


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `unfinished`."""

    since: int
    """The size of the checkpoint that was there."""
    origin: str
    """Whose log it is."""


def checkpoint_path(size: int) -> str:
    """Return where the copy of a checkpoint lies."""
    return f"{CHECKPOINTS}{size:012}"


def parse_checkpoint_path(path: str) -> int | None:
    """Return the size of the tree whose checkpoint lies there; None for the path of something else."""
    match = _COPY.fullmatch(path)
    return None if match is None else int(match[1])


def size_needed(path: str) -> int | None:
    """Return how many entries a log has at least that has this file.

    None for what is no file of the archive, and for those that are written anew with each checkpoint.
    """
    tile = parse_path(path)
    if tile is not None:
        return tile.end
    segment = parse_segment_path(path)
    if segment is not None:
        # The entry that tells of it follows.
        return (segment.end if segment.redacted is None else segment.redacted) + 1
    return parse_checkpoint_path(path)


def read_unfinished(place: Place) -> Unfinished | None:
    """Return what a create has left that was cut off, or that is at work; None if there is none.

    What cannot be read counts as left by a create since the very beginning, of a log without a name.
    """
    try:
        content = place.read(UNFINISHED)
        return None if content is None else msgspec.json.decode(content, type=Unfinished)
    except (ValueError, RecursionError, ArchiveDiffers):
        return Unfinished(since=0, origin="")
