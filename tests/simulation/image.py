"""What is one process of a simulated life? Fresh objects on the real file, and points at which it can die.

The hand-over runs inline. A process that dies raises `Dead` from wherever it stands, and from then on
nothing of it reaches the database or the API: what its `finally` clauses would still do, a killed process
does not do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from sqlalchemy import event

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.auth import make_auth
from maia_sync.maia.client import MaiaClient
from maia_sync.model import WalkReport
from maia_sync.service.polling import AdaptivePolling
from maia_sync.store.database import Database
from maia_sync.sync import page_group
from maia_sync.sync.heartbeat import Heartbeat
from maia_sync.sync.run import Run
from maia_sync.sync.ticks import Ticks
from tests.simulation.ledger import BrokenPromiseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from maia_sync.clock import ManualClock
    from maia_sync.model import Observation, Page, RunReport
    from maia_sync.settings import Settings
    from tests.simulation.ledger import Ledger
    from tests.simulation.story import Fault, PointKind, Process
    from tests.simulation.upstream import Served, Upstream

FACETS = FacetReader(FacetsSettings())


T = TypeVar("T")

_SQLITE_NAMES = {
    "busy": ("SQLITE_BUSY", None),
    "full": ("SQLITE_FULL", None),
    "full_at_commit": ("SQLITE_FULL", None),
    "io_error": ("SQLITE_IOERR", None),
    "connection_lost": (None, "08006"),
    "lost_before_commit": (None, "08006"),
    "lost_after_commit": (None, "08006"),
}


class Dead(BaseException):
    """The process has died."""


_served: ContextVar[list[Served]] = ContextVar("served")
"""The pages that were served to the fetch under way: two walks of a process can ask for the same one."""


class _Seat:
    """An engine for one process after another.

    That it has compiled a statement before is no state of a process; without it, most of the time would go
    into compiling the same statements again.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.image: Image | None = None
        self.connections: list[_Connection] = []
        event.listen(engine, "do_connect", self._connect)

    def _connect(self, _dialect: Any, _record: Any, arguments: Any, options: Any) -> sqlite3.Connection:
        assert self.image is not None
        connection = sqlite3.connect(self.image.path, *arguments[1:], factory=_Connection, **options)
        connection.image = self.image
        self.connections.append(connection)
        return connection


_SEATS: dict[int, _Seat] = {}


