"""Does an erased payload stay away that another one had superseded, when upstream serves it again?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from logs import TASK, event, events, stamp, twin, world_of
from taken_out import key_in, take_out

from maia_sync.maia.wire import decode_page
from maia_sync.model import TaskLog
from maia_sync.store.schema import archive_erasure
from maia_sync.sync.compare import is_stored_from_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Staging = Callable[..., Any]

WATCHED = ("task_event", "task_event_revision", "task_turn", "task_activity", "checkpoint")
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def staged(stage_for: Staging, folder: Path, elements: list[bytes], **settings: Any) -> Any:
    order = settings.pop("order", "oldest-first")
    options = {"archive__digest_key_file": key_in(folder), "api__retries": 0, **settings}
    return stage_for(world_of(elements, order=order), **options)


def erase(stage: Any, chosen: Callable[[Any], bool] = lambda _: True) -> None:
    """Take payloads out as an erasure does, and note it."""
    take_out(stage.app.database, TASK, chosen=chosen, erased=True)
    with stage.app.database.transaction() as tx:
        values = {"reason": "r", "basis": "b", "erased_by": "me", "payloads": 1, "checkpoint_id": 1}
        erasure = {"task_id": TASK, "erased_at": tx.now, **values}
        tx.connection.execute(sqlalchemy.insert(archive_erasure).values(erasure))


def replaced(stage: Any, at: int, element: bytes) -> None:
    stage.world.logs[TASK].replace(at, element)
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (0, 1, 0)


def assert_nothing_comes_of_it(stage: Any, times: tuple[bool, ...] = (True, True)) -> None:
    for full in times:
        report = stage.sync_well(full=full)
        assert (report.new, report.changed, report.vanished) == (0, 0, 0)
    verified = stage.app.verify()
    assert (verified.difference_count, verified.failed) == (0, ())


def payloads(stage: Any) -> list[str | None]:
    return [row.data for row in stage.copy.log(TASK)]


@pytest.mark.parametrize(("order", "holds"), [("oldest-first", "another"), ("newest-first", "nothing")])
def test_p6_an_earlier_payload_that_was_erased_is_not_stored_again(
    stage_for: Staging, tmp_path: Path, order: str, holds: str
) -> None:
    stage = staged(stage_for, tmp_path, events(12), order=order, api__page_size=5)
    stage.sync_well()
    for at in (4, 9):
        replaced(stage, at, event(at, "otherwise"))
    erase(stage)
    if holds == "another":
        for at in (4, 9):
            replaced(stage, at, event(at, "a third one"))
    before = payloads(stage)
    stage.copy.watch_writes("task_event", "task_event_revision", "task_turn", "task_activity")
    for at in (4, 9):
        stage.world.logs[TASK].replace(at, event(at))
    assert_nothing_comes_of_it(stage, (True, False, True))
    stage.world.revoke_tokens()
    assert_nothing_comes_of_it(stage)
    assert stage.copy.writes() == {}
    assert payloads(stage) == before
    assert sum(data is None for data in before) == (12 if holds == "nothing" else 10)


def test_p6_the_payload_that_a_row_holds_is_served_beside_the_erased_one(
    stage_for: Staging, tmp_path: Path
) -> None:
    twins = [twin(20, f"twin {number}") for number in range(4)]
    stage = staged(stage_for, tmp_path, [*events(3), *twins, *events(3, 30)], api__page_size=4)
    stage.sync_well()
    replaced(stage, 5, twin(20, "otherwise"))
    erase(stage)
    stage.copy.watch_writes("task_event", "task_event_revision")
    log = stage.world.logs[TASK]
    log.insert(0, twins[2])
    log.extend([twins[2]])
    assert_nothing_comes_of_it(stage)
    assert stage.copy.writes() == {}
    log.insert(4, twin(20, "one more"))
    assert (stage.sync_well(full=True).new, stage.sync_well(full=True).new) == (1, 0)


@sqlite_only
def test_p1_a_payload_that_another_row_holds_is_that_row_though_it_was_erased_of_one(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, [*events(3), twin(20, "one"), *events(20, 30)])
    stage.sync_well()
    replaced(stage, 3, twin(20, "otherwise"))
    log = stage.world.logs[TASK]
    log.extend([twin(20, "one")])
    assert stage.sync_well(full=True).new == 1
    erase(stage, lambda row: (row.ordinal, row.revision) == (0, 0) and row.timestamp_text == stamp(20))
    log.remove(3)
    assert stage.sync_well(full=True).vanished == 1
    assert [row.ordinal for row in stage.copy.log(TASK) if row.vanished_at is None and row.ordinal] == [1]
    log.remove(len(log.events) - 1)
    assert stage.sync_well(full=True).vanished == 1


def test_p3_an_earlier_payload_that_was_pruned_is_one_more_revision(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, events(6))
    stage.sync_well()
    replaced(stage, 3, event(3, "otherwise"))
    take_out(stage.app.database, TASK, chosen=lambda row: row.timestamp_text == stamp(3))
    erase(stage, lambda row: row.timestamp_text == stamp(5))
    replaced(stage, 3, event(3))
    assert payloads(stage)[3] is not None


def test_p3_a_row_that_is_marked_vanished_is_served_again_by_its_erased_payload(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, events(30))
    stage.sync_well()
    replaced(stage, 3, event(3, "otherwise"))
    erase(stage)
    log = stage.world.logs[TASK]
    log.remove(3)
    assert stage.sync_well(full=True).vanished == 1
    log.insert(3, event(3))
    assert_nothing_comes_of_it(stage)
    assert not any(row.vanished_at for row in stage.copy.log(TASK))


@sqlite_only
def test_p6_an_erased_payload_that_is_served_far_from_its_row_is_not_stored_again(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, [twin(3, "beside"), *events(150)], api__page_size=50)
    stage.sync_well()
    replaced(stage, 4, event(3, "otherwise"))
    erase(stage)
    before = stage.copy.log(TASK)
    stage.world.logs[TASK].extend([event(3)])
    assert_nothing_comes_of_it(stage, (False, True))
    stage.world.logs[TASK].extend([event(200), event(3)])
    assert (stage.sync_well().new, stage.sync_well(full=True).new) == (1, 0)
    assert stage.copy.log(TASK)[:-1] == before


@sqlite_only
def test_p1_a_change_at_a_pages_end_is_told_from_news_though_the_page_behind_serves_what_was_erased(
    stage_for: Staging, tmp_path: Path
) -> None:
    undated = [b'{"data":{"n":%d,"x":0},"groupId":"u"}' % number for number in range(10)]
    stage = staged(stage_for, tmp_path, undated, api__page_size=5)
    stage.sync_well()
    log = stage.world.logs[TASK]
    replaced(stage, 5, b'{"data":"otherwise","groupId":"u"}')
    erase(stage)
    log.replace(5, undated[5])
    log.replace(4, b'{"data":"another","groupId":"u"}')
    report = stage.sync_well(full=True)
    assert (report.new, report.changed, report.vanished) == (0, 1, 0)
    assert [row.revision for row in stage.copy.log(TASK)] == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]


@sqlite_only
def test_without_the_key_a_task_fails_where_it_cannot_be_told(stage_for: Staging, tmp_path: Path) -> None:
    stage = staged(stage_for, tmp_path, events(6))
    stage.sync_well()
    replaced(stage, 3, event(3, "otherwise"))
    erase(stage, lambda row: is_first(row, 3))
    (tmp_path / "removed.digests").unlink()
    stage.world.logs[TASK].replace(3, event(3))
    report = stage.open_another().sync(full=True)
    assert (report.failed, report.changed) == (1, 0)
    assert "is not there" in stage.copy.task(TASK)["last_error"]


@sqlite_only
def test_without_one_of_two_keys_a_task_fails_where_it_cannot_be_told(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, [twin(3, "one"), twin(3, "two"), *events(2, 10)])
    stage.sync_well()
    for at in (0, 1):
        replaced(stage, at, twin(3, f"otherwise {at}"))
    erase(stage, lambda row: is_first(row, 3) and row.ordinal == 1)
    (tmp_path / "removed.digests").unlink()
    key_in(tmp_path)
    stage.app = stage.open_another()
    erase(stage, lambda row: is_first(row, 3) and row.ordinal == 0)
    stage.world.logs[TASK].replace(1, twin(3, "two"))
    report = stage.app.sync(full=True)
    assert (report.failed, report.new, report.changed) == (1, 0, 0)


@sqlite_only
def test_without_one_of_the_keys_of_a_keys_rows_a_task_fails(stage_for: Staging, tmp_path: Path) -> None:
    stage = staged(stage_for, tmp_path, [twin(3, "one"), twin(3, "two"), *events(2, 10)])
    stage.sync_well()
    take_out(stage.app.database, TASK, chosen=lambda row: row.ordinal == 1)
    (tmp_path / "removed.digests").unlink()
    key_in(tmp_path)
    stage.app = stage.open_another()
    take_out(stage.app.database, TASK, chosen=lambda row: is_first(row, 3))
    report = stage.app.sync(full=True)
    assert (report.failed, report.new, report.changed) == (1, 0, 0)


def is_first(row: Any, number: int) -> bool:
    return (row.revision, row.timestamp_text) == (0, stamp(number))


@sqlite_only
def test_a_logs_beginning_is_stored_though_it_serves_what_was_erased(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, events(6))
    stage.sync_well()
    replaced(stage, 3, event(3, "otherwise"))
    erase(stage)
    for element, is_stored in ((event(3), True), (event(3, "otherwise"), True), (event(3, "new"), False)):
        elements = [*events(3), element, *events(2, 4)]
        served = decode_page(b'{"results":[%b]}' % b",".join(elements)).events
        with stage.app.database.transaction(write=False) as tx:
            assert is_stored_from_start(tx, TaskLog(task_id=TASK), served) is is_stored


def test_what_is_asked_costs_nothing_where_nothing_was_erased_and_reads_no_task_where_it_was(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, events(40))
    stage.sync_well()
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _x: object, _many: bool) -> None:
        if "SELECT task_event_revision.digest" in statement or "archive_erasure" in statement:
            asked.append((statement, parameters))

    sqlalchemy.event.listen(stage.app.database.engine, "before_cursor_execute", note)
    stage.sync_well()
    stage.world.logs[TASK].extend(events(3, 50))
    stage.sync_well(full=True)
    assert asked == [], "neither an idle poll nor new events ask"
    replaced(stage, 3, event(3, "otherwise"))
    assert [statement.count("archive_erasure") > 0 for statement, _ in asked] == [True], "one look for a page"
    erase(stage)
    asked.clear()
    stage.world.logs[TASK].replace(3, event(3))
    stage.sync_well(full=True)
    sqlalchemy.event.remove(stage.app.database.engine, "before_cursor_execute", note)
    with stage.app.database.transaction() as tx:
        plans = [plan(tx, *each) for each in asked]
    assert len(plans) == 4
    if not stage.copy.is_postgresql:  # which reads small tables whole
        for steps in plans[1:]:
            assert "(task_id=? AND group_id=? AND timestamp=?" in steps[0], steps


@sqlite_only
def test_whether_elements_were_removed_is_told_without_reading_those_that_are_there(
    stage_for: Staging, tmp_path: Path
) -> None:
    stage = staged(stage_for, tmp_path, [*events(2), b"7"])
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _x: object, _many: bool) -> None:
        if statement.startswith("SELECT quarantine.digest"):
            asked.append((statement, parameters))

    sqlalchemy.event.listen(stage.app.database.engine, "before_cursor_execute", note)
    assert stage.sync_well().quarantined == 1
    sqlalchemy.event.remove(stage.app.database.engine, "before_cursor_execute", note)
    with stage.app.database.transaction() as tx:
        [(step,)] = [plan(tx, *each) for each in asked]
    assert "ix_quarantine_pruned (task_id=?)" in step


def plan(tx: Any, statement: str, parameters: Any) -> list[str]:
    explain = "EXPLAIN" if tx.is_postgresql else "EXPLAIN QUERY PLAN"
    return [str(row[-1]) for row in tx.connection.exec_driver_sql(f"{explain} {statement}", parameters)]
