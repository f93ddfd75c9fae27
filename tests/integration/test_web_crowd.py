"""Are pages served, and the host's work done, whatever visitors and a stuck database do meanwhile?"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import insert, text, update
from told_story import NOW, driver_url, open_reading, open_writing, store_elements, store_story, task_ids

from maia_sync.clock import ManualClock
from maia_sync.errors import DatabaseLost, MaiaSyncError
from maia_sync.service.health import Health
from maia_sync.store import asking, schema
from maia_sync.store.answer import Answer
from maia_sync.store.asking import ReadingDatabase
from maia_sync.store.task_list import LONGEST_LABEL, Listing
from maia_sync.web import downloads, event_page, server
from maia_sync.web.application import Pages, make_web
from maia_sync.web.downloads import Downloads
from maia_sync.web.server import WebServer
from maia_sync.web.site import Site
from maia_sync.web.threads import Busy, Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from maia_sync.store.database import Database, Transaction

TASK = task_ids(1)[0]
BUSY = "The database is busy: try again in a moment."
FOR_EVER = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(x) FROM c",
    "postgresql": "SELECT pg_sleep(3600)",
}


@pytest.fixture
def writing(database_url: str) -> Iterator[Database]:
    with closing(open_writing(database_url)) as database:
        yield database


@asynccontextmanager
async def served(database: ReadingDatabase, **settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    """Serve the pages over a database; yields a visitor, and the server."""
    site = Site(database=database, zone=ZoneInfo("UTC"), clock=database.clock, **settings)
    health = Health(clock=ManualClock(NOW), check_database=lambda: None)
    with closing(Pages(lambda: site, token=None)) as pages:
        web = make_web(health=health, token=None, pages=pages)
        async with (
            WebServer(web, "127.0.0.1", 0) as serving,
            httpx.AsyncClient(base_url=serving.url, timeout=60, headers={"Connection": "close"}) as http,
        ):
            yield http, serving


class Stuck(ReadingDatabase):
    """A database that answers without end, and hangs where it is to be let go of, or read, until told."""

    def __init__(self, url: str, *, reading: bool = False) -> None:
        super().__init__(url=driver_url(url), clock=ManualClock(NOW))
        self.reading = reading
        self.leaving = threading.Event()
        self.go_on = threading.Event()
        self.went_on: list[bool] = []

    @contextmanager
    def ask(self, statement: Any, *arguments: Any, **more: Any) -> Iterator[Answer]:
        if "sync_run" not in statement.text:
            with super().ask(statement, *arguments, **more) as answer:
                yield answer
            return
        try:
            yield Answer(columns=(), rows=iter(lambda: ("x" * 1000,), None))
        finally:
            self.leaving.set()
            self.went_on.append(self.go_on.wait(30))

    @contextmanager
    def transaction(self, *, write: bool = False, durable: bool = False) -> Iterator[Transaction]:
        if self.reading:
            self.went_on.append(self.go_on.wait(30))
        with super().transaction(write=write, durable=durable) as tx:
            yield tx


# ------------------------------------------------------------------ a database that is stuck


def test_who_leaves_a_download_of_a_stuck_database_holds_nobody_up(database_url: str) -> None:
    database = Stuck(database_url)

    async def run() -> None:
        async with served(database) as (http, _):
            for _ in range(downloads.AT_ONCE):
                async with http.stream("GET", "/panels/runs.csv") as answer:
                    await anext(answer.aiter_bytes())
            assert await asyncio.to_thread(database.leaving.wait, 30)
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/nowhere")).status_code == 404
            database.go_on.set()
            async with http.stream("GET", "/panels/runs.csv") as answer:  # the turns have been given back
                assert answer.status_code == 200

    asyncio.run(asyncio.wait_for(run(), 60))
    assert False not in database.went_on


def test_visitors_of_a_stuck_database_hold_neither_other_pages_nor_the_host_up(database_url: str) -> None:
    database = Stuck(database_url, reading=True)

    async def run() -> None:
        async with served(database, patience=0.2) as (http, _):
            asked = [asyncio.create_task(http.get(f"/tasks/{TASK}?n={number}")) for number in range(40)]
            assert (await http.get("/nowhere")).status_code == 404
            assert (await http.get("/login")).status_code == 303
            assert (await http.get("/healthz")).status_code == 200
            assert await asyncio.to_thread(lambda: "done") == "done"
            for answer in await asyncio.gather(*asked):
                assert answer.status_code == 503
                assert BUSY in answer.text
                assert answer.headers["retry-after"] == "5"
            assert threading.active_count() < 40
            database.go_on.set()
            database.reading = False
            assert (await http.get(f"/tasks/{TASK}")).status_code == 404

    asyncio.run(asyncio.wait_for(run(), 60))
    assert False not in database.went_on


def test_what_a_page_reads_ends_after_a_few_seconds(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "READ_WITHIN", 0.05)
    with closing(open_reading(database_url)) as database:
        dialect = "postgresql" if database.is_postgresql else "sqlite"
        with pytest.raises(DatabaseLost, match="the database is busy"), database.transaction() as tx:
            tx.connection.execute(text(FOR_EVER[dialect]))
        with database.transaction() as tx:
            assert tx.connection.execute(text("SELECT 1")).scalar() == 1


def test_what_a_page_reads_ends_when_the_database_is_closed(database_url: str) -> None:
    database = open_reading(database_url, ManualClock(NOW))
    dialect = "postgresql" if database.is_postgresql else "sqlite"
    begun = threading.Event()
    ended: list[str] = []

    def read() -> None:
        try:
            with database.transaction() as tx:
                begun.set()
                tx.connection.execute(text(FOR_EVER[dialect]))
        except MaiaSyncError as error:
            ended.append(str(error))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    begun.wait()
    database.close()
    reading.join(30)
    assert ended == ["the query was ended: the database is being closed"]


def test_a_server_that_does_not_take_in_that_it_is_to_end_is_not_waited_for(sqlite_url: str) -> None:
    database = open_reading(sqlite_url)
    hangs, begun, go_on = threading.Event(), threading.Event(), threading.Event()

    def read() -> None:
        with database._opened(), database._endable(lambda: hangs.set() or go_on.wait(60)):  # type: ignore[func-returns-value]
            begun.set()
            go_on.wait(60)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    begun.wait()
    database.close()
    assert hangs.is_set()
    assert not go_on.is_set()
    go_on.set()
    reading.join(30)


def test_threads_are_few_and_whoever_waits_for_too_long_is_told() -> None:
    go_on = threading.Event()
    began: list[int] = []

    def work(number: int) -> int:
        began.append(number)
        assert go_on.wait(60)
        return number

    async def run() -> None:
        threads = Threads("test-few", 2, patience=0.1, sentence="there are many")
        answers = await asyncio.gather(
            *(threads.run(work, each) for each in range(9)), return_exceptions=True
        )
        assert [str(each) for each in answers] == ["there are many"] * 9
        assert all(isinstance(each, Busy) for each in answers)
        assert began == [0, 1]  # what nobody waits for is not begun
        go_on.set()
        patient = Threads("test-patient", 2, patience=60, sentence="there are many")
        assert await asyncio.gather(*(patient.run(work, each) for each in range(9))) == list(range(9))
        with pytest.raises(ZeroDivisionError):
            await patient.run(lambda: 1 // 0)
        patient.close()
        with pytest.raises(Busy):
            await patient.run(work, 1)

    asyncio.run(run())


# ------------------------------------------------------------------ visitors who take nothing


def stalled(url: str, path: str) -> socket.socket:
    """Return a connection that asks for something, and takes nothing of it."""
    visitor = socket.socket()
    visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = url.removeprefix("http://").partition(":")
    visitor.connect((host, int(port)))
    visitor.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return visitor


async def until_stuck(serving: Any, visitors: int) -> None:
    """Wait until nothing more can be sent to so many."""
    for _ in range(100_000):
        if sum(each.flow.write_paused for each in serving._server.server_state.connections) >= visitors:
            return
        await asyncio.sleep(0)
    raise AssertionError("they all take what is sent")


def test_stalled_downloads_end_and_others_are_told_to_come_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PATIENCE", 0.1)
    monkeypatch.setattr(Downloads.__init__, "__kwdefaults__", {"patience": 0.1, "within": 60.0})
    database = Stuck(database_url)
    database.go_on.set()

    async def run() -> None:
        with ExitStack() as stack:
            async with served(database) as (http, serving):
                for _ in range(downloads.AT_ONCE):
                    stack.enter_context(closing(stalled(serving.url, "/panels/runs.csv")))
                await until_stuck(serving, downloads.AT_ONCE)
                refused = await http.get("/panels/workers.csv")
                assert refused.status_code == 503
                assert refused.headers["retry-after"] == "60"
                assert "Other downloads are under way: try again in a minute." in refused.text
                for _ in range(server.MOST_TICKS_WITHOUT_PROGRESS + 2):
                    serving._server.tick()
                assert await asyncio.to_thread(database.leaving.wait, 30)
                for _ in range(100):
                    answer = await http.get("/panels/workers.csv")
                    if answer.status_code == 200:
                        return
                raise AssertionError("the turns are never given back")

    asyncio.run(asyncio.wait_for(run(), 60))
    assert len(database.went_on) == downloads.AT_ONCE


def test_a_download_does_not_last_for_ever(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Downloads.__init__, "__kwdefaults__", {"patience": 60.0, "within": 0.2})
    database = Stuck(sqlite_url)
    database.go_on.set()

    async def run() -> None:
        async with served(database) as (http, _):
            for _ in range(downloads.AT_ONCE + 1):
                with pytest.raises(httpx.TransportError):
                    await http.get("/panels/runs.csv")
            assert (await http.get("/panels/workers.csv")).status_code == 200

    asyncio.run(asyncio.wait_for(run(), 60))
    assert caplog.records == []


def test_the_head_alone_of_a_download_is_had_without_its_body(sqlite_url: str) -> None:
    database = Stuck(sqlite_url)
    database.go_on.set()

    async def run() -> None:
        async with served(database) as (http, _):
            for _ in range(downloads.AT_ONCE + 1):
                answer = await http.head("/panels/runs.csv")  # which has no end
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("text/csv")

    asyncio.run(asyncio.wait_for(run(), 60))


def test_only_a_few_large_payloads_are_held_for_whoever_does_not_take_them(
    sqlite_url: str,
) -> None:
    with closing(open_writing(sqlite_url)) as writing:
        big = b'"' + b"x" * 16_000_000 + b'"'
        template = b'{"data":%b,"groupId":"g","timestamp":"2026-01-05T08:00:0%d.000000Z"}'
        store_elements(writing, TASK, [template % (big, 1), template % (b'"small"', 2)])
        with writing.transaction() as tx:
            found = tx.connection.execute(text("SELECT timestamp FROM task_event ORDER BY timestamp"))
            large, small = (
                f"/tasks/{TASK}/payload?group=g&timestamp={each}&ordinal=0" for each in found.scalars()
            )

    async def run() -> None:
        with ExitStack() as stack:
            async with served(open_reading(sqlite_url, ManualClock(NOW))) as (http, serving):
                most = event_page._LARGE_AT_ONCE
                for _ in range(most):
                    stack.enter_context(closing(stalled(serving.url, large)))
                await until_stuck(serving, most)
                refused = await http.get(large)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
                assert (await http.get(small)).text == '"small"'
                for _ in range(server.MOST_TICKS_WITHOUT_PROGRESS + 2):
                    serving._server.tick()
                for _ in range(100):
                    if (await http.get(large)).status_code == 200:
                        return
                raise AssertionError("the turns are never given back")

    asyncio.run(asyncio.wait_for(run(), 60))


def test_who_sends_no_whole_request_keeps_nobody_out(sqlite_url: str) -> None:
    async def run() -> None:
        with ExitStack() as stack:
            async with served(open_reading(sqlite_url, ManualClock(NOW))) as (http, serving):
                host, _, port = serving.url.removeprefix("http://").partition(":")
                for sent in (
                    b"",
                    b"GET / HTTP/1.1\r\nHost: local",
                    b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nt",
                ):
                    for _ in range(server._MOST_CONNECTIONS):
                        visitor = stack.enter_context(socket.create_connection((host, int(port))))
                        visitor.sendall(sent)
                        await asyncio.sleep(0)
                    assert (await http.get("/healthz")).status_code == 200, sent
                    assert len(serving._server.server_state.connections) <= server._MOST_CONNECTIONS
                for _ in range(server.MOST_TICKS_WITHOUT_REQUEST + 2):
                    serving._server.tick()
                visitor.settimeout(30)
                with pytest.raises(ConnectionError):
                    await asyncio.to_thread(receive_all, visitor)

    asyncio.run(asyncio.wait_for(run(), 60))


def receive_all(visitor: socket.socket) -> None:
    while visitor.recv(1000):
        pass
    raise ConnectionError


def test_a_connection_that_is_used_again_and_again_is_kept(sqlite_url: str) -> None:
    async def run() -> None:
        async with served(open_reading(sqlite_url, ManualClock(NOW))) as (http, serving):
            kept: set[Any] = set()
            for _ in range(2 * server.MOST_TICKS_WITHOUT_REQUEST):
                answer = await http.get("/healthz", headers={"Connection": "keep-alive"})
                assert answer.status_code == 200
                kept |= serving._server.server_state.connections
                serving._server.tick()
            assert len(kept) == 1

    asyncio.run(asyncio.wait_for(run(), 60))


# ------------------------------------------------------------------ what would cost too much


def listed(url: str, **wanted: Any) -> list[Any]:
    listing = Listing(**wanted)
    with (
        closing(open_reading(url)) as database,
        database.ask(listing.statement(), listing.values(), timeout=60) as answer,
    ):
        return list(answer.rows)


def test_a_search_may_have_as_many_letters_as_it_likes(database_url: str, writing: Database) -> None:
    letters = "".join(chr(each) for each in range(0x430, 0x450)) + "".join(map(chr, range(0x3B1, 0x3C2)))
    store_story(writing, tasks=1, events=3)
    with writing.transaction() as tx:
        tx.connection.execute(update(schema.task).values(label=f"x{letters.upper()}y"))
    assert len(listed(database_url, search=letters)) == 1
    assert len(listed(database_url, search=letters[1:])) == 1
    assert listed(database_url, search=letters + "z") == []


def test_a_label_however_long_is_listed_by_its_beginning(database_url: str, writing: Database) -> None:
    with writing.transaction() as tx:
        values = {"task_id": TASK, "label": "L" * 64_000, "status": "active", "tracked_at": NOW}
        tx.connection.execute(insert(schema.task).values(values))
    for sort in ("news", "label"):
        [row] = listed(database_url, sort=sort, search="lll")
        assert "L" * LONGEST_LABEL in row
        assert max(len(cell) for cell in row if isinstance(cell, str)) == LONGEST_LABEL


@pytest.mark.parametrize(
    "ruin", ["UPDATE alembic_version SET version_num = '9999'", "DROP TABLE alembic_version"]
)
def test_no_page_is_read_from_tables_of_another_version(new_database_url: str, ruin: str) -> None:
    with closing(open_writing(new_database_url)) as writing:
        store_story(writing, tasks=1, events=3)
        with writing.transaction() as tx:
            tx.connection.execute(text(ruin))

    async def run() -> None:
        async with served(open_reading(new_database_url)) as (http, _):
            for path in (
                "/panels/task-list.csv",
                "/panels/runs.csv",
                f"/tasks/{TASK}",
                f"/tasks/{TASK}/news?after=",
                f"/tasks/{TASK}/event?group=g&timestamp=0&ordinal=0",
                f"/tasks/{TASK}/quarantine",
            ):
                answer = await http.get(path)
                assert answer.status_code == 503, path
                assert "migration" in answer.text or "db upgrade" in answer.text

    asyncio.run(run())


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database whose tables may be ruined."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    make: Callable[[], str] = request.getfixturevalue("new_postgresql_database")
    return make()


def test_that_the_version_is_right_is_not_asked_for_every_page(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(NOW)
    asked: list[None] = []
    read_revision = ReadingDatabase.read_revision

    def counted(database: ReadingDatabase) -> str | None:
        asked.append(None)
        return read_revision(database)

    monkeypatch.setattr(ReadingDatabase, "read_revision", counted)
    with closing(open_reading(sqlite_url, clock)) as database:
        for _ in range(3):
            database.require_migrated_lately()
        assert len(asked) == 1
        clock.advance(60)
        database.require_migrated_lately()
        assert len(asked) == 2
