"""How do settings become connected objects? The composition root, used by the CLI and by tests."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from uuid import UUID

import msgspec

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.clock import SystemClock
from maia_sync.errors import DatabaseError, MaiaSyncError, UsageError
from maia_sync.maia.auth import make_auth
from maia_sync.maia.client import MaiaClient
from maia_sync.model import WALKED_STATUSES, OutgoingMessage
from maia_sync.service.polling import AdaptivePolling
from maia_sync.store.database import Database
from maia_sync.store.facets import has_stale_facets
from maia_sync.store.tasks import read_task_ids, read_tasks, upsert_tasks
from maia_sync.sync.handover import ThreadHandover
from maia_sync.sync.heartbeat import Heartbeat
from maia_sync.sync.run import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
    from types import TracebackType

    from maia_sync.archive.creating import CreateReport, Observe
    from maia_sync.clock import Clock
    from maia_sync.maia.auth import BearerAuth
    from maia_sync.maia.client import Probe
    from maia_sync.model import Observer, RunReport, SentMessage, VerifyReport
    from maia_sync.settings import ScheduleSettings, Settings
    from maia_sync.store.reading import LogRow
    from maia_sync.sync.follow import Watch
    from maia_sync.sync.handover import Handover
    from maia_sync.sync.ticks import Ticks

T = TypeVar("T")

_begun: ContextVar[Future[tuple[asyncio.AbstractEventLoop, asyncio.Future[int]]] | None] = ContextVar(
    "begun", default=None
)
"""Where a run tells the thread that waits for it how it can be ended."""


_OTHER_CONNECTIONS = 4
"""Besides those of the walks: for heartbeats, probes, metrics and discovery."""


class App:
    """A configured maia-sync: its database and what can be done with it. A context manager."""

    def __init__(self, settings: Settings, clock: Clock, database: Database) -> None:
        self.settings = settings
        self.clock = clock
        self.database = database
        name = settings.schedule.worker or socket.gethostname()
        self.worker = f"{name}:{os.getpid()}:{secrets.token_hex(4)}"
        """This process's name on leases: unique per start."""
        self.planner = _planner(settings.schedule)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def facets(self) -> FacetReader:
        """What reads facets from payloads."""
        return FacetReader(self.settings.facets)

    def close(self) -> None:
        """Give back every connection."""
        self.database.close()

    def upgrade(self) -> str:
        """Create the database's tables, or bring them to this version; return the revision before, or ""."""
        from maia_sync.store.migrations import upgrade  # noqa: PLC0415 - no other verb needs Alembic

        return upgrade(self.database)

    def track(self, task_ids: Sequence[str], *, label: str | None = None) -> int:
        """Track tasks: from now on, each sync reads their logs; return how many were not tracked before.

        Raises UsageError for an id that is no UUID, and DatabaseError.
        """
        named = _checked_each(task_ids)
        self.database.require_migrated()
        with self.database.transaction() as tx:
            return upsert_tasks(tx, named, label=label)

    def sync(
        self, *, task_ids: Sequence[str] = (), full: bool = False, observers: Sequence[Observer] = ()
    ) -> RunReport:
        """Make one run: over every active task, or over `task_ids` (paused ones too).

        `full` reconciles. Raises OperatorMustAct (usage, credentials, database, upstream
        unreachable); a task's own failure is in the report. SIGINT and SIGTERM end the run after
        the pages in hand, if this is the main thread.
        """
        named = self._tracked(task_ids)

        async def work(client: MaiaClient, handover: ThreadHandover, stop: asyncio.Future[int]) -> RunReport:
            return await self._run(client, handover, named, observers, full=full).run(stop)

        return run_to_end(self._connected(self._make_auth(), work))

    def send(
        self,
        task_id: str,
        message: str,
        *,
        agent: str | None = None,
        mode: Literal["PLAN", "ACT"] | None = None,
        branch: str | None = None,
        allowed_tools: Sequence[str] = (),
        follow_until_quiet: float | None = None,
        observers: Sequence[Observer] = (),
    ) -> SentMessage:
        """Send a message to a task, track the task, and poll it at once if the message was accepted.

        With `follow_until_quiet`, it is polled until nothing has come for so many seconds. What
        became of the message is in the report, whatever became of the poll: see its `outcome` before
        sending anything again. Raises UsageError, ConfigError and DatabaseError before anything is sent.
        """
        from maia_sync.service.person import person  # noqa: PLC0415 - no other verb needs these
        from maia_sync.sync.follow import Watch  # noqa: PLC0415
        from maia_sync.sync.send import Sending, require_sendable  # noqa: PLC0415

        task_id = _checked(task_id)
        outgoing = OutgoingMessage(
            message=message, agent=agent, mode=mode, branch=branch, allowed_tools=tuple(allowed_tools)
        )
        if isinstance(allowed_tools, str):  # which is a sequence of its letters
            raise UsageError("allowed_tools is one name, not a list of names")
        require_sendable(outgoing)
        auth = self._make_auth()
        self.database.require_migrated()
        watch = None
        if follow_until_quiet is not None:
            watch = Watch(self.clock, task_id, quiet=follow_until_quiet)

        async def work(
            client: MaiaClient, handover: ThreadHandover, stop: asyncio.Future[int]
        ) -> SentMessage:
            by = person(self.settings.schedule.worker)
            sending = Sending(client=client, database=self.database, handover=handover, sent_by=by)
            sent = await sending.run(task_id, outgoing, stop)
            if stop.done():
                return msgspec.structs.replace(sent, interrupted_by=stop.result())
            if sent.outcome != "accepted":
                return sent
            run = self._run(client, handover, [task_id], observers, watch=watch)
            return await _polled(sent, run, stop)

        return run_to_end(self._connected(auth, work))

    def events(
        self, task_id: str, *, newest: int | None = None, with_vanished: bool = True
    ) -> Iterator[LogRow]:
        """Yield a task's stored events, from old to new; `newest` only so many of the newest.

        A few hundred rows are in memory at a time. Raises UsageError for a task that was never tracked.
        """
        from maia_sync.store.log_reader import LogReader  # noqa: PLC0415 - no sync needs it

        task_id = _checked(task_id)
        self.database.require_migrated()
        with self.database.transaction(write=False) as tx:
            if not read_tasks(tx, task_ids=[task_id]):
                raise UsageError(f"task {task_id} is not tracked")
        reader = LogReader(self.database, task_id, with_vanished=with_vanished)
        if newest is not None:
            reader.skip_to_newest(newest)
        return reader.read_on()

    async def _connected(
        self,
        auth: BearerAuth,
        work: Callable[[MaiaClient, ThreadHandover, asyncio.Future[int]], Awaitable[T]],
    ) -> T:
        """Do work with a client, threads for the database, and a future that signals resolve."""
        async with self.open_client(auth) as client:
            with ThreadHandover(self.threads()) as handover, interruption() as stop:
                return await work(client, handover, stop)

    def _run(
        self,
        client: MaiaClient,
        handover: ThreadHandover,
        task_ids: list[str],
        observers: Sequence[Observer],
        *,
        full: bool = False,
        watch: Watch | None = None,
    ) -> Run:
        heartbeat = Heartbeat(
            database=self.database,
            handover=handover,
            clock=self.clock,
            lease_seconds=self.settings.schedule.lease,
        )
        return Run(
            settings=self.settings,
            client=client,
            database=self.database,
            handover=handover,
            worker=self.worker,
            task_ids=task_ids,
            full=full,
            planner=self.planner,
            facets=self.facets,
            heartbeat=heartbeat,
            observers=observers if watch is None else [watch, *observers],
            watched=None if watch is None else watch.task_ids(),
        )

    def make_ticks(
        self,
        client: MaiaClient,
        handover: Handover,
        *,
        observers: Sequence[Observer],
        stop: asyncio.Future[int],
    ) -> Ticks:
        """Connect the daemon's turns; they end early when `stop` is given the number of a signal."""
        from maia_sync.sync.ticks import Ticks  # noqa: PLC0415 - no sync needs it

        return Ticks(
            settings=self.settings,
            database=self.database,
            client=client,
            handover=handover,
            clock=self.clock,
            worker=self.worker,
            planner=self.planner,
            facets=self.facets,
            observers=observers,
            stop=stop,
        )

    def _make_auth(self) -> BearerAuth:
        return make_auth(self.settings.auth, clock=self.clock, api=self.settings.api)

    def open_client(self, auth: BearerAuth, *, observers: Sequence[Observer] = ()) -> MaiaClient:
        """Make a client of the API; an async context manager."""
        random = Random()  # noqa: S311 - jitter
        return MaiaClient(self.settings.api, auth, clock=self.clock, random=random, observers=observers)

    def probe(self) -> Probe:
        """Ask the API once, for a tracked task if there is one, and tell what it answered.

        Raises UpstreamSilent if no answer comes, and what having the credentials raises.
        """
        return run_to_end(self._probe(self._make_auth()))

    async def _probe(self, auth: BearerAuth) -> Probe:
        async with self.open_client(auth) as client:
            return await client.probe(self._some_task())

    def has_stale_facets(self) -> bool:
        """Tell whether stored events have facets of another configuration, or none. Raises DatabaseError."""
        with self.database.transaction(write=False) as tx:
            return has_stale_facets(tx, self.facets.version)

    def has_tasks(self) -> bool:
        """Tell whether there is any task that is polled. Raises DatabaseError."""
        with self.database.transaction(write=False) as tx:
            return bool(read_task_ids(tx, WALKED_STATUSES, after=None, limit=1))

    def _some_task(self) -> str | None:
        try:
            self.database.require_migrated()
            with self.database.transaction(write=False) as tx:
                return next(iter(read_task_ids(tx, ["active"], after=None, limit=1)), None)
        except DatabaseError:
            return None

    def threads(self) -> int:
        """Return how many threads reach the database.

        SQLite has one writer anyway; on PostgreSQL a connection per walk, a few.
        """
        return min(self.settings.api.concurrency, 4) if self.database.is_postgresql else 1

    def _tracked(self, task_ids: Sequence[str]) -> list[str]:
        """Return the ids, each once. Raises UsageError unless all are tracked, and DatabaseError."""
        named = list(dict.fromkeys(_checked_each(task_ids)))
        self.database.require_migrated()
        with self.database.transaction(write=False) as tx:
            tracked = {task.task_id for task in read_tasks(tx, task_ids=named) if task.status != "untracked"}
        for task_id in named:
            if task_id not in tracked:
                raise UsageError(f"task {task_id} is not tracked: run `maia-sync track {task_id}`")
        return named

    def verify(self, *, task_ids: Sequence[str] = (), observers: Sequence[Observer] = ()) -> VerifyReport:
        """Compare the copy with upstream; writes nothing and takes no lease.

        Over every active task, or over `task_ids`. Raises OperatorMustAct like `sync`.
        """
        from maia_sync.sync.verify import Verification  # noqa: PLC0415 - no other verb needs it

        auth = self._make_auth()
        named = self._tracked(task_ids)

        async def work(
            client: MaiaClient, handover: ThreadHandover, stop: asyncio.Future[int]
        ) -> VerifyReport:
            verification = Verification(
                client=client,
                database=self.database,
                handover=handover,
                concurrency=self.settings.api.concurrency,
                page_size=self.settings.api.page_size,
                observers=observers,
            )
            return await verification.run(named, stop)

        return run_to_end(self._connected(auth, work))

    def create_archive(
        self,
        *,
        new_log: bool = False,
        observers: Sequence[Observe] = (),
        stopped: Callable[[], int | None] = lambda: None,
    ) -> CreateReport:
        """Archive what is new, sign a checkpoint and hand it to whoever keeps it; see archive/create.py.

        With `new_log`, begin another log at an empty place instead, and archive everything anew there.
        Once `stopped` returns a signal's number, it ends after the chunk in hand. Raises ConfigError,
        ArchiveError and DatabaseError.
        """
        from maia_sync.archive.anchor import anchor_of  # noqa: PLC0415 - no other verb needs these
        from maia_sync.archive.configured import (  # noqa: PLC0415
            configured_place,
            configured_signer,
        )
        from maia_sync.archive.create import create  # noqa: PLC0415
        from maia_sync.service.posting import poster_of  # noqa: PLC0415

        settings = self.settings.archive
        place, signer = configured_place(settings), configured_signer(settings)
        self.database.require_migrated()
        return create(
            self.database,
            place,
            signer,
            worker=self.worker,
            clock=self.clock,
            anchor=anchor_of(settings, post=poster_of(self.settings), stopped=stopped),
            new_log=new_log,
            observers=observers,
            stopped=stopped,
        )


