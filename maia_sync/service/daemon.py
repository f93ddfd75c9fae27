"""When is what done? APScheduler calls the daemon's jobs; nothing else of ours knows it.

What is set explicitly, because its defaults lose work: a job that could not start in time starts late
(`misfire_grace_time` None; a second is the default, after which a run is silently skipped), once for
all the times it missed (`coalesce`), and never beside itself (`max_instances` 1). All in UTC.

Workers that were started together are kept from marching in step by the phase of their jobs, not by
the trigger's own jitter: that adds to each interval, so that the job would drift.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from maia_sync.errors import MaiaSyncError
from maia_sync.settings import Cron

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from random import Random

    from maia_sync.clock import Clock
    from maia_sync.model import RunReport
    from maia_sync.settings import Rhythm, ScheduleSettings

# It warns of missed and failed jobs itself: the overseer has heard of them already.
logging.getLogger("apscheduler").setLevel(logging.CRITICAL)

JobName: TypeAlias = Literal[
    "poll", "reconcile", "tasks_file", "discovery", "report", "archive", "housekeeping", "pulse"
]
JobTrouble: TypeAlias = Literal["missed", "failed"]

_LOOK_FOR_RECONCILES = 60.0
_LOOK_FOR_REPORT = 60.0
_LOOK_FOR_ARCHIVE = 60.0
_WATCH_FILE = 5.0
_HOUSEKEEPING = 600.0
_PULSE = 5.0
_AT_ONCE = " at once"
"""Behind a job's name: the same job, done out of its turn."""
_EARLIEST_PHASE = 0.5
"""Of an interval: a job's second time comes after half of the first interval at the earliest."""
_LONGEST_RESPITE = 900.0
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366))


class Work(Protocol):
    """What the daemon does at its times; each is one turn, and raises MaiaSyncError if it fails."""

    async def poll(self) -> RunReport | None:
        """Poll what is due."""
        ...

    async def reconcile(self, due_at: datetime | None = None) -> RunReport | None:
        """Reconcile what was due by then."""
        ...

    async def read_tasks_file(self) -> bool:
        """Take over the tasks file if it has changed; tell whether there are tasks to be polled now."""
        ...

    async def run_discovery(self) -> bool:
        """Run the discovery command and take over what it lists; tell whether there are tasks to poll."""
        ...

    async def write_report(self, due_at: datetime | None = None) -> None:
        """Write the report if none has been written since then, or for as long as its schedule says."""
        ...

    async def archive(self, due_at: datetime | None = None) -> None:
        """Archive what is new unless that was done since then, or for as long as its schedule says."""
        ...

    async def keep_house(self) -> None:
        """Tidy up."""
        ...

    def beat(self) -> None:
        """Show that the loop turns."""
        ...


class Overseer(Protocol):
    """Who is told how the jobs fare."""

    def job_trouble(self, job: str, trouble: JobTrouble, reason: str) -> None:
        """Hear that a job was missed or has failed, and why: a sentence."""
        ...


