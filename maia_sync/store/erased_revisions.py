"""Which rows had a payload once that was erased since? Their earlier revisions tell, by keyed digests.

A table of few rows says which tasks anything was erased of: for the others nothing more is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, exists, func, select

from maia_sync.store.digest_key import KEY_BYTES, KEYED_BYTES
from maia_sync.store.schema import archive_erasure, task_event_revision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.model import EventKey
    from maia_sync.store.database import Transaction

_CHUNK = 400
_columns = task_event_revision.c
_WAS_ERASED = select(exists().where(archive_erasure.c.task_id == bindparam("of_task")))
_OF_KEY = (
    (_columns.task_id == bindparam("of_task"))
    & (_columns.group_id == bindparam("of_group"))
    & (_columns.timestamp == bindparam("of_timestamp"))
    & _columns.erased_at.is_not(None)
)
_ANY = select(_columns.digest).where(_OF_KEY, func.length(_columns.digest) == KEYED_BYTES).limit(1)
_BY_ANOTHER = _ANY.where(func.substr(_columns.digest, 1, KEYED_BYTES - KEY_BYTES) != bindparam("key_id"))
_OF_DIGESTS = select(_columns.digest, _columns.ordinal).where(
    _OF_KEY, _columns.digest.in_(bindparam("digests", expanding=True))
)


def was_anything_erased(tx: Transaction, task_id: str) -> bool:
    """Tell whether there was an erasure of a task."""
    return bool(tx.connection.execute(_WAS_ERASED, {"of_task": task_id}).scalar_one())


def read_erased_digest(
    tx: Transaction, task_id: str, key: EventKey, *, not_by: bytes | None = None
) -> bytes | None:
    """Return the keyed digest of an earlier payload under a key that was erased; None if there is none.

    With the id of a digest key: one that another has made.
    """
    statement, values = (_ANY, {}) if not_by is None else (_BY_ANOTHER, {"key_id": not_by})
    found: bytes | None = tx.connection.execute(statement, {**_values(task_id, key), **values}).scalar()
    return found


def read_erased_ordinals(
    tx: Transaction, task_id: str, key: EventKey, digests: Sequence[bytes]
) -> dict[bytes, int]:
    """Return which row of a key had the erased payload of each of these keyed digests."""
    found: dict[bytes, int] = {}
    for at in range(0, len(digests), _CHUNK):
        values = {**_values(task_id, key), "digests": digests[at : at + _CHUNK]}
        found.update(
            (bytes(digest), ordinal) for digest, ordinal in tx.connection.execute(_OF_DIGESTS, values)
        )
    return found


def _values(task_id: str, key: EventKey) -> dict[str, Any]:
    return {"of_task": task_id, "of_group": key[0], "of_timestamp": key[1]}
