"""Does each task have one worker at a time, and the one that is due longest first? Claims, leases, plans."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from logs import task_id
from sqlalchemy import text, update

from maia_sync.clock import ManualClock
from maia_sync.errors import LeaseLost
from maia_sync.service.polling import AdaptivePolling
from maia_sync.store.database import Database
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
from maia_sync.store.schema import task
from maia_sync.store.tasks import heat, read_tasks, set_status, upsert_tasks
from maia_sync.sync.due import DueTasks, Turn
from maia_sync.sync.handover import InlineHandover
from maia_sync.sync.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.model import Lease, NextPoll, Task

NUMBERS = range(1, 6)
LIFE = 60.0
PLANNER = AdaptivePolling(min_interval=10, max_interval=900, reconcile=7e5, random=Random(1))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with five tasks; on SQLite its time is a manual clock's."""
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url=url, clock=ManualClock())
    with database.transaction() as tx:
        upsert_tasks(tx, [task_id(number) for number in NUMBERS])
    yield database
    database.close()


def shift(database: Database, number: int, **columns: float) -> None:
    """Set moments of a task, in seconds from now."""
    with database.transaction() as tx:
        moments = {name: tx.now + timedelta(seconds=seconds) for name, seconds in columns.items()}
        tx.connection.execute(update(task).where(task.c.task_id == task_id(number)).values(moments))


def claimed(database: Database, owner: str, most: int = 10) -> list[str]:
    with database.transaction() as tx:
        return [lease.task_id for lease in claim_due(tx, "poll", owner, LIFE, most=most)]


def taken(database: Database, number: int = 1, owner: str = "one") -> Lease:
    with database.transaction() as tx:
        (lease,) = acquire_leases(tx, [task_id(number)], owner, LIFE)
    return lease


def renewed(database: Database, *leases: Lease) -> None:
    with database.transaction() as tx:
        prove_leases(tx, leases)
        prolong_leases(tx, leases, LIFE)


def standing(database: Database, number: int = 1) -> Task:
    with database.transaction(write=False) as tx:
        (found,) = read_tasks(tx, task_ids=[task_id(number)])
    return found


def quiet(lease: Lease) -> NextPoll:
    return PLANNER.after_walk(lease.state, "quiet")


def finished(database: Database, lease: Lease) -> None:
    with database.transaction() as tx:
        finish_walks(tx, [Finish(lease, quiet(lease), news=False, reconciled=False, until_reconcile=7e5)])


def test_two_claims_never_give_the_same_task_and_the_longest_due_comes_first(database: Database) -> None:
    for number, ago in zip(NUMBERS, (10, 50, 30, -100, 20), strict=True):
        shift(database, number, next_poll_at=-ago)
    assert claimed(database, "one", 2) == [task_id(2), task_id(3)]
    assert claimed(database, "two") == [task_id(5), task_id(1)]
    assert claimed(database, "three") == []
    with database.transaction(write=False) as tx:
        due = read_next_due(tx, "poll")
        assert due is not None
        assert 90 < (due - tx.now).total_seconds() <= 100


def test_a_lease_that_has_run_out_is_claimed_by_another_and_its_owner_writes_nothing(
    database: Database,
) -> None:
    lease = taken(database)
    shift(database, 1, lease_expires_at=-1, next_poll_at=-1)
    assert task_id(1) in claimed(database, "two")
    with pytest.raises(LeaseLost):
        renewed(database, lease)
    with pytest.raises(LeaseLost):
        finished(database, lease)
    with database.transaction() as tx:
        assert renew_all(tx, [lease], LIFE) == [lease]
        assert not release_lease(tx, lease)
        assert not fail_walk(tx, lease, quiet(lease), "no", until_reconcile=None)
    found = standing(database)
    assert (found.lease_owner, found.lease_epoch, found.last_error) == ("two", lease.epoch + 1, None)


def test_no_lease_is_taken_from_a_page_that_is_being_written(database: Database) -> None:
    lease = taken(database)
    shift(database, 1, lease_expires_at=-1, next_poll_at=-1)
    if database.is_postgresql:
        with database.transaction() as tx:
            prove_leases(tx, [lease])
            assert task_id(1) not in claimed(database, "two")
    renewed(database, lease)
    assert task_id(1) not in claimed(database, "two")


def test_the_leases_of_all_pages_of_a_group_are_proven_and_prolonged(database: Database) -> None:
    leases = [taken(database, number) for number in (3, 1, 2)]
    for number in (1, 2, 3):
        shift(database, number, lease_expires_at=-1, next_poll_at=-1)
    renewed(database, *leases)
    assert sorted(claimed(database, "two")) == [task_id(4), task_id(5)]
    assert [standing(database, number).lease_owner for number in (1, 2, 3)] == ["one"] * 3
    shift(database, 2, lease_expires_at=-1)
    assert claimed(database, "one") == [task_id(2)]
    with pytest.raises(LeaseLost):
        renewed(database, *leases)


def test_a_lease_that_has_run_out_and_that_nobody_took_is_still_its_owners(database: Database) -> None:
    lease = taken(database)
    shift(database, 1, lease_expires_at=-1)
    renewed(database, lease)
    finished(database, lease)
    assert standing(database).lease_owner is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_task_that_another_transaction_holds_is_passed_by_not_waited_for(database: Database) -> None:
    shift(database, 3, next_poll_at=-500)
    with database.transaction() as tx:
        tx.connection.execute(
            text("SELECT 1 FROM task WHERE task_id = CAST(:id AS uuid) FOR UPDATE"), {"id": task_id(3)}
        )
        found = claimed(database, "two")
        assert len(found) == 4
        assert task_id(3) not in found


