"""Do overview, tasks, tools, errors and sync show what is stored, in time, and nothing that they must not?"""

from __future__ import annotations

import asyncio
import csv
import html
import io
import re
import sqlite3
import threading
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import insert, text
from told_story import (
    NOW,
    TOKEN,
    ask,
    driver_url,
    open_reading,
    open_writing,
    store_elements,
    store_story,
    store_surroundings,
    task_ids,
)

from maia_sync.analytics.panels import read_panels
from maia_sync.clock import ManualClock
from maia_sync.errors import MaiaSyncError
from maia_sync.service.health import Health
from maia_sync.store import schema
from maia_sync.store.answer import Answer
from maia_sync.store.asking import ReadingDatabase
from maia_sync.store.statement import read_statement
from maia_sync.web.application import Pages, make_web
from maia_sync.web.server import WebServer
from maia_sync.web.site import CONTENT_SECURITY_POLICY, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from maia_sync.store.answer import Row
    from maia_sync.store.database import Database

PAGES = ("/", "/tasks", "/tools", "/errors", "/sync")
WINDOWS = ("24h", "7d", "30d", "all")
FOR_EVER = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(x) FROM c",
    "postgresql": "SELECT pg_sleep(3600)",
}


@pytest.fixture(scope="module")
def told_sqlite(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pages") / "told.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    return tell(f"sqlite:///{path}")


@pytest.fixture(scope="module")
def told_postgresql(new_postgresql_database: Callable[[], str]) -> str:
    return tell(new_postgresql_database())


def tell(url: str) -> str:
    with closing(open_writing(url)) as database:
        store_story(database)
        store_surroundings(database)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def told(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database that holds a story; it is not changed."""
    return str(request.getfixturevalue(f"told_{request.param}"))


@pytest.fixture
def writing(database_url: str) -> Iterator[Database]:
    with closing(open_writing(database_url)) as database:
        yield database


@asynccontextmanager
async def served(
    url: str, *, now: datetime = NOW, zone: str = "UTC", database: ReadingDatabase | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    clock = ManualClock(now)
    site = Site(database=database or open_reading(url, clock), zone=ZoneInfo(zone), clock=clock)
    health = Health(clock=clock, check_database=site.database.require_migrated)
    with closing(site), closing(Pages(lambda: site, token=None)) as pages:
        web = make_web(health=health, token=None, pages=pages)
        async with (
            WebServer(web, "127.0.0.1", 0) as server,
            httpx.AsyncClient(base_url=server.url, timeout=60) as http,
        ):
            yield http


def visit(url: str, scenario: Callable[[httpx.AsyncClient], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with served(url, **settings) as http:
            await scenario(http)

    asyncio.run(run())


async def get(http: httpx.AsyncClient, address: str) -> httpx.Response:
    """Return a page all of whose panels are ready."""
    for _ in range(100):
        answer = await http.get(address)
        assert answer.status_code == 200, answer.text
        if "data-fragment" not in answer.text:
            return answer
        await asyncio.sleep(0.05)
    raise AssertionError("the panels are never ready")


def names_of(answer: httpx.Response) -> list[str]:
    return re.findall(r'id="panel-([\w-]+)"', answer.text)


# ------------------------------------------------------------------ every page


def test_every_page_shows_its_panels_and_keeps_the_house_rules(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for page in PAGES:
            for chosen in WINDOWS:
                answer = await get(
                    http, f"{page}?window={chosen}" if page not in ("/tasks", "/sync") else page
                )
                assert answer.headers["content-type"] == "text/html; charset=utf-8"
                assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
                assert "There is no answer" not in answer.text
                assert "<h1>" in answer.text
                assert TOKEN not in answer.text
                assert "<script>alert" not in answer.text
                assert not re.search(r"<[^>]* style=|<style|<script(?! src=\"/static/)", answer.text)
                assert len(answer.content) < 500_000
                names = names_of(answer)
                assert len(names) == len(set(names))

    visit(told, scenario)


def test_the_overview_tells_days_or_hours(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        by_day = names_of(await get(http, "/?window=7d"))
        assert by_day == [
            "activity",
            "tool-calls",
            "tokens",
            "cost",
            "errors",
            "task-states",
            "slowest-turns",
        ]
        by_hour = names_of(await get(http, "/?window=24h"))
        assert by_hour[:5] == [f"{name}-by-hour" for name in by_day[:5]]
        assert by_hour[5:] == by_day[5:]

    visit(told, scenario)


def test_the_tiles_are_the_figures_beside_those_of_the_window_before(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        await get(http, "/?window=24h")  # on a busy machine the window before may come later
        page = (await get(http, "/?window=24h")).text
        tiles = dict(re.findall(r'<dt class="label">([^<]+)</dt><dd class="value">([^<]+)</dd>', page))
        with (
            closing(open_reading(told)) as database,
            database.ask(
                read_statement(
                    "SELECT count(*) FROM v_event WHERE occurred_at >= :since AND vanished_at IS NULL"
                ),
                {"since": NOW - timedelta(hours=23)},
            ) as answer,
        ):
            assert tiles["Events"] == f"{next(iter(answer.rows))[0]:,}"
        assert tiles["Tasks tracked"] == "3"
        assert re.search(r"(% (more|less) than|none) in the same time 24 hours before", page)
        assert "the 7 days before" not in (await get(http, "/?window=all")).text

    visit(told, scenario)


def test_what_is_listed_leads_to_its_place_in_the_timeline(told: str) -> None:
    first = task_ids(1)[0]

    async def scenario(http: httpx.AsyncClient) -> None:
        tools = html.unescape((await get(http, "/tools?window=all")).text)
        assert re.search(rf'href="/tasks/{first}\?seq=\d+"', tools)
        errors = html.unescape((await get(http, "/errors?window=all")).text)
        assert re.search(rf'href="/tasks/{first}\?seq=\d+"', errors)
        overview = html.unescape((await get(http, "/?window=all")).text)
        assert re.search(rf'href="/tasks/{first}\?group=[\w-]+"', overview)
        assert f'href="/tasks/{first}"' in (await get(http, "/tasks")).text

    visit(told, scenario)


def test_the_state_of_the_copy_is_on_one_page(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        answer = await get(http, "/sync")
        for expected in ("worker-7", "the API answered 503", "invalid UTF-8", "forbidden"):
            assert expected in answer.text, expected
        assert {"runs", "quarantine", "workers", "next-polls", "kept", "stale-tasks"} <= set(names_of(answer))

    visit(told, scenario)


# ------------------------------------------------------------------ windows


def test_without_a_choice_it_is_the_last_week_in_which_something_happened(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        await get(http, "/sync")  # on a busy machine the first page may not wait for the newest event
        later = await get(http, "/errors")
        with closing(open_reading(told)) as database:
            newest = datetime.fromisoformat(str(ask(database, "SELECT max(occurred_at) FROM v_event")[0][0]))
        day = f"{newest.day} {newest:%b %Y}"
        assert f"The newest event is of {day}; these are the 7 days up to it." in later.text
        assert names_of(later) == ["errors", "errors-by-type", "error-types", "latest-errors"]
        assert 'aria-current="true"' not in later.text
        chosen = await get(http, "/errors?window=7d")
        assert "The newest event" not in chosen.text
        assert chosen.text.count('aria-current="true"') == 1
        assert "No event of this time reports an error." in chosen.text

    visit(told, scenario, now=NOW + timedelta(days=200))


def test_charts_of_all_time_have_one_axis_whatever_odd_dates_there_are(
    database_url: str, writing: Database
) -> None:
    store_story(writing)
    odd = b'{"data":{"type":"message"},"groupId":"g","timestamp":"0001-01-01T00:00:00Z"}'
    store_elements(writing, task_ids(4)[3], [odd])

    async def scenario(http: httpx.AsyncClient) -> None:
        page = (await get(http, "/?window=all")).text
        page = (await get(http, "/?window=all")).text  # on a busy machine the first may not wait for the axis
        stretches = re.findall(r"<figcaption>([^;<]+); each bar is a (\w+)", page)
        assert len(stretches) == 5
        assert len(set(stretches)) == 1
        assert stretches[0][1] == "day"
        assert page.count("1 row with a time far away is in the table.") == 1
        assert "All time" in page or "all time" in page

    visit(database_url, scenario)


def test_what_is_in_quarantine_is_told_by_reason_and_task_with_a_link_there(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        page = (await get(http, "/sync")).text
        first = task_ids(1)[0]
        assert f'<a href="/tasks/{first}/quarantine">2</a>' in page
        assert "Ärger mit &lt;script&gt;" in page
        assert "walks" in page

    visit(told, scenario)


def test_an_event_of_the_future_moves_no_window(database_url: str, writing: Database) -> None:
    store_story(writing, tasks=1, events=50)
    odd = b'{"data":{"type":"message"},"groupId":"g","timestamp":"2999-01-01T00:00:00Z"}'
    store_elements(writing, task_ids(2)[1], [odd])

    async def scenario(http: httpx.AsyncClient) -> None:
        assert "The newest event" not in (await get(http, "/")).text
        assert (await get(http, "/?window=all")).status_code == 200

    visit(database_url, scenario)

    async def later(http: httpx.AsyncClient) -> None:
        await get(http, "/sync")
        assert "Jan 2026; these are the 7 days up to it" in (await get(http, "/")).text

    visit(database_url, later, now=NOW + timedelta(days=30))


def test_dates_are_days_of_the_zone_and_both_are_included(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        page = (await get(http, "/?since=2026-01-05&until=2026-01-06")).text
        assert "5 Jan 2026 to 6 Jan 2026" in page
        assert 'value="2026-01-05"' in page
        assert 'value="2026-01-06"' in page
        links = set(re.findall(r'href="(/panels/activity[^"]*)"', page))
        assert {html.unescape(link) for link in links} == {
            "/panels/activity-by-hour.csv?since=2026-01-05&until=2026-01-06"
        }
        body = (await http.get("/panels/activity-by-hour.csv?since=2026-01-05&until=2026-01-06")).text
        hours = sorted(row["hour_at"] for row in csv.DictReader(io.StringIO(body)))
        assert "2026-01-04 13:00:00.000000" <= hours[0] <= hours[-1] <= "2026-01-06 12:00:00.000000"

    visit(told, scenario, zone="Pacific/Auckland")  # 13 hours ahead of UTC


@pytest.mark.parametrize(
    "address",
    [
        "/?window=8d",
        "/?window=%3Cscript%3E",
        "/?since=yesterday",
        "/?since=2026-02-30",
        "/?since=2026-01-07&until=2026-01-06",
        "/?until=9999-12-31",
        "/?since=0001-01-01&until=9999-12-31",
        "/?window=7d&since=2026-01-07",
        "/tasks?sort=secret",
        "/tasks?order=up",
        "/tasks?page=0",
        "/tasks?page=1e9",
        "/tasks?state=asleep",
        "/tasks?search=a%00b",
        f"/tasks?search={'a' * 201}",
        "/panels/tools?task=none",
        "/panels/runs.csv?window=8d",
    ],
)
def test_bad_input_is_refused_with_a_sentence(told_sqlite: str, address: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        answer = await http.get(address)
        assert answer.status_code == 400
        assert re.search(r'<p class="lead">[^<]{10,200}</p>', answer.text)
        assert "<script>" not in answer.text

    visit(told_sqlite, scenario)


# ------------------------------------------------------------------ one panel, downloads


def test_a_panel_can_be_had_alone(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for name in read_panels():
            answer = await get(http, f"/panels/{name}?window=all")
            assert names_of(answer) == [name]
            assert answer.text.startswith("<section")
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        of_task = await get(http, f"/panels/slowest-turns?window=all&task={task_ids(1)[0]}")
        assert task_ids(2)[1] not in of_task.text
        assert (await http.get("/panels/none")).status_code == 404
        assert (await http.get("/panels/none.csv")).status_code == 404
        assert (await http.post("/panels/tools")).status_code == 405

    visit(told, scenario)


def test_a_download_is_the_whole_answer(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        shown = await get(http, "/panels/runs")
        assert shown.text.count("<tr>") <= 31
        answer = await http.get("/panels/runs.csv?window=7d")
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"] == 'attachment; filename="runs-7d.csv"'
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert len(rows) == 40
        for name in read_panels():
            each = await http.get(f"/panels/{name}.csv?since=2026-01-05&until=2026-01-08")
            assert each.status_code == 200
            assert TOKEN not in each.text
            assert each.text.endswith("\n")

    visit(told, scenario)


def test_a_cell_of_a_download_is_written_to_the_letter(database_url: str, writing: Database) -> None:
    labels = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", 'say "a", b', ""]
    with writing.transaction() as tx:
        for number, label in enumerate(labels):
            tx.connection.execute(
                insert(schema.task).values(
                    task_id=task_ids(number + 1)[number], label=label, status="active", tracked_at=NOW
                )
            )

    async def scenario(http: httpx.AsyncClient) -> None:
        answer = await http.get("/panels/task-list.csv?sort=label")
        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert sorted(row["label"] for row in rows) == sorted(labels)
        assert "found" not in rows[0]

    visit(database_url, scenario)


class Breaking(ReadingDatabase):
    """A database that breaks off in the middle of an answer about runs."""

    @contextmanager
    def ask(self, statement: Any, *arguments: Any, **more: Any) -> Iterator[Answer]:
        with super().ask(statement, *arguments, **more) as answer:
            breaks = "sync_run" in statement.text
            rows = self._broken(next(answer.rows)) if breaks else answer.rows
            yield Answer(columns=answer.columns, rows=rows)

    def _broken(self, row: Row) -> Iterator[Row]:
        for _ in range(10_000):
            yield row
        raise MaiaSyncError("the connection broke")


def test_a_download_that_breaks_off_is_not_taken_for_a_whole_one(told_sqlite: str) -> None:
    database = Breaking(url=told_sqlite, clock=ManualClock(NOW))

    async def scenario(http: httpx.AsyncClient) -> None:
        for _ in range(3):  # and none of them takes a turn away for good
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                await http.get("/panels/runs.csv")
        assert (await http.get("/panels/workers.csv")).status_code == 200

    visit(told_sqlite, scenario, database=database)


def test_downloads_that_nobody_waits_for_any_more_give_their_turns_back(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for _ in range(5):
            async with http.stream("GET", "/panels/runs.csv"):
                pass
        assert (await http.get("/panels/workers.csv")).status_code == 200

    visit(told, scenario)


# ------------------------------------------------------------------ tasks


def test_many_tasks_are_shown_fifty_a_page(database_url: str, writing: Database) -> None:
    store_story(writing, tasks=1, events=50)
    with writing.transaction() as tx:
        tx.connection.execute(
            insert(schema.task),
            [
                {
                    "task_id": f"00000000-0000-4000-8000-{number:012}",
                    "label": f"task {number:04}",
                    "status": "paused" if number % 7 == 0 else "active",
                    "tracked_at": NOW,
                }
                for number in range(1234)
            ],
        )

    async def scenario(http: httpx.AsyncClient) -> None:
        first = await get(http, "/tasks?sort=label")
        assert "1,235 tasks" in first.text
        assert first.text.count('<th scope="row">') == 50
        assert "task 0049" in first.text
        assert "task 0050" not in first.text
        assert 'aria-sort="ascending"' in first.text
        assert first.text.count("aria-sort") == 1
        assert "Page 1 of 25" in first.text
        second = await get(http, html.unescape(re.findall(r'href="([^"]+)" rel="next"', first.text)[0]))
        assert "task 0050" in second.text
        assert "task 0099" in second.text
        last = await get(http, "/tasks?sort=label&page=25")
        assert 'rel="next"' not in last.text
        assert "There is no page 26" in (await get(http, "/tasks?page=26")).text
        found = await get(http, "/tasks?search=TASK+012&state=paused")
        assert re.search(r"\b1 task<", found.text) or "2 tasks" in found.text
        assert "No task is found" in (await get(http, "/tasks?search=nothing+such")).text
        by_events = await get(http, "/tasks?sort=events")
        assert by_events.text.index(task_ids(1)[0]) < by_events.text.index("task 0")
        whole = await http.get("/panels/task-list.csv?search=task")
        assert len(whole.text.splitlines()) == 1235
        fragment = await get(http, "/panels/task-list?sort=label")
        assert fragment.text.startswith("<section")

    visit(database_url, scenario)


def test_a_task_without_a_label_is_named_by_its_id(database_url: str, writing: Database) -> None:
    with writing.transaction() as tx:
        for number, label in enumerate((None, "", " \t ", "x" * 5000, "\u202edesrever")):
            values = {"task_id": task_ids(5)[number], "label": label, "status": "active", "tracked_at": NOW}
            tx.connection.execute(insert(schema.task).values(values))

    async def scenario(http: httpx.AsyncClient) -> None:
        page = (await get(http, "/tasks")).text
        for task_id in task_ids(3):
            assert re.search(rf'href="/tasks/{task_id}" title="{task_id}">{task_id[:8]}…</a>', page)
        assert "x" * 79 + "…" in page
        assert "x" * 81 not in page
        assert "\u202e" not in page

    visit(database_url, scenario)


def test_a_label_is_shown_as_what_it_is(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        page = (await get(http, "/tasks?search=%C3%A4rger")).text
        assert "Ärger mit &lt;script&gt;alert(1)&lt;/script&gt; 100%_" in page
        odd = (await get(http, '/tasks?search="><script>alert(2)</script>')).text
        assert "<script>alert" not in odd

    visit(told, scenario)


def test_an_empty_database_says_what_to_do_next(database_url: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for page in PAGES:
            answer = await get(http, page)
            assert "There is no answer" not in answer.text
        assert "maia-sync track ID" in (await get(http, "/")).text
        assert "maia-sync track ID" in (await get(http, "/tasks")).text

    visit(database_url, scenario)


# ------------------------------------------------------------------ trouble, and time


def test_a_database_that_cannot_be_used_is_told_in_a_sentence(
    tmp_path: Path, told_sqlite: str, database_url: str, writing: Database
) -> None:
    missing = f"sqlite:///{tmp_path / 'none.db'}"
    with closing(sqlite3.connect(tmp_path / "empty.db")) as made:
        made.execute("CREATE TABLE made (x)")
    with writing.transaction() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    unreachable = "postgresql://127.0.0.1:1/none"
    urls = (missing, f"sqlite:///{tmp_path / 'empty.db'}", database_url, unreachable)

    for url in urls:

        async def scenario(http: httpx.AsyncClient) -> None:
            for _ in range(100):  # the first page may not wait for what the database says
                if (await http.get("/sync")).status_code == 503:
                    break
            for page in (*PAGES, "/panels/tools", "/panels/tools.csv", "/panels/task-list"):
                answer = await http.get(page)
                assert answer.status_code == 503
                assert re.search(r'<p class="lead">[^<]+</p>', answer.text)

        visit(url, scenario)
    with writing.transaction() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": schema.HEAD})
    assert told_sqlite


@pytest.mark.parametrize(
    "address", ["/tasks", "/panels/task-list", "/panels/task-list.csv", "/panels/activity.csv"]
)
def test_a_table_that_is_broken_is_the_databases_fault_and_not_the_visitors(
    tmp_path: Path, told_sqlite: str, address: str
) -> None:
    path = tmp_path / "broken.db"
    with (
        closing(sqlite3.connect(told_sqlite.removeprefix("sqlite:///"))) as whole,
        closing(sqlite3.connect(path)) as broken,
    ):
        whole.backup(broken)
        for table in ("task_turn", "task_activity"):
            broken.execute(f"ALTER TABLE {table} RENAME TO lost_{table}")
        broken.commit()

    async def scenario(http: httpx.AsyncClient) -> None:
        for _ in range(100):
            answer = await http.get(address)
            if "data-fragment" not in answer.text:
                break
            await asyncio.sleep(0.05)
        assert answer.status_code == 503

    visit(f"sqlite:///{path}", scenario)


class Gated(ReadingDatabase):
    """A database that keeps what reads calls waiting."""

    def __init__(self, url: str) -> None:
        super().__init__(url=driver_url(url), clock=ManualClock(NOW))
        self.gate = threading.Event()
        self.asked: list[str] = []

    def ask(self, statement: Any, *arguments: Any, **more: Any) -> Any:
        if "v_tool_call" in statement.text:
            self.asked.append(statement.text)
            assert self.gate.wait(60)
        return super().ask(statement, *arguments, **more)


def test_a_page_does_not_wait_for_a_slow_answer_and_nobody_asks_it_twice(told: str) -> None:
    database = Gated(told)

    async def scenario(http: httpx.AsyncClient) -> None:
        try:
            await get(http, "/panels/failing-calls?window=all")
            answers = await asyncio.gather(*(http.get("/tools?window=all") for _ in range(4)))
            for answer in answers:
                waiting = re.findall(r'data-fragment="/panels/([\w-]+)\?window=all"', answer.text)
                assert {"tools", "tool-durations", "slowest-calls", "unanswered-calls"} <= set(waiting)
                assert "failing-calls" in names_of(answer)
                assert "failing-calls" not in waiting
                assert '<script src="/static/live.js" defer></script>' in answer.text
            await get(http, "/errors?window=all")
            assert (await http.get("/panels/tools?window=all")).text.count("data-fragment") == 1
        finally:
            database.gate.set()
        await get(http, "/tools?window=all")
        assert len(database.asked) == len(set(database.asked)) == 3

    visit(told, scenario, database=database)


def test_a_database_that_is_closed_ends_what_is_asked(told: str) -> None:
    database = open_reading(told)
    ended: list[str] = []
    begun = threading.Event()
    dialect = "postgresql" if database.is_postgresql else "sqlite"

    def ask_for_ever() -> None:
        begun.set()
        try:
            with database.ask(read_statement(FOR_EVER[dialect])) as answer:
                list(answer.rows)
        except MaiaSyncError as error:
            ended.append(str(error))

    threads = [threading.Thread(target=ask_for_ever, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    database.close()
    for thread in threads:
        thread.join(timeout=20)
    assert ended == ["the query was ended: the database is being closed"] * 3
    with pytest.raises(MaiaSyncError, match="closed"), database.ask(read_statement("SELECT 1")):
        pass


def test_pages_change_nothing(told_sqlite: str) -> None:
    path = urlsplit(told_sqlite).path[1:]

    def dump() -> list[str]:
        with closing(sqlite3.connect(f"/{path}")) as connection:
            return list(connection.iterdump())

    before = dump()

    async def scenario(http: httpx.AsyncClient) -> None:
        for page in PAGES:
            await get(http, page)
            assert (await http.post(page)).status_code == 405
            assert (await http.delete(page)).status_code == 405

    visit(told_sqlite, scenario)
    assert dump() == before


def test_moments_are_told_in_the_reporting_zone(told: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        page = (await get(http, "/sync")).text
        at = (NOW + timedelta(minutes=1)).astimezone(ZoneInfo("Asia/Tokyo"))
        assert at.tzinfo is not UTC
        assert f"{at.day} {at:%b %Y, %H:%M:%S}" in page
        assert "Asia/Tokyo" in page

    visit(told, scenario, zone="Asia/Tokyo")
