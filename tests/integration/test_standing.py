"""How the copy stands: told rightly, and without reading 100,000 idle tasks for it."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import event, insert, text

from maia_sync.clock import SystemClock
from maia_sync.store.database import Database
from maia_sync.store.schema import checkpoint, quarantine, task, task_event
from maia_sync.store.standing import Standing, read_stale_ids, read_staleness, read_standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from maia_sync.store.database import Transaction

HALF_AN_HOUR = 1800.0
MOST_ROWS = 1100
MOST_STEPS = 150_000
"""Of SQLite's machine, for one statement; to read 100,000 tasks takes several times as many."""


def name_of(number: int) -> str:
    return str(UUID(int=number, version=4))


# ------------------------------------------------------------------ 100,000 idle tasks

CROWD = """
INSERT INTO task (task_id, status, tracked_at, last_polled_at, next_poll_at, next_reconcile_at,
                  failures, last_error, last_error_at, lease_owner, lease_acquired_at, lease_expires_at)
SELECT {task_id},
       CASE WHEN i <= 40 THEN 'forbidden' WHEN i <= 80 THEN 'missing' WHEN i <= 120 THEN 'paused'
            WHEN i <= 160 THEN 'untracked' ELSE 'active' END,
       {long_ago},
       CASE WHEN i % 2000 = 0 THEN NULL WHEN i % 2000 = 1 THEN {long_ago} ELSE {polled} END,
       CASE WHEN i > 80 AND i <= 160 THEN NULL WHEN i % 1000 = 2 THEN {long_ago} ELSE {later} END,
       CASE WHEN i > 80 AND i <= 160 THEN NULL ELSE {later} END,
       0,
       CASE WHEN i <= 80 OR i % 1000 = 3 THEN 'it failed' END,
       CASE WHEN i <= 80 OR i % 1000 = 3 THEN {polled} END,
       CASE WHEN i % 5000 = 4 THEN 'worker' || (i % 3) END,
       CASE WHEN i % 5000 = 4 THEN {polled} END,
       CASE WHEN i % 5000 = 4 THEN {later} END
FROM {numbers}
"""
"""The idle ones were polled within the last quarter of an hour and are due in more than an hour."""
ON_SQLITE = {
    "task_id": "printf('%08x-0000-4000-8000-%012x', i * 7919 % 100003, i)",
    "long_ago": "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-30 days')",
    "polled": "strftime('%Y-%m-%d %H:%M:%f000', 'now', -(i * 0.009) || ' seconds')",
    "later": "strftime('%Y-%m-%d %H:%M:%f000', 'now', (3600 + i * 0.009) || ' seconds')",
    "numbers": "(WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT * FROM n)",
}
ON_POSTGRESQL = {
    "task_id": "md5(i::text)::uuid",
    "long_ago": "now() - interval '30 days'",
    "polled": "now() - i * interval '9 ms'",
    "later": "now() + interval '1 hour' + i * interval '9 ms'",
    "numbers": "generate_series(1, 100000) AS i",
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database with 100,000 tasks, nearly all of them idle; made once, and only read."""
    if request.param == "sqlite":
        migrated: Path = request.getfixturevalue("migrated_sqlite")
        path = tmp_path_factory.mktemp("crowd") / "crowd.db"
        shutil.copyfile(migrated, path)
        url, terms = f"sqlite:///{path}", ON_SQLITE
    else:
        new: Callable[[], str] = request.getfixturevalue("new_postgresql_database")
        url, terms = new().replace("postgresql://", "postgresql+psycopg://", 1), ON_POSTGRESQL
    with closing(Database(url=url, clock=SystemClock())) as database:
        with database.transaction() as tx:
            tx.connection.execute(text(CROWD.format(**terms)))
            if database.is_postgresql:
                tx.connection.execute(text("ANALYZE task"))
        yield database


class Watched:
    """Explains every statement about `task` before it is executed, within its transaction."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.statements = 0
        self.faults: list[str] = []

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        event.listen(self.database.engine, "before_cursor_execute", self._explain)
        try:
            with self.database.transaction(write=False) as tx:
                yield tx
        finally:
            event.remove(self.database.engine, "before_cursor_execute", self._explain)

    def _explain(
        self, connection: Any, cursor: Any, statement: str, values: Any, context: Any, many: bool
    ) -> None:
        del cursor, context, many
        if not re.search(r"\bFROM task\b", statement):
            return
        self.statements += 1
        driver = connection.connection.driver_connection
        counts_all = "GROUP BY task.status" in statement
        look = self._postgresql if self.database.is_postgresql else self._sqlite
        self.faults += [f"{fault}: {statement}" for fault in look(driver, statement, values, counts_all)]

    def _sqlite(self, driver: Any, statement: str, values: Any, counts_all: bool) -> Iterator[str]:
        for *_, detail in driver.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall():
            led = re.search(r"\bSEARCH task USING (COVERING )?INDEX ix_task_", detail)
            counted = counts_all and re.search(r"\bSCAN task USING COVERING INDEX ix_task_", detail)
            if re.search(r"\btask\b", detail) and not led and not counted:
                yield detail
            if "TEMP B-TREE" in detail and "LAST TERM" not in detail and "RIGHT PART" not in detail:
                yield detail
        steps: list[int] = []
        driver.set_progress_handler(lambda: steps.append(1), 1000)
        driver.execute(statement, values).fetchall()
        driver.set_progress_handler(None, 0)
        if not counts_all and len(steps) * 1000 > MOST_STEPS:
            yield f"{len(steps) * 1000} steps"

    def _postgresql(self, driver: Any, statement: str, values: Any, counts_all: bool) -> Iterator[str]:
        explained = driver.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values).fetchone()
        for node in nodes(json.loads(explained[0])[0]["Plan"]):
            if node.get("Relation Name") != "task":
                continue
            kind = node["Node Type"]
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            if counts_all and kind != "Index Only Scan":
                yield kind
            elif not counts_all and (kind == "Seq Scan" or rows > MOST_ROWS):
                yield f"{kind} of {rows} rows"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


