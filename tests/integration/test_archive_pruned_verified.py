"""Does verify compare what was pruned, held and told of tasks with the archive, and find what was altered?"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hand_erasure import WHEN, entries_of, erase, prune, use_digest_key
from logs import TASK
from memory_place import MemoryPlace
from small_archive import OTHER, SmallArchive, element, in_folder, make_small_archive
from sqlalchemy import delete, insert, select, text, update

from maia_sync.archive.create import create
from maia_sync.archive.keys import load_signer, make_key
from maia_sync.cli.archive_telling import line_of
from maia_sync.cli.durations import show_moment
from maia_sync.cli.main import run
from maia_sync.facet_settings import FACETS
from maia_sync.store import schema
from maia_sync.store.digest_key import DigestKeyFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Table

    from maia_sync.archive.verifying import ArchiveReport
    from maia_sync.store.digest_key import DigestKey

EVENT = f"task_id = '{TASK}' AND group_id = 'g3' AND timestamp = 1767600150250000000"
REVISION = f"task_id = '{TASK}' AND revision = 0 AND timestamp = 1767600020250000000"
UNDATED = f"task_id = '{TASK}' AND group_id = '' AND timestamp = -9223372036854775808"
ERASED = f"task_id = '{OTHER}' AND timestamp = 1767600007250000000"
EARLIER = "'2026-01-01 00:00:00.000000'"
ALTERATIONS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "task_event",
        EVENT,
        f"event of task {TASK}, group 'g3', timestamp 1767600150250000000",
        (
            *("data = '{}'", "extra = '{}'", "timestamp_text = NULL", "event_type = 'x'", "cost = 0"),
            *("pruned_at = NULL", f"erased_at = {EARLIER}", "digest = :keyed", "canonical = :keyed"),
            *("canonical = NULL", f"pruned_at = NULL, erased_at = {EARLIER}", "revision = 1"),
        ),
    ),
    (
        "task_event_revision",
        REVISION,
        f"event of task {TASK}, group 'g0', timestamp 1767600020250000000",
        ("data = '{}'", "digest = :keyed", "pruned_at = NULL", "run_id = 99"),
    ),
    (
        "task_event",
        UNDATED,
        f"event of task {TASK}, group '', timestamp -9223372036854775808",
        (f"occurred_at = {EARLIER}", "timestamp_text = 'no time at all'"),
    ),
    (
        "task_event",
        ERASED,
        f"event of task {OTHER}, group 'g0', timestamp 1767600007250000000",
        (
            "digest = :keyed",
            "erased_at = NULL",
            "canonical = :keyed",
            "data = '{}'",
            f"erased_at = {EARLIER}",
        ),
    ),
    *(
        (table, "id = 1", f"row 1 of {table}", alterations)
        for table, alterations in (
            ("quarantine", ("digest = :keyed", "raw = :keyed", "pruned_at = NULL", "reason = 'x'")),
            ("sent_message", ("request = '{}'", "pruned_at = NULL", "outcome = 'unknown'")),
            ("archive_hold", (f"task_id = '{TASK}'", "released_at = NULL", "reason = 'x'", "held_by = 'x'")),
            ("archive_erasure", (f"before_at = {EARLIER}", "reason = 'x'", "basis = 'x'", "payloads = 0")),
        )
    ),
    ("task", f"task_id = '{TASK}'", f"task {TASK}", ("archived_as = :keyed", f"tracked_at = {EARLIER}")),
)
"""In a table, of a row, told by this name: what somebody makes of it."""


def told(report: ArchiveReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.place) for finding in report.findings]


@pytest.fixture
def archive(stage_for: Callable[..., Any], tmp_path: Path) -> SmallArchive:
    return make_small_archive(stage_for, tmp_path)


@pytest.fixture
def key(archive: SmallArchive, tmp_path: Path) -> DigestKey:
    return use_digest_key(archive, tmp_path)


@contextmanager
def altered(archive: SmallArchive, table: str, where: str, changes: str) -> Iterator[None]:
    """Alter a row, and put it back."""
    of_table: Table = getattr(schema, table)
    with archive.database.transaction() as tx:
        of_row: Any = select(of_table).where(text(where))
        before = dict(tx.connection.execute(of_row).one()._mapping)
        values = {"keyed": b"\1" * 36} if ":keyed" in changes else {}
        assert (
            tx.connection.execute(text(f"UPDATE {table} SET {changes} WHERE {where}"), values).rowcount == 1
        )
    yield
    with archive.database.transaction() as tx:
        keys = [column == before[column.name] for column in of_table.c if column.primary_key]
        assert tx.connection.execute(update(of_table).where(*keys).values(before)).rowcount == 1


def hold(archive: SmallArchive, task_id: str | None, *, released: bool = False) -> None:
    values = {"task_id": task_id, "reason": "a case", "held_by": "counsel@here", "held_at": WHEN}
    release = {"released_at": WHEN, "released_by": "counsel@here", "release_reason": "it is over"}
    with archive.database.transaction() as tx:
        tx.connection.execute(insert(schema.archive_hold).values(**values, **(release if released else {})))


def test_what_was_taken_out_is_no_difference_and_what_was_altered_is(
    archive: SmallArchive, key: DigestKey, database_url: str
) -> None:
    hold(archive, None, released=True)
    archive.create()
    erase(archive, key, OTHER)
    assert prune(archive, key, lambda entry: entry.task == TASK) == 549
    for database in (True, False):
        report = archive.verify(database=database)
        assert (report.findings, report.notes) == ((), ())
    report = archive.verify()
    assert report.database is not None
    assert (report.database.pruned, report.database.erased) == (549, 40)
    rounds = 12 if database_url.startswith("sqlite") else 2
    for number in range(rounds):
        with ExitStack() as stack:
            places = {}
            for table, where, place, alterations in ALTERATIONS:
                if number < len(alterations):
                    stack.enter_context(altered(archive, table, where, alterations[number]))
                    places[place] = alterations[number]
            found = told(archive.verify())
        for place, changes in places.items():
            assert any(kind == "database" and at.startswith(place) for kind, at in found), (
                f"{place}: {changes}: {found}"
            )
    assert archive.verify().findings == ()


class TestOnOneDatabase:
    """What does not depend on which database it is."""

    @pytest.fixture
    def database_url(self, sqlite_url: str) -> str:
        return sqlite_url

    def test_what_goes_on_after_pruning_is_no_difference(self, archive: SmallArchive, key: DigestKey) -> None:
        prune(archive, key, lambda entry: entry.task == TASK and entry.timestamp is not None)
        log = archive.stage.world.logs[TASK]
        log.replace(40, element(40, "a late change"))
        log.replace(22, element(22, "a late change"))
        log.append(element(700, "a late event", 9))
        archive.stage.sync(full=True)
        assert archive.verify().findings == ()
        archive.create()
        assert archive.verify().findings == ()

    def test_without_the_key_it_is_said_that_pruned_payloads_were_not_compared(
        self, archive: SmallArchive, key: DigestKey, tmp_path: Path
    ) -> None:
        assert prune(archive, key, lambda entry: entry.id is not None or entry.group == "g0") == 113
        assert archive.verify().notes == ()
        (tmp_path / "other").mkdir()
        use_digest_key(archive, tmp_path / "other")
        for path in (tmp_path / "other" / "digest.key", tmp_path / "nowhere", None):
            archive.database.digest_key = DigestKeyFile(path)
            report = archive.verify()
            assert report.findings == ()
            [note] = report.notes
            assert note.startswith("112 payloads that the database has pruned could not be compared")
            assert report.database is not None
            assert report.database.pruned == 113

    def test_in_a_new_log_what_was_pruned_is_missing_and_that_is_no_difference(
        self, archive: SmallArchive, key: DigestKey, tmp_path: Path
    ) -> None:
        prune(archive, key, lambda entry: entry.task == TASK)
        make_key(tmp_path / "new.key", "tests.example/new")
        new = SmallArchive(archive.stage, type(archive.place)(), load_signer(tmp_path / "new.key"))
        create(
            new.database, new.place, new.signer, worker="test", clock=archive.stage.app.clock, new_log=True
        )
        for database in (True, False):
            report = new.verify(database=database)
            assert report.findings == ()
            assert report.entries["missing"] == 549
        assert {
            line_of(0, entry).partition("pruned ")[2] for entry in entries_of(new) if entry.type == "missing"
        } == {show_moment(WHEN)}
        [note] = new.verify().notes
        assert note.startswith("549 payloads had been taken out of the database before this log")
        for table, where, changes in (
            ("task_event", EVENT, "data = '{}'"),
            ("task_event", EVENT, "pruned_at = NULL, erased_at = NULL"),
            ("task_event", EVENT, "digest = :keyed"),
            ("task_event", EVENT, "canonical = :keyed"),
            ("quarantine", "id = 1", "digest = :keyed"),
            ("quarantine", "id = 1", "pruned_at = NULL"),
            ("quarantine", "id = 1", "reason = 'x'"),
            ("sent_message", "id = 1", "sent_by = 'x'"),
        ):
            with altered(new, table, where, changes):
                assert new.verify().findings, changes
        with new.database.transaction() as tx:
            tx.connection.execute(delete(schema.task_event).where(text(EVENT)))
        assert ("database", f"task {TASK}") in told(new.verify()) or new.verify().notes

    def test_what_is_taken_out_before_it_is_archived_is_found(
        self, archive: SmallArchive, key: DigestKey
    ) -> None:
        archive.stage.world.logs[TASK].append(element(700, "to be hidden"))
        archive.stage.sync(full=True)
        archive.stage.app.send(OTHER, "do not look")
        keyed = key.of(b"whatever")
        with archive.database.transaction() as tx:
            newest = schema.task_event.c.timestamp == 1_767_600_700_250_000_000
            gone = {"data": None, "pruned_at": WHEN, "digest": keyed, "canonical": keyed}
            empty = update(schema.task_event).where(newest).values(gone | dict.fromkeys(FACETS))
            assert tx.connection.execute(empty).rowcount == 1
            sent = update(schema.sent_message).where(schema.sent_message.c.task_id == OTHER)
            assert tx.connection.execute(sent.values(request="null", pruned_at=WHEN)).rowcount == 1
        archive.create()
        report = archive.verify()
        assert report.entries["missing"] == 2
        assert {each.sentence.partition(" (")[0] for each in report.findings} == {
            "lost its payload in the database before it was archived, which only an alteration can do"
        }
        assert len(report.findings) == 2
        assert report.notes[0].startswith("2 payloads had been taken out of the database before this log")
        with archive.database.transaction() as tx:  # a restore brings back what a log has told
            restored = {"root_hash": bytes(32), "entries": 0, "started_at": WHEN, "completed_at": WHEN}
            origin = {"origin": archive.signer.name, "tree_size": archive.size}
            tx.connection.execute(insert(schema.archive_restore).values(restored | origin))
        assert archive.verify().findings == ()
        assert archive.verify().notes == report.notes

    def test_holds_of_a_task_are_told_with_those_on_all(
        self, archive: SmallArchive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for task_id in (TASK, OTHER, None):
            hold(archive, task_id)
        archive.create()
        in_folder(archive.place, tmp_path / "copy")
        where = [str(tmp_path / "copy"), "--key", str(archive.signer.verifier)]
        assert run(["archive", "entries", *where, "--type", "hold", "--task", OTHER]) == 0
        assert ["on all tasks" in line for line in capsys.readouterr().out.splitlines()] == [False, True]

    def test_holds_are_compared_as_they_were_told_last(self, archive: SmallArchive) -> None:
        hold(archive, TASK)
        assert archive.verify().findings == ()
        archive.create()
        report = archive.verify()
        assert (report.findings, report.entries["hold"]) == ((), 1)
        release = {"released_at": WHEN, "released_by": "counsel@here", "release_reason": "it is over"}
        with archive.database.transaction() as tx:
            tx.connection.execute(update(schema.archive_hold).values(release | {"checkpoint_id": None}))
        assert archive.verify().findings == ()
        archive.create()
        assert archive.verify().findings == ()
        with archive.database.transaction() as tx:  # held anew, by whoever has the database
            tx.connection.execute(update(schema.archive_hold).values(released_at=None, checkpoint_id=None))
        size = archive.size
        archive.create()
        assert ("entry", f"entry {size}") in told(archive.verify(database=False))

    def test_what_is_erased_in_the_database_alone_is_found(
        self, archive: SmallArchive, key: DigestKey
    ) -> None:
        prune(archive, key, lambda entry: entry.task == OTHER or entry.id is not None)
        for table, number in ((schema.task_event, 40), (schema.quarantine, 2), (schema.sent_message, 1)):
            with archive.database.transaction() as tx:
                gone = table.c.pruned_at.is_not(None)
                tx.connection.execute(update(table).where(gone).values(erased_at=WHEN))
            assert len(told(archive.verify())) == number
            with archive.database.transaction() as tx:
                tx.connection.execute(update(table).values(erased_at=None))
        assert archive.verify().findings == ()

    def test_tasks_may_be_tracked_otherwise_by_now(self, archive: SmallArchive) -> None:
        with archive.database.transaction() as tx:
            tx.connection.execute(update(schema.task).values(label="another", status="paused"))
        assert archive.verify().findings == ()
        older = MemoryPlace(dict(archive.place.files))
        archive.create()
        report = archive.verify()
        assert (report.findings, report.entries["task"]) == ((), 4)
        assert not any(place.startswith("task ") for _, place in told(archive.verify(older)))
        with archive.database.transaction() as tx:
            earlier = {"tracked_at": WHEN - timedelta(days=9)}
            tx.connection.execute(update(schema.task).where(schema.task.c.task_id == OTHER).values(earlier))
        assert told(archive.verify()) == [("database", f"task {OTHER}")]
