"""Does a request take the proxy that the environment names, and does loopback never?"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest

from maia_sync.clock import SystemClock
from maia_sync.maia.auth import make_auth
from maia_sync.maia.client import MaiaClient
from maia_sync.maia.connection import open_http
from maia_sync.maia.over_httpx import OverHttpx
from maia_sync.settings import ApiSettings, AuthSettings, Secret

if TYPE_CHECKING:
    from collections.abc import Callable

TASK = "11111111-2222-4333-8444-555555555555"
PAGE = b'{"results":[{"data":1}]}'
TOKEN = "page-t0ken"

pytestmark = pytest.mark.parametrize("library", ["httpx", "aiohttp"])


class Listener:
    """A server that answers every request with one page, and keeps its first line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.lines.append(head.decode().splitlines()[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(PAGE) + PAGE)
        await writer.drain()
        writer.close()


def fetch_by(
    monkeypatch: pytest.MonkeyPatch, library: Any, address: Callable[[int], str]
) -> tuple[list[str], list[str]]:
    """Fetch a page; returns what the proxy was asked, and what the server beside it was asked."""
    proxy, beside = Listener(), Listener()

    async def once() -> None:
        async with (
            await asyncio.start_server(proxy.answer, "127.0.0.1", 0) as first,
            await asyncio.start_server(beside.answer, "127.0.0.1", 0) as second,
        ):
            for name in ("HTTP_PROXY", "http_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{first.sockets[0].getsockname()[1]}")
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            base = address(second.sockets[0].getsockname()[1])
            settings = ApiSettings(base_url=base, allow_insecure_http=True, retries=0, transport=library)
            clock = SystemClock()
            auth = make_auth(AuthSettings(token=Secret("t")), clock=clock)
            async with MaiaClient(settings, auth, clock=clock, random=random.Random(1)) as client:
                assert len((await client.fetch_page(TASK, TOKEN)).events) == 1

    asyncio.run(once())
    return proxy.lines, beside.lines


def test_an_api_beyond_this_machine_is_asked_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    asked, beside = fetch_by(monkeypatch, library, lambda _: "http://maia.invalid/dpc")
    assert len(asked) == 1
    assert asked[0].startswith(f"GET http://maia.invalid/dpc/v1/ai/agents/tasks/{TASK}/messages?limit=1000&")
    assert beside == []


def test_p9_no_page_token_is_logged_on_the_way_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, library: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked, _ = fetch_by(monkeypatch, library, lambda _: "http://maia.invalid/dpc")
    assert TOKEN in asked[0]
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_loopback_needs_no_proxy_however_it_is_spelt(
    monkeypatch: pytest.MonkeyPatch, library: Any, host: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def goes_by_proxy(address: str) -> bool:
        connection = open_http(address, timeout=1, ca_file=None, library=library).take()
        await connection.aclose()
        return isinstance(connection, OverHttpx)

    assert not asyncio.run(goes_by_proxy(f"http://{host}:1/"))
    assert asyncio.run(goes_by_proxy("http://maia.invalid/"))


def test_loopback_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    asked, beside = fetch_by(monkeypatch, library, lambda port: f"http://127.0.0.1:{port}")
    assert asked == []
    assert len(beside) == 1
