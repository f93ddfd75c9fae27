"""What do poll, reconcile and verify make of rows whose payloads were pruned or erased? Nothing (P6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, event, events, task_id, twin, world_of, world_of_many
from taken_out import key_in, take_out, take_out_others

from maia_sync.maia.wire import decode_page
from maia_sync.model import TaskLog
from maia_sync.store.emptying import EmptiedEvent, empty_events
from maia_sync.sync.compare import is_stored_from_start, is_upside_down

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Staging = Callable[..., Any]

WATCHED = ("task_event", "task_event_revision", "quarantine", "task_turn", "task_activity")
ODD = [b'{"data":1,"groupId":"\xff"}', b"[7]"]
LONG_FRACTION = b'{"data":{"n":1},"groupId":"g","timestamp":"2026-01-05T08:00:00.123456789012Z"}'


def log() -> list[bytes]:
    """Return a log with keys of one row, of several, and of none; most payloads can be spelt anew."""
    return [
        *events(12),
        *(twin(20, f"twin {number}") for number in range(4)),
        *(twin(21, f"twin {number}") for number in range(2)),
        LONG_FRACTION,
        b'{"data":{"a":"x","b":2},"groupId":"g","timestamp":"2026-01-05T08:59:00Z","more":[1, 2]}',
        ODD[0],
        *(b'{"data":{"n":%d,"x":0},"groupId":"u"}' % number for number in range(30)),
        b'{"data":{"n":1},"groupId":"u","timestamp":"1500-01-01T00:00:00Z"}',
        b'{"groupId":"g","timestamp":"2026-01-05T08:58:00Z"}',
        ODD[1],
        *events(8, 13),
    ]


def respelt(element: bytes) -> bytes:
    """Return an event with its payload in another spelling."""
    try:
        said = json.loads(element)
    except UnicodeDecodeError:
        return element
    if not isinstance(said, dict) or not isinstance(said.get("data"), dict):
        return element
    data = json.dumps(dict(reversed(said["data"].items())), indent=1)
    rest = {name: value for name, value in reversed(said.items()) if name != "data"}
    return f'{{"data": {data}, {json.dumps(rest)[1:]}'.encode()


def staged(stage_for: Staging, folder: Path, elements: list[bytes], **settings: Any) -> Any:
    order = settings.pop("order", "oldest-first")
    options = {"archive__digest_key_file": key_in(folder), "api__retries": 0, **settings}
    return stage_for(world_of(elements, order=order), **options)


def assert_nothing_comes_of_it(stage: Any, number: int) -> None:
    for full in (False, True, True):
        report = stage.sync_well(full=full)
        assert (report.new, report.changed, report.vanished, report.quarantined) == (0, 0, 0, 0)
    assert stage.copy.writes() == {}
    assert len(stage.copy.log(TASK)) == number


# ---------------------------------------------------------------------------- what stays


def test_what_stays_of_a_row_is_its_key_its_moments_and_keyed_digests(
    stage_for: Staging, tmp_path: Path
) -> None:
    long = f'{{"data":{{"n":5}},"groupId":"g","timestamp":"2026-01-05T09:00:00.5{"0" * 60}Z"}}'.encode()
    ancient = b'{"data":{"n":6},"groupId":"g","timestamp":"1500-01-01T00:00:00Z"}'
    stage = staged(stage_for, tmp_path, [*events(2), long, ancient])
    stage.sync_well()
    stage.world.logs[TASK].replace(1, event(1, "otherwise"))
    stage.sync_well(full=True)
    text = "::text" if stage.copy.is_postgresql else ""
    kept = (
        'SELECT group_id, "timestamp", ordinal, seq, revision, first_seen_at, last_changed_at, run_id, '
        "facets_version FROM task_event ORDER BY seq"
    )
    before = stage.copy.ask(kept)
    assert take_out(stage.app.database, TASK) == 5
    assert stage.copy.ask(kept) == before
    assert [(row.timestamp_text is None, row.occurred_at is None) for row in stage.copy.log(TASK)] == [
        (False, False),
        (False, False),
        (True, False),
        (True, True),
    ]
    marks = "pruned_at IS NULL, erased_at IS NULL, length(digest), "
    current = f"SELECT DISTINCT {marks} length(canonical), data{text}, extra{text} FROM task_event"
    earlier = f"SELECT {marks} data{text}, extra{text} FROM task_event_revision"
    assert stage.copy.ask(current) == [(False, True, 36, 36, None, None)]
    assert stage.copy.ask(earlier) == [(False, True, 36, None, None)]


def test_what_was_pruned_is_noted_to_be_erased_by_the_key_of_now_and_nothing_else_of_it_changes(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, events(3))
    stage.sync_well()
    stage.world.logs[TASK].replace(0, event(0, "otherwise"))
    stage.sync_well(full=True)
    names = [EmptiedEvent._make((*row, b"d" * 36, b"c" * 36)) for row in revisions_of(stage)]
    told, digests = 'SELECT "timestamp", pruned_at FROM {} ORDER BY 1', "SELECT DISTINCT digest FROM {}"
    tables = ("task_event", "task_event_revision")
    moments = []
    for erased, there in ((False, 4), (False, 0), (True, 0), (True, 0)):
        with stage.app.database.transaction() as tx:
            assert empty_events(tx, TASK, names, erased=erased) == there
            # What the row holds by now is another revision, or nobody has heard of it.
            others = [each._replace(revision=each.revision + 1) for each in names[1:]]
            assert empty_events(tx, TASK, [*others, names[0]._replace(group_id="x")], erased=erased) == 0
        names = [each._replace(digest=b"e" * 36) for each in names]
        expected = [((b"e" if erased else b"d") * 36,)]
        assert [stage.copy.ask(digests.format(table)) for table in tables] == [expected] * 2
        moments.append([stage.copy.ask(told.format(table)) for table in tables])
        for table in tables:
            erasures = stage.copy.ask(f"SELECT DISTINCT erased_at IS NULL FROM {table}")
            assert erasures == [(not erased,)]
    assert all(each == moments[0] for each in moments)


def revisions_of(stage: Any) -> list[tuple[Any, ...]]:
    key = 'group_id, "timestamp", ordinal, revision'
    found: list[tuple[Any, ...]] = stage.copy.ask(
        f"SELECT {key} FROM task_event UNION ALL SELECT {key} FROM task_event_revision ORDER BY 4 DESC, 2"
    )
    return found


def test_what_was_sent_and_quarantined_is_emptied_once(stage_for: Staging, tmp_path: Path) -> None:
    stage = staged(stage_for, tmp_path, [*events(2), *ODD])
    stage.sync_well()
    stage.app.send(TASK, "hello")
    assert take_out_others(stage.app.database, TASK) == 3
    assert take_out_others(stage.app.database, TASK, erased=True) == 0
    text = "::text" if stage.copy.is_postgresql else ""
    assert stage.copy.ask(
        f"SELECT request{text}, pruned_at IS NULL, erased_at IS NULL FROM sent_message"
    ) == [("null", False, False)]


# ---------------------------------------------------------------------------- nothing comes back


@pytest.mark.parametrize(("order", "erased"), [("oldest-first", False), ("newest-first", True)])
def test_p6_what_was_removed_is_served_again_in_whatever_spelling_and_nothing_is_written(
    stage_for: Staging, tmp_path: Path, order: str, erased: bool
) -> None:
    stage = staged(stage_for, tmp_path, log(), order=order, api__page_size=12)
    stage.sync_well()
    number = len(stage.copy.log(TASK))
    assert take_out(stage.app.database, TASK, erased=erased) == number
    assert take_out_others(stage.app.database, TASK, erased=erased) == 2
    assert {row.data for row in stage.copy.log(TASK)} == {None}
    stage.copy.watch_writes(*WATCHED)
    assert_nothing_comes_of_it(stage, number)
    stage.world.logs[TASK].events[:] = [respelt(each) for each in log()]
    assert_nothing_comes_of_it(stage, number)
    assert_verified(stage)
    stage.world.revoke_tokens()
    assert_nothing_comes_of_it(stage, number)
    assert stage.copy.quarantined(TASK) == [b"", b""]


def test_p6_a_removed_event_that_is_served_in_another_place_is_known_again(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, log(), api__page_size=12)
    stage.sync_well()
    number = len(stage.copy.log(TASK))
    take_out(stage.app.database, TASK)
    stage.copy.watch_writes(*WATCHED)
    stage.world.logs[TASK].extend([respelt(each) for each in log()[::-1]])
    assert_nothing_comes_of_it(stage, number)
    assert_verified(stage)


def test_p3_a_removed_event_that_vanishes_is_marked_and_unmarked_when_it_is_served_again(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, events(30))
    stage.sync_well()
    take_out(stage.app.database, TASK)
    (gone,) = stage.world.logs[TASK].remove(7)
    assert stage.sync_well(full=True).vanished == 1
    assert [row.vanished_at is not None for row in stage.copy.log(TASK)].index(True) == 7
    stage.world.logs[TASK].insert(7, respelt(gone))
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (0, 0, 0)
    assert not any(row.vanished_at for row in stage.copy.log(TASK))


def test_p1_an_order_is_found_out_by_removed_rows_as_by_whole_ones(
    stage_for: Staging, tmp_path: Path
) -> None:
    elements = [
        b'{"data":{"n":%d,"x":0},"groupId":"g%d","timestamp":"2026-01-05T08:00:00Z"}' % (number, number)
        for number in range(5)
    ]
    stage = staged(stage_for, tmp_path, elements)
    stage.sync_well()
    log = TaskLog(task_id=TASK)
    served = decode_page(b'{"results":[%b]}' % b",".join(elements)).events
    spelt_anew = decode_page(b'{"results":[%b]}' % b",".join(map(respelt, elements))).events

    def told() -> list[bool]:
        with stage.app.database.transaction(write=False) as tx:
            return [
                question(tx, log, events)
                for question in (is_upside_down, is_stored_from_start)
                for events in (served, served[::-1], spelt_anew)
            ]

    whole = told()
    assert whole == [True, False, False, True, False, False]
    take_out(stage.app.database, TASK)
    assert told() == whole


# ---------------------------------------------------------------------------- another payload


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
def test_p3_another_payload_in_place_of_a_removed_one_is_one_revision(
    stage_for: Staging, tmp_path: Path, order: str
) -> None:
    stage = staged(stage_for, tmp_path, [*events(8), twin(20, "one"), twin(20, "two")], order=order)
    stage.sync_well()
    take_out(stage.app.database, TASK, chosen=lambda row: row.data != '"two"', erased=True)
    log = stage.world.logs[TASK]
    log.replace(3, event(3, "otherwise"))
    log.replace(8, twin(20, "otherwise"))
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (0, 2, 0)
    columns = "revision, data IS NULL, pruned_at IS NULL, erased_at IS NULL, canonical IS NULL"
    of_changed = f'SELECT {columns}, length(digest) FROM task_event WHERE revision > 0 ORDER BY "timestamp"'
    assert stage.copy.ask(of_changed) == [
        (1, False, True, True, True, 32),
        (1, False, True, True, False, 32),
    ]
    earlier = "SELECT revision, data IS NULL, pruned_at IS NULL, erased_at IS NULL, length(digest) "
    assert stage.copy.ask(f"{earlier} FROM task_event_revision") == [(0, True, False, False, 36)] * 2
    stage.copy.watch_writes(*WATCHED)
    assert_nothing_comes_of_it(stage, 10)
    # Back to what was removed, and not by an erasure (see test_emptied_rows_again.py): one more revision.
    log.replace(3, event(3))
    assert (stage.sync_well(full=True).changed, stage.sync_well(full=True).changed) == (1, 0)


def test_p3_a_change_at_a_pages_end_is_told_from_news_by_removed_rows_that_the_page_behind_serves(
    stage_for: Staging, tmp_path: Path
) -> None:
    undated = [b'{"data":{"n":%d,"x":0},"groupId":"u"}' % number for number in range(10)]
    stage = staged(stage_for, tmp_path, undated, api__page_size=5)
    stage.sync_well()
    take_out(stage.app.database, TASK)
    stage.world.logs[TASK].replace(4, b'{"data":"otherwise","groupId":"u"}')
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (0, 1, 0)
    assert [row.revision for row in stage.copy.log(TASK)] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_p1_a_second_payload_beside_a_removed_one_gets_a_row_of_its_own_and_no_plain_digest_appears(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, events(8))
    stage.sync_well()
    take_out(stage.app.database, TASK)
    stage.world.logs[TASK].insert(4, twin(3, "beside"), *events(1, 30))
    report = stage.sync_well(full=True)
    assert (report.new, report.changed) == (2, 0)
    told = "pruned_at IS NULL, length(digest), length(canonical), count(*)"
    lengths = stage.copy.ask(f"SELECT {told} FROM task_event GROUP BY 1, 2, 3")
    assert sorted(lengths, key=str) == [(False, 36, 36, 8), (True, 32, 32, 1), (True, 32, None, 1)]
    assert_verified(stage)


# ---------------------------------------------------------------------------- the key


@pytest.mark.parametrize(
    ("kind", "said"),
    [("none", "is not there"), ("another", "another key"), ("no key", "holds no digest key")],
)
def test_p7_without_the_key_the_tasks_with_removed_payloads_fail_alone(
    stage_for: Staging, tmp_path: Path, kind: str, said: str
) -> None:
    key = key_in(tmp_path)
    world = world_of_many(4, 5)
    world.logs[task_id(3)].extend([ODD[0]])
    undated = [b'{"data":%d,"groupId":"u"}' % number for number in range(9)]
    world.logs[task_id(4)].events[:] = undated
    stage = stage_for(world, archive__digest_key_file=key, api__page_size=4)
    stage.sync_well()
    take_out(stage.app.database, task_id(1))
    take_out_others(stage.app.database, task_id(3))
    take_out(stage.app.database, task_id(4), chosen=lambda row: row.ordinal == 2)
    key.unlink()
    if kind == "another":
        key_in(tmp_path)
    elif kind == "no key":
        key.write_text("maia-sync-digest-key-v1 42\n", encoding="utf-8")
    for number in (2, 3):
        world.logs[task_id(number)].append(event(40))
    world.logs[task_id(4)].insert(0, undated[2])
    app = stage.open_another()
    stage.copy.watch_writes("task_event", "task_event_revision", "quarantine")
    report = app.sync(full=True)
    assert (report.failed, report.new) == (3, 1)
    assert stage.copy.writes() == {"INSERT task_event": 1}
    for number in (1, 3, 4):
        assert said in stage.copy.task(task_id(number))["last_error"]
    assert stage.copy.task(task_id(2))["last_error"] is None
    assert {report.task_id for report in app.verify().failed} == {task_id(1), task_id(3), task_id(4)}


def test_a_digest_key_changes_nothing_where_nothing_was_removed(stage_for: Staging, tmp_path: Path) -> None:
    stage = staged(stage_for, tmp_path, log())
    stage.sync_well()
    (tmp_path / "removed.digests").unlink()
    stage.open_another().sync(full=True)
    assert stage.sync_well(full=True).new == 0


# ---------------------------------------------------------------------------- verify


def test_verify_sees_a_payload_that_was_taken_out_by_hand(stage_for: Staging, tmp_path: Path) -> None:
    stage = staged(stage_for, tmp_path, events(6))
    stage.sync_well()
    take_out(stage.app.database, TASK)
    assert_verified(stage)
    json_text = "::json" if stage.copy.is_postgresql else ""
    stage.copy.ask(
        f"UPDATE task_event SET data = '{{}}'{json_text} WHERE seq = (SELECT min(seq) FROM task_event)"
    )
    assert [each.kind for each in stage.app.verify().differences] == ["stored otherwise"]


def assert_verified(stage: Any) -> None:
    verified = stage.app.verify()
    assert (verified.difference_count, verified.failed) == (0, ())
