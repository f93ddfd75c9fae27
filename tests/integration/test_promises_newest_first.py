"""All promises, for logs that are served newest-first; and how their order is found out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, event, events, twin, world_of, world_of_many
from oracle import assert_equal_as_set, assert_sound, assert_to_the_letter

from maia_sync.sandbox.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    Staging = Callable[..., Any]

NEWEST = "newest-first"
UNDATED = [b'{"data":{"n":%d},"groupId":"g"}' % number for number in range(200)]


def order_of(stage: Any, task: str = TASK) -> str | None:
    order: str | None = stage.copy.checkpoint(task)["log_order"]
    return order


# ---------------------------------------------------------------------------- must show


def test_newest_first_logs_are_complete_grow_and_cost_one_request_when_idle(stage_for: Staging) -> None:
    world = world_of_many(5, 2500, order=NEWEST)
    stage = stage_for(world)
    stage.sync_well()
    assert stage.requests == 5 * 3
    for task in world.logs:
        assert_to_the_letter(stage.copy, task, events(2500))
    stage.copy.watch_writes("task_event", "task_event_revision", "quarantine")
    stage.sync_well()
    assert (stage.requests, stage.copy.writes()) == (5, {})
    for log in world.logs.values():
        log.extend(events(1700, 2500))
    report = stage.sync_well()
    assert (report.new, stage.requests) == (5 * 1700, 5 * 2)
    for task in world.logs:
        assert_to_the_letter(stage.copy, task, events(4200))
        assert order_of(stage, task) == NEWEST
    stage.sync_well()
    assert stage.requests == 5


# ---------------------------------------------------------------------------- P1


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_p1_what_an_interrupted_head_walk_left_out_is_read_later_whatever_came_meanwhile(
    stage_for: Staging, at: int
) -> None:
    stage = stage_for(world_of(events(55), order=NEWEST), api__page_size=10, api__retries=0)
    stage.sync_well()
    length = 55
    for _ in range(3):
        stage.world.logs[TASK].extend(events(45, length))
        length += 45
        stage.world.faults.add(Fault(kind="status", status=500, after=at), task_id=TASK)
        assert stage.sync().failed == 1
        assert len(stage.copy.log(TASK)) < length
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(length))
    assert stage.copy.checkpoint(TASK)["gaps"] is None
    assert (stage.sync_well().new, stage.requests) == (0, 1)


ONE_MOMENT = [
    b'{"data":{"n":%d},"groupId":"g%d","timestamp":"2026-01-05T08:00:00Z"}' % (number, number)
    for number in range(60)
]


def test_p1_where_the_order_is_open_a_first_page_that_a_reconcile_has_stored_proves_nothing(
    stage_for: Staging,
) -> None:
    stage = stage_for(world_of(ONE_MOMENT[:14], order=NEWEST), api__page_size=5, api__retries=0)
    stage.sync_well()
    assert order_of(stage) is None
    stage.world.logs[TASK].extend(ONE_MOMENT[14:23])
    stage.world.faults.add(Fault(kind="status", status=500, after=1), task_id=TASK)
    assert stage.sync(full=True).failed == 1
    stage.sync_well()
    assert_equal_as_set(stage.copy, TASK, ONE_MOMENT[:23])


def test_p1_where_the_order_is_open_a_first_page_without_events_that_leads_on_proves_nothing(
    stage_for: Staging,
) -> None:
    stage = stage_for(world_of(ONE_MOMENT[:14], order=NEWEST), api__page_size=5, api__retries=0)
    stage.sync_well()
    stage.world.logs[TASK].extend(ONE_MOMENT[14:23])
    stage.world.faults.add(Fault(kind="empty_pages"), task_id=TASK)
    stage.sync_well()
    assert_equal_as_set(stage.copy, TASK, ONE_MOMENT[:23])


def test_p1_the_order_is_not_judged_by_what_an_interrupted_backfill_had_left_out(stage_for: Staging) -> None:
    stage = stage_for(world_of(ONE_MOMENT[:14], order=NEWEST), api__page_size=5, api__retries=0)
    stage.world.faults.add(Fault(kind="status", status=500, after=1), task_id=TASK)
    assert stage.sync().failed == 1
    stage.sync_well()
    assert order_of(stage) is None
    stage.world.logs[TASK].extend(ONE_MOMENT[14:23])
    stage.sync_well()
    assert order_of(stage) == NEWEST
    assert_to_the_letter(stage.copy, TASK, ONE_MOMENT[:23])


def test_p1_an_interrupted_backfill_goes_on_below_and_reads_what_came_above(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(100), order=NEWEST), api__page_size=10, api__retries=0)
    stage.world.faults.add(Fault(kind="status", status=500, after=4), task_id=TASK)
    assert stage.sync().failed == 1
    stage.world.logs[TASK].extend(events(3, 100))
    report = stage.sync_well()
    # One page of the head, which meets what is stored, and the rest of the log.
    assert (report.new, stage.requests) == (3 + 60, 1 + 6)
    assert_to_the_letter(stage.copy, TASK, events(103))


def test_p1_rows_above_an_open_gap_never_end_a_walk(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(30), order=NEWEST), api__page_size=10, api__retries=0)
    stage.world.faults.add(Fault(kind="status", status=500, after=1), task_id=TASK)
    assert stage.sync().failed == 1
    assert len(stage.copy.log(TASK)) == 10
    assert stage.sync_well().new == 20
    assert_to_the_letter(stage.copy, TASK, events(30))


def test_p1_a_refused_token_of_a_gap_has_the_log_read_from_its_head(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(80), order=NEWEST), api__page_size=10, api__retries=0)
    stage.sync_well()
    stage.world.logs[TASK].extend(events(60, 80))
    stage.world.faults.add(Fault(kind="status", status=500, after=2), task_id=TASK)
    assert stage.sync().failed == 1
    stage.world.revoke_tokens()
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(140))
    assert (stage.sync_well().new, stage.requests) == (0, 1)


def test_p1_tokens_counted_from_the_newest_end_shift_and_lose_nothing(stage_for: Staging) -> None:
    world = world_of(events(60), order=NEWEST, token_style="offset")
    stage = stage_for(world, api__page_size=10, api__retries=0)
    length = 60
    for at in (2, 1, 3, None):
        if at is not None:
            world.faults.add(Fault(kind="status", status=500, after=at), task_id=TASK)
        stage.sync()
        if at is not None:
            world.logs[TASK].extend(events(25, length))
            length += 25
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(length))


def test_p1_an_old_event_served_again_at_the_head_does_not_end_the_walk(stage_for: Staging) -> None:
    """A status that stays the newest, say: what comes behind it is news all the same."""
    pinned = event(9999, "pinned")
    stage = stage_for(world_of([*events(50), pinned], order=NEWEST), api__page_size=10)
    stage.sync_well()
    log = stage.world.logs[TASK]
    log.remove(-1)
    log.extend([*events(35, 50), pinned])
    assert stage.sync_well().new == 35
    assert_to_the_letter(stage.copy, TASK, log.events)


def test_p1_logs_without_timestamps_grow_and_stay_complete(stage_for: Staging) -> None:
    stage = stage_for(world_of(UNDATED[:40], order=NEWEST), api__page_size=10)
    for length in (40, 43, 75, 75, 140):
        stage.world.logs[TASK].extend(UNDATED[len(stage.world.logs[TASK]) : length])
        stage.sync_well()
        assert_equal_as_set(stage.copy, TASK, UNDATED[:length])
    assert_to_the_letter(stage.copy, TASK, UNDATED[:140])
    assert order_of(stage) == NEWEST
    stage.sync_well()
    assert stage.requests == 1


# ---------------------------------------------------------------------------- P2, P3, reconciles


def test_p3_changes_insertions_and_vanishings_are_found_by_a_reconcile(stage_for: Staging) -> None:
    stage = stage_for(world_of([event(2 * number) for number in range(60)], order=NEWEST), api__page_size=10)
    stage.sync_well()
    log = stage.world.logs[TASK]
    log.replace(5, event(10, "changed"))
    log.insert(20, event(39), event(39, "beside it"))
    log.remove(45, 2)
    log.append(event(200), event(201))
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (4, 1, 2)
    assert_equal_as_set(stage.copy, TASK, log.events)
    current = [row.told for row in stage.copy.log(TASK, vanished=False)]
    assert [told.data for told in current] == [
        raw.decode().partition('"data":')[2].partition(',"groupId"')[0] for raw in log.events
    ]


def test_p3_a_change_on_the_head_page_is_a_revision(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(40), order=NEWEST), api__page_size=10)
    stage.sync_well()
    for position in (39, 35, 30):
        stage.world.logs[TASK].replace(position, event(position, "changed"))
        report = stage.sync_well()
        assert (report.new, report.changed) == (0, 1)
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_p2_twins_at_one_instant_keep_their_order(stage_for: Staging) -> None:
    log = [event(0), twin(1, "a"), twin(1, "b"), twin(1, "c"), *events(10, 2)]
    stage = stage_for(world_of(log, order=NEWEST))
    stage.sync_well()
    stage.world.logs[TASK].extend(events(3, 12))
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_p1_an_interrupted_reconcile_is_preceded_by_a_poll_of_the_head_and_marks_no_news_vanished(
    stage_for: Staging,
) -> None:
    stage = stage_for(world_of(events(100), order=NEWEST), api__page_size=10, api__retries=0)
    stage.sync_well()
    stage.world.logs[TASK].remove(20)
    stage.world.faults.add(Fault(kind="status", status=500, after=4), task_id=TASK)
    assert stage.sync(full=True).failed == 1
    stage.world.logs[TASK].extend(events(25, 100))
    stage.sync_well()
    report = stage.sync_well(full=True)
    assert (report.new, report.vanished) == (0, 1)
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)
    stage.world.logs[TASK].extend(events(3, 125))
    stage.world.faults.add(Fault(kind="status", status=500, after=4), task_id=TASK)
    assert stage.sync(full=True).failed == 1
    stage.world.logs[TASK].extend(events(3, 128))
    report = stage.sync_well(full=True)
    assert (report.new, report.vanished) == (3, 0)
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)


def test_verify_agrees_with_a_newest_first_copy_and_finds_what_differs(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(45), order=NEWEST), api__page_size=10)
    stage.sync_well()
    assert stage.app.verify().difference_count == 0
    log = stage.world.logs[TASK]
    log.replace(3, event(3, "changed"))
    log.remove(30)
    log.append(event(45))
    kinds = sorted(difference.kind for difference in stage.app.verify().differences)
    assert kinds == ["not served", "not stored", "stored otherwise"]


# ---------------------------------------------------------------------------- whose order is it?


def test_the_order_is_undecided_while_no_two_timestamps_differ_and_both_ends_are_read(
    stage_for: Staging,
) -> None:
    same = [twin(7, str(number)) for number in range(40)]
    for order in ("oldest-first", NEWEST):
        stage = stage_for(world_of(same[:25], order=order), api__page_size=10)
        stage.copy.ask("DELETE FROM task_event")
        stage.copy.ask("DELETE FROM checkpoint")
        stage.sync_well()
        assert order_of(stage) is None
        assert (stage.sync_well().new, stage.requests) == (0, 2)
        stage.world.logs[TASK].extend([same[25]])
        assert stage.sync_well().new == 1
        assert order_of(stage) == order
        stage.world.logs[TASK].extend(same[26:])
        assert stage.sync_well().new == 14
        assert_to_the_letter(stage.copy, TASK, same)
        assert (stage.sync_well().new, stage.requests) == (0, 1)


def test_a_short_log_reads_from_old_to_new_as_soon_as_two_timestamps_differ(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(2), order=NEWEST))
    stage.sync_well()
    assert order_of(stage) == "newest-first?"
    assert_to_the_letter(stage.copy, TASK, events(2))
    for length in (3, 5, 9, 30):
        stage.world.logs[TASK].extend(
            events(length - len(stage.world.logs[TASK]), len(stage.world.logs[TASK]))
        )
        stage.sync_well()
        assert_to_the_letter(stage.copy, TASK, events(length))
    assert order_of(stage) == NEWEST


def test_a_log_that_upstream_serves_the_other_way_from_now_on_stays_complete(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(45)), api__page_size=10)
    stage.sync_well()
    stage.world.order = NEWEST
    stage.world.revoke_tokens()
    stage.world.logs[TASK].extend(events(15, 45))
    stage.sync_well()
    assert order_of(stage) == NEWEST
    assert_to_the_letter(stage.copy, TASK, events(60))
    stage.world.logs[TASK].extend(events(15, 60))
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(75))
    stage.world.order = "oldest-first"
    stage.sync_well()
    stage.world.logs[TASK].extend(events(15, 75))
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(90))
    assert order_of(stage) == "oldest-first"


def test_a_configured_order_is_believed(stage_for: Staging) -> None:
    """The timestamps say the contrary."""
    backwards = [event(number) for number in reversed(range(45))]
    stage = stage_for(world_of(backwards), api__page_size=10, api__order="oldest-first")
    stage.sync_well()
    stage.world.logs[TASK].append(event(1000))
    stage.sync_well()
    assert stage.requests == 1
    assert order_of(stage) == "oldest-first"
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_an_order_configured_later_has_the_log_read_again(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(45), order=NEWEST), api__page_size=10, api__order="oldest-first")
    stage.sync_well()
    assert stage.copy.log(TASK)[0].data == '{"n":44,"text":"as it was"}'
    stage.app = stage.open_another(api__order=NEWEST)
    stage.world.logs[TASK].extend(events(25, 45))
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(70))
    assert (stage.sync_well().new, stage.requests) == (0, 1)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_order_found_out_by_a_reconcile_that_is_interrupted_leaves_nothing_out(
    stage_for: Staging, at: int
) -> None:
    same = [twin(0, str(number)) for number in range(30)]
    stage = stage_for(world_of(same, order=NEWEST), api__page_size=10, api__retries=0)
    stage.sync_well()
    assert order_of(stage) is None
    stage.world.logs[TASK].extend(events(45, 1))
    stage.world.faults.add(Fault(kind="status", status=500, after=at), task_id=TASK)
    assert stage.sync(full=True).failed == 1
    assert order_of(stage) == NEWEST
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_an_empty_log_that_begins_to_grow(stage_for: Staging) -> None:
    stage = stage_for(world_of([], order=NEWEST), api__page_size=10)
    for length in (0, 0, 1, 4, 30, 31, 90):
        stage.world.logs[TASK].extend(
            events(length - len(stage.world.logs[TASK]), len(stage.world.logs[TASK]))
        )
        stage.sync_well()
        assert_equal_as_set(stage.copy, TASK, events(length))
    assert_to_the_letter(stage.copy, TASK, events(90))
    assert_sound(stage.copy, TASK)


def test_logs_of_both_orders_side_by_side(stage_for: Staging) -> None:
    world = world_of_many(6, 120)
    for task in list(world.logs)[::2]:
        world.orders[task] = NEWEST
    stage = stage_for(world, api__page_size=50)
    stage.sync_well()
    for log in world.logs.values():
        log.extend(events(80, 120))
    stage.sync_well()
    for task in world.logs:
        assert_to_the_letter(stage.copy, task, events(200))
        assert order_of(stage, task) == world.orders.get(task, "oldest-first")
    stage.sync_well()
    assert stage.requests == 6
