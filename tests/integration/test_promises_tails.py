"""P6: a quiet log costs one small request a poll, and one request more, once, to come there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, event, events, world_of, world_of_many
from oracle import assert_to_the_letter

from maia_sync.sandbox.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    Staging = Callable[..., Any]

NEWEST = "newest-first"


def poll(stage: Any) -> tuple[int, int]:
    """Make a run; return the requests and the events that it was served."""
    stage.sync_well()
    return stage.requests, stage.world.tally.events_served


def grow(stage: Any, more: int) -> None:
    log = stage.world.logs[TASK]
    log.extend(events(more, len(log)))


@pytest.mark.parametrize(("length", "tail"), [(900, 900), (2900, 900), (1126, 126)])
def test_p6_after_two_idle_polls_of_a_long_last_page_the_checkpoint_moves_close_to_the_end(
    stage_for: Staging, length: int, tail: int
) -> None:
    stage = stage_for(world_of(events(length)))
    assert poll(stage) == (-(-length // 1000), length)
    assert poll(stage) == (1, tail)
    assert poll(stage) == (1, tail)
    assert poll(stage) == (2, tail)
    for _ in range(3):
        assert poll(stage) == (1, 25)
    grow(stage, 5)
    assert poll(stage) == (1, 30)
    stage.copy.watch_writes("task_event", "checkpoint")
    assert poll(stage) == (1, 30)
    assert stage.copy.writes() == {}
    grow(stage, 1500)
    requests, _ = poll(stage)
    assert requests == 2
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


@pytest.mark.parametrize("length", [1100, 25, 1025])
def test_p6_a_short_last_page_is_left_as_it_is(stage_for: Staging, length: int) -> None:
    stage = stage_for(world_of(events(length)))
    poll(stage)
    for _ in range(5):
        assert poll(stage)[0] == 1
    assert stage.copy.checkpoint(TASK)["quiet_polls"] == 0


def test_p6_first_syncs_and_busy_tasks_make_no_extra_request(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(500)))
    poll(stage)
    for _ in range(6):
        assert poll(stage)[0] == 1
        grow(stage, 3)
        assert poll(stage)[0] == 1
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_p6_news_that_comes_with_the_extra_request_is_stored(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(900)))
    for _ in range(3):
        poll(stage)
    grow(stage, 40)
    assert poll(stage) == (2, 940)
    assert_to_the_letter(stage.copy, TASK, events(940))
    for _ in range(2):
        assert poll(stage) == (1, 65)


@pytest.mark.parametrize("length", [900, 2900])
@pytest.mark.parametrize("style", ["position", "page-number", "offset"])
@pytest.mark.parametrize("fixed", ["free", "refused", "embedded"])
def test_p6_tokens_that_depend_on_the_limit_or_refuse_another_one_are_left_alone_and_nothing_is_lost(
    stage_for: Staging, length: int, style: str, fixed: str
) -> None:
    stage = stage_for(world_of(events(length), token_style=style, fixed_limit=fixed))
    for _ in range(3):
        poll(stage)
    assert poll(stage)[0] <= 3
    for _ in range(4):
        assert poll(stage)[0] == 1
    spared = style != "page-number" and fixed != "refused"
    if fixed == "free":
        assert (poll(stage)[1] == 25) == spared
    assert (stage.copy.checkpoint(TASK)["quiet_polls"] == -1) == (not spared) or fixed == "embedded"
    for more in (7, 150, 1300):
        grow(stage, more)
        poll(stage)
        assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)
    for _ in range(5):
        assert poll(stage)[0] <= 3
    assert poll(stage)[0] == 1


@pytest.mark.parametrize("fault", [{"status": 400}, {"status": 500, "count": 9}, {"status": 404}])
def test_p6_an_extra_request_that_fails_costs_nothing_else(stage_for: Staging, fault: dict[str, int]) -> None:
    stage = stage_for(world_of(events(900)), api__retries=2)
    for _ in range(3):
        poll(stage)
    fault = {**fault, "count": 3} if fault.get("count") else fault
    stage.world.faults.add(Fault(kind="status", **fault), task_id=TASK)  # type: ignore[arg-type]
    grow(stage, 2)
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(902))


def test_p6_a_tail_that_upstream_has_changed_is_read_as_a_change(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(900)))
    for _ in range(3):
        poll(stage)
    stage.world.logs[TASK].replace(500, event(500, "changed"))
    stage.world.logs[TASK].replace(890, event(890, "changed"))
    report = stage.sync_well()
    assert (report.new, report.changed) == (0, 2)
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_p6_an_idle_poll_of_a_quiet_newest_first_log_reads_25_events(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(2900), order=NEWEST))
    assert poll(stage) == (3, 2900)
    assert poll(stage) == (1, 1000)
    assert poll(stage) == (1, 1000)
    for _ in range(3):
        assert poll(stage) == (1, 25)
    grow(stage, 5)
    assert poll(stage) == (1, 25)
    assert_to_the_letter(stage.copy, TASK, events(2905))
    assert poll(stage) == (1, 1000)
    assert poll(stage) == (1, 1000)
    assert poll(stage) == (1, 25)
    grow(stage, 400)
    assert poll(stage) == (2, 1025)
    assert_to_the_letter(stage.copy, TASK, events(3305))


@pytest.mark.parametrize("fixed", ["refused", "embedded"])
@pytest.mark.parametrize("style", ["page-number", "offset"])
def test_p6_newest_first_whatever_tokens_mean(stage_for: Staging, style: str, fixed: str) -> None:
    stage = stage_for(world_of(events(2900), order=NEWEST, token_style=style, fixed_limit=fixed))
    for _ in range(5):
        stage.sync_well()
    assert poll(stage) == (1, 25)
    for more in (3, 30, 2600):
        grow(stage, more)
        stage.sync_well()
        assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)
        for _ in range(3):
            assert poll(stage)[0] == 1


def test_p6_the_third_idle_poll_of_many_tasks_makes_them_all_short(stage_for: Staging) -> None:
    world = world_of_many(8, 300)
    stage = stage_for(world)
    for _ in range(4):
        stage.sync_well()
    assert stage.requests == 16
    stage.sync_well()
    assert (stage.requests, world.tally.events_served) == (8, 8 * 25)


# ---------------------------------------------------------------------------- limits


@pytest.mark.parametrize("style", ["position", "page-number"])
@pytest.mark.parametrize("fixed", ["free", "refused", "embedded"])
@pytest.mark.parametrize("order", ["oldest-first", NEWEST])
def test_p1_a_limit_that_was_too_much_shrinks_and_grows_back_and_nothing_is_left_out(
    stage_for: Staging, style: str, fixed: str, order: str
) -> None:
    world = world_of(events(1500), order=order, token_style=style, fixed_limit=fixed, slow_above=50)
    stage = stage_for(world, api__page_size=100, api__retries=3)
    fits = 14

    def recover(_: str | None, natural: str | None) -> str | None:
        nonlocal fits
        fits -= 1
        if fits == 0:
            world.slow_above = None
        return natural

    world.scripted_tokens[TASK] = recover
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(1500))
    limits = [int(seen.limit) for seen in world.tally.journal if seen.status == 200]
    assert limits[0] <= 50
    if (style, fixed) == ("position", "free"):
        assert limits[-1] == 100
    grow(stage, 700)
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(2200))
    assert stage.sync_well().new == 0
    assert stage.requests == 1


@pytest.mark.parametrize("style", ["position", "page-number"])
def test_p1_another_page_size_configured_later_leaves_nothing_out(stage_for: Staging, style: str) -> None:
    stage = stage_for(world_of(events(95), token_style=style), api__page_size=20)
    stage.sync_well()
    for size in (50, 10, 30):
        stage.app = stage.open_another(api__page_size=size)
        grow(stage, 45)
        stage.sync_well()
        assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)