@pytest.mark.parametrize("most", [30, 1000])
def test_an_index_leads_to_all_that_status_tells_of_100000_tasks(crowd: Database, most: int) -> None:
    watched = Watched(crowd)
    with watched.transaction() as tx:
        standing = read_standing(tx, max_lag=HALF_AN_HOUR, most=most, with_untracked=True)
        stale = read_stale_ids(tx, max_lag=HALF_AN_HOUR, most=most)
    assert watched.faults == []
    assert watched.statements >= 10
    assert standing.by_status == {
        "active": 99_840,
        "paused": 40,
        "forbidden": 40,
        "missing": 40,
        "untracked": 40,
    }
    assert (standing.staleness.tasks, standing.staleness.never_complete) == (99, 50)
    assert standing.backlog.due == 100
    assert standing.failing == 99
    assert (standing.leases.held, len(standing.leases.holders)) == (20, 3)
    assert len(standing.listed) == most
    assert len(stale) == min(most, 99)


def test_the_check_of_100000_tasks_is_one_query_that_an_index_leads(crowd: Database) -> None:
    watched = Watched(crowd)
    with watched.transaction() as tx:
        staleness = read_staleness(tx, max_lag=HALF_AN_HOUR)
    assert (watched.faults, watched.statements) == ([], 1)
    assert (staleness.tasks, staleness.never_complete) == (99, 50)
    assert (staleness.forbidden, staleness.missing) == (40, 40)


def test_a_scan_would_be_seen(crowd: Database) -> None:
    for statement in (
        "SELECT task.label FROM task WHERE task.label = 'x'",
        "SELECT task.label FROM task WHERE task.status = 'active' ORDER BY task.label LIMIT 3",
        "SELECT count(task.label) FROM task WHERE task.status = 'active'",
    ):
        watched = Watched(crowd)
        with watched.transaction() as tx:
            tx.connection.execute(text(statement)).all()
        assert watched.faults, statement


# ------------------------------------------------------------------ a few tasks


