"""What must the database keep, what is it rid of, and what will go next? A few numbers, no scan of rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from maia_sync.store.holds import count_holds
from maia_sync.store.pruning import PruneRow, count_come_of_age, count_unscrubbed, read_last_prune

if TYPE_CHECKING:
    from maia_sync.store.database import Transaction


class RetentionStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How long payloads stay, and what became of those that are older."""

    retention_seconds: float | None
    """archive.retention; None: nothing is pruned by itself."""
    prunes_before: datetime | None
    """What is older than this would be pruned now."""
    come_of_age: int | None
    """Events that have, by when they occurred, since the last prune; at most pruning.MOST_COUNTED."""
    last_prune: PruneRow | None
    holds: int
    """Legal holds that are in force."""
    unfinished_erasures: int
    """Erasures after which free pages of the database may still hold what was erased."""


def read_retention_standing(tx: Transaction, retention: float | None) -> RetentionStanding:
    """Return how it stands; `retention` in seconds."""
    before = None if retention is None else tx.now - timedelta(seconds=retention)
    return RetentionStanding(
        retention_seconds=retention,
        prunes_before=before,
        come_of_age=None if before is None else count_come_of_age(tx, before),
        last_prune=read_last_prune(tx),
        holds=count_holds(tx),
        unfinished_erasures=count_unscrubbed(tx),
    )
