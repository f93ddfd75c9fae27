"""With which key was a log begun, and is ours that one? A log goes on with its own key alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.archive.layout import CHECKPOINT
from maia_sync.archive.note import SignedBy, log_key_of
from maia_sync.store import archive_log

if TYPE_CHECKING:
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.store.database import Transaction


def wrong_key(tx: Transaction, place: Place, key: VerifierKey) -> str | None:
    """Tell in a sentence that a key is not the one with which the log was begun; None if it is, or may be.

    The log is the one of which the database knows a checkpoint, or else the one that lies at the place.
    """
    ours = SignedBy(key.name, key.key_id)
    begun_with, otherwise = _known_to(tx), archive_log.ANEW
    if begun_with is None:
        begun_with = log_key_of(place.read(CHECKPOINT) or b"")
        otherwise = f"another place than {place.name}"
    if begun_with is None or begun_with == ours:
        return None
    return (
        f"the key of {ours} is not the key this log was begun with: name that of {begun_with}, or {otherwise}"
    )


def _known_to(tx: Transaction) -> SignedBy | None:
    origin = archive_log.read_origin(tx)
    if origin is None:
        return None
    for status in ("done", "pending"):
        newest = archive_log.last_checkpoint(tx, origin, status)
        if newest is not None:
            return log_key_of(newest.note)
    return None
