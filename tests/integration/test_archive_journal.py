"""Is each change of an enrolled task told to its archive once, and none lost? On both databases.

The stories are those in which notes and rows could part: enrolment while a page is written, marks set and
taken away before anything was archived, several revisions, turns, changes between reading and marking.
"""

from __future__ import annotations

import gc
import json
import random
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from archive_replay import ORIGIN, Replay, archive, assert_archived, enrol, open_one
from oracle import Copy
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text
from test_random_worlds import TASK, SmallWorld, sync

from maia_sync.clock import ManualClock
from maia_sync.errors import ArchiveDiffers, ArchiveError, Bug, DatabaseError
from maia_sync.store import archive_journal, archive_log, events
from maia_sync.store.archive_reading import open_unarchived
from maia_sync.store.archive_versions import _CURRENT, _SUPERSEDED
from maia_sync.store.database import Database
from maia_sync.store.leases import acquire_leases, prove_leases, release_lease
from maia_sync.store.runs import close_lost_runs, start_run
from maia_sync.store.sent import complete_sent_message, insert_sent_message
from maia_sync.store.tasks import set_status, upsert_tasks
from maia_sync.sync import page_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.store.archived import Record


class Stage:
    """A small world, a database that copies it, and what its archive has been told."""

    def __init__(self, url: str) -> None:
        self.copy = Copy(url)
        self.clock = ManualClock()
        self.database = Database(
            url=url.replace("postgresql://", "postgresql+psycopg://", 1), clock=self.clock
        )
        self.replay = Replay()
        self.world = SmallWorld(random.Random(1))
        self.world.page_size, self.world.overlap = 5, False
        self.world.log = [self.event(number) for number in range(12)]
        with self.database.transaction() as tx:
            upsert_tasks(tx, [TASK])

    @staticmethod
    def event(number: int, payload: int | None = None) -> tuple[str, str, str]:
        return "g", f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z", str(payload or number)

    def walk(self, *, full: bool = False, order: str = "oldest-first") -> None:
        self.clock.advance(1)
        assert sync(self.world, self.database, full=full, order=order) is None

    def archive(self, **how: Any) -> dict[str, int]:
        """Archive what waits; returns how many records there were of each type, runs and tasks apart."""
        before = dict(self.replay.kinds)
        archive(self.database, self.replay, **how)
        new = {kind: count - before.get(kind, 0) for kind, count in self.replay.kinds.items()}
        return {kind: count for kind, count in new.items() if count and kind not in ("run", "task")}

    def assert_archived(self) -> None:
        assert_archived(self.replay, self.copy)

    def waiting(self) -> archive_log.Waiting:
        with self.database.transaction(write=False) as tx:
            return archive_log.count_waiting(tx)

    def notes(self) -> int:
        return int(self.copy.one("SELECT count(*) FROM archive_journal WHERE checkpoint_id IS NULL"))


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    stage = Stage(database_url)
    yield stage
    stage.database.close()


def read(stage: Stage, *, most: int = 500_000) -> tuple[list[Record], archive_log.Marks]:
    with open_unarchived(stage.database, most=most) as unarchived:
        return [record for some in unarchived.records() for record in some], unarchived.marks


# What a page notes


def test_p6_an_idle_poll_of_an_enrolled_task_notes_nothing_and_one_with_news_one_row(stage: Stage) -> None:
    stage.walk()
    stage.archive()
    stage.copy.watch_writes("archive_journal", "task_event", "task_event_revision")
    stage.walk()
    assert stage.copy.writes() == {}
    stage.world.log.append(stage.event(20))
    stage.walk()
    assert stage.copy.writes() == {"INSERT task_event": 1, "INSERT archive_journal": 1}


def test_a_task_that_no_archive_knows_notes_nothing(stage: Stage) -> None:
    stage.copy.watch_writes("archive_journal")
    stage.walk()
    stage.world.log[3] = stage.event(3, 700)
    del stage.world.log[4]
    stage.walk(full=True)
    assert stage.copy.writes() == {}
    assert stage.copy.one("SELECT count(*) FROM task_event WHERE vanished_at IS NOT NULL") == 1


