"""Does the daemon's report come when it is due, once, and does nothing of it disturb the daemon?"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from told_story import NOW, open_writing, store_story, store_surroundings

from maia_sync.clock import ManualClock
from maia_sync.errors import DatabaseError, MaiaSyncError
from maia_sync.service.scheduled_report import ScheduledReport
from maia_sync.settings import Cron, DatabaseSettings, ReportSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

DAY = timedelta(days=1)
MONDAYS = Cron(minute="0", hour="6", day="*", month="*", weekday="mon")


@pytest.fixture(scope="module")
def told(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("told") / "told.db"
    shutil.copyfile(migrated_sqlite, path)
    with closing(open_writing(f"sqlite:///{path}")) as database:
        store_story(database)
        store_surroundings(database)
    return f"sqlite:///{path}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


def scheduled(
    url: str, clock: ManualClock, file: Path, schedule: Any = 86_400.0, **more: Any
) -> ScheduledReport:
    settings = Settings(
        database=DatabaseSettings(url=url),
        report=ReportSettings(schedule=schedule, file=file, **more),
    )
    return ScheduledReport(settings, clock=clock)


def write(report: ScheduledReport, due_at: datetime | None = None) -> Any:
    return asyncio.run(report.write_if_due(due_at))


def aged(path: Path, at: datetime) -> None:
    """Let a file be of that time: the machine's clock is not the test's."""
    os.utime(path, (at.timestamp(), at.timestamp()))


def test_it_tells_of_the_time_before_and_says_where_it_is(
    told: str, clock: ManualClock, tmp_path: Path
) -> None:
    written = write(scheduled(told, clock, tmp_path / "new" / "folder" / "report.html"))
    assert written.path == tmp_path / "new" / "folder" / "report.html"
    html = written.path.read_text(encoding="utf-8")
    assert (written.size, written.troubles) == (len(html.encode()), ())
    assert "The last 7 days: 1 Jan 2026, 17:00 to 8 Jan 2026, 17:00 (UTC)" in html
    assert [each.name for each in written.path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("ending", ["md", "csv", "json"])
def test_the_files_name_says_the_format(told: str, clock: ManualClock, tmp_path: Path, ending: str) -> None:
    written = write(scheduled(told, clock, tmp_path / f"report.{ending}", since=3600.0))
    begins = {"md": "# What", "csv": "panel,row,", "json": '{\n  "title"'}
    assert written.path.read_text(encoding="utf-8").startswith(begins[ending])


def test_by_interval_it_is_written_once_in_each(told: str, clock: ManualClock, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    report = scheduled(told, clock, file)
    assert write(report) is not None
    clock.advance(86_390)
    assert write(report) is None
    clock.advance(10)
    assert write(report) is not None


def test_a_look_that_comes_a_little_early_skips_no_interval(
    told: str, clock: ManualClock, tmp_path: Path
) -> None:
    report = scheduled(told, clock, tmp_path / "report.json", 60.0)
    for _ in range(3):
        assert write(report) is not None
        clock.advance(59.98)
    clock.advance(-10)
    assert write(report) is None


def test_a_daemon_that_begins_anew_sees_by_the_file_that_it_is_written(
    told: str, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    assert write(scheduled(told, clock, file)) is not None
    aged(file, NOW)
    clock.advance(86_390)
    assert write(scheduled(told, clock, file)) is None
    clock.advance(10)
    assert write(scheduled(told, clock, file)) is not None


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_clock_that_was_once_ahead_ends_no_reports(
    told: str, clock: ManualClock, tmp_path: Path, *, is_restarted: bool
) -> None:
    report = scheduled(told, clock, tmp_path / "report.json")
    clock.advance(4 * 365 * 86_400)
    path = write(report).path
    aged(path, clock.now())
    clock.advance(-4 * 365 * 86_400)
    assert write(scheduled(told, clock, path) if is_restarted else report) is not None


def test_a_daemon_that_begins_anew_finds_the_last_one_by_whichever_date_is_in_its_name(
    told: str, clock: ManualClock, tmp_path: Path
) -> None:
    pattern = tmp_path / "all [1] 100%%" / "%Y" / "%m-%dT%H%M.json"
    path = write(scheduled(told, clock, pattern)).path
    assert path == tmp_path / "all [1] 100%" / "2026" / "01-08T1700.json"
    aged(path, NOW)
    older = path.with_name("01-01T0000.json")
    older.write_text("{}")
    aged(older, NOW - 7 * DAY)
    path.with_name("other.json").write_text("{}")  # not of the pattern, and newer
    clock.advance(12 * 3600)
    assert write(scheduled(told, clock, pattern)) is None
    clock.advance(12 * 3600)
    assert write(scheduled(told, clock, pattern)).path.name == "01-09T1700.json"


def test_by_cron_it_is_written_once_for_each_point_in_time_and_named_after_it(
    told: str, clock: ManualClock, tmp_path: Path
) -> None:
    pattern = tmp_path / "%Y" / "%m-%d-%H%M 100%%.json"
    monday = datetime(2026, 1, 5, 6, tzinfo=UTC)
    first = tmp_path / "2026" / "01-05-0600 100%.json"
    assert write(scheduled(told, clock, pattern, MONDAYS), monday).path == first
    aged(first, NOW)
    assert write(scheduled(told, clock, pattern, MONDAYS), monday) is None
    later = monday + 7 * DAY
    clock.advance((later - NOW).total_seconds() + 3 * 86_400)  # it was down when it was due
    report = scheduled(told, clock, pattern, MONDAYS)
    assert write(report, later).path == tmp_path / "2026" / "01-12-0600 100%.json"
    assert write(report, later) is None


def test_one_that_somebody_takes_away_is_not_written_over_and_over(
    told: str, clock: ManualClock, tmp_path: Path
) -> None:
    report = scheduled(told, clock, tmp_path / "report.json", MONDAYS)
    monday = datetime(2026, 1, 5, 6, tzinfo=UTC)
    write(report, monday).path.unlink()
    clock.advance(60)
    assert write(report, monday) is None


def test_dates_are_those_of_the_reporting_zone(clock: ManualClock, tmp_path: Path) -> None:
    report = scheduled("sqlite:///none.db", clock, tmp_path / "%Y-%m-%d.html")
    tokyo = msgspec.structs.replace(
        report._settings, facets=msgspec.structs.replace(report._settings.facets, time_zone="Asia/Tokyo")
    )
    assert report.path_for(NOW).name == "2026-01-08.html"
    assert ScheduledReport(tokyo, clock=clock).path_for(NOW).name == "2026-01-09.html"


def test_what_cannot_be_made_leaves_the_last_one_and_is_tried_again(
    told: str, clock: ManualClock, tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    file.write_text("before")
    aged(file, NOW - 2 * DAY)
    with pytest.raises(DatabaseError):
        write(scheduled(f"sqlite:///{tmp_path}/none.db", clock, file))
    assert file.read_text() == "before"
    assert write(scheduled(told, clock, file)) is not None
    (tmp_path / "plain").write_text("")
    with pytest.raises(MaiaSyncError, match=r"report\.file: cannot make the folder"):
        write(scheduled(told, clock, tmp_path / "plain" / "report.json"))


FOR_EVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS model FROM c"


def test_one_that_is_cancelled_ends_soon_and_leaves_nothing(
    migrated_sqlite: Path, clock: ManualClock, tmp_path: Path
) -> None:
    import sqlite3

    shutil.copyfile(migrated_sqlite, tmp_path / "slow.db")
    with closing(sqlite3.connect(tmp_path / "slow.db")) as connection:
        connection.execute("DROP VIEW v_model_usage")
        connection.execute(
            "CREATE VIEW v_model_usage AS SELECT c.model, '2026-01-05' AS day, 1 AS input_tokens, "
            f"1 AS output_tokens, 1 AS cost, 1 AS events FROM ({FOR_EVER}) c"
        )
        connection.commit()
    report = scheduled(f"sqlite:///{tmp_path}/slow.db", clock, tmp_path / "report.html")

    async def cancelled() -> float:
        writing = asyncio.create_task(report.write_if_due())
        turns = 0
        while turns < 50:  # the loop turns while the report is being made
            await asyncio.sleep(0.01)
            turns += 1
        assert not writing.done()
        writing.cancel()
        begun = time.monotonic()
        with suppress(asyncio.CancelledError):
            await writing
        return begun

    begun = asyncio.run(cancelled())
    while any(thread.name == "maia-sync-report" for thread in threading.enumerate()):
        assert time.monotonic() - begun < 5
        time.sleep(0.01)
    assert not (tmp_path / "report.html").exists()
    assert not [each for each in tmp_path.iterdir() if each.name.endswith(".part")]
