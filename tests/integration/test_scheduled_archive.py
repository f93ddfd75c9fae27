"""Does the daemon's archive come when it is due, once, and does nothing of it keep the daemon waiting?"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from logs import TASK, events, world_of
from sqlalchemy import update

from maia_sync.archive.folder import FolderPlace
from maia_sync.archive.keys import make_key
from maia_sync.clock import ManualClock
from maia_sync.config import load_settings
from maia_sync.errors import ArchiveDiffers, ConfigError
from maia_sync.service.scheduled_archive import ScheduledArchive
from maia_sync.store.gauges import read_gauges
from maia_sync.store.schema import archive_prune

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maia_sync.app import App

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Scene:
    """A copy with events, an archive that is configured for it, and what happened to its checkpoints."""

    def __init__(self, stage: Any, folder: Path) -> None:
        self.app: App = stage.app
        self.stage = stage
        self.folder = folder
        self.anchored: list[bool] = []

    def scheduled(self, **changed: Any) -> ScheduledArchive:
        settings = self.app.settings
        archive = msgspec.structs.replace(settings.archive, **changed)
        return ScheduledArchive(
            msgspec.structs.replace(settings, archive=archive),
            clock=self.app.clock,
            worker="a-worker",
            note_anchor=self.anchored.append,
        )

    def size(self) -> int:
        place = FolderPlace(self.folder)
        return int((place.read("checkpoint") or b"\n0").split(b"\n")[1])


@pytest.fixture
def scene_for(stage_for: Callable[..., Any], tmp_path: Path) -> Callable[..., Scene]:
    def scene_for(**settings: Any) -> Scene:
        make_key(tmp_path / "archive.key", "example.com/log")
        stage = stage_for(
            world_of(events(20)),
            archive__url=tmp_path / "archive",
            archive__key_file=tmp_path / "archive.key",
            **{"archive__schedule": "1h", **settings},
        )
        stage.sync_well()
        return Scene(stage, tmp_path / "archive")

    return scene_for


def run(archive: ScheduledArchive, due_at: datetime | None = None) -> Any:
    return asyncio.run(archive.archive_if_due(due_at))


def test_the_newest_checkpoint_tells_whether_it_is_due(scene_for: Callable[..., Scene]) -> None:
    scene = scene_for(archive__schedule="0 2 * * *")
    now = datetime.now(UTC)
    report = run(scene.scheduled(), now - DAY)
    assert report.entries == {"event": 20, "run": 1, "task": 1}
    assert scene.size() == report.size_after > 20
    scene.stage.sync_well()
    assert run(scene.scheduled(), now - DAY) is None
    assert run(scene.scheduled(), now + DAY).entries == {"run": 1}


def test_where_nothing_is_new_it_is_looked_once(scene_for: Callable[..., Scene]) -> None:
    scene = scene_for(archive__schedule="0 2 * * *")
    archive = scene.scheduled()
    assert run(archive, datetime.now(UTC)).checkpoints == 1
    due_at = datetime.now(UTC)
    time.sleep(0.01)
    assert run(archive, due_at).checkpoints == 0
    assert run(archive, due_at) is None


def test_by_interval_it_is_done_once_in_each(
    sqlite_url: str, tmp_path: Path, environ_for: Callable[..., dict[str, str]]
) -> None:
    clock = ManualClock(NOW)
    key_file = tmp_path / "archive.key"
    make_key(key_file, "example.com/log")
    chosen = {"archive__url": tmp_path / "archive", "archive__key_file": key_file, "archive__schedule": "1h"}
    settings = load_settings(environ=environ_for("http://127.0.0.1:1", sqlite_url, **chosen))
    archive = ScheduledArchive(settings, clock=clock, worker="a-worker")
    looks = []
    for _ in range(5):
        looks.append(run(archive) is not None)
        clock.advance(1798)  # a look may come a little early
    assert looks == [True, False, True, False, True]
    clock.advance(-7 * 86_400)
    assert run(archive) is not None, "the clock was ahead"


def test_what_another_process_is_at_is_left_to_it(scene_for: Callable[..., Scene]) -> None:
    scene = scene_for()
    archive = scene.scheduled()
    with FolderPlace(scene.folder).lock():
        assert run(archive) is None
    assert run(archive).new == 22


def test_what_goes_wrong_is_raised_and_tried_again(scene_for: Callable[..., Scene], tmp_path: Path) -> None:
    scene = scene_for()
    with pytest.raises(ConfigError, match=r"archive\.key_file: .*none: cannot be read"):
        run(scene.scheduled(key_file=tmp_path / "none"))
    archive = scene.scheduled()
    assert run(archive).checkpoints == 1
    (scene.folder / "checkpoint").write_bytes(b"altered")
    with pytest.raises(ArchiveDiffers):
        run(scene.scheduled(schedule=0.001))


def test_how_checkpoints_are_handed_over_is_noted(scene_for: Callable[..., Scene]) -> None:
    scene = scene_for()
    assert run(scene.scheduled(anchor_command=("false",))).anchor == "failed"
    assert run(scene.scheduled(anchor_command=("true",), schedule=0.001)).anchor == "anchored"
    assert scene.anchored == [False, True]


def test_metrics_tell_what_waits_once_there_is_an_archive(scene_for: Callable[..., Scene]) -> None:
    scene = scene_for()

    def gauges() -> tuple[int | None, datetime | None]:
        with scene.app.database.transaction(write=False) as tx:
            told = read_gauges(tx, max_lag_seconds=60.0, worker="a-worker")
        return told.archive_waiting, told.archived_at

    assert gauges() == (None, None)
    run(scene.scheduled())
    waiting, archived_at = gauges()
    assert waiting == 0
    assert archived_at is not None
    scene.stage.world.logs[TASK].extend(events(3, 20))
    scene.stage.sync_well()
    assert gauges() == (4, archived_at)


def test_a_keeper_that_hangs_is_ended_and_leaves_a_whole_checkpoint(
    scene_for: Callable[..., Scene], tmp_path: Path
) -> None:
    scene = scene_for()
    begun_file = tmp_path / "begun"
    program = f"import time; open({str(begun_file)!r}, 'w').close(); time.sleep(300)"
    archive = scene.scheduled(anchor_command=(sys.executable, "-S", "-c", program))

    async def cut_off() -> float:
        working = asyncio.ensure_future(archive.archive_if_due())
        while not begun_file.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        begun = time.monotonic()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return time.monotonic() - begun

    assert asyncio.run(cut_off()) < 30
    assert scene.size() > 20
    assert scene.anchored == [False]


def test_a_place_that_hangs_keeps_nobody_waiting(
    scene_for: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_for()
    archive = scene.scheduled()
    hangs, go = threading.Event(), threading.Event()

    def hang(_: FolderPlace) -> None:
        hangs.set()
        go.wait()

    monkeypatch.setattr(FolderPlace, "settle", hang)

    async def cut_off() -> float:
        working = asyncio.ensure_future(archive.archive_if_due())
        await asyncio.to_thread(hangs.wait)
        begun = time.monotonic()
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        assert archive.is_at_work
        assert await archive.archive_if_due() is None
        return time.monotonic() - begun

    try:
        assert asyncio.run(cut_off()) < 30
    finally:
        go.set()
    deadline = time.monotonic() + 30
    while archive.is_at_work:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    monkeypatch.undo()
    assert run(scene.scheduled(schedule=0.001)) is not None
    assert scene.size() > 20


def prune(archive: ScheduledArchive) -> Any:
    return asyncio.run(archive.prune_if_due())


def test_what_has_come_of_age_is_pruned_once_a_day(scene_for: Callable[..., Scene]) -> None:
    scene = scene_for(archive__retention="200d")
    archive = scene.scheduled()
    run(archive)
    report = prune(archive)
    assert (report.payloads, report.finding_count, report.held) == (20, 0, 0)
    assert prune(archive) is None
    assert prune(scene.scheduled()) is None, "the database knows"
    scene.stage.sync_well()
    with scene.app.database.transaction() as tx:
        tx.connection.execute(update(archive_prune).values(started_at=tx.now - DAY))
    with FolderPlace(scene.folder).lock():
        assert prune(archive) is None, "another process is at it"
    assert prune(archive).payloads == 0
    with scene.app.database.transaction() as tx:
        tx.connection.execute(update(archive_prune).values(ended_at=None))
    assert prune(archive).payloads == 0, "the one before was cut off"
    assert prune(scene.scheduled(retention=None)) is None


def test_a_prune_that_fails_is_not_tried_again_at_once(scene_for: Callable[..., Scene]) -> None:
    scene = scene_for(archive__retention="200d")
    archive = scene.scheduled()
    run(archive)
    segment = next(scene.folder.rglob("*.parquet"))
    content = segment.read_bytes()
    segment.chmod(0o644)
    segment.write_bytes(b"damaged")
    assert prune(archive).finding_count > 0
    segment.write_bytes(content)
    assert prune(archive) is None
    assert prune(scene.scheduled()).payloads == 20


def test_where_payloads_stay_for_less_than_a_day_a_prune_comes_as_often(
    scene_for: Callable[..., Scene],
) -> None:
    scene = scene_for(archive__retention="0.2s", archive__retention_below_six_months="true")
    archive = scene.scheduled()
    run(archive)
    time.sleep(0.2)
    assert prune(archive).payloads == 20
    time.sleep(0.2)
    assert prune(archive).payloads == 0
