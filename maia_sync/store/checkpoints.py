"""Where does a task's next poll start, and where does its reconcile stand?

The checkpoint moves in the transaction that writes the page's events, by compare-and-set on the
epoch: a checkpoint that was written under a newer lease is never overwritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import bindparam, select, update

from maia_sync.errors import LeaseLost
from maia_sync.model import Checkpoint, Cursor, Gap, Lease, Reconcile, SeenRows
from maia_sync.store.leases import among_tasks, ids_of
from maia_sync.store.schema import checkpoint
from maia_sync.store.upserting import upserting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from maia_sync.store.database import Transaction


_READ = {
    is_postgresql: select(checkpoint).where(among_tasks(checkpoint.c.task_id, is_postgresql=is_postgresql))
    for is_postgresql in (False, True)
}
"""By whether the database is PostgreSQL."""
_ADVANCE = (
    update(checkpoint)
    .where(checkpoint.c.task_id == bindparam("of_task"), checkpoint.c.epoch <= bindparam("new_epoch"))
    .values(
        {column.name: bindparam(f"new_{column.name}") for column in checkpoint.c if not column.primary_key}
    )
)


def read_checkpoint(tx: Transaction, task_id: str) -> Checkpoint | None:
    """Return the task's checkpoint, or None if it was never walked."""
    of_tasks = {"of_tasks": ids_of(tx, [task_id])}
    row = tx.connection.execute(_READ[tx.is_postgresql], of_tasks).one_or_none()
    return None if row is None else _from_row(row)


def read_checkpoints(tx: Transaction, task_ids: Sequence[str]) -> dict[str, Checkpoint]:
    """Return the tasks' checkpoints; who was never walked has none.

    None at all where one of them cannot be read: that is its task's own trouble, and nobody else's.
    """
    try:
        found = tx.connection.execute(_READ[tx.is_postgresql], {"of_tasks": ids_of(tx, task_ids)})
        return {row.task_id: _from_row(row) for row in found}
    except ValueError:
        return {}


def _from_row(row: Row[Any]) -> Checkpoint:
    reconcile = None
    if row.reconcile_seq is not None:
        reconcile = Reconcile(
            cursor=Cursor(
                page_token=row.reconcile_token, compare_seq=row.reconcile_seq, limit=row.reconcile_limit
            ),
            seen=_read_seen(row.reconcile_seen) or SeenRows(),
            started_at=row.reconcile_started_at,
        )
    return Checkpoint(
        cursor=Cursor(page_token=row.page_token, compare_seq=row.compare_seq, limit=row.page_limit),
        log_order=row.log_order,
        gaps=() if row.gaps is None else msgspec.json.decode(row.gaps, type=tuple[Gap, ...]),
        quiet_polls=row.quiet_polls,
        tail_elements=row.tail_elements,
        end_reached_at=row.end_reached_at,
        reconcile=reconcile,
        doubt=_read_seen(row.reconcile_doubt),
        reconciled_at=row.reconciled_at,
    )


def advance_checkpoint(tx: Transaction, lease: Lease, moved: Checkpoint) -> None:
    """Store the checkpoint under the lease's epoch. Raises LeaseLost if a newer epoch wrote it."""
    values = {**_columns(moved), "epoch": lease.epoch, "updated_at": tx.now}
    named = {f"new_{name}": value for name, value in values.items()} | {"of_task": lease.task_id}
    if tx.connection.execute(_ADVANCE, named).rowcount == 1:
        return
    insert = upserting(tx)
    first = insert(checkpoint).values(task_id=lease.task_id, **values).on_conflict_do_nothing()
    if tx.connection.execute(first.returning(checkpoint.c.task_id)).first() is None:
        raise LeaseLost("another worker has moved this task's checkpoint in the meantime; it goes on there")


def _columns(moved: Checkpoint) -> dict[str, Any]:
    reconcile = moved.reconcile
    return {
        "page_token": moved.cursor.page_token,
        "compare_seq": moved.cursor.compare_seq,
        "page_limit": moved.cursor.limit,
        "log_order": moved.log_order,
        "gaps": msgspec.json.encode(moved.gaps).decode() if moved.gaps else None,
        "quiet_polls": moved.quiet_polls,
        "tail_elements": moved.tail_elements,
        "end_reached_at": moved.end_reached_at,
        "reconcile_token": reconcile.cursor.page_token if reconcile else None,
        "reconcile_seq": reconcile.cursor.compare_seq if reconcile else None,
        "reconcile_limit": reconcile.cursor.limit if reconcile else None,
        "reconcile_seen": _write_seen(reconcile.seen) if reconcile else None,
        "reconcile_started_at": reconcile.started_at if reconcile else None,
        "reconcile_doubt": _write_seen(moved.doubt) if moved.doubt else None,
        "reconciled_at": moved.reconciled_at,
    }


def _write_seen(seen: SeenRows) -> str:
    return msgspec.json.encode(seen).decode()


def _read_seen(text: str | None) -> SeenRows | None:
    return None if text is None else msgspec.json.decode(text, type=SeenRows)
