"""Is there a way on after an older database was restored, or the archive was lost: another log, anew?"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from archived_entries import (
    Fuse,
    MortalPlace,
    assert_sound,
    dying,
    make_signer,
    read_entries,
)
from memory_place import MemoryPlace
from test_archive_cut_off import Setting, kinds_of

from maia_sync.archive.create import create
from maia_sync.archive.layout import UNFINISHED
from maia_sync.archive.overview import look_with
from maia_sync.clock import ManualClock
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError, ConfigError
from maia_sync.store import archive_anew, archive_log
from maia_sync.store.archive_standing import read_archive_standing
from maia_sync.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from maia_sync.archive.creating import CreateReport
    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place
    from maia_sync.store.archive_standing import ArchiveStanding

NEW = "test.example/second"


def archive(database: Database, place: Place, signer: Signer, *, new_log: bool = False) -> CreateReport:
    return create(database, place, signer, worker="one", clock=database.clock, new_log=new_log)


def standing_of(database: Database) -> ArchiveStanding:
    with database.transaction(write=False) as tx:
        standing = read_archive_standing(tx)
    assert standing is not None
    return standing


def test_a_lost_archive_is_followed_by_another_log_with_everything_in_it(database_url: str) -> None:
    setting = Setting(database_url, MortalPlace())
    database, old, signer = setting.database, setting.signer, make_signer(NEW)
    lost = MemoryPlace()
    with pytest.raises(ArchiveDiffers, match=r"holds no archive.*archive create --new-log"):
        archive(database, lost, old)
    with pytest.raises(ConfigError, match=f"key of {NEW} .* begun with: name that of {old.name} .*--new-log"):
        archive(database, lost, signer)
    before = standing_of(database)
    with pytest.raises(ArchiveError, match="a new one needs a key of another name"):
        archive(database, lost, old, new_log=True)
    with pytest.raises(ArchiveError, match="holds an archive, or the beginning of one"):
        archive(database, setting.place, signer, new_log=True)
    begun = MemoryPlace({UNFINISHED: b'{"since":0,"origin":"third.example/log"}'})
    with pytest.raises(ArchiveError, match="holds an archive, or the beginning of one"):
        archive(database, begun, signer, new_log=True)
    assert (standing_of(database), lost.files) == (before, {})
    first = archive(database, lost, signer, new_log=True)
    assert (first.replaced, first.origin, first.size_before, first.enrolled) == (old.name, NEW, 0, 3)
    assert first.new > setting.size, "all that was archived, and the news"
    assert {"event", "revision", "quarantine", "sent", "run"} <= set(first.entries)
    assert_sound(lost, signer.verifier, database)
    assert archive(database, lost, signer).new == 0
    setting.news()
    second = archive(database, lost, signer)
    assert 0 < second.new < first.new
    assert second.replaced is None
    assert_sound(lost, signer.verifier, database)
    with database.transaction(write=False) as tx:
        assert [row.head.size for row in archive_log.checkpoints(tx, old.name, 9)] == [setting.size]
    assert (standing_of(database).origin, standing_of(database).entries) == (NEW, second.size_after)
    assert look_with(database, setting.place, most=9).checkpoints[0].created_at is None, "another log's"
    with pytest.raises(ConfigError, match=f"key of {old.name} .* begun with: name that of {NEW} "):
        archive(database, setting.place, old)
    with pytest.raises(ArchiveError, match=f"{old.name} is the name of an earlier log"):
        archive(database, setting.place, old, new_log=True)
    with pytest.raises(ArchiveError, match="a new one needs a key of another name"):
        archive(database, lost, signer, new_log=True)
    database.close()


def test_an_older_database_that_was_restored_is_archived_anew(sqlite_url: str, tmp_path: Path) -> None:
    setting = Setting(sqlite_url, MortalPlace())
    database = setting.database
    backup = tmp_path / "backup.db"
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute(f"VACUUM INTO '{backup}'")
    archive(database, setting.place, setting.signer)
    database.close()
    restored = Database(url=f"sqlite:///{backup}", clock=ManualClock())
    with pytest.raises(ArchiveDiffers, match=r"put back to an older state.*archive create --new-log"):
        archive(restored, setting.place, setting.signer)
    signer, place = make_signer(NEW), MemoryPlace()
    archive(restored, place, signer, new_log=True)
    assert_sound(place, signer.verifier, restored)
    restored.close()


def test_after_a_death_at_any_step_of_its_beginning_the_next_create_archives_everything(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_anew, "_TASKS", 2)
    monkeypatch.setattr(archive_anew, "_NOTES", 2)
    monkeypatch.setattr(archive_anew, "_ROWS", 3)
    setting = Setting(sqlite_url, MortalPlace())
    setting.database.close()
    signer = make_signer(NEW)

    def copied() -> Database:
        path = tmp_path / "copy.db"
        shutil.copyfile(sqlite_url.removeprefix("sqlite:///"), path)
        return Database(url=f"sqlite:///{path}", clock=ManualClock())

    database, place, fuse = copied(), MortalPlace(), Fuse(None)
    with dying(place, database, fuse):
        archive(database, place, signer, new_log=True)
    database.close()
    expected = kinds_of(read_entries(place, signer.verifier))
    steps = [at for at, step in enumerate(fuse.steps) if not step.startswith(("read", "list", "settle"))]
    assert fuse.steps[: steps[12]].count("commit") > 10, "the steps in which the log before is forgotten"
    for number, step in enumerate(steps[::2]):
        database, place, burning = copied(), MortalPlace(), Fuse(step)
        try:
            with dying(place, database, burning):
                archive(database, place, signer, new_log=True)
        except BaseException:  # noqa: BLE001 - as a death would
            assert burning.burnt
        database.clock.advance(901)  # type: ignore[attr-defined]
        standing = standing_of(database)
        may_be_said_again = standing.origin != NEW or (number % 2 == 0 and standing.checkpoint_at is None)
        archive(database, place, signer, new_log=may_be_said_again)
        assert kinds_of(read_entries(place, signer.verifier)) == expected, burning.steps[-1]
        if number % 4 == 0:
            assert_sound(place, signer.verifier, database)
        database.close()


def test_walks_go_on_while_a_log_is_begun_and_nothing_of_theirs_is_lost(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(database_url, MortalPlace())
    database, place, signer = setting.database, MemoryPlace(), make_signer(NEW)
    steps = archive_anew.STEPS
    happened: list[archive_anew.Forget] = []

    class WithNews:
        """The steps, with news before and between those that forget what is noted of tasks."""

        def __iter__(self) -> Iterator[archive_anew.Forget]:
            for step in steps:
                if len(happened) < 3:
                    setting.news()
                happened.append(step)
                yield step

    monkeypatch.setattr(archive_anew, "STEPS", WithNews())
    archive(database, place, signer, new_log=True)
    assert len(happened) == len(steps)
    assert_sound(place, signer.verifier, database)
    setting.news()
    archive(database, place, signer)
    assert_sound(place, signer.verifier, database)
    database.close()


def test_a_mistyped_name_is_replaced_while_it_has_no_checkpoint(database_url: str) -> None:
    database = Database(
        url=database_url.replace("postgresql://", "postgresql+psycopg://"), clock=ManualClock()
    )
    place = MemoryPlace()
    assert archive(database, place, make_signer("test.exmaple/maia-sync")).checkpoint is None
    report = archive(database, place, make_signer())
    assert (report.replaced, report.origin) == ("test.exmaple/maia-sync", "test.example/maia-sync")
    with database.transaction() as tx:
        assert archive_log.acquire_writer(tx, "test.example/maia-sync", "another:7:abc", 900)
    with pytest.raises(ArchiveBusy, match="another:7:abc, is writing the archive"):
        archive(database, place, make_signer(NEW))
    database.close()


def test_who_writes_a_log_that_was_replaced_adds_nothing_to_it(sqlite_url: str) -> None:
    setting = Setting(sqlite_url, MortalPlace())
    database, signer = setting.database, make_signer(NEW)
    with database.transaction() as tx:
        assert archive_log.acquire_writer(tx, setting.signer.name, "slow:7:abc", 900)
    with pytest.raises(ArchiveBusy, match="slow:7:abc, is writing the archive"):
        archive(database, MemoryPlace(), signer, new_log=True)

    class Replaced(MortalPlace):
        """A place that hangs for so long that another log is begun meanwhile."""

        def settle(self) -> None:
            assert isinstance(database.clock, ManualClock)
            database.clock.advance(901)
            with database.transaction() as tx:
                archive_log.start_log(tx, NEW, anew=True)

    database.clock.advance(901)  # type: ignore[attr-defined]
    with pytest.raises(ArchiveBusy, match="another log has taken the place"):
        archive(database, Replaced(setting.place.files), setting.signer)
    place = MemoryPlace()
    archive(database, place, signer)
    assert_sound(place, signer.verifier, database)
    database.close()
