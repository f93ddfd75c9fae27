"""Which elements could not be stored as events, and why? Their bytes are kept as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select

from maia_sync.store.digest_key import KEYED_BYTES
from maia_sync.store.schema import quarantine
from maia_sync.store.upserting import upserting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.model import Quarantined
    from maia_sync.store.database import Transaction

_columns = quarantine.c
_KEYED = (
    select(_columns.digest)
    .where(
        _columns.task_id == bindparam("of_task"),
        _columns.pruned_at.is_not(None),
        func.length(_columns.digest) == KEYED_BYTES,  # else it was gone when it was archived
    )
    .limit(1)
)


def insert_quarantined(
    tx: Transaction, task_id: str, elements: Sequence[Quarantined], run_id: int | None
) -> int:
    """Keep elements, each distinct one once per task; returns how many were not kept yet.

    Those that were kept and removed since are not kept again. Raises DigestKeyMissing if that cannot be told.
    """
    if not elements:
        return 0
    keyed = _keyed_digest(tx, task_id)
    insert = upserting(tx)
    kept = 0
    for element in elements:
        if keyed is not None and _was_removed(tx, task_id, element, keyed):
            continue
        statement = (
            insert(quarantine)
            .values(
                task_id=task_id,
                digest=element.digest,
                run_id=run_id,
                quarantined_at=tx.now,
                reason=element.reason,
                raw=element.raw,
            )
            .on_conflict_do_nothing()
            .returning(quarantine.c.id)
        )
        kept += tx.connection.execute(statement).first() is not None
    return kept


def is_quarantined(tx: Transaction, task_id: str, element: Quarantined) -> bool:
    """Tell whether the task's quarantine holds these very bytes, or did until they were removed."""
    keyed = _keyed_digest(tx, task_id)
    if keyed is not None and _was_removed(tx, task_id, element, keyed):
        return True
    statement = select(_columns.raw).where(_columns.task_id == task_id, _columns.digest == element.digest)
    return tx.connection.execute(statement).scalar() == element.raw


def _keyed_digest(tx: Transaction, task_id: str) -> bytes | None:
    """Return a digest that stands in place of an element that was removed; None if none was."""
    found: bytes | None = tx.connection.execute(_KEYED, {"of_task": task_id}).scalar()
    return found


def _was_removed(tx: Transaction, task_id: str, element: Quarantined, keyed: bytes) -> bool:
    digest = tx.digest_key.require(keyed).of(element.digest)
    statement = select(_columns.id).where(_columns.task_id == task_id, _columns.digest == digest)
    return tx.connection.execute(statement).first() is not None


def count_quarantined(tx: Transaction, task_id: str | None = None) -> int:
    """Return how many elements are in quarantine, of one task or of all."""
    statement = select(func.count()).select_from(quarantine)
    if task_id is not None:
        statement = statement.where(quarantine.c.task_id == task_id)
    return int(tx.connection.execute(statement).scalar_one())
