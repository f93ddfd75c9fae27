"""Which checkpoints and dates does an archive have? What its files' names tell; nothing is verified."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from maia_sync.archive.layout import (
    CHECKPOINT,
    CHECKPOINTS,
    UNFINISHED,
    checkpoint_path,
    parse_checkpoint_path,
)
from maia_sync.archive.segment import FOLDER, parse_segment_path
from maia_sync.errors import ArchiveDiffers
from maia_sync.store.archive_log import checkpoints, read_origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.archive.place import Place
    from maia_sync.store.archive_log import CheckpointRow
    from maia_sync.store.database import Database


class CheckpointSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint; when it was made and anchored is known to the database alone."""

    size: int
    root: str
    created_at: datetime | None = None
    anchored_at: datetime | None = None
    anchor_error: str | None = None


class DateSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of one date."""

    date: str | None
    """None for what has no date."""
    segments: int
    size_bytes: int
    redacted: int
    """Segments from which payloads were erased."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """An archive at a glance; size, origin and checkpoints are None and empty where there is none."""

    place: str
    origin: str | None
    size: int | None
    is_unfinished: bool
    checkpoints: list[CheckpointSeen]
    """The newest ones, newest first."""
    checkpoints_in_all: int
    segments: int
    segment_bytes: int
    redacted: int
    """Segments from which payloads were erased: `archive entries --type erasure` tells why."""
    dates: list[DateSeen]


def look(place: Place, *, most: int, known: Sequence[CheckpointRow] = ()) -> Overview:
    """Return what lies at a place, with so many of its checkpoints; `known` are those of the database.

    Raises ArchiveDiffers for a checkpoint that cannot be read.
    """
    newest = place.read(CHECKPOINT)
    origin, size, _ = (None, None, None) if newest is None else read_note(newest, CHECKPOINT)
    names = (parse_checkpoint_path(each.path) for each in place.list(CHECKPOINTS))
    sizes = sorted((each for each in names if each is not None and each <= (size or 0)), reverse=True)
    rows = {row.head.size: row for row in known if row.origin == origin}
    dates = _dates(place, size or 0)
    return Overview(
        place=place.name,
        origin=origin,
        size=size,
        is_unfinished=place.read(UNFINISHED) is not None,
        checkpoints=[_seen(place, each, rows.get(each)) for each in sizes[:most]],
        checkpoints_in_all=len(sizes),
        segments=sum(each.segments for each in dates),
        segment_bytes=sum(each.size_bytes for each in dates),
        redacted=sum(each.redacted for each in dates),
        dates=dates,
    )


def look_with(database: Database, place: Place, *, most: int) -> Overview:
    """Return what lies at the place of a database's archive, with what the database knows of it."""
    with database.transaction(write=False) as tx:
        origin = read_origin(tx)
        known = [] if origin is None else checkpoints(tx, origin, most)
    return look(place, most=most, known=known)


def read_note(note: bytes, path: str) -> tuple[str, int, str]:
    """Return the origin, the size and the root that a checkpoint tells; its signature is not looked at."""
    lines = note.decode(errors="replace").split("\n")
    if len(lines) < 4 or not (lines[1].isascii() and lines[1].isdecimal() and len(lines[1]) < 19):
        raise ArchiveDiffers(f"{path} is no checkpoint: it tells no size and root")
    return lines[0], int(lines[1]), lines[2]


def _seen(place: Place, size: int, row: CheckpointRow | None) -> CheckpointSeen:
    path = checkpoint_path(size)
    _, _, root = read_note(place.read(path) or b"", f"{place.name}: {path}")
    if row is None:
        return CheckpointSeen(size=size, root=root)
    return CheckpointSeen(
        size=size,
        root=root,
        created_at=row.created_at,
        anchored_at=row.anchored_at,
        anchor_error=row.anchor_error,
    )


def _dates(place: Place, size: int) -> list[DateSeen]:
    found: defaultdict[str | None, list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in place.list(FOLDER):
        parsed = parse_segment_path(each.path)
        if parsed is not None and max(parsed.end, parsed.redacted or 0) < size:
            of_day = found[None if parsed.day is None else parsed.day.isoformat()]
            of_day[0] += 1
            of_day[1] += each.size
            of_day[2] += parsed.redacted is not None
    return [
        DateSeen(date=day, segments=found[day][0], size_bytes=found[day][1], redacted=found[day][2])
        for day in sorted(found, key=lambda day: day or "")
    ]