class Few:
    """A database of a few tasks, each with a number for a name and moments in seconds from now."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, number: int, status: str = "active", **values: Any) -> str:
        with self.database.transaction() as tx:
            moments = {
                name: tx.now + timedelta(seconds=value)
                if name.endswith("_at") and value is not None
                else value
                for name, value in {"tracked_at": -9000, "last_polled_at": -60, **values}.items()
            }
            tx.connection.execute(insert(task).values(task_id=name_of(number), status=status, **moments))
        return name_of(number)

    def begin_to_read(self, number: int, events: int) -> None:
        """Store what the first page of a log brings: events and a checkpoint."""
        with self.database.transaction() as tx:
            row = {"task_id": name_of(number), "group_id": "", "ordinal": 0, "digest": b"d", "revision": 0}
            row |= {"first_seen_at": tx.now, "last_changed_at": tx.now}
            rows = [{**row, "timestamp": at, "seq": at, "vanished_at": None} for at in range(events)]
            rows[0]["vanished_at"] = tx.now
            tx.connection.execute(insert(task_event), rows)
            values = {"task_id": name_of(number), "compare_seq": 0, "epoch": 1, "updated_at": tx.now}
            tx.connection.execute(insert(checkpoint).values(values))

    def standing(self, *, most: int = 30, with_untracked: bool = False) -> Standing:
        with self.database.transaction(write=False) as tx:
            return read_standing(tx, max_lag=HALF_AN_HOUR, most=most, with_untracked=with_untracked)

    def listed(self, *, most: int = 30, with_untracked: bool = False) -> list[str]:
        standing = self.standing(most=most, with_untracked=with_untracked)
        return [one.figures.task.task_id for one in standing.listed]


@pytest.fixture
def few(database_url: str) -> Iterator[Few]:
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    with closing(Database(url=url, clock=SystemClock())) as database:
        yield Few(database)


def test_only_active_tasks_can_be_stale(few: Few) -> None:
    few.add(1, last_polled_at=-1200)
    older = few.add(2, last_polled_at=-2500)
    old = few.add(3, last_polled_at=-1900)
    few.add(4, last_polled_at=None, tracked_at=-1200)
    never = few.add(5, last_polled_at=None, tracked_at=-1900)
    few.add(6, last_polled_at=600)
    for number, status in enumerate(("forbidden", "missing", "missing", "paused", "untracked"), 10):
        few.add(number, status, last_polled_at=-9000)
        few.add(number + 10, status, last_polled_at=None)
    with few.database.transaction(write=False) as tx:
        staleness = read_staleness(tx, max_lag=HALF_AN_HOUR)
        assert (staleness.tasks, staleness.never_complete) == (3, 1)
        assert (staleness.forbidden, staleness.missing) == (2, 4)
        assert read_stale_ids(tx, max_lag=HALF_AN_HOUR, most=9) == [never, older, old]
        assert read_stale_ids(tx, max_lag=HALF_AN_HOUR, most=2) == [never, older]
        assert read_stale_ids(tx, max_lag=HALF_AN_HOUR, most=1) == [never]
        assert read_staleness(tx, max_lag=100_000.0).tasks == 0


def test_a_first_read_under_way_is_told_from_one_that_has_not_begun(few: Few) -> None:
    few.add(1, last_polled_at=None)
    few.begin_to_read(1, 5)
    few.add(2, last_polled_at=None)
    few.add(3)
    few.begin_to_read(3, 3)
    listed = {one.figures.task.task_id: one for one in few.standing().listed}
    first_reads = [listed[name_of(number)].first_read for number in (1, 2, 3)]
    assert first_reads == ["under way", "not begun", None]


def test_events_are_counted_over_all_and_for_the_tasks_that_are_listed(few: Few) -> None:
    for number, events in ((1, 5), (2, 3)):
        few.add(number, last_polled_at=-60 * number)
        few.begin_to_read(number, events)
    with few.database.transaction() as tx:
        values = {"task_id": name_of(1), "digest": b"d", "quarantined_at": tx.now, "reason": "r", "raw": b"1"}
        tx.connection.execute(insert(quarantine).values(values))
    standing = few.standing(most=1)
    totals = standing.totals
    assert (totals.events, totals.vanished, totals.revisions, totals.quarantined) == (8, 2, 0, 1)
    (one,) = standing.listed
    assert (one.figures.task.task_id, one.figures.events, one.figures.vanished) == (name_of(2), 3, 1)


def test_freshest_and_stalest_are_active_tasks_in_order(few: Few) -> None:
    for number in range(1, 8):
        few.add(number, last_polled_at=-60 * number)
    never = few.add(8, last_polled_at=None, tracked_at=-10)
    few.add(9, "forbidden", last_polled_at=-8000)
    few.add(10, "missing", last_polled_at=0)
    standing = few.standing()
    assert [one.task_id for one in standing.freshest] == [name_of(number) for number in (1, 2, 3, 4, 5)]
    assert [one.task_id for one in standing.stalest] == [never, *(name_of(number) for number in (7, 6, 5, 4))]


def test_tasks_that_need_a_look_are_listed_first_and_each_once(few: Few) -> None:
    fresh = few.add(1, last_polled_at=-10)
    stale = few.add(2, last_polled_at=-4000)
    failing = few.add(3, last_error="broken", last_error_at=-50)
    failed_later = few.add(4, last_error="broken", last_error_at=-5)
    forbidden = few.add(5, "forbidden", last_error="no", last_error_at=-5)
    missing = few.add(6, "missing", last_error="no", last_error_at=-5)
    paused = few.add(7, "paused", last_error="broken", last_error_at=-5)
    untracked = few.add(8, "untracked", last_error="broken", last_error_at=-5)
    in_order = [failed_later, failing, forbidden, missing, stale, fresh, paused]
    assert few.listed() == in_order
    assert few.listed(with_untracked=True) == [*in_order, untracked]
    assert few.standing().failing == 2


def test_a_crowd_of_failing_tasks_leaves_room_for_the_others(few: Few) -> None:
    for number in range(1, 21):
        few.add(number, last_polled_at=-10, last_error="broken", last_error_at=-5)
        few.add(number + 100, "missing", last_error="gone", last_error_at=-5)
    stale = few.add(300, last_polled_at=-4000)
    listed = few.listed(most=12)
    assert len(set(listed)) == 12
    assert stale in listed
    assert len(few.listed(most=50)) == 41


def test_leases_are_told_with_their_holders_and_those_that_expired(few: Few) -> None:
    held = {"lease_owner": "here", "lease_acquired_at": -100, "lease_expires_at": 500, "next_poll_at": -200}
    few.add(1, **held)
    few.add(2, **{**held, "lease_acquired_at": -50, "lease_expires_at": 400})
    few.add(3, **{**held, "lease_owner": "dead", "lease_acquired_at": -900, "lease_expires_at": -800})
    few.add(4, next_poll_at=1000)
    standing = few.standing()
    leases = standing.leases
    assert (leases.held, leases.expired) == (2, 1)
    assert [(one.worker, one.tasks) for one in leases.holders] == [("dead", 1), ("here", 2)]
    assert [one.task_id for one in leases.tasks] == [name_of(number) for number in (3, 1, 2)]
    here = leases.holders[1]
    assert here.since == leases.tasks[1].lease_acquired_at
    assert here.until == leases.tasks[1].lease_expires_at
    assert here.until > standing.now > leases.holders[0].until


def test_the_backlog_is_what_is_due_and_nobody_holds(few: Few) -> None:
    few.add(1, next_poll_at=-300, next_reconcile_at=-10)
    few.add(2, next_poll_at=-900, lease_owner="w", lease_acquired_at=-5, lease_expires_at=500)
    few.add(3, next_poll_at=-600, lease_owner="w", lease_acquired_at=-500, lease_expires_at=-400)
    few.add(4, next_poll_at=4000, next_reconcile_at=5000)
    few.add(5, next_poll_at=3000)
    few.add(6, "paused", next_poll_at=None)
    standing = few.standing()
    backlog, now = standing.backlog, standing.now
    assert (backlog.due, backlog.reconciles_due) == (2, 1)
    assert backlog.due_since is not None
    assert backlog.next_poll_at is not None
    assert backlog.next_reconcile_at is not None
    assert 600 <= (now - backlog.due_since).total_seconds() < 900
    assert 2000 < (backlog.next_poll_at - now).total_seconds() <= 3000
    assert backlog.next_reconcile_at < now


def test_an_empty_database_has_a_standing_too(few: Few) -> None:
    standing = few.standing()
    assert (standing.by_status, standing.listed, standing.stalest) == ({}, (), ())
    assert standing.backlog.next_poll_at is None
    assert standing.staleness.tasks == 0
