"""How does the archive stand: when was its newest checkpoint made, who has it, and how much waits?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from maia_sync.store.archive_log import Waiting, count_waiting, last_checkpoint, read_origin

if TYPE_CHECKING:
    from maia_sync.store.database import Transaction


class ArchiveStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What the database knows of its archive."""

    origin: str
    """The log's name."""
    entries: int
    """In the log, by its newest checkpoint."""
    checkpoint_at: datetime | None
    """When that was made; None if there is none yet."""
    anchored_at: datetime | None
    """When it was handed to whoever keeps checkpoints elsewhere."""
    anchor_error: str | None
    waiting: Waiting


def read_archive_standing(tx: Transaction) -> ArchiveStanding | None:
    """Return how the archive stands; None if this database has none."""
    origin = read_origin(tx)
    if origin is None:
        return None
    newest = last_checkpoint(tx, origin, "done")
    return ArchiveStanding(
        origin=origin,
        entries=0 if newest is None else newest.head.size,
        checkpoint_at=None if newest is None else newest.completed_at,
        anchored_at=None if newest is None else newest.anchored_at,
        anchor_error=None if newest is None else newest.anchor_error,
        waiting=count_waiting(tx),
    )
