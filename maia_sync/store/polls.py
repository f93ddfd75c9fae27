"""How did a task's walk end, and when is the task polled next?

Each of these gives the walk's lease back in the same statement, and names it: if it has gone to
another worker, nothing is noted. What somebody has decided about the task while it was walked counts
more than the plan: a task that was paused stays so, one that was made hot is polled at once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, func, null, update

from maia_sync.model import WALKED_STATUSES
from maia_sync.store.column_types import UtcTimestamp
from maia_sync.store.leases import lost, named
from maia_sync.store.schema import task

if TYPE_CHECKING:
    from maia_sync.model import Lease, NextPoll
    from maia_sync.store.database import Transaction

_OURS = (
    (task.c.task_id == bindparam("of_task"))
    & (task.c.lease_owner == bindparam("of_owner"))
    & (task.c.lease_epoch == bindparam("of_epoch"))
)
_WALKED = task.c.status.in_(WALKED_STATUSES)
_AS_FOUND = task.c.next_poll_at.is_not_distinct_from(bindparam("found", type_=UtcTimestamp))
_RECONCILE_AT: Any = bindparam("reconcile_at", type_=UtcTimestamp)


def _ended(**values: Any) -> Any:
    """Return the statement that notes the end of a walk: lease free, next poll planned, and these values."""
    return (
        update(task)
        .where(_OURS)
        .values(
            lease_owner=None,
            lease_acquired_at=None,
            lease_expires_at=None,
            status=case((_WALKED, bindparam("new_status")), else_=task.c.status),
            next_poll_at=case(
                (~_WALKED, null()),
                (_AS_FOUND, bindparam("poll_at", type_=UtcTimestamp)),
                else_=task.c.next_poll_at,
            ),
            poll_interval=case((_AS_FOUND, bindparam("new_interval")), else_=task.c.poll_interval),
            failures=bindparam("new_failures"),
            times_missing=bindparam("new_times_missing"),
            **values,
        )
    )


def _walked_only(moment: Any) -> Any:
    return case((_WALKED, moment), else_=null())


_SUCCESS: dict[str, Any] = {"last_polled_at": bindparam("moment"), "last_error": None, "last_error_at": None}
_PLANNED = _walked_only(func.coalesce(task.c.next_reconcile_at, _RECONCILE_AT, type_=UtcTimestamp))
_FINISH = _ended(**_SUCCESS, next_reconcile_at=_PLANNED)
_FINISH_WITH_NEWS = _FINISH.values(last_news_at=bindparam("moment"))
_FINISH_RECONCILE = _FINISH.values(next_reconcile_at=_walked_only(_RECONCILE_AT))
_FINISH_RECONCILE_WITH_NEWS = _FINISH_RECONCILE.values(last_news_at=bindparam("moment"))
_FAIL = _ended(last_error=bindparam("sentence"), last_error_at=bindparam("moment"))
_FAIL_RECONCILE = _FAIL.values(next_reconcile_at=_walked_only(_RECONCILE_AT))
_GIVE_WAY = (
    update(task)
    .where(_OURS)
    .values(
        lease_owner=None,
        lease_acquired_at=None,
        lease_expires_at=None,
        next_poll_at=case((~_WALKED, null()), else_=bindparam("moment", type_=UtcTimestamp)),
        failures=0,
        times_missing=0,
        last_error=None,
        last_error_at=None,
        status=case((_WALKED, "active"), else_=task.c.status),
    )
)
_STEP_ASIDE = _GIVE_WAY.values(next_poll_at=task.c.next_poll_at)
_WITH_NEWS = {
    (False, False): _FINISH,
    (False, True): _FINISH_WITH_NEWS,
    (True, False): _FINISH_RECONCILE,
    (True, True): _FINISH_RECONCILE_WITH_NEWS,
}


def finish_walk(
    tx: Transaction,
    lease: Lease,
    next_poll: NextPoll,
    *,
    news: bool,
    reconciled: bool,
    until_reconcile: float,
) -> None:
    """Note that a walk reached the end of its log. Raises LeaseLost.

    `until_reconcile`: in how many seconds the task is reconciled next; counts if this walk
    reconciled it, or if that was not planned yet.
    """
    values = _values(tx, lease, next_poll, until_reconcile)
    if tx.connection.execute(_WITH_NEWS[reconciled, news], values).rowcount != 1:
        raise lost()


def fail_walk(
    tx: Transaction, lease: Lease, next_poll: NextPoll, error: str, *, until_reconcile: float | None
) -> bool:
    """Note why a walk failed; `error` is a sentence without payload or secret.

    `until_reconcile`: of a walk that was to reconcile, in how many seconds it is tried again. Returns
    False, with nothing noted, if the lease is another worker's.
    """
    values = {**_values(tx, lease, next_poll, until_reconcile or 0.0), "sentence": error}
    statement = _FAIL if until_reconcile is None else _FAIL_RECONCILE
    return tx.connection.execute(statement, values).rowcount == 1


def give_way(tx: Transaction, lease: Lease, *, polling: bool) -> None:
    """Note that a walk stops for now though there is more to read. Raises LeaseLost.

    `polling`: the task is due again at once, behind all others that are due; a reconcile is due still.
    """
    statement = _GIVE_WAY if polling else _STEP_ASIDE
    values = named(lease) | ({"moment": tx.now} if polling else {})
    if tx.connection.execute(statement, values).rowcount != 1:
        raise lost()


def _values(tx: Transaction, lease: Lease, next_poll: NextPoll, until_reconcile: float) -> dict[str, Any]:
    return {
        **named(lease),
        "moment": tx.now,
        "found": lease.state.next_poll_at,
        "poll_at": tx.now + timedelta(seconds=next_poll.wait),
        "reconcile_at": tx.now + timedelta(seconds=until_reconcile),
        # A task that was paused when the walk began may have been resumed since: that counts.
        "new_status": next_poll.status if next_poll.status in WALKED_STATUSES else "active",
        "new_interval": next_poll.poll_interval,
        "new_failures": next_poll.failures,
        "new_times_missing": next_poll.times_missing,
    }
