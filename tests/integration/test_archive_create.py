"""Does a create write what is new, once, one writer at a time, and refuse what is not its archive?"""

from __future__ import annotations

import random
import sys
import threading
import weakref
from collections import Counter
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from archived_entries import assert_sound, checkpoint_size, make_signer, read_entries
from logs import TASK, event, events, world_of
from memory_place import MemoryPlace
from sqlalchemy import delete, func, select, update

from maia_sync.archive import chunk as chunks
from maia_sync.archive import create as creating
from maia_sync.archive import segment
from maia_sync.archive.create import create
from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.layout import UNFINISHED, read_unfinished
from maia_sync.archive.merkle import TreeHead
from maia_sync.archive.note import sign_checkpoint
from maia_sync.archive.overview import look, look_with
from maia_sync.clock import ManualClock
from maia_sync.errors import ArchiveBusy, ArchiveDiffers, ArchiveError, ConfigError
from maia_sync.store import archive_log
from maia_sync.store.database import Database
from maia_sync.store.schema import sync_run, task
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Stage

    from maia_sync.archive.creating import CreateProgress, CreateReport
    from maia_sync.archive.note import Signer
    from maia_sync.archive.place import Place

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def signer() -> Signer:
    return make_signer()


def archive(database: Database, place: Place, signer: Signer, **options: Any) -> CreateReport:
    options = {"worker": "one", "clock": database.clock, **options}
    return create(database, place, signer, **options)


def rows_of(place: Place, signer: Signer) -> Counter[tuple[Any, ...]]:
    """Return what is told of events: type, revision, data."""
    told = read_entries(place, signer.verifier)
    return Counter((row[2], row[9], row[14]) for row in told if row[0] == "row")


class Objects(MemoryPlace):
    """A place that nobody can lock."""

    def lock(self) -> Any:
        return nullcontext(enter_result=False)


def test_each_create_adds_what_has_happened_since_and_payloads_are_kept_to_the_letter(
    stage_for: Callable[..., Stage], signer: Signer
) -> None:
    stage, place = stage_for(world_of(events(15))), MemoryPlace()
    database = stage.app.database
    stage.sync_well()
    first = archive(database, place, signer)
    assert first.entries == {"event": 15, "run": 1, "task": 1}
    assert (first.size_before, first.size_after, first.segments, first.checkpoints) == (0, 18, 1, 1)
    assert (first.enrolled, first.was_cut_off, first.interrupted_by) == (1, False, None)
    log = stage.world.logs[TASK]
    log.remove(1)
    log.replace(1, event(2, "changed \\u00e9é"))
    log.extend(events(2, start=15))
    stage.sync_well(full=True)
    second = archive(database, place, signer)
    assert second.entries == {"event": 2, "revision": 1, "run": 1, "vanished": 1}
    assert (second.size_before, second.enrolled) == (first.size_after, 0)
    changed = '{"n":2,"text":"changed \\u00e9é"}'.encode()
    assert rows_of(place, signer)["revision", 1, changed] == 1
    assert sum(rows_of(place, signer).values()) == 18
    log.insert(1, event(1))
    stage.sync_well(full=True)
    assert archive(database, place, signer).entries == {"returned": 1, "run": 1}
    assert_sound(place, signer.verifier, database)


def test_where_nothing_is_new_nothing_is_made(stage_for: Callable[..., Stage], signer: Signer) -> None:
    stage, place = stage_for(world_of(events(3))), MemoryPlace()
    database = stage.app.database
    with database.transaction() as tx:
        tx.connection.execute(delete(task))
    report = archive(database, place, signer)
    assert (place.files, report.new, report.checkpoint, report.anchor) == ({}, 0, None, "no checkpoint")
    with database.transaction() as tx:
        upsert_tasks(tx, [TASK])
    stage.sync_well()
    archive(database, place, signer)
    before = dict(place.files)
    report = archive(database, place, signer)
    assert (place.files, report.new, report.checkpoints, report.segments) == (before, 0, 0, 0)
    assert report.checkpoint == before["checkpoint"].decode()
    assert report.size_before == report.size_after == checkpoint_size(place, signer.verifier)