@pytest.mark.parametrize("status", ["paused", "untracked"])
def test_what_is_paused_or_untracked_is_never_due_also_if_that_came_in_mid_walk(
    database: Database, status: str
) -> None:
    lease = taken(database)
    with database.transaction() as tx:
        set_status(tx, [task_id(1), task_id(2)], status)  # type: ignore[arg-type]
    finished(database, lease)
    found = standing(database)
    assert (found.status, found.next_poll_at, found.next_reconcile_at) == (status, None, None)
    assert sorted(claimed(database, "one")) == [task_id(number) for number in (3, 4, 5)]


def test_a_task_that_was_made_hot_in_mid_walk_is_due_at_once_whatever_the_walk_plans(
    database: Database,
) -> None:
    shift(database, 1, next_poll_at=-20)
    lease = taken(database)
    with database.transaction() as tx:
        heat(tx, [task_id(1)])
    finished(database, lease)
    assert standing(database).poll_interval == 0
    assert task_id(1) in claimed(database, "one")


def test_a_walk_plans_the_next_poll_and_a_resumed_task_stays_active(database: Database) -> None:
    lease = taken(database)
    finished(database, lease)
    found = standing(database)
    assert found.next_poll_at is not None
    assert found.last_polled_at is not None
    assert 8 < (found.next_poll_at - found.last_polled_at).total_seconds() < 12
    with database.transaction() as tx:
        set_status(tx, [task_id(1)], "paused")
    lease = taken(database)
    assert lease.state.status == "paused"
    with database.transaction() as tx:
        set_status(tx, [task_id(1)], "active")
    finished(database, lease)
    assert standing(database).status == "active"


def test_404s_make_a_task_missing_403s_forbidden_and_a_success_active_again(database: Database) -> None:
    for seen, status in ((1, "active"), (2, "active"), (3, "missing")):
        lease = taken(database)
        with database.transaction() as tx:
            assert fail_walk(
                tx, lease, PLANNER.after_walk(lease.state, "missing"), "404", until_reconcile=None
            )
        assert (standing(database).times_missing, standing(database).status) == (seen, status)
    assert wait_of(standing(database)) > 77_000  # a day, less a tenth by chance
    finished(database, taken(database))
    assert standing(database).status == "active"
    lease = taken(database)
    with database.transaction() as tx:
        assert fail_walk(tx, lease, PLANNER.after_walk(lease.state, "forbidden"), "403", until_reconcile=None)
    assert standing(database).status == "forbidden"
    assert 3_000 < wait_of(standing(database)) < 4_000


def wait_of(found: Task) -> float:
    assert found.next_poll_at is not None
    assert found.last_error_at is not None
    return (found.next_poll_at - found.last_error_at).total_seconds()


def test_who_gives_way_stands_behind_all_that_are_due(database: Database) -> None:
    for number in NUMBERS:
        shift(database, number, next_poll_at=-number)
    lease = taken(database, 5)
    with database.transaction() as tx:
        give_way(tx, lease, polling=True)
    assert claimed(database, "two") == [task_id(number) for number in (4, 3, 2, 1, 5)]


def test_a_heartbeat_keeps_a_lease_whose_walk_waits_longer_than_it_lives(database: Database) -> None:
    clock = database.clock
    assert isinstance(clock, ManualClock)
    heartbeat = Heartbeat(database=database, handover=InlineHandover(), clock=clock, lease_seconds=LIFE)
    lease = taken(database)

    async def wait() -> None:
        async with heartbeat.beating():
            heartbeat.hold(lease)
            for _ in range(20):
                await asyncio.sleep(0)
                clock.advance(LIFE / 6)
                for _ in range(5):
                    await asyncio.sleep(0)

    before = standing(database).lease_expires_at
    shift(database, 1, lease_expires_at=1)
    asyncio.run(wait())
    found = standing(database)
    assert found.lease_expires_at is not None
    assert before is not None
    assert found.lease_expires_at >= before - timedelta(seconds=1)
    assert task_id(1) not in claimed(database, "two")


def test_what_a_run_has_claimed_and_not_walked_is_given_back(database: Database) -> None:
    heartbeat = Heartbeat(
        database=database, handover=InlineHandover(), clock=database.clock, lease_seconds=LIFE
    )
    due = DueTasks(
        kind="poll",
        database=database,
        handover=InlineHandover(),
        clock=database.clock,
        heartbeat=heartbeat,
        worker="one",
        lease_seconds=LIFE,
        most=4,
        turn=Turn(pages=10),
    )

    async def take_one() -> str:
        async for claim in due.claims():
            return claim.task_id
        raise AssertionError

    walked = asyncio.run(take_one())
    for number in NUMBERS:
        shift(database, number, lease_expires_at=-1)
    asyncio.run(heartbeat.beat())
    assert len(claimed(database, "two")) == 1
    asyncio.run(due.give_back(InlineHandover()))
    found = claimed(database, "two")
    assert len(found) == 3
    assert walked not in found
