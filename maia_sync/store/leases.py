"""Who may walk a task now?

The contract. A lease is a row's three columns: `lease_owner` (one worker, unique per process
start), `lease_expires_at`, and `lease_epoch`, a number that only grows. Times are the
transaction's: PostgreSQL's clock for all workers, this machine's on SQLite.

    free ──acquire──▶ held(owner, epoch+1) ──release──▶ free
                        │        ▲    │
                        │        └────┘ every page commit renews
                        └─expires, then another worker acquires─▶ held(other, epoch+2)

- `acquire` is one conditional UPDATE: it succeeds only where the lease is free or has expired.
- `renew` is the first statement of every page's transaction. It names owner and epoch; if
  another worker has acquired the task since, it changes no row, raises LeaseLost and so undoes
  the transaction: a worker that was paused beyond its lease writes nothing. An expired lease that
  nobody took is still this worker's.
- The row stays locked until the transaction ends, so two workers cannot both pass `renew`.
- `release` names owner and epoch too: it never frees another worker's lease.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import or_, update

from maia_sync.errors import LeaseLost
from maia_sync.model import Lease
from maia_sync.store.schema import task

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from maia_sync.store.database import Transaction


def acquire_lease(tx: Transaction, task_id: str, owner: str, seconds: float) -> Lease | None:
    """Take the task's lease if it is free or expired; None if another worker holds it."""
    statement = (
        update(task)
        .where(task.c.task_id == task_id, or_(task.c.lease_owner.is_(None), task.c.lease_expires_at < tx.now))
        .values(
            lease_owner=owner,
            lease_expires_at=tx.now + timedelta(seconds=seconds),
            lease_epoch=task.c.lease_epoch + 1,
        )
        .returning(task.c.lease_epoch)
    )
    epoch = tx.connection.execute(statement).scalar()
    return None if epoch is None else Lease(task_id=task_id, owner=owner, epoch=epoch)


def renew_lease(tx: Transaction, lease: Lease, seconds: float) -> None:
    """Prove that the lease is still this worker's, and prolong it. Raises LeaseLost."""
    statement = (
        update(task).where(_is_ours(lease)).values(lease_expires_at=tx.now + timedelta(seconds=seconds))
    )
    if tx.connection.execute(statement).rowcount != 1:
        raise LeaseLost("another worker has taken this task in the meantime; it goes on there")


def release_lease(tx: Transaction, lease: Lease) -> bool:
    """Give the lease back; False if it was no longer ours."""
    statement = update(task).where(_is_ours(lease)).values(lease_owner=None, lease_expires_at=None)
    return tx.connection.execute(statement).rowcount == 1


def _is_ours(lease: Lease) -> ColumnElement[bool]:
    return (
        (task.c.task_id == lease.task_id)
        & (task.c.lease_owner == lease.owner)
        & (task.c.lease_epoch == lease.epoch)
    )
