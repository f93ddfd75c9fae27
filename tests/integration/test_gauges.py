"""Are the gauges right, and do they stay cheap however many idle tasks there are?"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text, update

from maia_sync.clock import ManualClock
from maia_sync.store import gauges as gauges_module
from maia_sync.store.database import Database
from maia_sync.store.gauges import read_gauges
from maia_sync.store.schema import quarantine, task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.store.database import Transaction
    from maia_sync.store.gauges import Gauges

MANY = 100_000
DAY = timedelta(days=1)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    opened = Database(url=url, clock=ManualClock(datetime(2026, 6, 1, tzinfo=UTC)))
    yield opened
    opened.close()


def add(tx: Transaction, number: int, **columns: Any) -> None:
    task_id = f"{number:08d}-1111-4111-8111-111111111111"
    tx.connection.execute(
        task.insert().values(**{"task_id": task_id, "status": "active", "tracked_at": tx.now, **columns})
    )


def read(database: Database, max_lag: float = 1800) -> Gauges:
    with database.transaction(write=False) as tx:
        return read_gauges(tx, max_lag_seconds=max_lag, worker="me:1")


def test_an_empty_database_has_nothing_to_tell(database: Database) -> None:
    gauges = read(database)
    assert gauges.tasks == dict.fromkeys(("active", "paused", "forbidden", "missing", "untracked"), 0)
    assert (gauges.due, gauges.failing, gauges.over_max_lag, gauges.largest_lag_seconds) == (0, 0, 0, 0.0)
    assert gauges.database_bytes > 10_000


def test_tasks_are_counted_by_status_and_what_is_due_is_what_nobody_walks(database: Database) -> None:
    minute = timedelta(minutes=1)
    with database.transaction() as tx:
        past, future = tx.now - minute, tx.now + minute
        add(tx, 1, next_poll_at=past, next_reconcile_at=future)
        add(tx, 2, next_poll_at=future, next_reconcile_at=past)
        add(tx, 3, next_poll_at=past, next_reconcile_at=past, lease_owner="me:1", lease_expires_at=future)
        add(tx, 4, next_poll_at=past, lease_owner="other:2", lease_expires_at=future)
        add(tx, 5, next_poll_at=past, lease_owner="gone:3", lease_expires_at=past)
        add(tx, 6, status="forbidden", next_poll_at=past, last_error="403", last_error_at=past)
        add(tx, 7, status="paused")
        add(tx, 8, status="untracked", last_error="old", last_error_at=past)
        add(tx, 9, status="missing", next_poll_at=future)
    gauges = read(database)
    assert gauges.tasks == {"active": 5, "forbidden": 1, "missing": 1, "paused": 1, "untracked": 1}
    assert gauges.due == 3
    assert gauges.reconciles_due == 1
    assert (gauges.leases_of_this_worker, gauges.leases_of_others) == (1, 1)
    assert gauges.failing == 1


def test_lag_is_of_active_tasks_since_they_were_last_known_complete(database: Database) -> None:
    with database.transaction() as tx:
        hour = timedelta(hours=1)
        add(tx, 1, tracked_at=tx.now - DAY, last_polled_at=tx.now - timedelta(minutes=5))
        add(tx, 2, tracked_at=tx.now - DAY, last_polled_at=tx.now - 2 * hour)
        add(tx, 3, tracked_at=tx.now - hour)
        add(tx, 4, tracked_at=tx.now)
        for number, status in enumerate(("paused", "untracked", "forbidden", "missing"), 5):
            add(tx, number, status=status, tracked_at=tx.now - DAY, last_polled_at=tx.now - DAY)
    gauges = read(database)
    assert gauges.over_max_lag == 2
    assert gauges.largest_lag_seconds == pytest.approx(7200, abs=60)
    assert read(database, max_lag=60).over_max_lag == 3
    with database.transaction() as tx:
        tx.connection.execute(update(task).values(last_polled_at=tx.now + DAY))  # a clock that was wrong
    assert read(database).largest_lag_seconds == 0


def test_a_task_that_was_never_polled_has_the_largest_lag_since_it_is_tracked(database: Database) -> None:
    with database.transaction() as tx:
        add(tx, 1, tracked_at=tx.now - 2 * DAY)
        add(tx, 2, tracked_at=tx.now - 3 * DAY)
        add(tx, 3, tracked_at=tx.now - 9 * DAY, last_polled_at=tx.now - DAY)
    assert read(database).largest_lag_seconds == pytest.approx(3 * 86_400, abs=60)


def test_quarantine_is_counted_up_to_a_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.transaction() as tx:
        for number in range(5):
            values = {"digest": bytes([number]), "raw": b"x", "reason": "odd", "quarantined_at": tx.now}
            tx.connection.execute(
                quarantine.insert().values(task_id="00000001-1111-4111-8111-111111111111", **values)
            )
    assert read(database).quarantined == 5
    monkeypatch.setattr(gauges_module, "MOST_QUARANTINED", 3)
    monkeypatch.setattr(gauges_module, "_COUNTS", gauges_module._counts())
    assert read(database).quarantined == 3


def test_the_planner_of_others_is_left_as_it_was(database: Database) -> None:
    with database.transaction(write=False) as tx:
        read_gauges(tx, max_lag_seconds=1, worker="me")
        if tx.is_postgresql:
            assert tx.connection.execute(text("SHOW enable_seqscan")).scalar_one() == "on"


def test_with_100_000_idle_tasks_no_gauge_scans_the_table(database: Database) -> None:
    add_many(database)
    if database.is_postgresql:  # on SQLite nobody ever does; its planner must find the way without
        with database.transaction() as tx:
            tx.connection.execute(text("ANALYZE task"))
    gauges = read(database)
    assert (gauges.tasks["active"], gauges.due, gauges.over_max_lag) == (MANY, 0, 0)
    tables_scanned, indexes = (postgresql_plan if database.is_postgresql else sqlite_plan)(database)
    assert tables_scanned == set()
    assert {
        "ix_task_status_last_polled_at_tracked_at",
        "ix_task_next_poll_at",
        "ix_task_next_reconcile_at",
        "ix_task_lease_owner",
        "ix_task_last_error_at",
    } <= indexes


def add_many(database: Database) -> None:
    """Add idle tasks, in one statement."""
    with database.transaction() as tx:
        name = "printf('%08x-1111-4111-8111-111111111111', n)"
        numbers = (
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :many)"
        )
        if tx.is_postgresql:
            name = "(lpad(to_hex(n), 8, '0') || '-1111-4111-8111-111111111111')::uuid"
            numbers = "WITH numbers AS (SELECT n FROM generate_series(1, :many) n)"
        moments = {"then": tx.now - DAY, "lately": tx.now, "soon": tx.now + timedelta(hours=1)}
        if not tx.is_postgresql:
            moments = {name: f"{moment:%Y-%m-%d %H:%M:%S.%f}" for name, moment in moments.items()}
        tx.connection.execute(
            text(
                "INSERT INTO task (task_id, status, tracked_at, last_polled_at, next_poll_at, "
                f"next_reconcile_at, poll_interval) {numbers} "
                f"SELECT {name}, 'active', :then, :lately, :soon, :soon, 900 FROM numbers"
            ),
            {"many": MANY, **moments},
        )


def explained(database: Database, explain: str) -> list[Any]:
    """Return the plans of the statements that read_gauges sends, under the settings it makes."""
    from sqlalchemy import event

    plans: list[Any] = []

    def explain_too(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT") and "FROM task" in statement:
            other = connection.connection.cursor()
            other.execute(f"{explain} {statement}", parameters)
            plans.extend(other.fetchall())

    event.listen(database.engine, "before_cursor_execute", explain_too)
    try:
        read(database)
    finally:
        event.remove(database.engine, "before_cursor_execute", explain_too)
    assert plans
    return plans


def postgresql_plan(database: Database) -> tuple[set[str], set[str]]:
    """Return which tables of tasks are scanned, and which indexes are used."""
    nodes: list[dict[str, Any]] = []

    def walk(node: dict[str, Any]) -> None:
        nodes.append(node)
        for below in node.get("Plans", ()):
            walk(below)

    for (plan,) in explained(database, "EXPLAIN (FORMAT JSON)"):
        walk((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
    scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    return scanned & {"task"}, {node["Index Name"] for node in nodes if "Index Name" in node}


def sqlite_plan(database: Database) -> tuple[set[str], set[str]]:
    """Return which tables of tasks are scanned, and which indexes are used."""
    details = [row[-1] for row in explained(database, "EXPLAIN QUERY PLAN")]
    scanned = {line for line in details if line.startswith("SCAN task") and "INDEX" not in line}
    return scanned, {word for line in details for word in line.split() if word.startswith("ix_task")}
