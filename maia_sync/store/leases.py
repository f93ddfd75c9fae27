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
- `release` (and `tasks.finish_walk`, which notes a success with it) names owner and epoch too: it
  never frees another worker's lease.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, or_, update

from maia_sync.errors import LeaseLost
from maia_sync.model import Lease
from maia_sync.store.schema import task

if TYPE_CHECKING:
    from maia_sync.store.database import Transaction


_OURS = (
    (task.c.task_id == bindparam("of_task"))
    & (task.c.lease_owner == bindparam("of_owner"))
    & (task.c.lease_epoch == bindparam("of_epoch"))
)
# Made once: building a statement anew for every page costs more than executing it.
_ACQUIRE = (
    update(task)
    .where(
        task.c.task_id == bindparam("of_task"),
        or_(task.c.lease_owner.is_(None), task.c.lease_expires_at < bindparam("moment")),
    )
    .values(
        lease_owner=bindparam("new_owner"),
        lease_expires_at=bindparam("until"),
        lease_epoch=task.c.lease_epoch + 1,
    )
    .returning(task.c.lease_epoch)
)
_RENEW = update(task).where(_OURS).values(lease_expires_at=bindparam("until"))
_RELEASE = update(task).where(_OURS).values(lease_owner=None, lease_expires_at=None)


def acquire_lease(tx: Transaction, task_id: str, owner: str, seconds: float) -> Lease | None:
    """Take the task's lease if it is free or expired; None if another worker holds it."""
    until = tx.now + timedelta(seconds=seconds)
    values = {"of_task": task_id, "moment": tx.now, "new_owner": owner, "until": until}
    epoch = tx.connection.execute(_ACQUIRE, values).scalar()
    return None if epoch is None else Lease(task_id=task_id, owner=owner, epoch=epoch)


def renew_lease(tx: Transaction, lease: Lease, seconds: float) -> None:
    """Prove that the lease is still this worker's, and prolong it. Raises LeaseLost."""
    values = {**_named(lease), "until": tx.now + timedelta(seconds=seconds)}
    if tx.connection.execute(_RENEW, values).rowcount != 1:
        raise LeaseLost("another worker has taken this task in the meantime; it goes on there")


def release_lease(tx: Transaction, lease: Lease) -> bool:
    """Give the lease back; False if it was no longer ours."""
    return tx.connection.execute(_RELEASE, _named(lease)).rowcount == 1


def _named(lease: Lease) -> dict[str, Any]:
    return {"of_task": lease.task_id, "of_owner": lease.owner, "of_epoch": lease.epoch}
