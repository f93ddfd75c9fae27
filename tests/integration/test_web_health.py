"""Are metrics and health served to those who may see them, by a server that is a good guest?"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from maia_sync.clock import ManualClock, SystemClock
from maia_sync.errors import (
    ConfigError,
    DatabaseError,
    DatabaseNotMigrated,
    DatabaseTooNew,
    DatabaseUnreachable,
)
from maia_sync.service.health import Health
from maia_sync.service.metrics import Metrics
from maia_sync.settings import Secret
from maia_sync.store.database import Database
from maia_sync.store.gauges import read_gauges
from maia_sync.web.application import make_web
from maia_sync.web.guard import SECURITY_HEADERS
from maia_sync.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from starlette.applications import Starlette
    from starlette.requests import Request

    from maia_sync.store.gauges import Gauges

TOKEN = "web-token-5f2c9a-é"
HEADERS = {"Authorization": f"Bearer {TOKEN}".encode()}
EVERY_PATH = ("/metrics", "/healthz", "/readyz")


class Service:
    """A service that is looked after, with a database that can be taken away."""

    def __init__(self, token: str | None = None, routes: Any = ()) -> None:
        self.clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.trouble: Exception | None = None
        self.health = Health(clock=self.clock, check_database=self._check)
        self.metrics = Metrics(read=self._read, clock=self.clock)
        secret = None if token is None else Secret(token)
        self.app = make_web(metrics=self.metrics, health=self.health, token=secret, routes=routes)

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _read(self) -> Gauges:
        raise self.trouble or DatabaseUnreachable("none")

    def have(self, trouble: Exception | None) -> None:
        self.trouble = trouble
        self.clock.advance(10)  # the earlier answer counts no more
        self.health.beat()


@asynccontextmanager
async def served(app: Starlette, host: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    async with WebServer(app, host, 0) as server, httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        yield http


def ask(service: Service, scenario: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        async with served(service.app) as http:
            await scenario(http)

    asyncio.run(run())


def test_the_service_lives_as_long_as_its_loop_turns() -> None:
    service = Service()

    async def scenario(http: httpx.AsyncClient) -> None:
        assert (await http.get("/healthz")).json() == {"status": "alive", "reasons": []}
        service.clock.advance(61)
        stuck = await http.get("/healthz")
        assert stuck.status_code == 503
        assert stuck.json() == {
            "status": "not alive",
            "reasons": ["the loop has not turned for too long"],
        }
        service.health.beat()
        assert (await http.get("/healthz")).status_code == 200

    ask(service, scenario)


def test_the_service_is_ready_between_its_start_and_its_stop() -> None:
    service = Service()

    async def scenario(http: httpx.AsyncClient) -> None:
        assert (await http.get("/readyz")).json() == {
            "status": "not ready",
            "reasons": ["the service is starting"],
        }
        service.health.mark_started()
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": []})
        service.health.mark_stopping()
        assert (await http.get("/readyz")).json()["reasons"] == ["the service is stopping"]

    ask(service, scenario)


def test_a_database_that_cannot_be_used_makes_it_unready_and_is_not_named_to_strangers() -> None:
    service = Service()
    service.health.mark_started()
    reasons = {
        DatabaseUnreachable: "the database cannot be reached",
        DatabaseNotMigrated: "the database is not at this version's migration",
        DatabaseTooNew: "the database was migrated by a newer version",
        DatabaseError: "the database cannot be used",
    }

    async def scenario(http: httpx.AsyncClient) -> None:
        for kind, reason in reasons.items():
            service.have(kind("postgresql://me:***@secret-host/db is away"))
            answer = await http.get("/readyz")
            assert answer.status_code == 503
            assert answer.json() == {"status": "not ready", "reasons": [reason]}
            assert (await http.get("/healthz")).status_code == 200
        service.have(None)
        assert (await http.get("/readyz")).status_code == 200

    ask(service, scenario)


def test_a_real_database_is_ready_and_tells_its_gauges(database_url: str, tmp_path: Path) -> None:
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url=url, clock=SystemClock())
    absent = Database(url=f"sqlite:///{tmp_path}/absent.db", clock=SystemClock())

    def read() -> Gauges:
        with database.transaction(write=False) as tx:
            return read_gauges(tx, max_lag_seconds=60, worker="me")

    async def scenario() -> None:
        metrics = Metrics(read=read, clock=SystemClock())
        for used, status in ((database, 200), (absent, 503)):
            health = Health(clock=SystemClock(), check_database=used.require_migrated)
            health.mark_started()
            async with served(make_web(metrics=metrics, health=health, token=None)) as http:
                assert (await http.get("/readyz")).status_code == status
                text = (await http.get("/metrics")).text
                assert "maia_sync_database_up 1.0" in text
                assert 'maia_sync_tasks{status="active"} 0.0' in text

    asyncio.run(scenario())
    database.close()
    absent.close()


def test_metrics_are_served_though_the_database_is_away() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        answer = await http.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "maia_sync_database_up 0.0" in answer.text
        assert "maia_sync_events_total" in answer.text

    ask(Service(), scenario)


def test_with_a_token_all_but_the_probes_need_it() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for path in ("/", "/metrics", "/nowhere", "/healthz/", "//healthz"):
            refused = await http.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == 'Bearer realm="maia-sync"'
        for path in ("/healthz", "/readyz"):
            assert (await http.get(path)).status_code in (200, 503)
        assert (await http.get("/metrics", headers=HEADERS)).status_code == 200
        assert (await http.get("/nowhere", headers=HEADERS)).status_code == 404

    ask(Service(TOKEN), scenario)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer wrong",
        f"Bearer {TOKEN}x".encode(),
        f"Bearer {TOKEN[:-1]}".encode(),
        f"Basic {TOKEN}".encode(),
        TOKEN.encode(),
        f"Bearer {TOKEN}".encode("latin-1"),
    ],
)
def test_anything_but_the_token_is_refused(header: bytes) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        assert (await http.get("/metrics", headers={"Authorization": header})).status_code == 401

    ask(Service(TOKEN), scenario)


def test_the_scheme_may_be_spelt_anyhow_and_two_tokens_are_none() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        lower = {"Authorization": f"bearer {TOKEN}".encode()}
        assert (await http.get("/metrics", headers=lower)).status_code == 200
        twice = [("Authorization", b"Bearer wrong"), ("Authorization", HEADERS["Authorization"])]
        assert (await http.get("/metrics", headers=twice)).status_code == 401  # type: ignore[arg-type]

    ask(Service(TOKEN), scenario)


def test_without_a_token_only_an_address_or_localhost_is_answered() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for host in ("127.0.0.1:8321", "localhost", "LOCALHOST:1", "[::1]:8321", "[::1]", "10.0.0.7"):
            assert (await http.get("/metrics", headers={"Host": host})).status_code == 200, host
        for host in ("evil.example", "evil.example:8321", "127.0.0.1.evil.example", "localhost.evil", ""):
            assert (await http.get("/metrics", headers={"Host": host})).status_code == 421, host
        assert (await http.get("/healthz", headers={"Host": "evil.example"})).status_code == 200

    ask(Service(), scenario)


def test_with_a_token_any_name_will_do() -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        answer = await http.get("/metrics", headers={**HEADERS, "Host": "maia-sync.example"})
        assert answer.status_code == 200

    ask(Service(TOKEN), scenario)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_allowed(method: str) -> None:
    async def scenario(http: httpx.AsyncClient) -> None:
        for path in (*EVERY_PATH, "/", "/nowhere"):
            answer = await http.request(method, path)
            assert answer.status_code == 405
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}

    ask(Service(), scenario)


def test_every_answer_has_the_security_headers_and_none_names_the_server() -> None:
    async def broken(_request: Request) -> PlainTextResponse:
        raise ValueError("our mistake")

    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello", headers={"Content-Security-Policy": "default-src 'self'"})

    service = Service(routes=[Route("/broken", broken), Route("/page", page)])

    async def scenario(http: httpx.AsyncClient) -> None:
        for path in (*EVERY_PATH, "/nowhere", "/broken"):
            answer = await http.get(path)
            assert (
                SECURITY_HEADERS.items()
                <= {
                    name.title().replace("Nosniff", "nosniff"): value
                    for name, value in answer.headers.items()
                }.items()
            )
            assert "server" not in answer.headers
            assert not [value for value in answer.headers.values() if "uvicorn" in value.lower()]
        assert (await http.get("/broken")).text == "This is a mistake in maia-sync.\n"
        assert (await http.get("/page")).headers["Content-Security-Policy"] == "default-src 'self'"

    ask(service, scenario)


def test_the_token_guards_whatever_is_served_beside_the_probes() -> None:
    async def page(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("pages")

    async def scenario(http: httpx.AsyncClient) -> None:
        assert (await http.get("/")).status_code == 401
        assert (await http.get("/", headers=HEADERS)).text == "pages"

    ask(Service(TOKEN, routes=[Route("/", page)]), scenario)


def test_without_metrics_there_are_none() -> None:
    service = Service()
    service.app = make_web(health=service.health, token=None)

    async def scenario(http: httpx.AsyncClient) -> None:
        assert (await http.get("/metrics")).status_code == 404
        assert (await http.get("/healthz")).status_code == 200

    ask(service, scenario)


def test_no_request_makes_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(http: httpx.AsyncClient) -> None:
        for path in (*EVERY_PATH, "/nowhere"):
            await http.get(path)
        host, port = http.base_url.host, http.base_url.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()

    ask(Service(), scenario)
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_a_mistake_of_ours_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_request: Request) -> PlainTextResponse:
        raise ValueError("our mistake")

    async def scenario(http: httpx.AsyncClient) -> None:
        assert (await http.get("/broken")).status_code == 500

    ask(Service(routes=[Route("/broken", broken)]), scenario)
    assert [record.levelname for record in caplog.records if record.name == "uvicorn.error"] == ["ERROR"]


def test_signals_stay_with_the_host_of_the_server() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    async def scenario() -> None:
        mine: list[int] = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, mine.append, signal.SIGTERM)
        async with served(Service().app) as http:
            heard = asyncio.Event()
            loop.add_signal_handler(signal.SIGINT, heard.set)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            await heard.wait()
            assert mine == [signal.SIGTERM]
            assert (await http.get("/metrics")).status_code == 200
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(scenario())
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
        signal.signal(number, handler)


def test_the_end_waits_for_nobody_who_keeps_a_connection_open_or_reads_forever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def endless(_request: Request) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            begun.set()
            await asyncio.Event().wait()

        return StreamingResponse(chunks())

    service = Service(routes=[Route("/endless", endless)])

    async def scenario() -> None:
        async with WebServer(service.app, "127.0.0.1", 0) as server:
            port = int(server.url.rpartition(":")[2])
            idle = await asyncio.open_connection("127.0.0.1", port)
            idle[1].write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await idle[0].readuntil(b"\r\n\r\n")
            half = await asyncio.open_connection("127.0.0.1", port)
            half[1].write(b"GET /healthz HTTP/1.1\r\nHost: local")
            stuck = await asyncio.open_connection("127.0.0.1", port)
            stuck[1].write(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await begun.wait()
        for reader, writer in (idle, half, stuck):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readuntil(b"there is no such line")
            writer.close()
        with pytest.raises(OSError):  # noqa: PT011 - refused
            await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert caplog.records == []


def test_an_answer_that_has_not_begun_when_the_end_comes_makes_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def never(_request: Request) -> PlainTextResponse:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            async with WebServer(Service(routes=[Route("/never", never)]).app, "127.0.0.1", 0) as server:
                asked = asyncio.create_task(http.get(f"{server.url}/never"))
                await begun.wait()
            with pytest.raises(httpx.TransportError):
                await asked

    asyncio.run(scenario())
    assert caplog.records == []


def test_an_answer_in_hand_is_finished() -> None:
    begun = asyncio.Event()

    async def slow(_request: Request) -> PlainTextResponse:
        begun.set()
        for _ in range(20):
            await asyncio.sleep(0)
        return PlainTextResponse("whole")

    async def scenario() -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            async with WebServer(Service(routes=[Route("/slow", slow)]).app, "127.0.0.1", 0) as server:
                asked = asyncio.create_task(http.get(f"{server.url}/slow"))
                await begun.wait()
            assert (await asked).text == "whole"

    asyncio.run(scenario())


def test_an_address_that_cannot_be_listened_on_is_a_config_error() -> None:
    async def enter(host: str, port: int) -> None:
        async with WebServer(Service().app, host, port):
            pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"web\.bind: cannot listen on 127\.0\.0\.1, port {port}: .*in use"
        ):
            asyncio.run(enter("127.0.0.1", port))
    with pytest.raises(ConfigError, match=r"web\.bind: cannot listen on 192\.0\.2\.1, port 8321: "):
        asyncio.run(enter("192.0.2.1", 8321))
    with pytest.raises(ConfigError, match=r"web\.bind: cannot listen on no-such-host\.invalid, port 1: "):
        asyncio.run(enter("no-such-host.invalid", 1))


def test_a_port_is_free_again_at_once() -> None:
    async def scenario() -> None:
        async with WebServer(Service().app, "127.0.0.1", 0) as first, httpx.AsyncClient() as http:
            await http.get(f"{first.url}/healthz")
        port = int(first.url.rpartition(":")[2])
        async with WebServer(Service().app, "127.0.0.1", port) as second:
            assert second.url == first.url

    asyncio.run(scenario())


def test_ipv6_is_served_too() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")

    async def scenario() -> None:
        async with served(Service().app, "::1") as http:
            assert str(http.base_url).startswith("http://[::1]:")
            assert (await http.get("/metrics")).status_code == 200

    asyncio.run(scenario())
