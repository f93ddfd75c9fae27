"""P7 and retries: does what goes wrong with one task, request or token stay there and pass?"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, event, events, task_id, world_of, world_of_many
from oracle import assert_equal_as_set, assert_to_the_letter

from maia_sync.clock import ManualClock
from maia_sync.errors import CredentialsRefused, DatabaseError, UpstreamUnreachable
from maia_sync.sandbox.faults import Fault
from maia_sync.sandbox.world import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    Staging = Callable[..., Any]


# ---------------------------------------------------------------------------- P7


@pytest.mark.parametrize("concurrency", [1, 8])
def test_p7_tasks_that_fail_each_in_its_way_stop_no_other_and_recover(
    stage_for: Staging, concurrency: int
) -> None:
    world = world_of_many(10, 25)
    good = (task_id(1), task_id(5), task_id(8), task_id(10))
    forbidden, missing, garbage, looping, endless, newest_first, resetting = (
        task_id(number) for number in (2, 3, 4, 6, 7, 8, 9)
    )
    stage = stage_for(world, api__page_size=10, api__concurrency=concurrency, api__retries=1)
    world.faults.add(Fault(kind="status", status=403, count=None), task_id=forbidden)
    kept = world.logs.pop(missing)
    world.faults.add(Fault(kind="garbage", count=None, after=1), task_id=garbage)
    world.scripted_tokens[looping] = lambda _, natural: natural or world.token_at(looping, 0)
    world.faults.add(Fault(kind="empty_pages", count=None, after=2), task_id=endless)
    world.logs[newest_first].events.reverse()
    world.faults.add(Fault(kind="reset", count=None), task_id=resetting)

    for _ in range(2):
        report = stage.sync()
        assert (report.status, report.failed, report.tasks) == ("failed", 6, 10)
        kinds = {walk.task_id: walk.error_kind for walk in report.walks if walk.error}
        assert kinds == {
            forbidden: "TaskForbidden",
            missing: "TaskMissing",
            garbage: "RetriesExhausted",
            looping: "LogLoops",
            endless: "LogLoops",
            resetting: "RetriesExhausted",
        }
        for task in good:
            assert_to_the_letter(stage.copy, task, events(25))
            assert stage.copy.task(task)["last_error"] is None
        for task in kinds:
            found = stage.copy.task(task)
            assert found["last_error"]
            assert found["lease_owner"] is None
    assert stage.copy.task(forbidden)["failures"] == 2

    world.faults.clear()
    world.scripted_tokens.clear()
    world.add(kept)
    world.logs[newest_first].events.reverse()
    report = stage.sync_well()
    assert report.failed == 0
    for task in world.logs:
        assert_to_the_letter(stage.copy, task, events(25))
        found = stage.copy.task(task)
        assert (found["last_error"], found["failures"]) == (None, 0)


def test_p7_an_endless_or_looping_log_is_never_a_completed_walk(stage_for: Staging) -> None:
    world = world_of(events(40))
    stage = stage_for(world, api__page_size=10)
    stage.sync_well()
    polled = stage.copy.task(TASK)["last_polled_at"]
    world.logs[TASK].remove(35)
    world.scripted_tokens[TASK] = lambda _, natural: natural or world.token_at(TASK, 10)
    report = stage.sync(full=True)
    assert (report.failed, report.vanished) == (1, 0)
    assert len(stage.copy.log(TASK, vanished=False)) == 40
    assert stage.copy.task(TASK)["last_polled_at"] == polled
    assert stage.requests < 60
    world.scripted_tokens.clear()
    assert stage.sync_well(full=True).vanished == 1
    assert_equal_as_set(stage.copy, TASK, world.logs[TASK].events)


def test_p7_a_full_page_under_its_own_token_is_a_loop(stage_for: Staging) -> None:
    world = world_of(events(30))
    stage = stage_for(world, api__page_size=10)
    world.scripted_tokens[TASK] = lambda asked, natural: asked or natural
    report = stage.sync()
    assert report.walks[0].error_kind == "LogLoops"
    assert stage.requests < 10
    world.scripted_tokens.clear()
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(30))


def test_p7_empty_pages_that_lead_on_are_walked(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(30)), api__page_size=10)
    stage.world.faults.add(Fault(kind="empty_pages", count=50, after=1), task_id=TASK)
    stage.sync_well()
    assert stage.requests == 3 + 50
    assert_to_the_letter(stage.copy, TASK, events(30))


def test_p7_an_unreachable_upstream_is_the_runs_error_and_spoils_nothing(stage_for: Staging) -> None:
    stage = stage_for(world_of_many(3, 5), api__retries=0)
    stage.server.stop()
    with pytest.raises(UpstreamUnreachable):
        stage.sync()
    assert stage.copy.one("SELECT status FROM sync_run") == "failed"
    assert stage.copy.free_leases() == 0
    stage.server.start()
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(5))


def test_p7_refused_credentials_end_the_run_and_spoil_nothing(stage_for: Staging) -> None:
    stage = stage_for(world_of_many(3, 25), api__page_size=10)
    stage.world.faults.add(Fault(kind="status", status=401, after=4))
    with pytest.raises(CredentialsRefused):
        stage.sync()
    assert stage.copy.ask("SELECT status FROM sync_run") == [("failed",)]
    assert stage.copy.free_leases() == 0
    stage.sync_well()
    for task in stage.world.logs:
        assert_to_the_letter(stage.copy, task, events(25))


# ---------------------------------------------------------------------------- retries


PASSING = {
    "500": Fault(kind="status", status=500, count=2),
    "502": Fault(kind="status", status=502, count=2),
    "503": Fault(kind="status", status=503, count=2),
    "504": Fault(kind="status", status=504, count=2),
    "429": Fault(kind="status", status=429, count=2),
    "cut": Fault(kind="cut", count=2),
    "reset": Fault(kind="reset", count=2),
    "garbage": Fault(kind="garbage", count=2),
    "html": Fault(kind="html", count=2),
    "stall": Fault(kind="stall", count=2),
}


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.parametrize("after", [0, 2])
def test_p2_what_may_pass_is_asked_again_and_leaves_no_trace(
    stage_for: Staging, name: str, after: int
) -> None:
    world = world_of(events(35))
    # Only a stall has to be given up soon: on a busy machine a true answer may take a while.
    timeout = 0.5 if name == "stall" else 30
    stage = stage_for(world, api__page_size=10, api__timeout=timeout, api__retries=2)
    world.faults.add(Fault(**{**vars(PASSING[name]), "after": after}), task_id=TASK)
    report = stage.sync_well()
    assert (stage.requests, report.requests, report.pages) == (6, 6, 4)
    assert_to_the_letter(stage.copy, TASK, events(35))
    assert stage.copy.task(TASK)["last_error"] is None


def test_a_429_is_waited_out_as_long_as_it_asks(stage_for: Staging) -> None:
    clock = ManualClock()
    stage = stage_for(world_of(events(5)), clock=clock, api__backoff=1.0)
    stage.world.faults.add(Fault(kind="status", status=429, retry_after=17), task_id=TASK)
    stage.sync_well()
    assert clock.slept == [17.0]


def test_waits_between_retries_double_and_end(stage_for: Staging) -> None:
    clock = ManualClock()
    stage = stage_for(world_of(events(5)), clock=clock, api__backoff=1.0, api__retries=4)
    stage.world.faults.add(Fault(kind="status", status=502, count=None), task_id=TASK)
    assert stage.sync().walks[0].error_kind == "RetriesExhausted"
    assert stage.requests == 5
    assert [low <= wait <= 2 * low for wait, low in zip(clock.slept, (0.5, 1, 2, 4), strict=True)] == [
        True
    ] * 4


# ---------------------------------------------------------------------------- page tokens


def test_a_400_without_a_token_is_the_tasks_error_at_once(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(5)))
    stage.world.faults.add(Fault(kind="status", status=400), task_id=TASK)
    report = stage.sync()
    assert (report.walks[0].error_kind, stage.requests) == ("RequestRefused", 1)
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(5))


def test_two_refusals_without_getting_deeper_are_the_tasks_error(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(35)), api__page_size=10)
    stage.world.faults.add(*[Fault(kind="status", status=400, after=1)] * 5, task_id=TASK)
    report = stage.sync()
    assert (report.failed, stage.requests) == (1, 4)
    assert "twice" in stage.copy.task(TASK)["last_error"]
    stage.world.faults.clear()
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(35))


def test_refusals_that_come_deeper_each_time_are_overcome(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(55)), api__page_size=10)
    refusal = {"kind": "status", "status": 400}
    stage.world.faults.add(
        Fault(**refusal, after=2), Fault(**refusal, after=3), Fault(**refusal, after=4), task_id=TASK
    )
    stage.sync_well()
    assert stage.requests == 3 + 4 + 5 + 6
    assert_to_the_letter(stage.copy, TASK, events(55))


def test_after_a_refused_token_the_old_checkpoint_stays_until_a_page_is_committed(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(35)), api__page_size=10, api__retries=0)
    stage.sync_well()
    old = stage.copy.checkpoint(TASK)
    stage.world.revoke_tokens()
    stage.world.faults.add(Fault(kind="status", status=500, after=1), task_id=TASK)
    assert stage.sync().failed == 1
    assert stage.requests == 2
    assert stage.copy.checkpoint(TASK) == old
    stage.world.faults.add(Fault(kind="status", status=500, after=3), task_id=TASK)
    assert stage.sync().failed == 1
    assert stage.copy.checkpoint(TASK)["page_token"] == stage.world.token_at(TASK, 20)
    # The walk goes on where it stood, and the reconcile that it is comes to its end.
    report = stage.sync_well()
    assert (stage.requests, report.new) == (2, 0)
    assert stage.copy.checkpoint(TASK)["reconciled_at"] is not None
    assert_to_the_letter(stage.copy, TASK, events(35))


def test_a_refused_token_reconciles_late_insertions_and_vanishings_too(stage_for: Staging) -> None:
    stage = stage_for(world_of([event(2 * number) for number in range(40)]), api__page_size=10)
    stage.sync_well()
    stage.world.revoke_tokens()
    stage.world.logs[TASK].insert(5, event(9))
    stage.world.logs[TASK].remove(20)
    report = stage.sync_well()
    assert (report.new, report.vanished) == (1, 1)
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)


# ---------------------------------------------------------------------------- leases


def test_p2_a_worker_that_lost_its_lease_while_a_page_was_fetched_writes_nothing(stage_for: Staging) -> None:
    world = world_of(events(35))
    stage = stage_for(world, api__page_size=10)

    def taken(asked: str | None, natural: str | None) -> str | None:
        if asked is None:
            stage.copy.take_lease(TASK, "another", expires_in=60)
        return natural

    world.scripted_tokens[TASK] = taken
    report = stage.sync()
    assert (report.status, report.held, report.new) == ("succeeded", (TASK,), 0)
    assert stage.copy.log(TASK) == []
    assert stage.copy.ask("SELECT * FROM checkpoint") == []
    found = stage.copy.task(TASK)
    assert (found["lease_owner"], found["last_error"], found["last_polled_at"]) == ("another", None, None)


def test_p2_a_lease_lost_in_the_middle_of_a_walk_leaves_whole_pages_and_their_checkpoint(
    stage_for: Staging,
) -> None:
    world = world_of(events(55))
    stage = stage_for(world, api__page_size=10)
    third = world.token_at(TASK, 20)

    def taken(asked: str | None, natural: str | None) -> str | None:
        if asked == third:
            stage.copy.take_lease(TASK, "another", expires_in=60)
        return natural

    world.scripted_tokens[TASK] = taken
    assert stage.sync().held == (TASK,)
    rows = len(stage.copy.log(TASK))
    assert rows in (10, 20)  # page 2 may have been committed before the third was served
    assert stage.copy.checkpoint(TASK)["page_token"] == world.token_at(TASK, rows)
    assert stage.copy.task(TASK)["lease_owner"] == "another"
    assert stage.copy.free_leases() == 1
    world.scripted_tokens.clear()
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(55))


def test_p2_a_checkpoint_of_a_newer_epoch_is_never_overwritten(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(15)), api__page_size=10)
    stage.sync_well()
    stage.copy.ask("UPDATE checkpoint SET epoch = epoch + 1000")
    before = stage.copy.checkpoint(TASK)
    stage.world.logs[TASK].extend(events(10, 15))
    stage.sync()
    assert len(stage.copy.log(TASK)) == 15
    assert stage.copy.checkpoint(TASK) == before


def test_a_living_lease_is_respected_and_an_expired_one_taken_over(stage_for: Staging) -> None:
    stage = stage_for(world_of_many(2, 5))
    stage.copy.take_lease(TASK, "another", expires_in=60)
    report = stage.sync_well()
    assert (report.held, report.tasks, stage.requests) == ((TASK,), 1, 1)
    assert stage.copy.task(TASK)["lease_owner"] == "another"
    stage.copy.take_lease(TASK, "another", expires_in=-0.001)
    report = stage.sync_well()
    assert (report.held, report.tasks) == ((), 2)
    assert stage.copy.task(TASK)["lease_owner"] is None
    assert_to_the_letter(stage.copy, TASK, events(5))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_p5_a_lost_database_connection_costs_pages_in_hand_only(stage_for: Staging) -> None:
    world = world_of_many(4, 200)
    stage = stage_for(world, api__page_size=10)
    lost = 0
    over = threading.Event()

    def cut_connections() -> None:
        """Cut them while a transaction is open in them, so that a page is in hand."""
        with stage.copy.connection() as connection:
            while not over.wait(0.01):  # at moments that have nothing to do with what is cut
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'maia-sync'"
                    " AND state <> 'idle' AND random() < 0.2"
                )

    cutter = threading.Thread(target=cut_connections)
    cutter.start()
    runs = 0
    while lost < 3 and runs < 1000:  # pages are seldom in hand
        runs += 1
        with suppress(DatabaseError):
            stage.sync()
            continue
        lost += 1
        stage.copy.free_leases()
        for task in world.logs:
            rows = len(stage.copy.log(task))
            assert rows % 10 == 0
            if 0 < rows < 200:
                assert stage.copy.checkpoint(task)["page_token"] == world.token_at(task, rows)
    over.set()
    cutter.join()
    print(f"{lost} of {runs} runs lost a connection")
    assert lost == 3
    stage.sync_well()
    for task in world.logs:
        assert_to_the_letter(stage.copy, task, events(200))


def test_tasks_added_upstream_with_an_empty_log_are_complete_and_grow(stage_for: Staging) -> None:
    world = world_of([])
    stage = stage_for(world)
    for length in (0, 0, 1):
        world.add(Log(TASK, events(length)))
        stage.sync_well()
        assert_to_the_letter(stage.copy, TASK, events(length))
