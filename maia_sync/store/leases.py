"""Who may walk a task now?

The contract. A lease is a row's columns: `lease_owner` (one worker, unique per process start),
`lease_acquired_at`, `lease_expires_at`, and `lease_epoch`, a number that only grows. Times are the
transaction's: PostgreSQL's clock for all workers, this machine's on SQLite.

    free ──acquire, claim──▶ held(owner, epoch+1) ──release, finish──▶ free
                               │        ▲    │
                               │        └────┘ page commits (prolong) and heartbeats renew
                               └─expires, then another worker takes it─▶ held(other, epoch+2)

- `acquire` takes the leases of named tasks, `claim` those of the tasks that are due, the longest due first.
  Both are one conditional UPDATE that succeeds only where a lease is free or has expired. Claims of
  several workers pass each other by (FOR UPDATE SKIP LOCKED on PostgreSQL; SQLite has one writer).
- `prove` is the first statement of every transaction that writes pages. It names owner and epoch; if
  another worker has taken a task since, it does not find it, raises LeaseLost and so undoes the
  transaction: a worker that was paused beyond its lease writes nothing. An expired lease that
  nobody took is still this worker's.
- The rows stay locked until the transaction ends, so two workers cannot both pass `prove`. `prolong`
  renews, in the same transaction, the leases of walks that go on.
- Whoever waits for several tasks' rows does so in the order of their ids: no two deadlock.
- Between pages, `renew_all` prolongs every lease that the worker holds, at a third of their life.
- `release`, and what notes how a walk ended (see polls.py), name owner and epoch too: they never
  free another worker's lease.
- The epoch that a checkpoint was written under stands beside it: none is overwritten by an older one.

There are no advisory locks: they belong to a session, and behind PgBouncer nobody owns one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
from sqlalchemy import ARRAY, any_, bindparam, or_, select, text, update

from maia_sync.errors import LeaseLost
from maia_sync.model import Lease, PollState
from maia_sync.store.schema import task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import Column, ColumnElement, Row, TextClause

    from maia_sync.store.database import Transaction

ClaimKind: TypeAlias = Literal["poll", "reconcile"]

_OURS = (
    (task.c.task_id == bindparam("of_task"))
    & (task.c.lease_owner == bindparam("of_owner"))
    & (task.c.lease_epoch == bindparam("of_epoch"))
)
_FREE = or_(task.c.lease_owner.is_(None), task.c.lease_expires_at < bindparam("moment"))
_STATE = (
    task.c.task_id,
    task.c.lease_epoch,
    task.c.status,
    task.c.poll_interval,
    task.c.failures,
    task.c.times_missing,
    task.c.next_poll_at,
)
_TAKEN = {
    "lease_owner": bindparam("new_owner"),
    "lease_acquired_at": bindparam("moment"),
    "lease_expires_at": bindparam("until"),
    "lease_epoch": task.c.lease_epoch + 1,
}
_GIVEN_BACK: dict[str, Any] = {"lease_owner": None, "lease_acquired_at": None, "lease_expires_at": None}
# Made once: building a statement anew for every page costs more than executing it.
_RENEW = update(task).where(_OURS).values(lease_expires_at=bindparam("until"))
_PROVE = {
    False: "SELECT task_id, lease_epoch, archived FROM task"
    " WHERE task_id IN (SELECT value FROM json_each(?)) AND lease_owner = ?",
    True: "SELECT task_id::text, lease_epoch, archived FROM task"
    " WHERE task_id = ANY(%s::uuid[]) AND lease_owner = %s FOR UPDATE",
}
"""By whether the database is PostgreSQL; in the driver's own words, which costs a fifth of SQLAlchemy's."""
_PROLONG = {
    False: "UPDATE task SET lease_expires_at = ? WHERE task_id IN (SELECT value FROM json_each(?))",
    True: "UPDATE task SET lease_expires_at = %s WHERE task_id = ANY(%s::uuid[])",
}
_RELEASE = update(task).where(_OURS).values(_GIVEN_BACK)
_DUE_COLUMN: dict[ClaimKind, Column[Any]] = {
    "poll": task.c.next_poll_at,
    "reconcile": task.c.next_reconcile_at,
}


def among_tasks(column: Column[Any], *, is_postgresql: bool) -> ColumnElement[bool] | TextClause:
    """Return the condition that a column is one of `of_tasks`, which are given by `ids_of`.

    An IN with a parameter for each would be written anew for each execution.
    """
    if is_postgresql:
        return column == any_(bindparam("of_tasks", type_=ARRAY(column.type)))
    return text(f"{column} IN (SELECT value FROM json_each(:of_tasks))")


def _acquire_if(available: Any, *, is_postgresql: bool, waits: bool) -> Any:
    """Return the statement that takes the leases of named tasks."""
    named_ones = (
        select(task.c.task_id)
        .where(among_tasks(task.c.task_id, is_postgresql=is_postgresql), available)
        .with_for_update(skip_locked=not waits)
        .cte("named")
    )
    return (
        update(task)
        .where(task.c.task_id.in_(select(named_ones.c.task_id)), available)
        .values(_TAKEN)
        .returning(*_STATE)
    )


def _claim_of(kind: ClaimKind) -> Any:
    """Return the statement of a claim.

    Tasks that are not polled have NULL in both columns, so that the column's index alone leads to
    those that are due, in their order.
    """
    column = _DUE_COLUMN[kind]
    due = (
        select(task.c.task_id)
        .where(column <= bindparam("due_at"), _FREE)
        .order_by(column)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    return (
        update(task).where(task.c.task_id.in_(select(due.c.task_id)), _FREE).values(_TAKEN).returning(*_STATE)
    )


def _next_due_of(kind: ClaimKind) -> Any:
    column = _DUE_COLUMN[kind]
    return select(column).where(column.is_not(None), _FREE).order_by(column).limit(1)


_ACQUIRE = {
    (is_postgresql, again, waits): _acquire_if(
        or_(_FREE, task.c.lease_owner == bindparam("new_owner")) if again else _FREE,
        is_postgresql=is_postgresql,
        waits=waits,
    )
    for is_postgresql in (False, True)
    for again in (False, True)
    for waits in (False, True)
}
"""By whether the database is PostgreSQL, leases that are this worker's already are taken again, and rows that
others lock are waited for."""
_CLAIM = {kind: _claim_of(kind) for kind in _DUE_COLUMN}
_NEXT_DUE = {kind: _next_due_of(kind) for kind in _DUE_COLUMN}


def acquire_leases(
    tx: Transaction, task_ids: Sequence[str], owner: str, seconds: float, *, again: bool = False
) -> list[Lease]:
    """Take those of the tasks' leases that are free or expired; another worker holds the others.

    Of several, a row that somebody locks just now is passed by too, as nobody waits for one row while locking
    others: ask for that task alone.

    `again`: also those that are this worker's already, as nobody knows whether it has taken them just now.
    """
    values = {"of_tasks": ids_of(tx, task_ids), **_taking(tx, owner, seconds)}
    found = tx.connection.execute(_ACQUIRE[tx.is_postgresql, again, len(task_ids) == 1], values)
    return [_lease_from_row(row, owner) for row in found]


def claim_due(
    tx: Transaction, kind: ClaimKind, owner: str, seconds: float, *, most: int, due_at: datetime | None = None
) -> list[Lease]:
    """Take the leases of at most so many tasks that are due, the longest due first.

    `due_at`: what was due by then; None: by now.
    """
    values = {"due_at": due_at or tx.now, "most": most, **_taking(tx, owner, seconds)}
    rows = tx.connection.execute(_CLAIM[kind], values).all()
    far = tx.now + timedelta(days=1)
    return [_lease_from_row(row, owner) for row in sorted(rows, key=lambda row: row.next_poll_at or far)]


def read_next_due(tx: Transaction, kind: ClaimKind) -> datetime | None:
    """Return when the next task that nobody holds is due; None if none ever is."""
    moment: datetime | None = tx.connection.execute(_NEXT_DUE[kind], {"moment": tx.now}).scalar()
    return moment


def prove_leases(tx: Transaction, leases: Sequence[Lease]) -> list[bool]:
    """Prove that one worker's leases are still its own, and keep them so until the end. Raises LeaseLost.

    Several at once cannot be proven while somebody else locks one of their rows, and count as lost then: no
    page waits for another task's row, nor can two transactions wait for each other. One alone waits.

    Returns, for each, whether what happens to the task is noted for its archive (see `archive_journal.py`).
    """
    values = (ids_of(tx, [lease.task_id for lease in leases]), leases[0].owner)
    statement = _PROVE[tx.is_postgresql]
    if tx.is_postgresql and len(leases) > 1:
        statement += " SKIP LOCKED"
    found = tx.connection.exec_driver_sql(statement, values).all()
    archived = {(task_id, epoch): bool(noted) for task_id, epoch, noted in found}
    try:
        return [archived[lease.task_id, lease.epoch] for lease in leases]
    except KeyError:
        raise lost() from None


def prolong_leases(tx: Transaction, leases: Sequence[Lease], seconds: float) -> None:
    """Prolong leases that were proven in this transaction."""
    if leases:
        until = tx.driver_moment(tx.now + timedelta(seconds=seconds))
        task_ids = ids_of(tx, [lease.task_id for lease in leases])
        tx.connection.exec_driver_sql(_PROLONG[tx.is_postgresql], (until, task_ids))


def renew_all(tx: Transaction, leases: Iterable[Lease], seconds: float) -> list[Lease]:
    """Prolong leases; return those that are not this worker's any more.

    In the order of their ids (see above).
    """
    until = tx.now + timedelta(seconds=seconds)
    return [
        lease
        for lease in sorted(leases, key=lambda lease: lease.task_id)
        if tx.connection.execute(_RENEW, {**named(lease), "until": until}).rowcount != 1
    ]


def release_lease(tx: Transaction, lease: Lease) -> bool:
    """Give the lease back; False if it was no longer ours."""
    return tx.connection.execute(_RELEASE, named(lease)).rowcount == 1


def is_still_held(tx: Transaction, lease: Lease) -> bool:
    """Tell whether the lease is held still, or was given back. Raises LeaseLost if it is another's."""
    statement = select(task.c.lease_owner, task.c.lease_epoch).where(task.c.task_id == lease.task_id)
    row = tx.connection.execute(statement).one_or_none()
    if row is None or row.lease_epoch != lease.epoch or row.lease_owner not in (None, lease.owner):
        raise lost()
    return row.lease_owner is not None


def ids_of(tx: Transaction, task_ids: Sequence[str]) -> Any:
    """Return ids of tasks as one parameter: an array, or JSON on SQLite."""
    return list(task_ids) if tx.is_postgresql else msgspec.json.encode(task_ids).decode()


def named(lease: Lease) -> dict[str, Any]:
    """Return the parameters that name a lease in a statement: task, owner and epoch."""
    return {"of_task": lease.task_id, "of_owner": lease.owner, "of_epoch": lease.epoch}


def lost() -> LeaseLost:
    """Return the error for a lease that has gone to another worker."""
    return LeaseLost("another worker has taken this task in the meantime; it goes on there")


def _taking(tx: Transaction, owner: str, seconds: float) -> dict[str, Any]:
    return {"moment": tx.now, "new_owner": owner, "until": tx.now + timedelta(seconds=seconds)}


def _lease_from_row(row: Row[Any], owner: str) -> Lease:
    state = PollState(
        status=row.status,
        poll_interval=row.poll_interval,
        failures=row.failures,
        times_missing=row.times_missing,
        next_poll_at=row.next_poll_at,
    )
    return Lease(task_id=row.task_id, owner=owner, epoch=row.lease_epoch, state=state)
