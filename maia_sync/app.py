"""How do settings become connected objects? The composition root, used by the CLI and by tests."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import threading
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Self

from maia_sync.clock import SystemClock
from maia_sync.errors import DatabaseError, UsageError
from maia_sync.maia.auth import make_auth
from maia_sync.maia.client import MaiaClient
from maia_sync.store.database import Database
from maia_sync.store.tasks import read_task_ids, read_tasks
from maia_sync.sync.handover import ThreadHandover
from maia_sync.sync.run import Run
from maia_sync.sync.verify import Verification

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import httpx

    from maia_sync.clock import Clock
    from maia_sync.maia.client import Probe
    from maia_sync.model import Observer, RunReport, VerifyReport
    from maia_sync.settings import Settings


class App:
    """A configured maia-sync: its database and what can be done with it. A context manager."""

    def __init__(self, settings: Settings, clock: Clock, database: Database) -> None:
        self.settings = settings
        self.clock = clock
        self.database = database
        name = settings.schedule.worker or socket.gethostname()
        self.worker = f"{name}:{os.getpid()}:{secrets.token_hex(4)}"
        """This process's name on leases: unique per start."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back every connection."""
        self.database.close()

    def sync(
        self, *, task_ids: Sequence[str] = (), full: bool = False, observers: Sequence[Observer] = ()
    ) -> RunReport:
        """Make one run: over every active task, or over `task_ids` (paused ones too).

        `full` reconciles. Raises OperatorMustAct (usage, credentials, database, upstream
        unreachable); a task's own failure is in the report. SIGINT and SIGTERM end the run after
        the pages in hand, if this is the main thread.
        """
        auth = make_auth(self.settings.auth)
        self.database.require_migrated()
        self._require_tracked(task_ids)
        return asyncio.run(self._sync(auth, task_ids, observers, full=full))

    async def _sync(
        self, auth: httpx.Auth, task_ids: Sequence[str], observers: Sequence[Observer], *, full: bool
    ) -> RunReport:
        async with self.open_client(auth) as client:
            with ThreadHandover(self._threads()) as handover, interruption() as stop:
                run = Run(
                    settings=self.settings,
                    client=client,
                    database=self.database,
                    handover=handover,
                    worker=self.worker,
                    task_ids=list(dict.fromkeys(task_ids)),
                    full=full,
                    observers=observers,
                )
                return await run.run(stop)

    def open_client(self, auth: httpx.Auth) -> MaiaClient:
        """Make a client of the API; an async context manager."""
        return MaiaClient(self.settings.api, auth, clock=self.clock, random=Random())  # noqa: S311 - jitter

    def probe(self) -> Probe:
        """Ask the API once, for a tracked task if there is one, and tell what it answered.

        Raises UpstreamSilent if no answer comes, and what having the credentials raises.
        """
        return asyncio.run(self._probe(make_auth(self.settings.auth)))

    async def _probe(self, auth: httpx.Auth) -> Probe:
        async with self.open_client(auth) as client:
            return await client.probe(self._some_task())

    def _some_task(self) -> str | None:
        try:
            self.database.require_migrated()
            with self.database.transaction(write=False) as tx:
                return next(iter(read_task_ids(tx, ["active"], after=None, limit=1)), None)
        except DatabaseError:
            return None

    def _threads(self) -> int:
        """One writer on SQLite, which has one writer anyway; on PostgreSQL a connection per walk, a few."""
        return min(self.settings.api.concurrency, 4) if self.database.is_postgresql else 1

    def _require_tracked(self, task_ids: Sequence[str]) -> None:
        with self.database.transaction(write=False) as tx:
            tracked = {
                task.task_id for task in read_tasks(tx, task_ids=task_ids) if task.status != "untracked"
            }
        for task_id in task_ids:
            if task_id not in tracked:
                raise UsageError(f"task {task_id} is not tracked: run `maia-sync track {task_id}`")

    def verify(self, *, task_ids: Sequence[str] = (), observers: Sequence[Observer] = ()) -> VerifyReport:
        """Compare the copy with upstream; writes nothing and takes no lease.

        Over every active task, or over `task_ids`. Raises OperatorMustAct like `sync`.
        """
        auth = make_auth(self.settings.auth)
        self.database.require_migrated()
        self._require_tracked(task_ids)
        return asyncio.run(self._verify(auth, list(dict.fromkeys(task_ids)), observers))

    async def _verify(
        self, auth: httpx.Auth, task_ids: list[str], observers: Sequence[Observer]
    ) -> VerifyReport:
        async with self.open_client(auth) as client:
            with ThreadHandover(self._threads()) as handover, interruption() as stop:
                verification = Verification(
                    client=client,
                    database=self.database,
                    handover=handover,
                    concurrency=self.settings.api.concurrency,
                    page_size=self.settings.api.page_size,
                    observers=observers,
                )
                return await verification.run(task_ids, stop)


def open_app(settings: Settings, *, clock: Clock | None = None) -> App:
    """Connect the objects that the settings describe; the database is reached at first use."""
    clock = clock or SystemClock()
    database = Database(
        url=settings.database.resolve_url(),
        clock=clock,
        synchronous=settings.database.synchronous,
        connections=settings.api.concurrency,
    )
    return App(settings, clock, database)


@contextmanager
def interruption() -> Iterator[asyncio.Future[int]]:
    """Yield a future that is given the number of the first SIGINT or SIGTERM.

    A second signal finds the usual handlers again and ends the process at once.
    """
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[int] = loop.create_future()
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()

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
        for number in signals:
            loop.remove_signal_handler(number)
        stop.cancel()