def test_p5_a_page_that_is_undone_leaves_no_note(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.walk()
    stage.archive()
    stage.world.log.append(stage.event(20))

    def fail(*_: object) -> None:
        raise Bug("the story wants it")

    with monkeypatch.context() as patch:
        patch.setattr(page_group, "finish_walks", fail)
        assert sync(stage.world, stage.database, order="oldest-first") is not None
    assert stage.notes() == 0
    stage.walk()
    assert stage.notes() == 1
    assert stage.archive() == {"event": 1}
    stage.assert_archived()


# What is told


def test_a_task_is_told_as_a_whole_once_and_then_what_changes(stage: Stage) -> None:
    stage.walk()
    stage.world.log[3] = stage.event(3, 700)
    stage.walk(full=True)
    assert stage.archive() == {"event": 12, "revision": 1}
    assert stage.archive() == {}
    stage.world.log[3] = stage.event(3, 701)
    stage.world.log.append(stage.event(20))
    stage.walk(full=True)
    assert stage.archive() == {"event": 1, "revision": 1}
    stage.assert_archived()


def test_p3_an_event_revised_several_times_is_told_with_each_payload(stage: Stage) -> None:
    stage.walk()
    stage.archive()
    for payload in (700, 701, 702):
        stage.world.log[3] = stage.event(3, payload)
        if payload == 701:
            stage.world.log.append(stage.event(20))
        stage.walk(full=True)
    told, _ = read(stage)
    assert [
        (record.type, record.revision, json.loads(record.data or "")["n"])
        for record in told
        if record.timestamp is not None
    ] == [("revision", 1, 700), ("revision", 2, 701), ("event", 0, 20), ("revision", 3, 702)]
    assert stage.archive() == {"event": 1, "revision": 3}
    stage.assert_archived()


@pytest.mark.parametrize("enrolled", ["when it is archived", "before it vanishes", "while it is marked"])
def test_marks_that_were_set_and_taken_away_before_anything_was_archived_are_told(
    stage: Stage, enrolled: str
) -> None:
    """Only what was over before the task was enrolled is told by nobody: no row holds it."""
    stage.walk()
    if enrolled == "before it vanishes":
        enrol(stage.database)
    taken = stage.world.log.pop(4)
    stage.walk(full=True)
    if enrolled == "while it is marked":
        enrol(stage.database)
    stage.world.log.insert(4, taken)
    gone = stage.world.log.pop(8)
    stage.walk(full=True)
    marks = {
        "when it is archived": {"vanished": 1},
        "before it vanishes": {"vanished": 2, "returned": 1},
        "while it is marked": {"vanished": 1, "returned": 1},
    }
    assert stage.archive() == {"event": 12, **marks[enrolled]}
    stage.assert_archived()
    stage.world.log.insert(8, gone)
    stage.walk()
    stage.walk(full=True)
    assert stage.archive() == {"returned": 1}
    stage.assert_archived()


def test_a_vanished_event_that_comes_back_with_another_payload_is_revised_and_returned(stage: Stage) -> None:
    stage.walk()
    stage.archive()
    del stage.world.log[4]
    stage.walk(full=True)
    stage.world.log.insert(4, stage.event(4, 900))
    stage.walk(full=True)
    assert stage.archive() == {"vanished": 1, "returned": 1, "revision": 1}
    stage.assert_archived()


def test_a_log_that_proves_to_be_newest_first_is_turned_behind_what_was_told_of_it(stage: Stage) -> None:
    stage.world.order = "newest-first"
    stage.walk(order="oldest-first")
    stage.archive()
    stage.world.log += [stage.event(20), stage.event(21)]
    stage.walk(order="oldest-first", full=True)
    stage.walk(order="newest-first")
    stage.world.log.append(stage.event(22))
    stage.walk(order="newest-first")
    told, _ = read(stage, most=1)
    assert [record.type for record in told][:4] == ["event", "event", "turned", "event"]
    assert stage.archive(most=1) == {"event": 3, "turned": 1}
    stage.assert_archived()


def test_a_task_is_told_in_its_present_order_though_it_was_turned_after_it_was_enrolled(stage: Stage) -> None:
    stage.world.order = "newest-first"
    stage.walk(order="oldest-first")
    enrol(stage.database)
    stage.walk(order="newest-first")
    assert stage.archive() == {"event": 12, "turned": 1}
    stage.assert_archived()


def test_what_happens_between_reading_and_marking_waits_for_the_next_round(stage: Stage) -> None:
    stage.walk()

    def meanwhile() -> None:
        stage.world.log[3] = stage.event(3, 700)
        stage.world.log.append(stage.event(20))
        stage.walk(full=True)

    assert stage.archive(meanwhile=meanwhile) == {"event": 13, "revision": 1}
    stage.assert_archived()


def test_a_snapshot_sees_the_database_as_it_was_and_writes_nothing(stage: Stage) -> None:
    stage.walk()
    enrol(stage.database)
    counted = text("SELECT (SELECT count(*) FROM task_event), (SELECT count(*) FROM archive_journal)")
    with stage.database.transaction(snapshot=True) as tx:
        before = tx.connection.execute(counted).one()
        stage.world.log.append(stage.event(20))
        stage.walk()
        assert tx.connection.execute(counted).one() == before == (12, 1)
    with stage.database.transaction(snapshot=True) as tx:
        assert tx.connection.execute(counted).one() == (13, 2)
    if stage.database.is_postgresql:
        with pytest.raises(DatabaseError), stage.database.transaction(snapshot=True) as tx:
            tx.connection.execute(text("DELETE FROM archive_journal"))


def test_a_round_takes_what_it_was_told_to_and_the_rest_comes_later(stage: Stage) -> None:
    stage.walk()
    stage.archive()
    for number in range(20, 60):
        stage.world.log.append(stage.event(number))
        if number % 4 == 0:
            stage.walk()
    stage.walk()
    sizes = []
    while True:
        told, marks = read(stage, most=10)
        if not told:
            break
        sizes.append(len(told))
        open_one(stage.database, told=stage.replay.told + len(told), marks=marks)
        with stage.database.transaction() as tx:
            pending = archive_log.last_checkpoint(tx, ORIGIN, "pending")
            assert pending is not None
            archive_log.complete_checkpoint(tx, pending.id)
        stage.replay.take(told)
    assert len(sizes) > 1
    stage.assert_archived()


@pytest.mark.parametrize("lists", [0, 1])
def test_a_reading_that_is_given_up_leaves_nothing_open(stage: Stage, lists: int) -> None:
    stage.world.page_size = 1000
    stage.world.log = [stage.event(number) for number in range(1300)]
    stage.walk()
    enrol(stage.database)
    with open_unarchived(stage.database, most=500_000) as unarchived:
        records = unarchived.records()
        for _ in range(lists):
            assert next(records)
    gc.collect()
    stage.walk()
    assert stage.archive() == {"event": 1300}
    stage.assert_archived()


@pytest.mark.parametrize("cut_off", ["before", "after"])
def test_a_create_that_is_cut_off_tells_nothing_twice_and_loses_nothing(stage: Stage, cut_off: str) -> None:
    stage.walk()
    stage.archive(cut_off=cut_off)
    stage.world.log.append(stage.event(20))
    stage.walk()
    stage.archive(cut_off=cut_off)
    stage.archive()
    stage.assert_archived()


def test_events_that_somebody_deleted_before_they_were_archived_are_told_as_missing(stage: Stage) -> None:
    stage.walk()
    stage.archive()
    stage.world.log.append(stage.event(20))
    stage.world.log[3] = stage.event(3, 700)
    stage.walk(full=True)
    stage.world.log[3] = stage.event(3, 701)
    stage.walk(full=True)
    stage.copy.ask("DELETE FROM task_event WHERE timestamp_text = ?", stage.event(20)[1])
    stage.copy.ask("DELETE FROM task_event_revision WHERE revision = 1")
    told, _ = read(stage)
    found = [(record.type, record.revision) for record in told if record.timestamp is not None]
    assert sorted(found) == [("missing", 0), ("missing", 1), ("revision", 2)]


def test_revisions_that_somebody_deleted_before_their_task_was_archived_are_told_as_missing(
    stage: Stage,
) -> None:
    stage.walk()
    for payload in (700, 701):
        stage.world.log[3] = stage.event(3, payload)
        stage.walk(full=True)
    stage.copy.ask("DELETE FROM task_event_revision WHERE revision = 1")
    enrol(stage.database)
    told, _ = read(stage)
    found = [(record.type, record.revision) for record in told if record.revision or record.type == "missing"]
    assert found == [("missing", 1), ("revision", 2)]
    assert len(told) == 12 + 2 + 3 + 1


def test_p8_an_event_of_many_revisions_is_read_a_list_at_a_time(stage: Stage) -> None:
    stage.walk()
    stage.copy.ask(
        "INSERT INTO task_event_revision (task_id, group_id, timestamp, ordinal, revision, data, digest, "
        "seen_at, superseded_at) "
        "WITH RECURSIVE n (x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x < 1199) "
        "SELECT task_id, group_id, timestamp, ordinal, x, data, digest, first_seen_at, first_seen_at "
        "FROM task_event, n WHERE timestamp_text = ?",
        stage.event(3)[1],
    )
    stage.copy.ask("UPDATE task_event SET revision = 1200 WHERE timestamp_text = ?", stage.event(3)[1])
    assert stage.archive() == {"event": 12, "revision": 1200}
    stage.assert_archived()


def test_p8_no_note_grows_with_what_vanishes_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.world.log = [stage.event(number) for number in range(60)]
    stage.walk()
    stage.archive()
    for module in (archive_journal, events):
        monkeypatch.setattr(module, "MOST_NAMES", 2)
    del stage.world.log[10:15]
    stage.walk(full=True)
    assert stage.notes() == 3
    assert stage.archive(most=1) == {"vanished": 5}
    stage.assert_archived()


def test_a_note_that_was_altered_is_refused_with_a_sentence(stage: Stage) -> None:
    stage.walk()
    stage.archive()
    stage.world.log.append(stage.event(20))
    stage.walk()
    stage.copy.ask("UPDATE archive_journal SET changes = '{\"new\":7}' WHERE checkpoint_id IS NULL")
    with pytest.raises(DatabaseError, match="archive_journal cannot be read"):
        read(stage)


# Which tasks


def test_a_task_without_events_is_enrolled_and_waits_for_nothing(stage: Stage) -> None:
    assert enrol(stage.database) == 1
    assert stage.waiting().rows == 0
    assert enrol(stage.database) == 0
    stage.walk()
    assert stage.waiting().changes == 12
    assert stage.archive() == {"event": 12}
    stage.assert_archived()


def test_an_untracked_task_is_archived_as_any_other(stage: Stage) -> None:
    stage.walk()
    with stage.database.transaction() as tx:
        set_status(tx, [TASK], "untracked")
    assert stage.archive() == {"event": 12}
    stage.assert_archived()


def test_enrolment_waits_for_a_page_that_is_being_written_and_tells_of_it(stage: Stage) -> None:
    stage.walk()
    with stage.database.transaction() as tx:
        (lease,) = acquire_leases(tx, [TASK], "another", 60)
    enrolling = threading.Thread(target=enrol, args=(stage.database,))
    with stage.database.transaction() as tx:
        assert prove_leases(tx, [lease]) == [False]
        enrolling.start()
        enrolling.join(0.2)
        assert enrolling.is_alive()
        copied = "UPDATE task_event SET timestamp_text = 'written meanwhile' WHERE timestamp_text LIKE '%03Z'"
        assert tx.connection.execute(text(copied)).rowcount == 1
    enrolling.join(20)
    assert not enrolling.is_alive()
    with stage.database.transaction() as tx:
        assert prove_leases(tx, [lease]) == [True]
        release_lease(tx, lease)
    told, _ = read(stage)
    assert "written meanwhile" in [record.timestamp_text for record in told]


def test_creates_beside_a_walk_miss_nothing(stage: Stage) -> None:
    """Enrolment and rounds meet the pages of a task wherever they happen to."""
    faults: list[BaseException] = []
    rounds: list[int] = []
    stage.world.page_size = 2

    def walks() -> None:
        try:
            for number in range(20, 120):
                if len(rounds) > 6:
                    break
                stage.world.log.append(stage.event(number))
                stage.world.log[number % 7] = stage.event(number % 7, 1000 + number)
                if number % 5 == 0:
                    del stage.world.log[8]
                stage.walk(full=number % 4 == 0)
        except BaseException as fault:  # noqa: BLE001 - shown by the assertion below
            faults.append(fault)

    walking = threading.Thread(target=walks)
    walking.start()
    while walking.is_alive():
        if stage.archive(most=25):
            rounds.append(1)
    walking.join()
    assert faults == []
    stage.archive()
    stage.assert_archived()
    assert len(rounds) > 1


# Rows with a number


def test_a_message_whose_outcome_comes_between_reading_and_marking_is_archived_again(stage: Stage) -> None:
    with stage.database.transaction() as tx:
        sent = [
            insert_sent_message(tx, task_id=TASK, sent_by="ann", request=f'{{"n":{n}}}') for n in range(2)
        ]

    def meanwhile() -> None:
        with stage.database.transaction() as tx:
            complete_sent_message(tx, sent[0].id, "accepted", None)

    stage.archive(meanwhile=meanwhile)
    outcomes = [record.facts.outcome for record in stage.replay.numbered["sent", sent[0].id]]  # type: ignore[union-attr]
    assert outcomes == ["unknown", "accepted"]
    assert len(stage.replay.numbered["sent", sent[1].id]) == 1
    with stage.database.transaction() as tx:
        complete_sent_message(tx, sent[1].id, "refused", "it was not taken")
    assert stage.archive() == {"sent": 1}
    assert stage.archive() == {}
    assert stage.replay.numbered["sent", sent[1].id][-1].data == '{"n":1}'


def test_runs_are_archived_when_they_have_ended_and_again_if_a_lost_one_ends_after_all(stage: Stage) -> None:
    stage.walk()
    with stage.database.transaction() as tx:
        run_id = start_run(
            tx, kind="sync", worker="one", upstream_host="api.example", credential="client_id it"
        )
    stage.archive()
    assert ("run", run_id) not in stage.replay.numbered
    stage.clock.advance(7200)
    with stage.database.transaction() as tx:
        assert close_lost_runs(tx, silent_seconds=-1) == 1
    stage.archive()
    (lost,) = stage.replay.numbered["run", run_id]
    assert (lost.facts.status, lost.facts.upstream_host) == ("lost", "api.example")  # type: ignore[union-attr]
    assert lost.facts.credential == "client_id it"  # type: ignore[union-attr]
    ended = "UPDATE sync_run SET status = 'succeeded', checkpoint_id = NULL WHERE id = ?"
    stage.copy.ask(ended, run_id)
    stage.archive()
    assert [each.facts.status for each in stage.replay.numbered["run", run_id]] == ["lost", "succeeded"]  # type: ignore[union-attr]
    first = stage.replay.numbered["run", 1][0].facts
    assert first.upstream_host is not None  # type: ignore[union-attr]
    assert first.version is not None  # type: ignore[union-attr]


# The log


def test_a_database_is_archived_in_one_log(stage: Stage) -> None:
    with stage.database.transaction() as tx:
        archive_log.start_log(tx, ORIGIN)
    with stage.database.transaction() as tx:
        archive_log.start_log(tx, ORIGIN)
        assert archive_log.read_origin(tx) == ORIGIN
    stage.walk()
    stage.archive()
    with pytest.raises(ArchiveError, match=ORIGIN), stage.database.transaction() as tx:
        archive_log.start_log(tx, "another/maia-sync")


def test_a_log_has_one_writer_at_a_time(stage: Stage) -> None:
    def asked(verb: Any, owner: str, seconds: float = 60.0) -> bool:
        with stage.database.transaction() as tx:
            return bool(verb(tx, ORIGIN, owner, seconds))

    enrol(stage.database)
    assert asked(archive_log.acquire_writer, "one")
    assert asked(archive_log.acquire_writer, "one")
    assert not asked(archive_log.acquire_writer, "two")
    assert not asked(archive_log.renew_writer, "two")
    assert asked(archive_log.renew_writer, "one", -1.0)
    assert asked(archive_log.acquire_writer, "two")
    assert not asked(archive_log.renew_writer, "one")
    with stage.database.transaction() as tx:
        archive_log.release_writer(tx, ORIGIN, "one")
    assert not asked(archive_log.acquire_writer, "one")
    with stage.database.transaction() as tx:
        archive_log.release_writer(tx, ORIGIN, "two")
    assert asked(archive_log.acquire_writer, "one")


def test_a_checkpoint_of_a_log_that_has_grown_meanwhile_is_refused(stage: Stage) -> None:
    stage.walk()
    _, marks = read(stage)
    stage.archive()
    with pytest.raises(ArchiveDiffers, match="written by another process"):
        open_one(stage.database, told=stage.replay.told, marks=marks)
    stage.world.log.append(stage.event(20))
    stage.walk()
    _, marks = read(stage)
    open_one(stage.database, told=stage.replay.told + 2, marks=marks)
    with pytest.raises(ArchiveDiffers, match="written by another process"):
        open_one(stage.database, told=stage.replay.told + 4, marks=marks)


def test_the_journal_is_kept_for_a_day_after_its_checkpoint_is_done(stage: Stage) -> None:
    stage.walk()
    stage.archive()
    kept = "SELECT count(*) FROM archive_journal"
    assert stage.copy.one(kept) == 1
    with stage.database.transaction(write=False) as tx:
        (done,) = archive_log.checkpoints(tx, ORIGIN, 10)
        assert done == archive_log.last_checkpoint(tx, ORIGIN, "done")
        assert done.completed_at is not None
        yesterday = done.completed_at - timedelta(days=1, minutes=1)
    stage.copy.ask("UPDATE archive_checkpoint SET completed_at = ?", stage_moment(stage, yesterday))
    stage.world.log.append(stage.event(20))
    stage.walk()
    stage.archive()
    assert stage.copy.one(kept) == 1
    stage.assert_archived()


def stage_moment(stage: Stage, moment: Any) -> Any:
    return moment if stage.copy.is_postgresql else f"{moment:%Y-%m-%d %H:%M:%S.%f}"


def test_an_anchoring_is_noted_with_its_checkpoint(stage: Stage) -> None:
    stage.walk()
    stage.archive()
    with stage.database.transaction() as tx:
        done = archive_log.last_checkpoint(tx, ORIGIN, "done")
        assert done is not None
        archive_log.note_anchored(tx, done.id, "it was refused")
    with stage.database.transaction() as tx:
        failed = archive_log.last_checkpoint(tx, ORIGIN, "done")
        assert failed is not None
        assert (failed.anchored_at, failed.anchor_error) == (None, "it was refused")
        archive_log.note_anchored(tx, done.id, None)
    with stage.database.transaction() as tx:
        anchored = archive_log.last_checkpoint(tx, ORIGIN, "done")
        assert anchored is not None
        assert anchored.anchored_at is not None
        assert anchored.anchor_error is None


def test_what_waits_is_counted(stage: Stage) -> None:
    stage.walk()
    assert stage.waiting().tasks_unknown == 1
    enrol(stage.database)
    found = stage.waiting()
    assert (found.tasks_unknown, found.whole_tasks, found.runs, found.last_done_at) == (0, 1, 1, None)
    stage.archive()
    done = stage.waiting()
    assert done.rows == 0
    assert done.last_done_at is not None
    stage.world.log.append(stage.event(20))
    stage.walk()
    assert (stage.waiting().changes, stage.waiting().runs) == (1, 1)


# Plans


SMALL = {"archive_log", "archive_checkpoint", "task"}


def test_no_statement_of_the_archive_looks_through_a_table(sqlite_url: str) -> None:
    """On SQLite, whose plans do not depend on what is stored."""
    stage = Stage(sqlite_url)
    made: dict[str, Any] = {}

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        made[statement] = parameters

    stage.walk()
    sqlalchemy_event.listen(stage.database.engine, "before_cursor_execute", note)
    for cut_off in ("before", "after", ""):
        stage.archive(cut_off=cut_off)
        stage.world.log[3] = stage.event(3, len(made))
        stage.world.log.append(stage.event(20 + len(made)))
        stage.walk(full=True)
    with stage.database.transaction() as tx:
        insert_sent_message(tx, task_id=TASK, sent_by="ann", request="{}")
    stage.archive()
    stage.waiting()
    sqlalchemy_event.remove(stage.database.engine, "before_cursor_execute", note)
    scans = [step for statement, values in made.items() for step in scans_of(stage, statement, values)]
    stage.database.close()
    assert len(made) > 30
    assert scans == []


@pytest.mark.parametrize(
    ("look_up", "key"), [(_CURRENT, "ordinal=?"), (_SUPERSEDED, "revision=?")], ids=["newest", "superseded"]
)
def test_a_payload_is_looked_up_by_its_whole_key(sqlite_url: str, look_up: Any, key: str) -> None:
    copy = Copy(sqlite_url)
    (*_, step), *others = copy.ask(
        f"EXPLAIN QUERY PLAN {look_up.on_sqlite}", *["?"] * look_up.on_sqlite.count("?")
    )
    assert step.startswith("SEARCH e USING INDEX")
    assert key in step
    assert others == []


def scans_of(stage: Stage, statement: str, values: Any) -> Iterator[str]:
    ours = ("archive_", "checkpoint_id", "task_event", "task.archived")
    if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")) or not any(
        word in statement for word in ours
    ):
        return
    if isinstance(values, list):
        values = values[0]
    for *_, step in stage.copy.ask(f"EXPLAIN QUERY PLAN {statement}", *values):
        words = step.split()
        is_small = len(words) > 1 and words[1] in SMALL
        is_of_waiting = any(word.endswith(("_waiting", "_not_archived")) for word in words)
        is_of_values = "CONSTANT" in words or "VIRTUAL" in words or "FROM (VALUES (" in statement
        if words[0] == "SCAN" and not is_small and not is_of_waiting and not is_of_values:
            yield f"{step}: {statement}"
