"""Do the daemon's jobs come at their times, never beside themselves, and does nothing go wrong unseen?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from apscheduler.events import EVENT_JOB_MISSED, JobExecutionEvent

from maia_sync.clock import SystemClock
from maia_sync.errors import UpstreamUnreachable
from maia_sync.service.daemon import Daemon, latest_fire_time, trigger_of
from maia_sync.settings import Cron, ScheduleSettings

if TYPE_CHECKING:
    from maia_sync.settings import Rhythm

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def cron(text: str) -> Cron:
    minute, hour, day, month, weekday = text.split()
    return Cron(minute=minute, hour=hour, day=day, month=month, weekday=weekday)


def fires(trigger: Any, start: datetime, end: datetime, *, late: float = 0.0) -> list[datetime]:
    """Step a trigger as the scheduler does, each job begun so many seconds late."""
    found: list[datetime] = []
    moment = trigger.get_next_fire_time(None, start)
    while moment is not None and moment < end:
        found.append(moment)
        moment = trigger.get_next_fire_time(moment, moment + timedelta(seconds=late))
    return found


@pytest.mark.parametrize("phase", [0.5, 0.77, 1.0])
def test_in_24_hours_there_are_2880_polls_and_no_drift(phase: float) -> None:
    end = MIDNIGHT + timedelta(seconds=30 * phase) + DAY
    found = fires(trigger_of(30.0, MIDNIGHT, phase=phase), MIDNIGHT, end, late=0.4)
    assert len(found) == 2880
    gaps = {later - earlier for earlier, later in pairwise(found)}
    assert gaps == {timedelta(seconds=30)}
    assert found[0] == MIDNIGHT + timedelta(seconds=30 * phase)


@pytest.mark.parametrize(
    ("text", "number", "first"),
    [
        ("*/5 * * * *", 288, "2026-03-01 00:00"),
        ("0 3 * * *", 1, "2026-03-01 03:00"),
        ("0 3 * * sun", 1, "2026-03-01 03:00"),
        ("0 3 * * mon", 0, ""),
        ("30 8-18/2 1,15 * *", 6, "2026-03-01 08:30"),
    ],
)
def test_cron_names_its_points_in_time_in_utc(text: str, number: int, first: str) -> None:
    found = fires(trigger_of(cron(text), MIDNIGHT), MIDNIGHT, MIDNIGHT + DAY)
    assert len(found) == number
    assert not found or f"{found[0]:%Y-%m-%d %H:%M}" == first


@pytest.mark.parametrize(
    ("text", "now", "latest"),
    [
        ("0 3 * * sun", "2026-03-03 12:00", "2026-03-01 03:00"),
        ("0 3 * * sun", "2026-03-01 03:00", "2026-03-01 03:00"),
        ("*/5 * * * *", "2026-03-01 12:34", "2026-03-01 12:30"),
        ("0 0 1 1 *", "2026-03-01 00:00", "2026-01-01 00:00"),
        ("0 0 29 feb *", "2026-03-01 00:00", None),
    ],
)
def test_the_latest_point_in_time_of_cron(text: str, now: str, latest: str | None) -> None:
    found = latest_fire_time(cron(text), datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert (None if found is None else f"{found:%Y-%m-%d %H:%M}") == latest


class Work:
    """Jobs that note that they were done."""

    def __init__(self) -> None:
        self.polls = 0
        self.at_once = self.most_at_once = 0
        self.seconds = 0.0
        self.error: Exception | None = None
        self.reconciles: list[datetime | None] = []
        self.reports: list[datetime | None] = []
        self.archives: list[datetime | None] = []
        self.found_tasks = False
        self.beats = 0
        self.polled = asyncio.Event()

    async def poll(self) -> None:
        self.polls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
            self.polled.set()
        if self.error is not None:
            raise self.error

    async def reconcile(self, due_at: datetime | None = None) -> None:
        self.reconciles.append(due_at)

    async def read_tasks_file(self) -> bool:
        found, self.found_tasks = self.found_tasks, False
        return found

    async def run_discovery(self) -> bool:
        return False

    async def write_report(self, due_at: datetime | None = None) -> None:
        self.reports.append(due_at)

    async def archive(self, due_at: datetime | None = None) -> None:
        self.archives.append(due_at)

    async def keep_house(self) -> None:
        pass

    def beat(self) -> None:
        self.beats += 1


class Overseer:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []

    def job_trouble(self, job: str, trouble: str, reason: str) -> None:
        self.heard.append((job, trouble, reason))


def live(
    work: Work,
    overseer: Overseer,
    seconds: float,
    *,
    report: Rhythm | None = None,
    archive: Rhythm | None = None,
    **schedule: Any,
) -> None:
    """Let a daemon live so long."""

    async def main() -> None:
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        daemon = Daemon(
            schedule=ScheduleSettings(**schedule),
            work=work,  # type: ignore[arg-type]
            overseer=overseer,
            clock=SystemClock(),
            random=Random(1),
            stop=stop,
            report=report,
            archive=archive,
        )
        running = asyncio.create_task(daemon.run())
        await asyncio.sleep(seconds)
        stop.set_result(15)
        await running
        assert work.at_once == 0, "a job in hand outlived the daemon"

    asyncio.run(main())


def test_everything_is_done_at_once_at_the_start_and_the_pulse_beats() -> None:
    work, overseer = Work(), Overseer()
    live(work, overseer, 0.3, poll=3600.0)
    assert (work.polls, work.reconciles, work.beats >= 1) == (1, [None], True)
    assert overseer.heard == []


def test_a_report_is_looked_for_at_the_start_if_there_is_to_be_one() -> None:
    for report in (None, 3600.0, cron("0 0 29 feb *"), cron("* * * * *")):
        work = Work()
        live(work, Overseer(), 0.2, poll=3600.0, report=report)
        if isinstance(report, float):
            assert work.reports == [None]
        elif report == cron("* * * * *"):
            (due_at,) = work.reports
            assert due_at is not None
            assert timedelta(0) <= datetime.now(UTC) - due_at < timedelta(minutes=2)
        elif report is None:
            assert work.reports == []


def test_an_archive_is_looked_after_as_often_as_it_is_due_if_there_is_one() -> None:
    for archive, times in ((None, {0}), (3600.0, {1}), (0.2, {3, 4, 5}), (cron("* * * * *"), {1})):
        work = Work()
        live(work, Overseer(), 0.7, poll=3600.0, archive=archive)
        assert len(work.archives) in times
        assert all((due_at is None) == isinstance(archive, float) for due_at in work.archives)


def test_a_job_that_overruns_is_done_again_and_never_beside_itself() -> None:
    work, overseer = Work(), Overseer()
    work.seconds = 0.25
    live(work, overseer, 1.6, poll=0.1)
    assert work.most_at_once == 1
    assert work.polls >= 3
    assert overseer.heard == []


def test_a_job_that_fails_is_told_and_left_alone_for_longer_each_time() -> None:
    work, overseer = Work(), Overseer()
    work.error = UpstreamUnreachable("the API is down")
    live(work, overseer, 1.5, poll=0.05)
    assert set(overseer.heard) == {("poll", "failed", "the API is down")}
    assert 2 <= work.polls == len(overseer.heard) <= 8


def test_what_nobody_foresaw_is_told_without_its_words_and_ends_nothing() -> None:
    work, overseer = Work(), Overseer()
    work.error = ValueError("s3cret")
    live(work, overseer, 0.5, poll=0.05)
    assert overseer.heard[0] == ("poll", "failed", "an unforeseen ValueError: please report it")
    assert "s3cret" not in str(overseer.heard)
    assert work.polls >= 2


def test_a_job_that_the_scheduler_could_not_begin_is_told() -> None:
    overseer = Overseer()

    async def main() -> None:
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        daemon = Daemon(
            schedule=ScheduleSettings(),
            work=Work(),  # type: ignore[arg-type]
            overseer=overseer,
            clock=SystemClock(),
            random=Random(1),
            stop=stop,
        )
        scheduler = daemon._make_scheduler()
        scheduler.start(paused=True)
        late = datetime.now(UTC) - DAY
        scheduler._dispatch_event(JobExecutionEvent(EVENT_JOB_MISSED, "poll at once", "default", late))
        scheduler.shutdown(wait=False)

    asyncio.run(main())
    assert overseer.heard == [("poll", "missed", "it could not begin in time")]


def test_tasks_that_a_source_brings_are_polled_at_once(tmp_path: Any) -> None:
    work, overseer = Work(), Overseer()
    work.found_tasks = True
    live(work, overseer, 0.4, poll=3600.0, tasks_file=tmp_path / "tasks.txt")
    assert work.polls == 2


def test_by_cron_what_was_missed_while_no_daemon_ran_is_reconciled_at_the_start() -> None:
    work, overseer = Work(), Overseer()
    live(work, overseer, 0.3, poll=3600.0, reconcile=cron("0 3 * * sun"))
    (due_at,) = work.reconciles
    assert due_at is not None
    assert (due_at.weekday(), due_at.hour) == (6, 3)
    assert timedelta(0) <= datetime.now(UTC) - due_at <= timedelta(days=7)
