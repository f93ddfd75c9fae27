"""Is it told when something of an erasure stays behind, is it tried again, and does nobody else wait for it?

Readers, older snapshots, a full disk, files that nobody can delete: each keeps an erasure from its end.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from archived_entries import MortalPlace, assert_sound, make_signer
from memory_place import MemoryPlace
from oracle import Copy
from test_archive_erase import Setting as SecretSetting
from test_archive_erase import pieces_in_database
from test_archive_erase_cut_off import Setting, cut_off_before, is_unfinished, open_database, payloads_in

from maia_sync.archive import finishing
from maia_sync.archive.create import create
from maia_sync.clock import ManualClock
from maia_sync.errors import ArchiveError, DatabaseFull
from maia_sync.service.scheduled_archive import ScheduledArchive
from maia_sync.store import scrubbing
from maia_sync.store.database import Database
from maia_sync.store.scrubbing import scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from conftest import Stage

    from maia_sync.archive.creating import CreateReport

POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "_PAUSE", 0.2)
    monkeypatch.setattr(scrubbing, "_MOMENT", 0.01)
    monkeypatch.setattr(scrubbing, "_LOCKED_OUT", 20)
    monkeypatch.setattr(scrubbing, "_LOCK_TIMEOUT", 50)


class Noted:
    """Notes the statements that stand alone, and lets something happen behind one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.behind: dict[str, Callable[[], object]] = {}
        real = Database.statements
        noted = self

        class Cursor:
            def __init__(self, cursor: Any) -> None:
                self._cursor = cursor

            def execute(self, sql: str, *arguments: Any) -> Any:
                noted.said.append(sql)
                answer = self._cursor.execute(sql, *arguments)
                for part, do in noted.behind.items():
                    if part in sql:
                        do()
                return answer

            def __getattr__(self, name: str) -> Any:
                return getattr(self._cursor, name)

        @contextmanager
        def statements(database: Database) -> Iterator[Any]:
            with real(database) as cursor:
                yield Cursor(cursor)

        monkeypatch.setattr(Database, "statements", statements)

    def count(self, part: str) -> int:
        """Return how many statements had this in them since the last time."""
        said, self.said = self.said, []
        return sum(part in sql for sql in said)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Noted:
    return Noted(monkeypatch)


def reading(path: str) -> sqlite3.Connection:
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM task").fetchone()
    return reader


def archive(setting: Setting, place: MemoryPlace | None = None) -> CreateReport:
    return create(
        setting.database, place or setting.place, setting.signer, worker="one", clock=setting.database.clock
    )


@POSTGRESQL
def test_rows_that_an_older_transaction_may_see_are_not_taken_to_be_gone(
    stage_for: Callable[..., Stage], tmp_path: Path, database_url: str
) -> None:
    setting = SecretSetting(stage_for, tmp_path)
    with psycopg.connect(database_url, autocommit=True) as owner, psycopg.connect(database_url) as reader:
        owner.execute("CREATE STATISTICS together (mcv) ON user_id, agent_name FROM task_event")
        owner.execute("ANALYZE task_event")
        try:
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM sync_run")
            told = setting.erase().unscrubbed
            assert told is not None
            assert "older transaction" in told
            assert setting.stage.copy.ask("SELECT scrubbed_at FROM archive_erasure") == [(None,)]
            reader.rollback()
            setting.create()
            assert setting.stage.copy.ask("SELECT id FROM archive_erasure WHERE scrubbed_at IS NULL") == []
            assert pieces_in_database(setting, database_url, tmp_path) == 0
        finally:
            owner.execute("DROP STATISTICS together")


@POSTGRESQL
def test_a_lock_that_is_not_to_be_had_is_not_waited_for_for_long(
    database_url: str, tmp_path: Path, noted: Noted
) -> None:
    database = open_database(database_url, tmp_path)
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM task_activity")
        told = scrub(database)
        assert told is not None
        assert "task_activity, which cannot be written anew just now" in told
        assert noted.count("VACUUM") == 4
        calls = iter([None, None, None])
        told = scrub(database, lambda: next(calls, 15))
        assert told is not None
        assert noted.count("VACUUM") == 1, "the end was asked for while it waited"
        told = scrub(database, lambda: 15)
        assert told is not None
        assert noted.count("VACUUM") == 0
    assert scrub(database) is None
    database.close()