class Image:
    """One process: its database connection, its client, its clock's view, and its fate."""

    def __init__(
        self,
        name: str,
        process: Process,
        *,
        seat: int,
        path: Path,
        clock: ManualClock,
        settings: Settings,
        upstream: Upstream,
        ledger: Ledger,
        midway: Callable[[Any], None],
        note: Callable[[str], None],
    ) -> None:
        self.name = name
        self.process = process
        self.path = path
        self.upstream = upstream
        self.ledger = ledger
        self.clock = clock
        self.settings = settings
        self.is_dead = False
        self.died: Counter[str] = Counter()
        """At which point, if it did."""
        self.hit: Counter[str] = Counter()
        """The faults and troubles that befell it."""
        self.written: Counter[str] = Counter()
        """Rows that were written and committed, by verb and table."""
        self._writing: Counter[str] = Counter()
        self.together: Counter[int] = Counter()
        """Commits, by how many pages each of them made."""
        self.walked: set[str] = set()
        """Tasks of which it has committed pages."""
        self.asleep = asyncio.Event()
        self.awake = asyncio.Event()
        self.fault: Exception | None = None
        self.violation: BrokenPromiseError | None = None
        self.report: RunReport | None = None
        self._random = Random(process.seed)
        self._midway = midway
        self._note = note
        self._kinds: Counter[str] = Counter()
        self._steps = 0
        self._requests = 0
        self._statements = 0
        self._commits = 0
        self._pages: dict[int, tuple[Page, Served]] = {}
        self._pending: list[tuple[Served, bool]] = []
        """The pages that the open transaction has written."""
        self._stop: asyncio.Future[int] | None = None
        self.database = Database(url=f"sqlite:///{path}", clock=clock, busy_timeout=0.01)
        self._seat = _SEATS[seat] = _SEATS.get(seat) or _Seat(self.database.engine)
        self._seat.image = self
        self.database.engine = self._seat.engine

    # -------------------------------------------------------------- its life

    async def live(self) -> None:
        """Do what the process is to do, to its end or its death."""
        api, auth = self.settings.api, self.settings.auth
        transport = _Transport(self)
        self._stop = asyncio.get_running_loop().create_future()
        credentials = make_auth(auth, clock=self.clock, api=api, transport=transport)
        client = _Client(api, credentials, clock=self.clock, random=self._random, transport=transport)
        client.image = self
        try:
            async with client:
                self.report = await self._run(client, self._stop)
        except Exception as error:  # noqa: BLE001 - judged by the theatre
            self.fault = error
        finally:
            self._stop.cancel()
            self.awake.set()
            self.asleep.set()

    async def _run(self, client: MaiaClient, stop: asyncio.Future[int]) -> RunReport | None:
        schedule = self.settings.schedule
        planner = AdaptivePolling(
            min_interval=schedule.min_interval,
            max_interval=schedule.max_interval,
            reconcile=7 * 86_400.0,
            random=self._random,
        )
        handover = _Handover(self)
        if self.process.mode in ("poll", "reconcile"):
            ticks = Ticks(
                settings=self.settings,
                database=self.database,
                client=client,
                handover=handover,
                clock=self.clock,
                worker=self.name,
                planner=planner,
                facets=FACETS,
                observers=[self.observe],
                stop=stop,
            )
            await ticks.keep_house()
            return await (ticks.poll() if self.process.mode == "poll" else ticks.reconcile())
        heartbeat = Heartbeat(
            database=self.database, handover=handover, clock=self.clock, lease_seconds=schedule.lease
        )
        run = Run(
            settings=self.settings,
            client=client,
            database=self.database,
            handover=handover,
            worker=self.name,
            task_ids=(),
            full=self.process.mode == "full",
            planner=planner,
            facets=FACETS,
            heartbeat=heartbeat,
            observers=[self.observe],
        )
        return await run.run(stop)

    def observe(self, seen: Observation) -> None:
        """Take in what the code under test tells of itself."""
        if isinstance(seen, WalkReport):
            ended_well = seen.error is None and seen.kind is not None and not seen.lease_lost
            with self._judged():
                if seen.error_kind == "Bug":
                    raise BrokenPromiseError(f"a bug: {seen.error}")
                if ended_well and not seen.gave_way:
                    self.ledger.complete(
                        self.name,
                        seen.task_id,
                        reconciled=seen.kind in ("reconcile", "both"),
                        doubted=bool(seen.doubted),
                    )
            self.ledger.end_walk(self.name, seen.task_id)

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Let a broken promise end the process: the code must not take it for a failure of its own."""
        try:
            yield
        except BrokenPromiseError as violation:
            self.violation = violation
            self._die()
            raise Dead from violation

    def bury(self) -> None:
        """Let go of what a process that is over held, as its operating system would."""
        self._die()
        self.database.close()
        self._seat.connections.clear()

    # -------------------------------------------------------------- its fate

    def reach(self, kind: PointKind, deed: str) -> None:
        """Pass a point at which it may die."""
        if self.is_dead:
            raise Dead
        self._note(f"{self.name} {kind} {deed}")
        self._kinds[kind] += 1
        crash = self.process.crash
        if crash is not None and crash.point == kind and crash.nth == self._kinds[kind]:
            self.died[f"{kind} {deed}".strip()] += 1
            self._die()
            raise Dead

    def _die(self) -> None:
        """Be no more: what a transaction had written is undone, and others get the lock."""
        self.is_dead = True
        for connection in self._seat.connections:
            connection.let_go()

    async def breathe(self) -> None:
        """Let others go on for a moment; here it may be stopped for long."""
        if self.is_dead:
            raise Dead
        for _ in range(self._random.randrange(3)):
            await asyncio.sleep(0)
        self._steps += 1
        if self._steps == self.process.pause_at:
            self.asleep.set()
        if self.asleep.is_set() and not self.awake.is_set():
            await self.awake.wait()
        if self.is_dead:
            raise Dead

    # -------------------------------------------------------------- its requests

    def begin_request(self, request: httpx.Request) -> Fault | None:
        """Count a request; returns its fault."""
        self._requests += 1
        for midway in self.process.midway:
            if midway.request == self._requests:
                self._midway(midway.deed)
        if self._requests == self.process.stop_at and self._stop is not None and not self._stop.done():
            self._stop.set_result(15)
        if request.method == "GET":
            self.ledger.begin_walk(self.name, request.url.path.split("/")[-2])
        for fault in self.process.faults:
            if fault.request == self._requests:
                self.hit[fault.kind] += 1
                return fault
        return None

    def note_page(self, page: Page, served: Served) -> None:
        """Remember which served page a decoded one is."""
        self._pages[id(page)] = page, served

    # -------------------------------------------------------------- its database

    def begin_statement(self, sql: str) -> str:
        """Pass the point before a statement, which may be refused; returns its name."""
        deed = _name(sql)
        self.reach("before statement", deed)
        self._statements += 1
        if sql.startswith(("PRAGMA", "ROLLBACK")):
            return deed
        for trouble in self.process.troubles:
            if "commit" not in trouble.kind and trouble.nth == self._statements:
                self.hit[trouble.kind] += 1
                raise _database_error(trouble.kind)
        return deed

    def commit(self, really: Callable[[], None]) -> None:
        """Commit, or have it fail before or after it happened; the ledger is told of what did happen."""
        self.reach("before commit", "")
        self._commits += 1
        kind = next(
            (
                each.kind
                for each in self.process.troubles
                if "commit" in each.kind and each.nth == self._commits
            ),
            None,
        )
        if kind is not None:
            self.hit[kind] += 1
        if kind in ("lost_before_commit", "full_at_commit"):
            self._pending = []
            raise _database_error(kind)
        really()
        self.written.update(self._writing)
        pending, self._pending = self._pending, []
        self.together[len(pending)] += 1
        for served, reconciles in pending:
            self.walked.add(served.task_id)
            with self._judged():
                self.ledger.commit(self.name, served, reconciles=reconciles)
        self.reach("after commit", "")
        if kind == "lost_after_commit":
            raise _database_error(kind)

    def begin_transaction(self) -> None:
        """Forget what a transaction before this one was to commit."""
        self._pending = []
        self._writing.clear()

    def end_statement(self, deed: str, rows: int) -> None:
        """Count the rows that a statement wrote, and pass the point after it."""
        if rows > 0 and not deed.startswith(("SELECT", "WITH")):
            self._writing[deed] += rows
        self.reach("after statement", deed)

    def note_written(self, page: Page, *, reconciles: bool) -> None:
        """Note that this page has been written and awaits its commit."""
        self._pending.append((self._pages[id(page)][1], reconciles))


class _Client(MaiaClient):
    """The client, with points before and after a page is decoded."""

    image: Image

    async def fetch_page(self, task_id: str, page_token: str | None, limit: int | None = None) -> Page:
        served: list[Served] = []
        _served.set(served)
        page = await super().fetch_page(task_id, page_token, limit)
        self.image.reach("after decode", "")
        self.image.note_page(page, served[-1])
        return page


class _Transport(httpx.AsyncBaseTransport):
    """httpx's seam: requests go to the simulated API."""

    def __init__(self, image: Image) -> None:
        self._image = image

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        image = self._image
        await image.breathe()
        image.reach("before fetch", "")
        fault = image.begin_request(request)
        response, served = image.upstream.answer(request, fault)
        if served is not None:
            _served.get().append(served)
        await image.breathe()
        image.reach("after fetch", "")
        return response


