"""Are claims and bookkeeping led by indexes among 100,000 idle tasks? Every statement's plan is looked at."""

from __future__ import annotations

import re
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from test_standing import crowd  # noqa: F401 - a fixture

from maia_sync.service.polling import AdaptivePolling
from maia_sync.store.leases import (
    acquire_leases,
    claim_due,
    prolong_leases,
    prove_leases,
    read_next_due,
    release_lease,
    renew_all,
)
from maia_sync.store.polls import Finish, fail_walk, finish_walks, give_way
from maia_sync.store.tasks import heat, read_task_ids

if TYPE_CHECKING:
    from maia_sync.store.database import Database, Transaction

PLANNER = AdaptivePolling(min_interval=10, max_interval=900, reconcile=7e5, random=Random(1))


class UndoneError(Exception):
    """Ends a transaction that nobody wants."""


def work_of_a_tick(tx: Transaction) -> None:
    """Do what a tick, a heartbeat and the ends of walks do."""
    read_next_due(tx, "reconcile")
    assert claim_due(tx, "reconcile", "one", 60, most=8) == []
    assert read_next_due(tx, "poll") is not None
    leases = claim_due(tx, "poll", "one", 60, most=8)
    assert len(leases) == 8
    first, second, third, *others = leases
    assert prove_leases(tx, leases) == [False] * 8
    prolong_leases(tx, leases, 60)
    assert renew_all(tx, others, 60) == []
    plan = PLANNER.after_walk(first.state, "quiet")
    finish_walks(tx, [Finish(first, plan, news=True, reconciled=False, until_reconcile=7e5)])
    assert fail_walk(tx, second, plan, "it failed", until_reconcile=None)
    give_way(tx, third, polling=True)
    assert release_lease(tx, others[0])
    assert acquire_leases(tx, [others[0].task_id], "one", 60)
    assert heat(tx, [first.task_id]) == 1
    read_task_ids(tx, ["active"], after=first.task_id, limit=500)


def test_no_statement_of_a_tick_scans_100000_tasks(crowd: Database) -> None:  # noqa: F811 - pytest's way
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool) -> None:
        del cursor, context
        driver = connection.connection.driver_connection
        (values,) = values if many else (values,)
        if not re.search(r"\btask\b", statement):
            return
        how = "EXPLAIN" if crowd.is_postgresql else "EXPLAIN QUERY PLAN"
        rows = driver.execute(f"{how} {statement}", values).fetchall()
        plans.append("\n".join([statement, *(str(row[-1]) for row in rows)]))

    event.listen(crowd.engine, "before_cursor_execute", explain)
    try:
        with suppress(UndoneError), crowd.transaction() as tx:
            work_of_a_tick(tx)
            raise UndoneError
    finally:
        event.remove(crowd.engine, "before_cursor_execute", explain)
    assert len(plans) >= 14
    for plan in plans:
        assert not re.search(r"Seq Scan on task|\bSCAN task(?! USING)", plan), plan
