"""What must the main job show? 20 tasks of 2,500 events: as many requests as needed, an exact copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oracle import assert_to_the_letter

from maia_sync.sandbox.story import make_world, more_events

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS, EVENTS, APPENDED = 20, 2_500, 10
COPIED = ("task_event", "task_event_revision", "quarantine", "checkpoint")


def test_first_sync_takes_60_requests_the_idle_one_20_and_no_event_written_and_the_copy_is_exact(
    stage_for: Callable[..., Any],
) -> None:
    world = make_world(seed=20_2500, tasks=TASKS, events_per_task=EVENTS)
    stage = stage_for(world)

    first = stage.sync_well()
    assert (stage.requests, first.requests, first.pages) == (60, 60, 60)
    assert (first.tasks, first.new, first.changed, first.unchanged) == (TASKS, TASKS * EVENTS, 0, 0)

    stage.copy.watch_writes(*COPIED)
    second = stage.sync_well()
    assert (stage.requests, second.requests) == (20, 20)
    assert (second.new, second.changed, second.vanished, second.quarantined) == (0, 0, 0, 0)
    # Of its page of 500 known events it takes note, so that the third such poll makes it shorter.
    written = stage.copy.writes()
    assert written == {"UPDATE checkpoint": TASKS}

    for log in world.logs.values():
        more_events(log, APPENDED)
    third = stage.sync_well()
    assert (stage.requests, third.requests) == (20, 20)
    assert third.new == TASKS * APPENDED
    written = stage.copy.writes()
    assert written.pop("UPDATE checkpoint") <= TASKS
    assert written == {"INSERT task_event": TASKS * APPENDED}

    for task, log in world.logs.items():
        assert_to_the_letter(stage.copy, task, log.events)
