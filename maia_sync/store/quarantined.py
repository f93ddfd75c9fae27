"""Which elements could not be stored as events, and why? Their bytes are kept as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from maia_sync.store.schema import quarantine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.model import Quarantined
    from maia_sync.store.database import Transaction


def insert_quarantined(
    tx: Transaction, task_id: str, elements: Sequence[Quarantined], run_id: int | None
) -> int:
    """Keep elements, each distinct one once per task; returns how many were not kept yet."""
    insert = postgresql.insert if tx.is_postgresql else sqlite.insert
    kept = 0
    for element in elements:
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
    """Tell whether the task's quarantine holds these very bytes."""
    statement = select(quarantine.c.raw).where(
        quarantine.c.task_id == task_id, quarantine.c.digest == element.digest
    )
    return tx.connection.execute(statement).scalar() == element.raw


def count_quarantined(tx: Transaction, task_id: str | None = None) -> int:
    """Return how many elements are in quarantine, of one task or of all."""
    statement = select(func.count()).select_from(quarantine)
    if task_id is not None:
        statement = statement.where(quarantine.c.task_id == task_id)
    return int(tx.connection.execute(statement).scalar_one())