class _Handover:
    """The hand-over to the database, inline; others may go on before it."""

    def __init__(self, image: Image) -> None:
        self._image = image

    async def run(self, work: Callable[[], T], *, surely: bool = False, once: bool = False) -> T:  # noqa: ARG002
        if not surely:
            await self._image.breathe()
        return work()


class _Cursor(sqlite3.Cursor):
    """A cursor at whose statements the process may die."""

    def execute(self, sql: str, *parameters: Any) -> _Cursor:
        image = self.connection.image  # type: ignore[attr-defined]
        deed = image.begin_statement(sql)
        if sql.startswith("BEGIN"):
            image.begin_transaction()
        super().execute(sql, *parameters)
        image.end_statement(deed, self.rowcount)
        return self

    def executemany(self, sql: str, *parameters: Any) -> _Cursor:
        image = self.connection.image  # type: ignore[attr-defined]
        deed = image.begin_statement(sql)
        super().executemany(sql, *parameters)
        image.end_statement(deed, self.rowcount)
        return self


class _Connection(sqlite3.Connection):
    """A connection to the real file, whose process may die."""

    image: Image

    def cursor(self, factory: Any = None) -> Any:  # noqa: ARG002 - the driver's signature
        if self.image.is_dead:
            raise Dead
        return super().cursor(_Cursor)

    def commit(self) -> None:
        if self.in_transaction:
            self.image.commit(super().commit)

    def let_go(self) -> None:
        """Undo an open transaction, if the connection is open at all."""
        with suppress(sqlite3.ProgrammingError):
            super().rollback()


def _name(sql: str) -> str:
    """Name a statement by its verb and table, for the table of points."""
    words = sql.split(None, 4)
    verb = words[0].upper()
    if verb == "INSERT":
        return f"INSERT {sql.partition('INTO ')[2].split(None, 1)[0]}"
    if verb in ("UPDATE", "DELETE"):
        return f"{verb} {words[1 if verb == 'UPDATE' else 2]}"
    return verb


def _database_error(kind: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(f"a trouble of the story: {kind}")
    name, state = _SQLITE_NAMES[kind]
    if name is not None:
        error.sqlite_errorname = name
    if state is not None:
        error.sqlstate = state  # type: ignore[attr-defined]
    return error


_really_write_page = page_group.write_page


def _write_page(tx: Any, lease: Any, position: Any, pages: Any, terms: Any, *, enrolled: bool) -> Any:
    """Write a page, and note which, so that its commit is known to be this page's too."""
    written = _really_write_page(tx, lease, position, pages, terms, enrolled=enrolled)
    connection = tx.connection.connection.dbapi_connection
    if written is not None and isinstance(connection, _Connection):
        connection.image.note_written(
            pages[0], reconciles=position.reconcile is not None and position.kind != "poll"
        )
    return written


page_group.write_page = _write_page
