"""How does the daemon live: started, told to reload, told to stop? Settings become a running service.

A life is everything that one configuration makes: database, client, web, jobs. A reload (SIGHUP) ends
the life in hand cleanly and begins another; metrics and logs go on. Where the new configuration
cannot be used, the old one stays.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from random import Random
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from maia_sync.app import interruption, open_app
from maia_sync.clock import SystemClock
from maia_sync.config import read_environment
from maia_sync.errors import Bug, MaiaSyncError, OperatorMustAct
from maia_sync.maia.auth import make_auth
from maia_sync.service.daemon import Daemon
from maia_sync.service.discovery import Discovery
from maia_sync.service.duties import Duties
from maia_sync.service.health import Health
from maia_sync.service.logs import RunLog, set_up_logging
from maia_sync.service.metrics import Metrics
from maia_sync.service.notify import notifier_from
from maia_sync.service.ping import Pinger
from maia_sync.service.posting import poster_of
from maia_sync.service.scheduled_archive import ScheduledArchive
from maia_sync.service.scheduled_report import ScheduledReport
from maia_sync.settings import Cron, read_secret_file
from maia_sync.store.asking import ReadingDatabase
from maia_sync.store.gauges import read_gauges
from maia_sync.sync.handover import ThreadHandover
from maia_sync.sync.ticks import unless_stopped
from maia_sync.version import __version__
from maia_sync.web.application import Pages, make_web
from maia_sync.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import TextIO

    from maia_sync.app import App
    from maia_sync.clock import Clock
    from maia_sync.model import Observer
    from maia_sync.service.logs import Log
    from maia_sync.settings import Settings
    from maia_sync.store.gauges import Gauges
    from maia_sync.web.site import Site

_LAST_RESORT_SECONDS = 9.0
"""A stop takes no longer than ten seconds: what still hangs then is cut off. It costs nothing stored."""
_LAST_RESORT_OF_PAGES = 2.0
_SAME_SIGNAL_SECONDS = 1.0
_BETWEEN_BEATS = 10.0
_VISITORS_WAIT = 5.0
"""Seconds that a page waits for a SQLite file that somebody else has locked."""
_EXIT_OF_SIGNAL = 128


@asynccontextmanager
async def _web(
    settings: Settings, health: Health, clock: Clock, *, metrics: Metrics | None = None
) -> AsyncIterator[str]:
    """Serve pages, health, and metrics if there are any, as long as the block lasts; yields the address.

    Where there are none, pages are all that is wanted, and are made before the first is asked for.
    """
    token = None
    if settings.web.token_file is not None:
        token = read_secret_file(settings.web.token_file, key="web.token_file")
    with closing(Pages(partial(_make_site, settings, clock), token=token)) as pages:
        web = make_web(health=health, token=token, metrics=metrics, pages=pages, clock=clock)
        async with WebServer(web, settings.web.host, settings.web.port) as server:
            if metrics is not None:
                yield server.url
                return
            getting_ready = asyncio.create_task(pages.get_ready())
            try:
                yield server.url
            finally:
                await getting_ready


def _make_site(settings: Settings, clock: Clock) -> Site:
    from maia_sync.web.site import Site  # noqa: PLC0415 - its libraries are loaded once a page is asked for

    database = ReadingDatabase(
        url=settings.database.resolve_url(), clock=clock, connections=8, busy_timeout=_VISITORS_WAIT
    )
    zone, max_lag = ZoneInfo(settings.facets.time_zone), settings.schedule.max_lag
    return Site(database=database, zone=zone, clock=clock, max_lag=max_lag)


def serve_pages(
    settings: Settings,
    *,
    announce: Callable[[str], None],
    clock: Clock | None = None,
    stream: TextIO | None = None,
) -> int:
    """Serve the pages and nothing else until SIGINT or SIGTERM; return the exit code.

    `announce` is told the address and the database's place. Raises ConfigError and DatabaseError if it
    cannot begin; a database that goes away later is waited for.
    """
    clock = clock or SystemClock()
    with closing(ReadingDatabase(url=settings.database.resolve_url(), clock=clock)) as database:
        database.require_migrated()
        set_up_logging(settings.log, stream=stream or sys.stderr, clock=clock)
        with ExitStack() as stack:
            return asyncio.run(_serve(settings, database, announce, stack))


async def _serve(
    settings: Settings, database: ReadingDatabase, announce: Callable[[str], None], until_ended: ExitStack
) -> int:
    health = Health(clock=database.clock, check_database=database.require_migrated)
    with interruption() as stop:
        async with _web(settings, health, database.clock) as url:
            health.mark_started()
            announce(f"{database.place} is shown at {url}")
            while not stop.done():
                health.beat()
                await asyncio.wait({stop}, timeout=_BETWEEN_BEATS)
            until_ended.callback(_end_soon(stop.result(), _LAST_RESORT_OF_PAGES).cancel)
        return _EXIT_OF_SIGNAL + stop.result()


def _end_soon(number: int, seconds: float) -> threading.Timer:
    """Cut off what still hangs then, as if by the signal."""
    last_resort = threading.Timer(seconds, os._exit, [_EXIT_OF_SIGNAL + number])
    last_resort.daemon = True
    last_resort.start()
    return last_resort


class Service:
    """The daemon through all its lives. `run()` once, in the main thread."""

    def __init__(
        self, load: Callable[[], Settings], *, clock: Clock | None = None, stream: TextIO | None = None
    ) -> None:
        self._load = load
        self._clock = clock or SystemClock()
        self._stream = stream or sys.stderr
        self._notifier = notifier_from(read_environment())
        self._metrics = Metrics(read=self._read_gauges, clock=self._clock)
        self._app: App | None = None
        self._log: Log | None = None
        self._stop: asyncio.Future[int] | None = None
        self._told: int | None = None
        """The signal that the life in hand is to end by, or the next one if there is none just now."""
        self._reloaded: Settings | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._told_to_end_at: float | None = None
        self._archives: list[ScheduledArchive] = []
        """Of this life, and of earlier ones what is still at work."""

    def run(self) -> int:
        """Serve until SIGINT or SIGTERM; return the exit code.

        Raises OperatorMustAct if it cannot begin: configuration, database, address.
        """
        code = asyncio.run(self._live_on())
        if any(each.is_at_work for each in self._archives):
            # It hangs. Its thread must not wake up in an interpreter that is being taken down.
            for stream in (self._stream, sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
        return code

    async def _live_on(self) -> int:
        """Live one life after the other; one that cannot begin is followed by one like that before."""
        good: Settings | None = None
        settings = self._load()
        with self._signals_heard():
            while True:
                try:
                    await self._live(settings, begun=good is None)
                except OperatorMustAct as error:
                    if good is None or settings is good:
                        raise
                    self._tell_not_reloaded(error)
                    settings = good
                    continue
                if self._told is not None and self._told != signal.SIGHUP:
                    return _EXIT_OF_SIGNAL + self._told
                self._told = None
                good, settings = settings, self._reloaded or settings

    async def _live(self, settings: Settings, *, begun: bool) -> None:
        """Live one life, until a signal ends it."""
        stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._stop = stop
        if self._told is not None:  # while there was no life to end
            stop.set_result(self._told)
        log = self._log = set_up_logging(settings.log, stream=self._stream, clock=self._clock)
        async with AsyncExitStack() as stack:
            app = self._app = stack.enter_context(self._usable(settings))
            health = Health(clock=self._clock, check_database=app.database.require_migrated)
            web = _web(settings, health, self._clock, metrics=self._metrics)
            url = await stack.enter_async_context(web)
            duties = await self._open_duties(stack, app, log, health, stop)
            daemon = Daemon(
                schedule=settings.schedule,
                work=duties,
                overseer=duties,
                clock=self._clock,
                random=Random(),  # noqa: S311 - phases of jobs
                stop=stop,
                report=settings.report.schedule,
                archive=settings.archive.schedule,
            )
            health.mark_started()
            self._tell_begun(log, app, url, begun=begun)
            await daemon.run()
            health.mark_stopping()
            log.info("stopping", message=f"Told to end by {signal.Signals(stop.result()).name}")

    async def _open_duties(
        self, stack: AsyncExitStack, app: App, log: Log, health: Health, stop: asyncio.Future[int]
    ) -> Duties:
        """Connect what the jobs need; all of it is closed with the stack."""
        settings = app.settings
        observers: list[Observer] = [RunLog(log), self._metrics]
        auth = make_auth(settings.auth, clock=self._clock, api=settings.api)
        client = await stack.enter_async_context(app.open_client(auth, observers=observers))
        handover = stack.enter_context(ThreadHandover(app.threads()))
        pinger = None
        if settings.schedule.heartbeat_url is not None:
            pinger = Pinger(settings.schedule.heartbeat_url, ca_file=settings.api.ca_file)
            await stack.enter_async_context(pinger)
        return Duties(
            turns=app.make_ticks(client, handover, observers=observers, stop=stop),
            discovery=Discovery(settings.schedule, database=app.database, handover=handover),
            log=log,
            metrics=self._metrics,
            health=health,
            notifier=self._notifier,
            pinger=pinger,
            unless_stopped=partial(unless_stopped, stop=stop),
            clock=self._clock,
            report=ScheduledReport(settings, clock=self._clock) if settings.report.file else None,
            archive=self._open_archive(settings, app),
        )

    def _open_archive(self, settings: Settings, app: App) -> ScheduledArchive | None:
        if settings.archive.schedule is None:
            return None
        archive = ScheduledArchive(
            settings,
            clock=self._clock,
            worker=app.worker,
            post=poster_of(settings),
            note_anchor=self._metrics.note_anchor,
        )
        self._archives = [*(each for each in self._archives if each.is_at_work), archive]
        return archive

    def _read_gauges(self) -> Gauges:
        app = self._app
        if app is None:
            raise Bug("metrics were asked for before the service began")
        schedule = app.settings.schedule
        with app.database.transaction(write=False) as tx:
            gauges = read_gauges(tx, max_lag_seconds=schedule.max_lag, worker=app.worker)
        if isinstance(schedule.reconcile, Cron):  # then each task is due for the next point in time
            return msgspec.structs.replace(gauges, reconciles_due=0)
        return gauges

    def _tell_begun(self, log: Log, app: App, url: str, *, begun: bool) -> None:
        place = app.database.place
        log.info(
            "started" if begun else "reloaded",
            message=f"maia-sync {__version__} keeps {place} up to date; pages, metrics and health at {url}",
            worker=app.worker,
        )
        schedule = app.settings.schedule
        if schedule.tasks_file is None and schedule.discovery_command is None and not app.has_tasks():
            hint = "No tasks are tracked: `maia-sync track TASK_ID`, or set schedule.tasks_file"
            log.warning("no_tasks", message=hint)
        if not begun:
            self._metrics.note_reload(succeeded=True)
        self._notifier.ready(f"Keeps {place} up to date")

    def _tell_not_reloaded(self, error: MaiaSyncError) -> None:
        self._metrics.note_reload(succeeded=False)
        if self._log is not None:
            sentence = "; ".join(str(error).splitlines())
            self._log.error("reload_failed", message=f"The configuration stays as it was: {sentence}")

    @contextmanager
    def _signals_heard(self) -> Iterator[None]:
        """Hear SIGINT, SIGTERM and SIGHUP as long as the block lasts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._begin_to_reload)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _end(self, number: int) -> None:
        """End cleanly, and within ten seconds in any case; a second signal ends the process at once.

        Some supervisors send a signal twice in the same moment: that is one.
        """
        now = self._clock.monotonic()
        if self._told_to_end_at is not None:
            if now - self._told_to_end_at > _SAME_SIGNAL_SECONDS:
                os._exit(_EXIT_OF_SIGNAL + number)
            return
        self._told_to_end_at = now
        self._notifier.stopping()
        _end_soon(number, _LAST_RESORT_SECONDS)
        self._end_life(number)

    def _begin_to_reload(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._notifier.reloading(int(self._clock.monotonic() * 1e6))
            self._reloading = asyncio.get_running_loop().create_task(self._reload())

    async def _reload(self) -> None:
        try:
            self._reloaded = await asyncio.to_thread(self._load_usable)
        except MaiaSyncError as error:
            self._tell_not_reloaded(error)
            self._notifier.ready("The configuration stays as it was")
        else:
            self._end_life(signal.SIGHUP)

    def _load_usable(self) -> Settings:
        """Load the configuration; while its database is away, or ahead of us, no new life could begin."""
        settings = self._load()
        with self._usable(settings):
            return settings

    @contextmanager
    def _usable(self, settings: Settings) -> Iterator[App]:
        """Open the configured objects. Raises OperatorMustAct where no life could begin with them."""
        from maia_sync.maia.connection import open_api  # noqa: PLC0415 - httpx takes long to load

        open_api(settings.api.base_url, settings.api)  # a life opens its own at the first request, too late
        with open_app(settings, clock=self._clock) as app:
            app.database.require_migrated()
            yield app

    def _end_life(self, number: int) -> None:
        """End the life in hand; an end of the whole counts more than a reload."""
        if self._told in {None, signal.SIGHUP}:
            self._told = number
        if self._stop is not None and not self._stop.done():
            self._stop.set_result(number)