def test_a_segment_is_written_for_each_date_and_one_for_what_has_none(
    stage_for: Callable[..., Stage], signer: Signer
) -> None:
    undated = b'{"data":1,"groupId":"g","timestamp":"no moment"}'
    tomorrow = b'{"data":2,"groupId":"g","timestamp":"2026-01-06T01:00:00+02:00"}'
    dated = b'{"data":3,"groupId":"g","timestamp":"2026-01-06T01:00:00Z"}'
    stage, place = stage_for(world_of([*events(2), tomorrow, dated, undated])), MemoryPlace()
    stage.sync_well()
    report = archive(stage.app.database, place, signer)
    range_ = "000000000000-000000000007.parquet"
    dates = ("2026-01-05", "2026-01-06", "__HIVE_DEFAULT_PARTITION__")
    paths = [f"data/date={date}/{range_}" for date in dates]
    assert [path for path in sorted(place.files) if path.startswith("data/")] == paths
    named = [line.split("  ")[1] for line in place.files["SHA256SUMS"].decode().splitlines()]
    assert (named, report.segments) == (paths, 3)
    overview = look(place, most=5)
    assert [(one.date, one.segments) for one in overview.dates] == [(None, 1), (dates[0], 1), (dates[1], 1)]


def test_many_records_are_archived_in_rounds_each_with_a_checkpoint_and_chunks(
    stage_for: Callable[..., Stage], signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MOST_ENTRIES", 100)
    monkeypatch.setattr(creating, "_MOST_RECORDS", 250)
    stage, place = stage_for(world_of(events(420))), MemoryPlace()
    database = stage.app.database
    archive(database, place, signer)  # so that the task's changes are noted page by page
    stage.sync_well()
    alive: weakref.WeakSet[chunks.Chunk] = weakref.WeakSet()

    class Watched(chunks.Chunk):
        def __init__(self, first: int) -> None:
            super().__init__(first)
            alive.add(self)

    monkeypatch.setattr(creating, "Chunk", Watched)
    told = []
    most = []

    def watch(progress: CreateProgress) -> None:
        told.append(progress)
        most.append((len(alive), sum(len(rows.entry) for each in alive for _, rows in each.take_out())))

    report = archive(database, place, signer, observers=[watch])
    assert max(most) <= (2, 0), "a chunk that was written holds nothing any more"
    assert report.new == 422
    assert report.segments == 5
    assert [one.entries for one in told] == sorted(one.entries for one in told)
    assert told[-1].entries == report.new
    assert told[-1].segment_bytes == report.segment_bytes
    copies = [path for path in place.files if path.startswith("checkpoints/")]
    assert len(copies) == report.checkpoints + 1, "the first one told how the task is tracked"
    assert_sound(place, signer.verifier, database)


def test_a_create_that_is_stopped_leaves_the_old_checkpoint_and_the_next_one_goes_on(
    stage_for: Callable[..., Stage], signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MOST_ENTRIES", 300)
    stage, place = stage_for(world_of(events(900))), MemoryPlace()
    database = stage.app.database
    stage.sync_well()
    told: list[Any] = []
    report = archive(database, place, signer, observers=[told.append], stopped=lambda: 15 if told else None)
    assert (len(told), report.interrupted_by, report.new, report.size_after) == (1, 15, 0, 0)
    assert report.anchor == "interrupted"
    left = read_unfinished(place)
    assert left is not None
    assert (left.since, left.origin) == (0, signer.name)
    assert "tile/entries/000" in place.files
    report = archive(database, place, signer)
    assert (report.was_cut_off, report.entries) == (True, {"event": 900, "run": 1, "task": 1})
    assert UNFINISHED not in place.files
    assert_sound(place, signer.verifier, database)
    assert archive(database, place, signer, stopped=lambda: 2).interrupted_by == 2


@sqlite_only
def test_without_pyarrow_nothing_is_begun_and_the_remedy_is_told(
    stage_for: Callable[..., Stage], signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, place = stage_for(world_of(events(3))), MemoryPlace()
    stage.sync_well()
    segment._pyarrow.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ArchiveError, match=r"pip install 'maia-sync\[archive\]'"):
        archive(stage.app.database, place, signer)
    assert place.files == {}


# ------------------------------------------------------------------ one writer


def test_of_two_creates_at_once_in_a_folder_one_is_refused(
    stage_for: Callable[..., Stage], signer: Signer, tmp_path: Path
) -> None:
    stage = stage_for(world_of(events(30)))
    database = stage.app.database
    stage.sync_well()
    at_work, go_on = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        at_work.set()
        assert go_on.wait(30)

    reports: list[CreateReport] = []
    first = threading.Thread(
        target=lambda: reports.append(
            archive(database, FolderPlace(tmp_path / "archive"), signer, observers=[wait])
        )
    )
    first.start()
    assert at_work.wait(30)
    with pytest.raises(ArchiveBusy, match="another process"):
        archive(database, FolderPlace(tmp_path / "archive"), signer, worker="two")
    go_on.set()
    first.join()
    assert reports[0].entries == {"event": 30, "run": 1, "task": 1}
    assert archive(database, FolderPlace(tmp_path / "archive"), signer, worker="two").new == 0


@pytest.mark.parametrize("place", [MemoryPlace(), Objects()], ids=["lockable", "objects"])
def test_the_database_s_lease_keeps_others_out_until_it_is_too_old(
    place: MemoryPlace, sqlite_url: str, signer: Signer
) -> None:
    clock = ManualClock()
    database = Database(url=sqlite_url, clock=clock)
    with database.transaction() as tx:
        archive_log.start_log(tx, signer.name)
        assert archive_log.acquire_writer(tx, signer.name, "another:7:abc", 900)
        expires_at = tx.now + timedelta(seconds=900)
    until = f"another:7:abc, is writing .* and has until {expires_at:%Y-%m-%d %H:%M:%S} UTC"
    with pytest.raises(ArchiveBusy, match=until):
        archive(database, place, signer)
    clock.advance(901)
    assert archive(database, place, signer).new == 0
    assert archive(database, place, signer, worker="two").new == 0
    database.close()


def test_a_lock_says_that_a_process_of_the_same_name_has_died(sqlite_url: str, signer: Signer) -> None:
    database = Database(url=sqlite_url, clock=ManualClock())
    with database.transaction() as tx:
        archive_log.start_log(tx, signer.name)
        assert archive_log.acquire_writer(tx, signer.name, "host:7:abc", 900)
    with pytest.raises(ArchiveBusy, match="host:7:abc"):
        archive(database, Objects(), signer, worker="host:8:def")
    assert archive(database, MemoryPlace(), signer, worker="host:8:def").new == 0
    database.close()


class Slow(Objects):
    """A store in which another writer takes the lease over before the checkpoint is written."""

    def __init__(self, database: Database, signer: Signer) -> None:
        super().__init__()
        self._database = database
        self._signer = signer

    def replace(self, path: str, content: bytes) -> None:
        super().replace(path, content)
        if path == "SHA256SUMS":
            with self._database.transaction() as tx:
                owner = archive_log.read_writer(tx, self._signer.name)
                assert archive_log.acquire_writer(tx, self._signer.name, "another", 900, dead=owner)


@sqlite_only
def test_who_has_lost_the_lease_writes_no_checkpoint(stage_for: Callable[..., Stage], signer: Signer) -> None:
    stage = stage_for(world_of(events(3)))
    database = stage.app.database
    stage.sync_well()
    place = Slow(database, signer)
    with pytest.raises(ArchiveBusy, match="another process"):
        archive(database, place, signer)
    assert "checkpoint" not in place.files


# ------------------------------------------------------------------ what is refused


def test_an_older_an_emptied_or_a_newer_archive_is_refused_and_nothing_is_touched(
    stage_for: Callable[..., Stage], signer: Signer
) -> None:
    stage, place = stage_for(world_of(events(3))), MemoryPlace()
    database = stage.app.database
    stage.sync_well()
    first = archive(database, place, signer)
    older = place.copy()
    stage.sync_well()
    second = archive(database, place, signer)
    assert second.new == 1
    for there in (older, MemoryPlace()):
        before = dict(there.files)
        with pytest.raises(ArchiveDiffers, match="nothing was changed") as refused:
            archive(database, there, signer)
        assert there.files == before
        assert f" {second.size_after} entries" in str(refused.value)
    stage.sync_well()
    with pytest.raises(ArchiveDiffers, match=f"ends at {first.size_after} entries"):
        archive(database, older, signer)
    with database.transaction() as tx:
        newest = archive_log.last_checkpoint(tx, signer.name, "done")
        assert newest is not None
        tx.connection.exec_driver_sql(f"DELETE FROM archive_checkpoint WHERE id = {newest.id}")
    before = dict(place.files)
    with pytest.raises(ArchiveDiffers, match=f"ends at {second.size_after} entries"):
        archive(database, place, signer)
    assert place.files == before


@sqlite_only
def test_another_key_another_database_and_another_log_are_refused(
    stage_for: Callable[..., Stage], signer: Signer, new_sqlite: Callable[[], Database]
) -> None:
    stage, place = stage_for(world_of(events(3))), MemoryPlace()
    database = stage.app.database
    stage.sync_well()
    archive(database, place, signer)
    right = place.files["checkpoint"]
    for other in (make_signer(signer.name), make_signer("another.example/log")):
        ids = f"{other.verifier.key_id.hex()}.* begun with: .*{signer.verifier.key_id.hex()}"
        for known in (database, new_sqlite()):
            with pytest.raises(ConfigError, match=ids):
                archive(known, place, other)
    place.files["checkpoint"] = sign_checkpoint(TreeHead(1, bytes(32)), make_signer(signer.name)).encode()
    with pytest.raises(ArchiveDiffers, match="not signed by the key"):
        archive(database, place, signer)
    place.files["checkpoint"] = right
    with pytest.raises(ArchiveDiffers, match="this database has written none"):
        archive(new_sqlite(), place, signer)
    begun = MemoryPlace()
    begun.files[UNFINISHED] = b'{"since":0,"origin":"another.example/log"}'
    begun.files["tile/entries/000"] = b"theirs"
    with pytest.raises(ArchiveBusy, match=r"another\.example/log"):
        archive(new_sqlite(), begun, signer)
    del begun.files[UNFINISHED]
    with pytest.raises(ArchiveError, match="no checkpoint"):
        archive(new_sqlite(), begun, signer)
    assert begun.files == {"tile/entries/000": b"theirs"}


@pytest.fixture
def new_sqlite(migrated_sqlite: Path, tmp_path: Path, cleanup: Any) -> Callable[[], Database]:
    def new() -> Database:
        path = tmp_path / f"new-{random.getrandbits(40)}.db"
        path.write_bytes(migrated_sqlite.read_bytes())
        database = Database(url=f"sqlite:///{path}", clock=ManualClock())
        cleanup.callback(database.close)
        return database

    return new


@sqlite_only
@pytest.mark.parametrize("path", ["tile/0/000.p/8", "tile/entries/000.p/8", "SHA256SUMS"])
def test_nothing_is_appended_to_a_log_whose_end_was_altered(
    path: str, stage_for: Callable[..., Stage], signer: Signer
) -> None:
    stage, place = stage_for(world_of(events(5))), MemoryPlace()
    database = stage.app.database
    stage.sync_well()
    archive(database, place, signer)
    stage.sync_well()
    good = place.files.pop(path)
    with pytest.raises(ArchiveDiffers, match=path):
        archive(database, place, signer)
    if path != "SHA256SUMS":
        place.files[path] = good[:-1] + bytes([good[-1] ^ 1])
        with pytest.raises(ArchiveDiffers, match="altered"):
            archive(database, place, signer)
    place.files[path] = good
    assert archive(database, place, signer).new == 1
    assert_sound(place, signer.verifier, database)


# ------------------------------------------------------------------ anchors


def test_a_checkpoint_that_could_not_be_anchored_is_anchored_by_the_next_create(
    stage_for: Callable[..., Stage], signer: Signer
) -> None:
    stage, place = stage_for(world_of(events(3))), MemoryPlace()
    database = stage.app.database
    stage.sync_well()
    kept: list[tuple[str, int]] = []

    def broken(_note: str, _size: int) -> None:
        raise ArchiveError("the keeper is away")

    report = archive(database, place, signer, anchor=broken)
    assert (report.anchor, report.anchor_error, report.new) == ("failed", "the keeper is away", 5)
    assert_sound(place, signer.verifier, database)
    (seen,) = look_with(database, place, most=9).checkpoints
    assert (seen.anchored_at, seen.anchor_error) == (None, "the keeper is away")
    report = archive(database, place, signer, anchor=lambda *told: kept.append(told))
    assert (report.anchor, report.new) == ("anchored", 0)
    assert kept == [(place.files["checkpoint"].decode(), report.size_after)]
    archive(database, place, signer, anchor=lambda *told: kept.append(told))
    assert len(kept) == 1, "once is enough"
    (seen,) = look_with(database, place, most=9).checkpoints
    assert seen.anchored_at is not None
    assert (seen.size, seen.root) == (report.size_after, report.root)
    assert seen.created_at is not None
    assert look(place, most=9).checkpoints[0].created_at is None


# ------------------------------------------------------------------ in a copy that goes on


def test_runs_of_an_older_version_which_note_nothing_are_told_once(
    stage_for: Callable[..., Stage], signer: Signer
) -> None:
    stage, place = stage_for(world_of(events(4))), MemoryPlace()
    database = stage.app.database

    def sync_as_older_version() -> int:
        stage.sync_well()
        with database.transaction() as tx:
            newest: int = tx.connection.execute(select(func.max(sync_run.c.id))).scalar_one()
            tx.connection.execute(update(sync_run).where(sync_run.c.id == newest).values(version=None))
        return newest

    sync_as_older_version()
    first = archive(database, place, signer)
    assert (first.older_runs, first.incomplete) == ((), None), "it ended before the log was begun"
    later = (sync_as_older_version(), sync_as_older_version())
    stage.sync_well()
    report = archive(database, place, signer)
    assert report.older_runs == later
    assert report.incomplete is not None
    assert f"runs {later[0]} and {later[1]} were made by an older version" in report.incomplete
    assert "archive create --new-log" in report.incomplete
    with database.transaction() as tx:
        lost = {"version": None, "status": "lost", "started_at": tx.now - timedelta(days=9)}
        tx.connection.execute(update(sync_run).values(checkpoint_id=None, **lost))
    assert archive(database, place, signer).older_runs == (), "nobody knows when they ended"


def test_what_arrives_while_a_create_is_at_work_is_archived_by_the_next_one(
    stage_for: Callable[..., Stage], signer: Signer
) -> None:
    stage, place = stage_for(world_of(events(4))), MemoryPlace()
    database = stage.app.database
    stage.sync_well()

    def more(_: object) -> None:
        stage.world.logs[TASK].append(event(9))
        stage.sync_well()

    assert archive(database, place, signer, observers=[more]).entries == {"event": 4, "run": 1, "task": 1}
    assert archive(database, place, signer).entries == {"event": 1, "run": 1, "task": 1}, (
        "its log's order is known"
    )
    assert_sound(place, signer.verifier, database)
