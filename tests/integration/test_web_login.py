"""Does the door open to who has the token, to nobody else, and does it lead nowhere but in?"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Route

from maia_sync.clock import ManualClock
from maia_sync.service.health import Health
from maia_sync.settings import Secret
from maia_sync.store.asking import ReadingDatabase
from maia_sync.web.admission import is_cross_site, local_path, sealed
from maia_sync.web.application import Pages, make_web
from maia_sync.web.server import WebServer
from maia_sync.web.site import NotThere, Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

TOKEN = "door-token-7c1e é"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
START = datetime(2026, 1, 1, tzinfo=UTC)


def few_pages(site: Site) -> list[BaseRoute]:
    """A page, one that is not there, and the static files."""

    async def page(request: Request) -> Response:
        if request.url.path != "/":
            raise NotThere("There is no such task.")
        return await site.render(request, "trouble.html", sentence="the overview")

    answer = site.answering(page)
    return [Route("/", answer), Route("/tasks/{task_id}", answer), Route("/static/{name}", _static)]


async def _static(_request: Request) -> Response:
    return Response("static")


class House:
    """A served site behind a door, with a clock that can be moved."""

    def __init__(self, token: str | None = TOKEN, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock(START)
        self.sites: list[Site] = []
        secret = None if token is None else Secret(token)
        health = Health(clock=self.clock, check_database=lambda: None)
        self.pages = Pages(self._make_site, token=secret, routes=few_pages)
        self.app = make_web(health=health, token=secret, pages=self.pages, clock=self.clock)

    def _make_site(self) -> Site:
        database = ReadingDatabase(url="sqlite://", clock=self.clock)
        self.sites.append(Site(database=database, zone=ZoneInfo("UTC"), clock=self.clock))
        return self.sites[-1]

    @asynccontextmanager
    async def visited(self) -> AsyncIterator[httpx.AsyncClient]:
        async with (
            WebServer(self.app, "127.0.0.1", 0) as server,
            httpx.AsyncClient(base_url=server.url, timeout=30, headers=BROWSER) as http,
        ):
            yield http
        self.pages.close()


def visit(house: House, scenario: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with house.visited() as http:
            await scenario(http)

    asyncio.run(run())


async def log_in(
    http: httpx.AsyncClient, token: str = TOKEN, wanted: str = "/", **headers: str
) -> httpx.Response:
    return await http.post("/login", data={"token": token, "next": wanted}, headers=headers)


def test_a_browser_is_led_to_the_login_and_back_to_the_page_that_it_wanted() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        sent = await http.get("/tasks/7?from=start&text=a%2Fb%20c")
        assert sent.status_code == 303
        form = await http.get(sent.headers["location"])
        assert form.status_code == 200
        assert re.search(r'<label>Token\s+<input name="token" type="password"', form.text)
        assert 'autocomplete="current-password"' in form.text
        wanted = re.search(r'name="next" value="([^"]*)"', form.text)
        assert wanted is not None
        let_in = await log_in(http, wanted=wanted[1].replace("&amp;", "&"))
        assert let_in.status_code == 303
        assert let_in.headers["location"] == "/tasks/7?from=start&text=a%2Fb%20c"
        there = await http.get("/")
        assert there.status_code == 200
        assert "the overview" in there.text
        assert 'action="/logout"' in there.text
        assert (await http.get("/login?next=/tasks/7")).headers["location"] == "/tasks/7"

    visit(House(), scenario)


def test_everybody_else_is_told_that_a_token_is_needed() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for method, accept in (("GET", "*/*"), ("GET", "application/json"), ("HEAD", "text/html")):
            answer = await http.request(method, "/", headers={"Accept": accept})
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="maia-sync"'
        bearer = await http.get("/", headers={"Authorization": f"Bearer {TOKEN}".encode()})
        assert bearer.status_code == 200
        assert "/logout" not in bearer.text

    visit(House(), scenario)


@pytest.mark.parametrize("token", ["ends-with-à", "ends-with-…", "à"])
def test_a_token_whose_bytes_look_like_white_space_is_one(token: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        answer = await http.get("/", headers={"Authorization": f"Bearer {token}".encode()})
        assert answer.status_code == 200

    visit(House(token), scenario)


def test_static_files_probes_and_the_login_are_open_and_nothing_beside_them() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for path in ("/static/page.css", "/login", "/healthz", "/readyz"):
            assert (await http.get(path)).status_code in (200, 503), path
        for path in ("/static", "/login/", "/login/x", "/staticx/page.css", "//static/page.css", "/tasks/7"):
            assert (await http.get(path)).status_code == 303, path

    visit(House(), scenario)


def test_the_cookie_is_strict_and_holds_no_token() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for headers, secure in (
            ({}, False),
            ({"X-Forwarded-Proto": "https"}, True),
            ({"X-Forwarded-Proto": "HTTPS, http"}, True),
            ({"X-Forwarded-Proto": "http"}, False),
        ):
            cookie = (await log_in(http, **headers)).headers["set-cookie"]
            value, *attributes = [part.strip().lower() for part in cookie.split(";")]
            assert re.fullmatch(r"maia_sync=\d+\.[0-9a-f]{64}", value)
            expected = {"httponly", "samesite=strict", "path=/", "max-age=43200"}
            assert set(attributes) == (expected | {"secure"} if secure else expected)
            assert int(value.partition("=")[2].partition(".")[0]) == START.timestamp() + 12 * 3600

    visit(House(), scenario)


def test_the_cookie_ends_after_twelve_hours_and_with_the_token() -> None:
    house, other = House(), House("another token")

    async def scenario(http: httpx.AsyncClient) -> None:
        await log_in(http)
        house.clock.advance(12 * 3600 - 1)
        assert (await http.get("/")).status_code == 200
        cookie = {"Cookie": f"maia_sync={http.cookies['maia_sync']}"}
        async with other.visited() as elsewhere:
            assert (await elsewhere.get("/", headers=cookie)).status_code == 303
        house.clock.advance(1)
        assert (await http.get("/")).status_code == 303

    visit(house, scenario)


def test_a_cookie_that_was_tampered_with_opens_nothing() -> None:
    good = sealed(START + timedelta(hours=1), Secret(TOKEN))
    moment, _, seal = good.partition(".")
    later = str(int(moment) + 1)

    async def scenario(http: httpx.AsyncClient) -> None:
        for cookie in (
            f"{later}.{seal}",
            f"{moment}.{seal[:-1]}0" if seal[-1] != "0" else f"{moment}.{seal[:-1]}1",
            f"{moment}.",
            f"{moment}",
            f"+{moment}.{seal}",
            f" {moment}x.{seal}",
            f"{'9' * 400}.{seal}",
            sealed(START - timedelta(seconds=1), Secret(TOKEN)),
            sealed(START + timedelta(hours=1), Secret("")),
            TOKEN.encode().hex(),
            "",
        ):
            answer = await http.get("/", headers={"Cookie": f"maia_sync={cookie}"})
            assert answer.status_code == 303, cookie
        assert (await http.get("/", headers={"Cookie": f"a=b; maia_sync={good}; c"})).status_code == 200
        assert (await http.get("/", headers={"Cookie": f'maia_sync="{good}"'})).status_code == 200

    visit(House(), scenario)


def test_logging_out_takes_the_cookie_back() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        await log_in(http)
        assert (await http.get("/")).status_code == 200
        left = await http.post("/logout")
        assert (left.status_code, left.headers["location"]) == (303, "/login")
        assert "maia_sync" not in http.cookies
        assert (await http.get("/")).status_code == 303

    visit(House(), scenario)


def test_without_a_token_there_is_no_login() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for answer in (await http.get("/login?next=/tasks/7"), await log_in(http, "x", "/tasks/7")):
            assert (answer.status_code, answer.headers["location"]) == (303, "/tasks/7")
            assert "set-cookie" not in answer.headers
        assert (await http.get("/")).status_code == 200
        assert (await http.get("/login", headers={"Host": "evil.example"})).status_code == 421

    visit(House(None), scenario)


def test_pages_that_are_let_go_of_while_they_are_made_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Site] = []
    monkeypatch.setattr(Site, "close", lambda site: closed.append(site))  # noqa: PLW0108 - it becomes a method
    house, begun, go_on = House(None), threading.Event(), threading.Event()
    make_site = house._make_site

    def make_slowly() -> Site:
        begun.set()
        assert go_on.wait(60)
        return make_site()

    pages = Pages(make_slowly, token=None, routes=few_pages)

    async def run() -> None:
        first = asyncio.create_task(pages.get_ready())
        await asyncio.to_thread(begun.wait)
        first.cancel()  # this visitor goes away, which takes nothing from the next
        second = asyncio.create_task(pages.get_ready())
        await asyncio.sleep(0)
        pages.close()
        go_on.set()
        await second

    asyncio.run(run())
    assert len(house.sites) == 1
    assert closed == house.sites


NOWHERE_ELSE = (
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "",
    " /tasks",
    "/\t/evil.example",
    "/\n/evil.example",
    "\x00/tasks",
    "/tasks\r\nSet-Cookie: a=b",
    "/tasks/\u202e",
    "/täsk",
    "@evil.example",
    ".evil.example",
    "?next=/",
    "/login",
    "/login?next=/login",
    "/logout",
    "/" + "a" * 3000,
)


@pytest.mark.parametrize("wanted", NOWHERE_ELSE, ids=ascii)
def test_a_login_leads_to_no_other_place(wanted: str) -> None:
    assert local_path(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/", "/tasks", "/tasks/7?from=start&q=a%20b", "/a//b", "/tasks?x=//y"])
def test_a_login_leads_to_a_page_of_ours(wanted: str) -> None:
    assert local_path(wanted) == wanted


def test_no_open_redirect_over_http_either() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for wanted in NOWHERE_ELSE:
            asked = await http.get(f"/login?{urlencode({'next': wanted})}")
            assert 'name="next" value="/"' in asked.text, wanted
        for wanted in NOWHERE_ELSE:
            assert (await log_in(http, wanted=wanted)).headers["location"] == "/", wanted
        asked = await http.get("/login?next=//evil.example")
        assert asked.headers["location"] == "/"

    visit(House(), scenario)


def test_a_wrong_token_is_answered_late_with_the_form_and_one_sentence() -> None:
    house = House()

    async def scenario(http: httpx.AsyncClient) -> None:
        for number, typed in enumerate(("wrong", "", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\0", "ü" * 99)):
            refused = await log_in(http, typed, "/tasks/7")
            assert refused.status_code == 401
            assert "This is not the token." in refused.text
            assert 'name="next" value="/tasks/7"' in refused.text
            assert "set-cookie" not in refused.headers
            assert house.clock.slept == [1.0] * (number + 1)
            assert typed == "" or f'"{typed}' not in refused.text
        assert (await log_in(http, f" {TOKEN}\n")).status_code == 303
        assert len(house.clock.slept) == 7

    visit(house, scenario)


class StuckClock(ManualClock):
    """A clock on which who sleeps waits until told."""

    def __init__(self) -> None:
        super().__init__(START)
        self.sleepers = 0
        self.go_on = asyncio.Event()
        self.enough = asyncio.Event()

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - however long
        self.sleepers += 1
        if self.sleepers == 4:
            self.enough.set()
        await self.go_on.wait()


def test_only_a_few_guesses_are_made_at_a_time_and_pages_are_served_meanwhile() -> None:
    async def run() -> None:
        clock = StuckClock()
        async with House(clock=clock).visited() as http:
            guesses = [asyncio.create_task(log_in(http, f"guess-{number}")) for number in range(4)]
            await clock.enough.wait()
            fifth = await log_in(http, "guess-4")
            assert fifth.status_code == 429
            assert fifth.headers["retry-after"] == "1"
            assert "Too many attempts at once." in fifth.text
            assert (await http.get("/login")).status_code == 200
            assert (await log_in(http)).status_code == 303  # however many guess, who has the token gets in
            http.cookies.clear()
            clock.go_on.set()
            assert [guess.status_code for guess in await asyncio.gather(*guesses)] == [401] * 4
            assert (await log_in(http)).status_code == 303

    asyncio.run(run())


def test_a_form_that_is_none_or_too_large_is_refused() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for content in (b"token=" + b"a" * 5000, b"&".join([b"a=b"] * 20), b"token=\xff\xfe"):
            refused = await http.post("/login", content=content, headers=FORM)
            assert refused.status_code == 400
            assert refused.text.count('role="alert"') == 1
        fine = urlencode({"token": TOKEN, "next": "/"}).encode()
        assert (await http.post("/login", content=fine, headers=FORM)).status_code == 303

    visit(House(), scenario)


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": ""}, True),
        ({"Origin": "http://here.example:8321"}, False),
        ({"Origin": "https://HERE.example:8321"}, False),
        ({"Origin": "http://here.example"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": ""}, True),
    ],
)
def test_a_page_of_another_site_is_known_by_what_browsers_say(
    headers: dict[str, str], *, is_foreign: bool
) -> None:
    given = {"Host": "here.example:8321", **headers}
    assert is_cross_site(Headers(given)) == is_foreign


def test_what_another_site_sends_is_refused() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        await log_in(http)
        for path in ("/login", "/logout"):
            refused = await http.post(path, data={"token": TOKEN}, headers={"Sec-Fetch-Site": "cross-site"})
            assert refused.status_code == 403
            assert "set-cookie" not in refused.headers
        assert (await http.get("/")).status_code == 200

    visit(House(), scenario)


def test_nothing_but_the_login_takes_anything() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        await log_in(http)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            for path in ("/", "/tasks/7", "/nowhere", "/static/page.css"):
                answer = await http.request(method, path)
                assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert (await http.put("/login")).status_code == 405
        assert (await http.get("/logout")).status_code == 405

    visit(House(), scenario)


def test_who_comes_by_a_link_of_another_site_is_offered_the_page() -> None:
    """A strict cookie is not sent along with such a click, only with the next one."""

    async def scenario(http: httpx.AsyncClient) -> None:
        came = await http.get("/login?next=/tasks/7", headers={"Sec-Fetch-Site": "cross-site"})
        assert '<a href="/tasks/7">Open the page</a>' in came.text
        assert "Open the page" not in (await http.get("/login?next=/tasks/7")).text

    visit(House(), scenario)


def test_pages_and_troubles_have_the_policy_of_pages() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for path, status in (("/", 200), ("/tasks/7", 404), ("/nowhere", 404), ("/nowhere/at/all", 404)):
            answer = await http.get(path)
            assert answer.status_code == status
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; ")
            assert "form-action 'self'" in policy
            assert "unsafe" not in policy
            assert answer.headers["referrer-policy"] == "same-origin"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "There is no such task." in (await http.get("/tasks/7")).text
        assert "There is no such page." in (await http.get("/nowhere")).text

    visit(House(None), scenario)


def test_the_site_is_made_once_and_only_when_a_page_is_asked_for() -> None:
    house = House(None)

    async def scenario(http: httpx.AsyncClient) -> None:
        await http.get("/healthz")
        assert house.sites == []
        answers = await asyncio.gather(*(http.get("/") for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5
        assert len(house.sites) == 1

    visit(house, scenario)
    house.pages.close()


def test_neither_token_nor_cookie_is_in_any_page_or_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    typed = "what-i-typed-4711"
    said: list[Any] = []

    async def scenario(http: httpx.AsyncClient) -> None:
        said.append((await log_in(http, typed)).text)
        let_in = await log_in(http)
        cookie = http.cookies["maia_sync"]
        said.extend((let_in.text, str(let_in.headers["location"])))
        said.extend([(await http.get(path)).text for path in ("/", "/nowhere", "/tasks/7")])
        secrets = (typed, TOKEN, cookie, cookie.partition(".")[2])
        lines = [record.getMessage() for record in caplog.records if record.name not in _CLIENT]
        assert not [line for line in [*said, *lines] for secret in secrets if secret in line]

    visit(House(), scenario)


_CLIENT = ("httpx", "httpcore.connection", "httpcore.http11")