class Daemon:
    """Calls the daemon's jobs at their times until it is told to stop."""

    def __init__(
        self,
        *,
        schedule: ScheduleSettings,
        work: Work,
        overseer: Overseer,
        clock: Clock,
        random: Random,
        stop: asyncio.Future[int],
        report: Rhythm | None = None,
        archive: Rhythm | None = None,
    ) -> None:
        self._schedule = schedule
        self._report_rhythm = report
        self._archive_rhythm = archive
        self._work = work
        self._overseer = overseer
        self._clock = clock
        self._random = random
        self._stop = stop
        self._scheduler: AsyncIOScheduler | None = None
        self._in_hand: set[asyncio.Task[Any]] = set()
        self._busy: set[JobName] = set()
        self._again: set[JobName] = set()
        self._failures: dict[JobName, int] = {}
        self._respite_until: dict[JobName, float] = {}

    async def run(self) -> None:
        """Work until `stop` is given a signal's number; then the jobs in hand have ended.

        Whatever was due while no daemon ran is caught up at once.
        """
        scheduler = self._scheduler = self._make_scheduler()
        scheduler.start()
        try:
            await asyncio.shield(self._stop)
        finally:
            scheduler.pause()
            if self._in_hand:
                await asyncio.wait(self._in_hand)
            scheduler.shutdown(wait=False)

    def _make_scheduler(self) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(
            timezone=UTC,
            jobstores={"default": MemoryJobStore()},
            executors={"default": AsyncIOExecutor()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        scheduler.add_listener(self._hear, EVENT_JOB_MISSED | EVENT_JOB_ERROR | EVENT_JOB_MAX_INSTANCES)
        now = self._clock.now()
        for name, (rhythm, work) in self._jobs().items():
            phase = self._random.uniform(_EARLIEST_PHASE, 1.0)
            trigger = trigger_of(rhythm, now, phase=phase)
            scheduler.add_job(partial(self._do, name, work), trigger, id=name, name=name)
            self._do_at_once(scheduler, name, work)
        return scheduler

    def _jobs(self) -> dict[JobName, tuple[Rhythm, Callable[[], Awaitable[object]]]]:
        schedule, work = self._schedule, self._work
        jobs: dict[JobName, tuple[Rhythm, Callable[[], Awaitable[object]]]] = {}
        if schedule.tasks_file is not None:
            jobs["tasks_file"] = (_WATCH_FILE, partial(self._discover, work.read_tasks_file))
        if schedule.discovery_command is not None:
            jobs["discovery"] = (schedule.discovery, partial(self._discover, work.run_discovery))
        jobs["poll"] = (schedule.poll, work.poll)
        jobs["reconcile"] = (_LOOK_FOR_RECONCILES, self._reconcile)
        if self._report_rhythm is not None:
            jobs["report"] = (_LOOK_FOR_REPORT, self._report)
        if self._archive_rhythm is not None:
            jobs["archive"] = (_look_for(self._archive_rhythm, _LOOK_FOR_ARCHIVE), self._archive)
        jobs["housekeeping"] = (_HOUSEKEEPING, work.keep_house)
        jobs["pulse"] = (_PULSE, self._beat)
        return jobs

    async def _discover(self, find: Callable[[], Awaitable[bool]]) -> None:
        """Find tasks; new ones are polled at once, not when the time comes."""
        if await find() and self._scheduler is not None:
            self._do_at_once(self._scheduler, "poll", self._work.poll)

    def _do_at_once(
        self, scheduler: AsyncIOScheduler, name: JobName, work: Callable[[], Awaitable[object]]
    ) -> None:
        job = partial(self._do, name, work)
        trigger = DateTrigger(self._clock.now(), timezone=UTC)
        scheduler.add_job(job, trigger, id=f"{name}{_AT_ONCE}", name=name, replace_existing=True)

    async def _reconcile(self) -> None:
        """Reconcile what is due; by cron, what has not been reconciled since the latest point in time.

        So it does not matter when the look comes, nor how long all of it takes.
        """
        is_due, due_at = self._latest(self._schedule.reconcile)
        if is_due:
            await self._work.reconcile(due_at)

    async def _report(self) -> None:
        """Write the report if it is due, likewise."""
        is_due, due_at = self._latest(self._report_rhythm)
        if is_due:
            await self._work.write_report(due_at)

    async def _archive(self) -> None:
        """Archive what is new if that is due, likewise."""
        is_due, due_at = self._latest(self._archive_rhythm)
        if is_due:
            await self._work.archive(due_at)

    def _latest(self, rhythm: Rhythm | None) -> tuple[bool, datetime | None]:
        """Return whether anything can be due by now, and by cron since when."""
        if not isinstance(rhythm, Cron):
            return rhythm is not None, None
        due_at = latest_fire_time(rhythm, self._clock.now())
        return due_at is not None, due_at

    async def _beat(self) -> None:
        self._work.beat()

    async def _do(self, name: JobName, work: Callable[[], Awaitable[object]]) -> None:
        """Do a job once; again at once, if its time came round meanwhile."""
        if name in self._busy:
            self._again.add(name)
            return
        task = asyncio.current_task()
        if task is None or self._stop.done():
            return
        self._busy.add(name)
        self._in_hand.add(task)
        try:
            await self._do_once(name, work)
            while name in self._again and not self._stop.done():
                self._again.discard(name)
                await self._do_once(name, work)
        finally:
            self._busy.discard(name)
            self._again.discard(name)
            self._in_hand.discard(task)

    async def _do_once(self, name: JobName, work: Callable[[], Awaitable[object]]) -> None:
        """Do a job, unless it has failed lately: then it is left alone for longer each time."""
        if self._clock.monotonic() < self._respite_until.get(name, 0.0):
            return
        try:
            await work()
        except Exception as error:
            self._note_failure(name)
            if not isinstance(error, MaiaSyncError):
                raise  # the scheduler tells `_hear`
            self._overseer.job_trouble(name, "failed", str(error))
        else:
            self._failures.pop(name, None)

    def _note_failure(self, name: JobName) -> None:
        self._failures[name] = failures = self._failures.get(name, 0) + 1
        rhythm = self._schedule.poll
        first = rhythm if isinstance(rhythm, float) else 60.0
        respite = min(first * 2.0 ** (failures - 1), _LONGEST_RESPITE) / 2
        self._respite_until[name] = self._clock.monotonic() + respite

    def _hear(self, event: Any) -> None:
        """Hear from the scheduler."""
        name = str(event.job_id).removesuffix(_AT_ONCE)
        if event.code == EVENT_JOB_MAX_INSTANCES:
            self._again.update(job for job in self._busy if job == name)
        elif event.code == EVENT_JOB_MISSED:
            self._overseer.job_trouble(name, "missed", "it could not begin in time")
        else:
            kind = type(event.exception).__name__
            self._overseer.job_trouble(name, "failed", f"an unforeseen {kind}: please report it")


def _look_for(rhythm: Rhythm, seconds: float) -> float:
    """Return how often to look whether something is due: more often where it is due more often."""
    return min(rhythm, seconds) if isinstance(rhythm, float) else seconds


def trigger_of(rhythm: Rhythm, now: datetime, *, phase: float = 1.0) -> IntervalTrigger | CronTrigger:
    """Return the trigger of a job; `phase` is the share of an interval after which it first fires."""
    if isinstance(rhythm, Cron):
        return CronTrigger(
            minute=rhythm.minute,
            hour=rhythm.hour,
            day=rhythm.day,
            month=rhythm.month,
            day_of_week=rhythm.weekday,
            timezone=UTC,
        )
    return IntervalTrigger(seconds=rhythm, start_date=now + timedelta(seconds=rhythm * phase), timezone=UTC)


def latest_fire_time(cron: Cron, now: datetime) -> datetime | None:
    """Return the latest point in time that cron names up to now; None if there was none for a year."""
    trigger = trigger_of(cron, now)
    for window in _WINDOWS:
        latest: datetime | None = None
        moment: datetime | None = trigger.get_next_fire_time(None, now - window)
        while moment is not None and moment <= now:
            latest, moment = moment, trigger.get_next_fire_time(moment, moment)
        if latest is not None:
            return latest
    return None
