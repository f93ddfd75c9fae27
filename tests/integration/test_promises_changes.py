"""P2, P3 and P6: one row for one event, earlier payloads kept, nothing written for nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, event, events, stamp, twin, world_of, world_of_many
from oracle import assert_equal_as_set, assert_sound, assert_to_the_letter, distinct

from maia_sync.sandbox.faults import Fault
from maia_sync.sandbox.oddities import UNSTORABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    Staging = Callable[..., Any]


def texts(stage: Any) -> list[str | None]:
    return [row.data for row in stage.copy.log(TASK)]


def numbers(stage: Any, *, vanished: bool = True) -> list[int]:
    """Return which events the rows are, in reading order."""
    told = [row.data or "" for row in stage.copy.log(TASK, vanished=vanished)]
    return [int(text.partition('"n":')[2].partition(",")[0]) for text in told]


# ---------------------------------------------------------------------------- P2


@pytest.mark.parametrize("repeated", [slice(0, 3), slice(7, 10), slice(5, 15), slice(0, 30)])
def test_p2_events_that_pages_repeat_make_no_second_row(stage_for: Staging, repeated: slice) -> None:
    """Repeated within a page, over page borders, and a whole log again."""
    log = events(30)
    stage = stage_for(world_of([*log, *log[repeated]]), api__page_size=10)
    assert stage.sync_well().new == 30
    assert_to_the_letter(stage.copy, TASK, log)
    for full in (False, True):
        report = stage.sync_well(full=full)
        assert (report.new, report.changed, report.vanished) == (0, 0, 0)
    assert_to_the_letter(stage.copy, TASK, log)


def test_p2_overlapping_pages_make_no_second_row(stage_for: Staging) -> None:
    world = world_of(events(40))

    def three_back(_: str | None, natural: str | None) -> str | None:
        if natural is None:
            return None
        position = world.tokens.position(TASK, "oldest-first", natural)
        assert position is not None
        return world.token_at(TASK, position - 3)

    world.scripted_tokens[TASK] = three_back
    stage = stage_for(world, api__page_size=10)
    for full in (False, False, True):
        stage.sync_well(full=full)
        assert_to_the_letter(stage.copy, TASK, events(40))
    world.logs[TASK].extend(events(10, 40))
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(50))


@pytest.mark.parametrize(
    "respelt",
    [
        b'{"data":{"text":"as it was","n":5},"groupId":"g","timestamp":"%b"}',
        b'{ "data" : {"n":5,\t"text" : "as it was"} , "groupId":"g","timestamp":"%b" }',
        rb'{"data":{"n":5,"t\u0065xt":"as it \u0077as"},"groupId":"\u0067","timestamp":"%b"}',
        b'{"timestamp":"%b","groupId":"g","data":{"n":5,"text":"as it was"}}',
    ],
)
@pytest.mark.parametrize("full", [False, True])
def test_p2_a_payload_spelt_otherwise_is_the_same_event_and_its_first_spelling_stays(
    stage_for: Staging, respelt: bytes, full: bool
) -> None:
    stage = stage_for(world_of(events(10)))
    stage.sync_well()
    stage.world.logs[TASK].replace(5, respelt % stamp(5).encode())
    report = stage.sync_well(full=full)
    assert (report.new, report.changed, report.vanished) == (0, 0, 0)
    assert_to_the_letter(stage.copy, TASK, events(10))


def test_p2_the_same_instant_spelt_otherwise_is_the_same_event(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(10)))
    stage.sync_well()
    elsewhere = stamp(5).replace("T08", "T10").replace(".25Z", ".250+02:00")
    stage.world.logs[TASK].replace(5, event(5).replace(stamp(5).encode(), elsewhere.encode()))
    assert (stage.sync_well().new, stage.sync_well(full=True).new) == (0, 0)
    assert_to_the_letter(stage.copy, TASK, events(10))


@pytest.mark.parametrize("number", [b"1.50", b"15e-1", b"1.5000"])
def test_p2_numbers_spelt_otherwise_are_another_payload(stage_for: Staging, number: bytes) -> None:
    stage = stage_for(world_of([b'{"data":1.5,"timestamp":"%b"}' % stamp(1).encode()]))
    stage.sync_well()
    stage.world.logs[TASK].replace(0, b'{"data":%b,"timestamp":"%b"}' % (number, stamp(1).encode()))
    assert stage.sync_well().changed == 1
    assert texts(stage) == [number.decode()]


def test_p2_a_refused_token_leads_to_a_walk_from_the_start_that_makes_no_second_row(
    stage_for: Staging,
) -> None:
    stage = stage_for(world_of(events(35)), api__page_size=10)
    stage.sync_well()
    stage.world.revoke_tokens()
    stage.world.logs[TASK].extend(events(10, 35))
    report = stage.sync_well()
    assert (report.new, stage.requests) == (10, 1 + 5)
    assert_to_the_letter(stage.copy, TASK, events(45))
    assert (stage.sync_well().new, stage.requests) == (0, 1)


def test_p2_two_syncs_at_once_share_the_tasks(stage_for: Staging) -> None:
    world = world_of_many(12, 60, latency=0.002)
    stage = stage_for(world, api__page_size=10, api__concurrency=3)
    apps = [stage.app, stage.open_another()]
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(lambda app: app.sync(), apps))
    assert [report.status for report in reports] == ["succeeded", "succeeded"]
    assert sum(report.new for report in reports) == 12 * 60
    for task in world.logs:
        assert_to_the_letter(stage.copy, task, events(60))
    assert stage.copy.free_leases() == 0


# ---------------------------------------------------------------------------- P3


@pytest.mark.parametrize(
    ("position", "full"), [(33, False), (33, True), (4, True), (0, True), (39, False), (39, True)]
)
def test_p3_a_changed_payload_is_a_revision_of_the_same_row(
    stage_for: Staging, position: int, full: bool
) -> None:
    """In the last page a poll sees it, in an earlier one a reconcile."""
    stage = stage_for(world_of(events(40)), api__page_size=10)
    stage.sync_well()
    before = stage.copy.log(TASK)
    stage.world.logs[TASK].replace(position, event(position, "changed"))
    report = stage.sync_well(full=full)
    assert (report.new, report.changed, report.vanished) == (0, 1, 0)
    after = stage.copy.log(TASK)
    assert [(row.seq, row.ordinal, row.first_seen_at) for row in after] == [
        (row.seq, row.ordinal, row.first_seen_at) for row in before
    ]
    assert after[position].revision == 1
    assert after[position].last_changed_at > before[position].last_changed_at
    assert [revision[3:] for revision in stage.copy.revisions(TASK)] == [(0, before[position].data)]
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_p3_a_poll_does_not_read_an_early_page_and_so_leaves_its_change_to_the_reconcile(
    stage_for: Staging,
) -> None:
    stage = stage_for(world_of(events(40)), api__page_size=10)
    stage.sync_well()
    stage.world.logs[TASK].replace(4, event(4, "changed"))
    assert (stage.sync_well().changed, stage.requests) == (0, 1)
    assert (stage.sync_well(full=True).changed, stage.requests) == (1, 4)


def test_p3_a_payload_that_changes_back_has_every_revision(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(5)))
    stage.sync_well()
    story = ["as it was", "B", "as it was", "C", "B"]
    for text in story[1:]:
        stage.world.logs[TASK].replace(2, event(2, text))
        assert stage.sync_well().changed == 1
    row = stage.copy.log(TASK)[2]
    assert (row.revision, row.ordinal) == (4, 0)
    chain = [revision[-1] for revision in stage.copy.revisions(TASK)] + [row.data]
    assert [text for data, text in zip(chain, story, strict=True) if f'"{text}"' not in data] == []
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


@pytest.mark.parametrize("full", [False, True])
def test_p3_a_change_together_with_insertions_around_it(stage_for: Staging, full: bool) -> None:
    stage = stage_for(world_of([event(number) for number in range(0, 20, 2)]))
    stage.sync_well()
    log = stage.world.logs[TASK]
    log.replace(5, event(10, "changed"))
    log.insert(6, event(11))
    log.insert(5, event(9))
    log.append(event(20))
    report = stage.sync_well(full=full)
    assert (report.new, report.changed, report.vanished) == (3, 1, 0)
    assert_to_the_letter(stage.copy, TASK, log.events)


@pytest.mark.parametrize("changed", [0, 1, 2])
@pytest.mark.parametrize("full", [False, True])
def test_p3_of_events_of_one_key_side_by_side_only_the_changed_one_gets_a_revision(
    stage_for: Staging, changed: int, full: bool
) -> None:
    stage = stage_for(world_of([event(0), twin(1, "a"), twin(1, "b"), twin(1, "c"), event(2)]))
    stage.sync_well()
    assert [row.ordinal for row in stage.copy.log(TASK)] == [0, 0, 1, 2, 0]
    stage.world.logs[TASK].replace(1 + changed, twin(1, "changed"))
    report = stage.sync_well(full=full)
    assert (report.new, report.changed, report.vanished) == (0, 1, 0)
    assert [row.revision for row in stage.copy.log(TASK)] == [int(at == 1 + changed) for at in range(5)]
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_p3_equal_payloads_match_before_changes_are_paired(stage_for: Staging) -> None:
    """a b c becomes b c d: one of the three changed, two are what they were."""
    stage = stage_for(world_of([event(0), twin(1, "a"), twin(1, "b"), twin(1, "c"), event(2)]))
    stage.sync_well()
    for at, text in enumerate("bcd"):
        stage.world.logs[TASK].replace(1 + at, twin(1, text))
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (0, 1, 0)
    assert sorted(text for text in texts(stage) if text and len(text) == 3) == ['"b"', '"c"', '"d"']
    assert [revision[-1] for revision in stage.copy.revisions(TASK)] == ['"a"']
    assert_sound(stage.copy, TASK)


@pytest.mark.parametrize("full", [False, True])
def test_p3_a_second_event_of_a_stored_key_is_a_row_beside_it(stage_for: Staging, full: bool) -> None:
    stage = stage_for(world_of([event(0), twin(1, "a"), event(2)]))
    stage.sync_well()
    stage.world.logs[TASK].insert(2, twin(1, "b"))
    report = stage.sync_well(full=full)
    assert (report.new, report.changed) == (1, 0)
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)
    assert [row.ordinal for row in stage.copy.log(TASK)] == [0, 0, 1, 0]


def test_p3_whatever_changes_anywhere_every_payload_that_was_stored_stays(stage_for: Staging) -> None:
    """The last events of pages, and every event of one page: revisions or marked rows, but never lost."""
    stage = stage_for(world_of(events(40)), api__page_size=10)
    stage.sync_well()
    for at in (9, 19, *range(20, 30), 39):
        stage.world.logs[TASK].replace(at, event(at, "changed"))
    stage.sync_well(full=True)
    stage.sync_well(full=True)
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)
    kept = {row.data for row in stage.copy.log(TASK)} | {each[-1] for each in stage.copy.revisions(TASK)}
    assert {told.data for told in distinct(events(40)).values()} <= kept
    assert numbers(stage, vanished=False) == list(range(40))


def test_p3_vanished_events_stay_and_are_marked_by_the_reconcile_alone(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(40)), api__page_size=10)
    stage.sync_well()
    gone = stage.world.logs[TASK].remove(12, 2)
    gone += stage.world.logs[TASK].remove(35)
    assert stage.sync_well().vanished == 0
    assert all(row.vanished_at is None for row in stage.copy.log(TASK))
    assert stage.sync_well(full=True).vanished == 3
    marked = [row.data for row in stage.copy.log(TASK) if row.vanished_at]
    assert marked == [told.data for told in distinct(gone).values()]
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)
    assert numbers(stage) == list(range(40))
    # A mark does not change by being confirmed.
    before = stage.copy.log(TASK)
    assert stage.sync_well(full=True).vanished == 0
    assert stage.copy.log(TASK) == before


@pytest.mark.parametrize("full", [False, True])
def test_p3_a_vanished_event_that_is_served_again_is_unmarked(stage_for: Staging, full: bool) -> None:
    stage = stage_for(world_of(events(40)), api__page_size=10)
    stage.sync_well()
    (gone,) = stage.world.logs[TASK].remove(36)
    assert stage.sync_well(full=True).vanished == 1
    stage.world.logs[TASK].insert(36, gone)
    report = stage.sync_well(full=full)
    assert (report.new, report.changed) == (0, 0)
    assert_to_the_letter(stage.copy, TASK, events(40))


def test_p3_more_than_a_tenth_is_marked_only_when_a_second_reconcile_agrees(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(40)), api__page_size=10)
    stage.sync_well()
    stage.world.logs[TASK].remove(3, 5)
    first = stage.sync_well(full=True)
    assert (first.vanished, first.doubted) == (0, 5)
    assert len(stage.copy.log(TASK, vanished=False)) == 40
    # Three of the five come back: what remains is less than a tenth, and the second reconcile agrees on it.
    stage.world.logs[TASK].insert(3, *events(3, 3))
    second = stage.sync_well(full=True)
    assert (second.vanished, second.doubted) == (2, 0)
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)


def test_p3_a_tenth_at_most_is_marked_at_once_and_a_doubt_that_is_borne_out_is_marked(
    stage_for: Staging,
) -> None:
    stage = stage_for(world_of(events(40)), api__page_size=10)
    stage.sync_well()
    stage.world.logs[TASK].remove(0, 4)
    assert stage.sync_well(full=True).vanished == 4
    stage.world.logs[TASK].remove(0, 36)
    first, second = stage.sync_well(full=True), stage.sync_well(full=True)
    assert (first.vanished, first.doubted, second.vanished, second.doubted) == (0, 36, 36, 0)
    assert stage.copy.log(TASK, vanished=False) == []
    assert len(stage.copy.log(TASK)) == 40


def test_p3_nothing_is_marked_by_a_reconcile_that_did_not_reach_the_end(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(40)), api__page_size=10, api__retries=0)
    stage.sync_well()
    stage.world.logs[TASK].remove(3)
    stage.world.faults.add(Fault(kind="status", status=500, after=3), task_id=TASK)
    assert stage.sync(full=True).failed == 1
    assert len(stage.copy.log(TASK, vanished=False)) == 40
    assert stage.sync_well(full=True).vanished == 1
    assert stage.requests == 1  # it went on where it stood
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)


# ------------------------------------------------------------------ order, and late insertions


@pytest.mark.parametrize("at", [0, 1, 4, 9, 10, 25, 39])
def test_p1_a_late_insertion_is_found_by_the_reconcile_and_stands_between_its_neighbours(
    stage_for: Staging, at: int
) -> None:
    stage = stage_for(world_of([event(2 * number) for number in range(40)]), api__page_size=10)
    stage.sync_well()
    stage.world.logs[TASK].insert(
        at, event(2 * at - 1 if at else 3000), event(2 * at - 1 if at else 3001, "twin")
    )
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (2, 0, 0)
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)
    assert stage.sync_well(full=True).new == 0


@pytest.mark.parametrize("at", [0, 5, 17, 20])
def test_p1_a_thousand_late_events_stand_in_order(stage_for: Staging, at: int) -> None:
    stage = stage_for(world_of(events(20)), api__page_size=100)
    stage.sync_well()
    stage.world.logs[TASK].insert(at, *events(1000, 1000))
    assert stage.sync_well(full=True).new == 1000
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)


def test_p1_insertions_at_one_spot_stay_in_order_beyond_the_room_between_two_rows(stage_for: Staging) -> None:
    """Each right behind the one before, 26 times: the gap of 2^20 is halved until there is none.

    Not in front of the last row, where they are placed more sparingly (tests/unit/sync/test_order.py).
    """
    stage = stage_for(world_of([event(0), event(3000), event(3001)]))
    stage.sync_well()
    for number in range(1, 27):
        stage.world.logs[TASK].insert(number, event(number))
        assert stage.sync_well().new == 1
    assert_to_the_letter(stage.copy, TASK, stage.world.logs[TASK].events)
    seqs = [row.seq for row in stage.copy.log(TASK)]
    assert len(set(seqs)) < len(seqs)
    # Rows that share a seq are marked vanished one by one.
    stage.world.logs[TASK].remove(25)
    assert stage.sync_well(full=True).vanished == 1
    assert [row.told for row in stage.copy.log(TASK, vanished=False)] == list(
        distinct(stage.world.logs[TASK].events).values()
    )


def test_p1_insertions_at_one_spot_before_each_other_are_all_kept(stage_for: Staging) -> None:
    """Each right behind the same row: without room they share its seq, in the order of being seen."""
    stage = stage_for(world_of([event(0), event(3000)]))
    stage.sync_well()
    for number in range(26, 0, -1):
        stage.world.logs[TASK].insert(1, event(number))
        stage.sync_well(full=number % 2 == 0)
    assert_equal_as_set(stage.copy, TASK, stage.world.logs[TASK].events)
    assert (numbers(stage)[0], numbers(stage)[-1]) == (0, 3000)
    assert sorted(numbers(stage)) == [*range(27), 3000]
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (0, 0, 0)


# ---------------------------------------------------------------------------- P6


def test_p6_an_idle_poll_is_one_request_and_writes_no_row_whatever_the_log_has_been_through(
    stage_for: Staging,
) -> None:
    log = [
        *events(30),
        twin(40, "a"),
        twin(40, "b"),
        *UNSTORABLE.values(),
        event(41),
        event(41),
        b"{}",
        b"{}",
    ]
    stage = stage_for(world_of(log), api__page_size=50)
    stage.sync_well()
    stage.world.logs[TASK].replace(31, twin(40, "changed"))
    stage.world.logs[TASK].remove(3)
    stage.world.logs[TASK].insert(7, event(3001))
    stage.sync_well(full=True)
    stage.copy.watch_writes("task_event", "task_event_revision", "quarantine", "checkpoint")
    for _ in range(3):
        report = stage.sync_well()
        assert (stage.requests, report.new, report.changed, report.vanished) == (1, 0, 0, 0)
    assert stage.copy.writes() == {}


def test_p6_a_reconcile_of_an_unchanged_log_writes_no_event_row(stage_for: Staging) -> None:
    stage = stage_for(world_of(events(40)), api__page_size=10)
    stage.sync_well()
    stage.copy.watch_writes("task_event", "task_event_revision", "quarantine")
    assert stage.sync_well(full=True).unchanged == 40
    assert stage.copy.writes() == {}