def _planner(schedule: ScheduleSettings) -> AdaptivePolling:
    reconcile = schedule.reconcile
    return AdaptivePolling(
        min_interval=schedule.min_interval,
        max_interval=schedule.max_interval,
        reconcile=reconcile if isinstance(reconcile, float) else None,
        random=Random(),  # noqa: S311 - jitter
    )


async def _polled(sent: SentMessage, run: Run, stop: asyncio.Future[int]) -> SentMessage:
    """Poll the task that a message went to; that it fails changes nothing about the message."""
    try:
        report = await run.run(stop)
    except MaiaSyncError as error:
        return msgspec.structs.replace(sent, poll_error=str(error))
    return msgspec.structs.replace(sent, poll=report, interrupted_by=report.interrupted_by)


def _checked(task_id: str) -> str:
    try:
        return str(UUID(task_id))
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{str(task_id)[:60]!r} is not a task id: expected a UUID") from error


def _checked_each(task_ids: Sequence[str]) -> list[str]:
    if isinstance(task_ids, str):  # which is a sequence of its letters
        raise UsageError("task_ids is one id, not a list of ids")
    return [_checked(task_id) for task_id in task_ids]


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, also where an event loop is running already: then in a thread of its own.

    Ctrl-C there ends it after the pages in hand, like a signal, and is raised again.
    """
    if not _loop_is_running():
        return asyncio.run(main)
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Future[int]]] = Future()

    async def noted() -> T:
        _begun.set(begun)
        return await main

    with ThreadPoolExecutor(1, thread_name_prefix="maia-sync") as thread:
        running = thread.submit(asyncio.run, noted())
        try:
            return running.result()
        except KeyboardInterrupt:
            begun.add_done_callback(_end_it)
            raise  # once the run has ended: the executor waits for it


def _end_it(begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Future[int]]]) -> None:
    """End a run in another thread as SIGINT would; called there or here."""
    loop, stop = begun.result()

    def end() -> None:
        if not stop.done():
            stop.set_result(signal.SIGINT)

    with suppress(RuntimeError):  # it has ended already
        loop.call_soon_threadsafe(end)


def open_app(settings: Settings, *, clock: Clock | None = None) -> App:
    """Connect the objects that the settings describe; the database is reached at first use."""
    clock = clock or SystemClock()
    database = Database(
        url=settings.database.resolve_url(),
        clock=clock,
        synchronous=settings.database.synchronous,
        connections=settings.api.concurrency + _OTHER_CONNECTIONS,
        digest_key_file=settings.archive.digest_key_file,
    )
    return App(settings, clock, database)


@contextmanager
def interruption() -> Iterator[asyncio.Future[int]]:
    """Yield a future that is given the number of the first SIGINT or SIGTERM.

    A second signal finds the usual handlers again and ends the process at once.
    """
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()
    begun = _begun.get()
    if begun is not None:
        begun.set_result((loop, stop))
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.getsignal(number) for number in signals}

    def interrupted(number: int) -> None:
        for each in signals:
            loop.remove_signal_handler(each)
        if not stop.done():
            stop.set_result(number)

    for number in signals:
        loop.add_signal_handler(number, interrupted, number)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # None: set by other means than Python's
                signal.signal(number, handler)
        stop.cancel()
