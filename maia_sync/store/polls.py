"""How did a task's walk end, and when is the task polled next?

Each of these gives the walk's lease back in the same statement, and names it: if it has gone to
another worker, nothing is noted. What somebody has decided about the task while it was walked counts
more than the plan: a task that was paused stays so, one that was made hot is polled at once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, case, null, update

from maia_sync.model import WALKED_STATUSES
from maia_sync.store.column_types import UtcTimestamp
from maia_sync.store.leases import lost, named
from maia_sync.store.schema import task

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_IS_WALKED = f"task.status IN ({', '.join(map(repr, WALKED_STATUSES))})"
_FINISH = f"""UPDATE task SET
    lease_owner = NULL, lease_acquired_at = NULL, lease_expires_at = NULL,
    status = CASE WHEN {_IS_WALKED} THEN {{status}} ELSE task.status END,
    next_poll_at = CASE WHEN NOT {_IS_WALKED} THEN NULL
        WHEN task.next_poll_at {{is}} {{found}} THEN {{poll_at}} ELSE task.next_poll_at END,
    poll_interval = CASE WHEN task.next_poll_at {{is}} {{found}} THEN {{poll_interval}}
        ELSE task.poll_interval END,
    failures = {{failures}}, times_missing = {{times_missing}},
    last_polled_at = {{moment}}, last_error = NULL, last_error_at = NULL,
    last_news_at = CASE WHEN {{news}} THEN {{moment}} ELSE task.last_news_at END,
    next_reconcile_at = CASE WHEN NOT {_IS_WALKED} THEN NULL WHEN {{reconciled}} THEN {{reconcile_at}}
        ELSE coalesce(task.next_reconcile_at, {{reconcile_at}}) END
{{walks}}task.task_id = {{task_id}} AND task.lease_owner = {{owner}} AND task.lease_epoch = {{epoch}}"""
_TYPES = {
    "task_id": "uuid",
    "owner": "text",
    "epoch": "bigint",
    "status": "text",
    "found": "timestamptz",
    "poll_at": "timestamptz",
    "poll_interval": "float8",
    "failures": "int",
    "times_missing": "int",
    "moment": "timestamptz",
    "news": "bool",
    "reconciled": "bool",
    "reconcile_at": "timestamptz",
}
"""What is told of a walk that has ended, in the order of the parameters."""
_ARRAYS = ", ".join(f"%s::{kind}[]" for kind in _TYPES.values())
_FINISH_ON = {
    False: _FINISH.format_map({name: f":{name}" for name in _TYPES} | {"is": "IS", "walks": "WHERE "}),
    True: _FINISH.format_map(
        {name: f"walk.{name}" for name in _TYPES}
        | {
            "is": "IS NOT DISTINCT FROM",
            "walks": f"FROM unnest({_ARRAYS}) AS walk ({', '.join(_TYPES)}) WHERE ",
        }
    ),
}
"""By whether the database is PostgreSQL; in the driver's own words, which costs a fifth of SQLAlchemy's."""


class Finish(NamedTuple):
    """A walk that has reached the end of its log, and what is planned for its task."""

    lease: Lease
    next_poll: NextPoll
    news: bool
    reconciled: bool
    until_reconcile: float
    """In how many seconds the task is reconciled next; counts if this walk reconciled it, or if that was not
    planned yet."""


def finish_walks(tx: Transaction, walks: Sequence[Finish]) -> None:
    """Note that walks, each of another task, reached the ends of their logs. Raises LeaseLost."""
    if not walks:
        return
    values = [_values_of(tx, walk) for walk in walks]
    if tx.is_postgresql:
        of_driver: Any = tuple(map(list, zip(*values, strict=True)))
    else:
        of_driver = [dict(zip(_TYPES, told, strict=True)) for told in values]
    if tx.connection.exec_driver_sql(_FINISH_ON[tx.is_postgresql], of_driver).rowcount != len(walks):
        raise lost()


def _values_of(tx: Transaction, walk: Finish) -> tuple[Any, ...]:
    lease, next_poll = walk.lease, walk.next_poll
    return (
        lease.task_id,
        lease.owner,
        lease.epoch,
        _status(next_poll),
        tx.driver_moment(lease.state.next_poll_at),
        tx.driver_moment(tx.now + timedelta(seconds=next_poll.wait)),
        next_poll.poll_interval,
        next_poll.failures,
        next_poll.times_missing,
        tx.driver_moment(tx.now),
        walk.news,
        walk.reconciled,
        tx.driver_moment(tx.now + timedelta(seconds=walk.until_reconcile)),
    )


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
        "new_status": _status(next_poll),
        "new_interval": next_poll.poll_interval,
        "new_failures": next_poll.failures,
        "new_times_missing": next_poll.times_missing,
    }


def _status(next_poll: NextPoll) -> str:
    """Return a walked task's status; one that was paused when the walk began may have been resumed since."""
    return next_poll.status if next_poll.status in WALKED_STATUSES else "active"