def test_a_reader_keeps_writers_out_for_moments_only_and_the_file_from_being_written_in_vain(
    sqlite_url: str, tmp_path: Path, noted: Noted
) -> None:
    database, path = open_database(sqlite_url, tmp_path), sqlite_url.removeprefix("sqlite:///")
    with database.transaction() as tx:
        tx.connection.exec_driver_sql("CREATE TABLE news (a)")
    with closing(reading(path)):
        assert "it is reading" in (scrub(database, mark=7) or "")
        assert "PRAGMA busy_timeout = 20" in noted.said
        assert noted.count("VACUUM") == 0
        calls = iter([None, None, None])
        assert "it is reading" in (scrub(database, lambda: next(calls, 15), mark=7) or "")
        assert noted.count("TRUNCATE") == 1, "the end was asked for while it waited"
    readers: list[sqlite3.Connection] = []
    noted.behind = {"user_version = ": lambda: readers.append(reading(path))}
    assert "it is reading" in (scrub(database, mark=7) or "")
    assert noted.count("VACUUM") == 1
    noted.behind = {}
    for reader in readers:
        reader.close()
    assert scrub(database, mark=7) is None
    assert noted.count("VACUUM") == 0, "only the write-ahead log was left"
    with database.transaction() as tx:
        tx.connection.exec_driver_sql("ANALYZE")
    assert scrub(database, mark=8) is None
    assert "ANALYZE" in noted.said, "samples of what was there are replaced"
    assert noted.count("VACUUM") == 1
    database.close()


class Locked(MortalPlace):
    """A place whose data files nobody can delete for now."""

    locked = True

    def delete(self, paths: Iterable[str]) -> None:
        for path in list(paths):
            if self.locked and path.startswith("data/"):
                raise ArchiveError(f"cannot delete {path}: Operation not permitted")
            super().delete([path])


def test_files_that_cannot_be_deleted_hinder_nothing_else_and_are_told_of(
    database_url: str, tmp_path: Path, noted: Noted
) -> None:
    setting = Setting(database_url, tmp_path)
    place = setting.place = Locked(setting.place.files)
    told = setting.erase(setting.database, place).unscrubbed
    assert told is not None
    assert "taken out of the database" in told
    assert "cannot be deleted" in told
    assert noted.count("VACUUM") >= 1, "the database is scrubbed all the same"
    assert is_unfinished(database_url)
    setting.news()
    for _ in range(2):
        assert "cannot be deleted" in (archive(setting).unscrubbed or "")
        assert noted.count("VACUUM") == 0, "it was scrubbed"
    assert is_unfinished(database_url)
    place.locked = False
    assert archive(setting).unscrubbed is None
    assert not is_unfinished(database_url)
    assert_sound(place, setting.signer.verifier, setting.database)
    setting.database.close()


def test_one_file_that_cannot_be_deleted_keeps_no_other(sqlite_url: str, tmp_path: Path) -> None:
    setting = Setting(sqlite_url, tmp_path)
    setting.create(setting.database, setting.place)
    before = {path for path in setting.place.files if path.startswith("data/")}
    kept = min(before)

    class OneLocked(MortalPlace):
        def delete(self, paths: Iterable[str]) -> None:
            for path in sorted(paths):
                if path == kept:
                    raise ArchiveError(f"cannot delete {path}: Operation not permitted")
                super().delete([path])

    place = OneLocked(setting.place.files)
    report = setting.erase(setting.database, place)
    assert report.files > 1
    assert kept in (report.unscrubbed or "")
    assert kept in place.files
    assert len(before - place.files.keys()) == report.files - 1
    setting.database.close()


@pytest.mark.parametrize("at", ["SHA256SUMS", "checkpoint"])
def test_what_goes_wrong_behind_the_commit_says_what_has_happened(
    sqlite_url: str, tmp_path: Path, at: str
) -> None:
    setting = Setting(sqlite_url, tmp_path)

    class Full(MortalPlace):
        is_full = True

        def swap(self, path: str, old: bytes | None, new: bytes) -> None:
            if self.is_full and path == at and payloads_in(sqlite_url) == 0:
                raise ArchiveError(f"cannot write {path}: No space left on device")
            super().swap(path, old, new)

    setting.create(setting.database, setting.place)
    place = setting.place = Full(setting.place.files)
    with pytest.raises(ArchiveError, match=r"^the payloads were taken .* not finished: cannot write .* next"):
        setting.erase(setting.database, place)
    assert payloads_in(sqlite_url) == 0
    place.is_full = False
    archive(setting)
    assert not is_unfinished(sqlite_url)
    assert_sound(place, setting.signer.verifier, setting.database)
    setting.database.close()


