"""Does the dead-man's switch hear of us, and does nobody learn its address when it does not?"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from maia_sync.service.ping import Pinger
from maia_sync.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

PATH = "/5f2c9a-the-secret"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


class Switch:
    """A server that answers with fixed bytes and keeps the heads of requests."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self.heads: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode())
                if self._answer is None:
                    continue
                writer.write(self._answer)
                await writer.drain()
                if b"Connection: close" in self._answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def against(switch: Switch, scenario: Callable[[Pinger], Awaitable[None]], deadline: float = 30.0) -> None:
    async def run() -> None:
        server = await asyncio.start_server(switch.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
        async with Pinger(Secret(url), ca_file=None, deadline=deadline) as pinger:
            await scenario(pinger)
        server.close()

    asyncio.run(run())


def sentence_for(answer: bytes | None, deadline: float = 30.0) -> str | None:
    found: list[str | None] = []

    async def once(pinger: Pinger) -> None:
        found.append(await pinger.ping())

    switch = Switch(answer)
    against(switch, once, deadline)
    assert answer is None or len(switch.heads) == 1
    return found[0]


def test_a_ping_is_one_get_and_the_next_takes_the_same_connection() -> None:
    switch = Switch(OK)

    async def twice(pinger: Pinger) -> None:
        assert await pinger.ping() is None
        assert await pinger.ping() is None

    against(switch, twice)
    assert [head.splitlines()[0] for head in switch.heads] == [f"GET {PATH} HTTP/1.1"] * 2
    assert switch.connections == 1
    assert "authorization" not in switch.heads[0].lower()


@pytest.mark.parametrize("status", ["201 Created", "204 No Content"])
def test_every_2xx_is_success(status: str) -> None:
    assert sentence_for(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) is None


def test_an_answer_that_breaks_off_behind_its_status_is_success() -> None:
    switch = Switch(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nO")

    async def once(pinger: Pinger) -> None:
        assert await pinger.ping() is None

    against(switch, once)


@pytest.mark.parametrize("status", ["404 Not Found", "429 Too Many Requests", "500 Oh"])
def test_another_answer_is_a_sentence_without_the_address(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(PATH)}\r\n\r\n{PATH}".encode()
    assert sentence_for(answer) == f"the server of schedule.heartbeat_url answered {status[:3]}"


def test_a_redirect_is_not_followed() -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {PATH}/on\r\nContent-Length: 0\r\n\r\n".encode()
    sentence = sentence_for(answer)
    assert sentence is not None
    assert "redirects are not followed" in sentence
    assert PATH not in sentence


def test_a_server_that_keeps_silent_is_given_up_at_the_deadline() -> None:
    sentence = sentence_for(None, deadline=0.2)
    assert sentence is not None
    assert "heartbeat_url" in sentence
    assert PATH not in sentence


def test_nobody_there_and_an_impossible_address_are_sentences_too(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def ping(url: str, ca_file: Path | None = None) -> str | None:
        async with Pinger(Secret(url), ca_file=ca_file) as pinger:
            return await pinger.ping()

    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for url, ca_file in (
        (f"http://127.0.0.1:{port}{PATH}", None),
        (f"http://127.0.0.1:{port}{PATH}{'x' * 70_000}", None),
        (f"https://127.0.0.1:{port}{PATH}", tmp_path / "no-such.pem"),
        (f"https://127.0.0.1:{port}{PATH}", broken),
    ):
        sentence = asyncio.run(ping(url, ca_file))
        assert sentence is not None
        assert "heartbeat_url" in sentence or "address" in sentence
        assert PATH not in sentence
        assert str(port) not in sentence
