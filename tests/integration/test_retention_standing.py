"""What is to be pruned, as `status` tells it: counted rightly, and without reading rows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import event, insert, update

from maia_sync.store import retention_standing
from maia_sync.store.holds import insert_holds
from maia_sync.store.retention_standing import Due, count_due, read_retention_standing
from maia_sync.store.schema import archive_prune, task_event
from maia_sync.store.standing import count_stored

if TYPE_CHECKING:
    from maia_sync.store.database import Database

DAY = 86_400.0
TASK = str(UUID(int=1, version=4))


def store(database: Database, **ages: float | None) -> None:
    """Store an event for each group; how old each is in days, or None if no time is known."""
    with database.transaction() as tx:
        row = {"task_id": TASK, "timestamp": 1, "ordinal": 0, "digest": b"d", "seq": 1, "revision": 0}
        row |= {"first_seen_at": tx.now, "last_changed_at": tx.now}
        rows = [
            {**row, "group_id": group, "occurred_at": None if age is None else tx.now - timedelta(days=age)}
            for group, age in ages.items()
        ]
        tx.connection.execute(insert(task_event), rows)


def remove(database: Database, *groups: str, erased: bool = False) -> None:
    with database.transaction() as tx:
        values: dict[str, Any] = {"pruned_at": tx.now, "erased_at": tx.now if erased else None}
        tx.connection.execute(update(task_event).where(task_event.c.group_id.in_(groups)).values(values))


def due(database: Database, days: float) -> Due:
    with database.transaction(write=False) as tx:
        return count_due(tx, tx.now - timedelta(days=days))


def test_what_is_old_and_not_pruned_is_due_whenever_the_last_prune_was(database: Database) -> None:
    assert due(database, 30) == Due(0, is_all=True)
    store(database, a=100, b=90, c=50, young=10, timeless=None)
    assert due(database, 30) == Due(3, is_all=True)
    remove(database, "a", "b", "c")
    remove(database, "young", "timeless", erased=True)
    with database.transaction() as tx:
        values = {"older_than_at": tx.now - timedelta(days=30), "pruned_by": "me", "started_at": tx.now}
        tx.connection.execute(insert(archive_prune).values(**values, ended_at=tx.now))
    assert due(database, 30) == Due(0, is_all=True)
    store(database, backfilled=400, other=95)
    assert due(database, 30) == Due(2, is_all=True)
    assert due(database, 5) == Due(2, is_all=True)
    with database.transaction() as tx:
        insert_holds(tx, [TASK], reason="r", held_by="me")
        standing = read_retention_standing(tx, 30 * DAY)
        assert (standing.come_of_age, standing.is_come_of_age_exact) == (2, True)
        assert (standing.holds, standing.holds_all_tasks) == (1, False)
        insert_holds(tx, [None], reason="r", held_by="me")
        assert read_retention_standing(tx, 30 * DAY).holds_all_tasks
        assert read_retention_standing(tx, None).come_of_age is None
        totals = count_stored(tx)
    assert (totals.events, totals.pruned, totals.erased) == (7, 3, 2)


def test_of_too_many_a_lower_bound_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    store(database, **{f"g{age}": age for age in range(40, 50)})
    monkeypatch.setattr(retention_standing, "MOST_OLD", 4)
    monkeypatch.setattr(retention_standing, "MOST_LOOKED_AT", 3)
    assert due(database, 30) == Due(4, is_all=False)
    remove(database, *(f"g{age}" for age in range(42, 50)))
    assert due(database, 30) == Due(2, is_all=False)
    remove(database, "g40", "g41")
    assert due(database, 30) == Due(0, is_all=False)


def test_no_row_is_read_for_it(database: Database) -> None:
    if database.is_postgresql:
        pytest.skip("its planner goes by statistics")
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "task_event" in statement and not statement.startswith("EXPLAIN"):
            plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in plan if "task_event" in row[3] and "revision" not in row[3])

    event.listen(database.engine, "before_cursor_execute", explain)
    due(database, 30)
    assert plans == [
        "SEARCH task_event USING COVERING INDEX ix_task_event_occurred_at (occurred_at<?)",
        "SCAN task_event USING INDEX ix_task_event_pruned",
    ]