def test_a_full_disk_is_told_with_what_it_leaves_behind(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(sqlite_url, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise DatabaseFull("there is no room left on the disk")

    with monkeypatch.context() as patched:
        patched.setattr(finishing, "scrub", full)
        told = setting.erase(setting.database, setting.place).unscrubbed
    assert told is not None
    assert "still lies in free pages" in told
    assert "no room left" in told
    assert "tries again" in told
    assert is_unfinished(sqlite_url)
    assert archive(setting).unscrubbed is None
    setting.database.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_daemon_tries_once_in_an_hour(
    stage_for: Callable[..., Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = SecretSetting(stage_for, tmp_path)
    app = setting.stage.app
    clock = ManualClock()
    daemon = ScheduledArchive(app.settings, clock=clock, worker="a-worker")
    tried: list[bool] = []
    tries: list[bool] = []

    def one(**options: Any) -> Any:
        tried.append(options["finishing"])
        return type("Report", (), {"unscrubbed": "readers are there" if options["finishing"] else None})

    monkeypatch.setattr("maia_sync.archive.create.create", lambda *_, **options: one(**options))
    monkeypatch.setattr("maia_sync.service.scheduled_archive.configured_place", lambda _: setting.place)
    monkeypatch.setattr("maia_sync.service.scheduled_archive.configured_signer", lambda _: setting.signer)
    monkeypatch.setattr(ScheduledArchive, "_is_due", lambda *_: True)
    for minutes, is_tried in ((0, True), (1, False), (58, False), (2, True), (30, False)):
        clock.advance(60 * minutes)
        daemon._archive(setting.database, None)
        tries.append(is_tried)
    assert tried == tries


def test_an_erasure_in_the_log_before_is_told_of_as_long_as_it_is_not_finished(
    sqlite_url: str, tmp_path: Path, noted: Noted, cleanup: ExitStack
) -> None:
    setting = Setting(sqlite_url, tmp_path)
    cleanup.callback(setting.database.close)
    setting.erase(setting.database, setting.place)
    place, signer = MemoryPlace(), make_signer("test.example/second")
    old = setting.signer.name
    setting.signer = signer
    create(setting.database, place, signer, worker="one", clock=setting.database.clock, new_log=True)
    execute(
        sqlite_url, "UPDATE archive_erasure SET scrubbed_at = NULL"
    )  # as if an older version had begun it
    noted.count("")
    for _ in range(2):
        told = archive(setting, place).unscrubbed or ""
        assert old in told
        assert "not finished" in told
        assert is_unfinished(sqlite_url)
        assert noted.count("VACUUM") == 0, "the log before has been scrubbed for it"
    execute(sqlite_url, "UPDATE archive_erasure SET checkpoint_id = 0")  # as README says
    assert archive(setting, place).unscrubbed is None
    assert not is_unfinished(sqlite_url)


def execute(url: str, sql: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(sql)


def test_no_log_is_begun_while_an_erasure_is_not_finished(
    sqlite_url: str, tmp_path: Path, cleanup: ExitStack
) -> None:
    setting = Setting(sqlite_url, tmp_path)
    cleanup.callback(setting.database.close)
    setting.create(setting.database, setting.place)
    cut_off_before(setting, "replace SHA256SUMS")  # it is signed, and not the archive's
    setting.database.clock.advance(901)  # type: ignore[attr-defined]
    place, signer = MemoryPlace(), make_signer("test.example/second")

    def begin() -> CreateReport:
        clock = setting.database.clock
        return create(setting.database, place, signer, worker="one", clock=clock, new_log=True)

    with pytest.raises(
        ArchiveError, match=f"not finished in the archive of {setting.signer.name}: run `maia"
    ):
        begin()
    assert place.files == {}
    files = setting.place.files
    left = {path for path in files if path.startswith("data/")}
    archive(setting)
    assert left - files.keys()
    assert not is_unfinished(sqlite_url)
    assert begin().replaced == setting.signer.name
    assert Copy(sqlite_url).ask("SELECT count(*) FROM archive_erasure WHERE scrubbed_at IS NULL") == [(0,)]
