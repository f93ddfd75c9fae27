"""P1, P3 and P7 where nobody looks first: each of these once was a fault."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, event, events, world_of, world_of_many
from oracle import assert_equal_as_set, assert_sound, assert_to_the_letter

from maia_sync.errors import CredentialsRefused
from maia_sync.sandbox.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    Staging = Callable[..., Any]


def test_p3_thousands_of_scattered_vanishings_are_doubted_and_then_marked(stage_for: Staging) -> None:
    """One condition over all the stretches between them would be too deep for SQLite."""
    log = events(2400)
    stage = stage_for(world_of(log))
    stage.sync_well()
    stage.world.logs[TASK].events[:] = log[::2]
    first, second = stage.sync_well(full=True), stage.sync_well(full=True)
    assert (first.vanished, first.doubted, second.vanished, second.doubted) == (0, 1200, 1200, 0)
    assert_equal_as_set(stage.copy, TASK, log[::2])


def test_p3_rows_stored_after_a_doubt_were_not_missed_by_it(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(10)))
    stage.sync_well()
    stage.world.logs[TASK].remove(5, 5)
    assert stage.sync_well(full=True).doubted == 5
    stage.world.logs[TASK].extend(events(100, 10))
    assert stage.sync_well().new == 100
    stage.world.logs[TASK].remove(5, 100)
    second = stage.sync_well(full=True)
    assert (second.vanished, second.doubted) == (5, 100)
    assert stage.sync_well(full=True).vanished == 100
    assert_equal_as_set(stage.copy, TASK, events(5))


def test_p1_a_repeated_event_alone_on_the_last_page_does_not_make_the_log_its_block(
    stage_for: Staging,
) -> None:
    """Without timestamps all events have one key; a wider block would take a new one for a change."""
    x, y, z, w = (b'{"data":"%c"}' % letter for letter in b"xyzw")
    stage = stage_for(world_of([x, y, z, x]), api__page_size=3)
    stage.sync_well()
    stage.world.logs[TASK].append(w)
    report = stage.sync_well()
    assert (report.new, report.changed) == (1, 0)
    assert_equal_as_set(stage.copy, TASK, [x, y, z, w])
    assert stage.app.verify().difference_count == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_payload_altered_to_no_json_is_a_difference_and_is_mended_as_a_change(
    stage_for: Staging, database_url: str
) -> None:
    stage = stage_for(world_of(events(5)))
    stage.sync_well()
    with sqlite3.connect(database_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE task_event SET data = '{not json', digest = x'00' WHERE seq = 3 * 1048576")
    connection.close()
    assert [found.kind for found in stage.app.verify().differences] == ["stored otherwise"]
    assert stage.sync_well(full=True).changed == 1
    assert stage.app.verify().difference_count == 0
    assert_sound(stage.copy, TASK)


def test_p7_a_token_too_long_to_be_asked_for_is_the_tasks_error_in_one_sentence(stage_for: Staging) -> None:
    world = world_of([event(number) for number in range(30)])
    world.scripted_tokens[TASK] = lambda _, natural: natural and "x" * 70_000
    stage = stage_for(world, api__page_size=10)
    report = stage.sync()
    assert report.failed == 1
    assert "70,000 characters" in report.walks[0].error
    world.scripted_tokens.clear()
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, world.logs[TASK].events)


def test_p3_rows_that_share_a_seq_by_the_thousand_are_told_apart_by_a_reconcile(stage_for: Staging) -> None:
    """As many names in one statement would be more parameters than either database takes."""
    log = events(9000)
    stage = stage_for(world_of(log))
    stage.sync_well()
    stage.copy.ask("UPDATE task_event SET seq = 1048576 WHERE seq > 1048576")
    stage.world.logs[TASK].remove(4000, 3)
    assert stage.sync_well(full=True).vanished == 3
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)
    assert stage.app.verify().difference_count == 0


@pytest.mark.parametrize("after", [0, 3, 9, 14])
def test_p7_a_run_that_fails_as_a_whole_keeps_no_lease_and_counts_all_it_stored(
    stage_for: Staging, after: int
) -> None:
    """Several walks end at once: a lease's return must not be cancelled, nor a page in hand be forgotten."""
    stage = stage_for(world_of_many(8, 25), api__page_size=10)
    stage.world.faults.add(Fault(kind="status", status=401, after=after, count=None))
    with pytest.raises(CredentialsRefused):
        stage.sync()
    assert stage.copy.free_leases() == 0
    rows = stage.copy.one("SELECT count(*) FROM task_event")
    assert stage.copy.one("SELECT events_new FROM sync_run") == rows
