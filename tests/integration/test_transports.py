"""Do both libraries that may speak HTTP for us keep the same promises? Against a server that says anything.

"httpx" stands for httpcore on one connection, which it is where no proxy may stand between.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import ipaddress
import random
import ssl
import subprocess
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.clock import SystemClock
from maia_sync.errors import (
    AnswerTooSlow,
    BrokenPage,
    ConfigError,
    NotConnected,
    OutcomeUnknown,
    PageTooLarge,
    RequestRefused,
    RetriesExhausted,
    TaskMissing,
    TokenRefused,
    UpstreamSilent,
)
from maia_sync.maia.auth import make_auth
from maia_sync.maia.client import MaiaClient
from maia_sync.maia.connection import Connections, open_http
from maia_sync.maia.over_httpx import OverHttpx, server_at
from maia_sync.model import OutgoingMessage
from maia_sync.settings import ApiSettings, AuthSettings, Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

TASK = "11111111-2222-4333-8444-555555555555"
PAGE = b'{"results":[{"data":1}]}'
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE
HELLO = OutgoingMessage(message="hello")
CLOSE = b""
"""As a part of an answer: the connection ends."""

pytestmark = pytest.mark.parametrize("library", ["httpx", "aiohttp"])


class Server:
    """Answers the n-th request with the n-th of its answers, the last one again and again; each in parts."""

    def __init__(self, *answers: Sequence[bytes], pause: float = 0.0, host: str = "127.0.0.1") -> None:
        self.answers = list(answers)
        self.host = host
        self.pause = pause
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.port = 0
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        serving = asyncio.create_task(self._serve_all(reader, writer))
        self._open[serving] = writer
        await asyncio.wait([serving])

    async def _serve_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.asked.append((lines[0], headers, body))
        for part in self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
            if part == CLOSE:
                return False
            writer.write(part)
            await writer.drain()
            if self.pause:
                await asyncio.sleep(self.pause)
        return True

    async def close_connections(self) -> None:
        """Close all connections; those of requests under way are broken."""
        for serving, writer in self._open.items():
            writer.transport.abort()
            serving.cancel()
        if self._open:
            await asyncio.wait(self._open)
        self._open.clear()
        await asyncio.sleep(0)

    def meet(
        self,
        library: Any,
        story: Callable[[MaiaClient], Awaitable[Any]],
        trust: ssl.SSLContext | None = None,
        **settings: Any,
    ) -> Any:
        async def main() -> Any:
            async with await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=trust) as listening:
                self.port = listening.sockets[0].getsockname()[1]
                address = f"{'https' if trust else 'http'}://{self.host}:{self.port}/dpc"
                ours = {"retries": 0, "backoff": 0.001, "timeout": 5.0, "base_url": address}
                api = ApiSettings(transport=library, **{**ours, **settings})
                clock = SystemClock()
                auth = make_auth(AuthSettings(token=Secret("s3cret-bearer")), clock=clock)
                try:
                    async with MaiaClient(api, auth, clock=clock, random=random.Random(1)) as client:
                        return await story(client)
                finally:
                    await self.close_connections()

        return asyncio.run(main())

    def fetch(self, library: Any, token: str | None = None, **settings: Any) -> Any:
        return self.meet(library, lambda client: client.fetch_page(TASK, token), **settings)

    def failure(self, library: Any, **settings: Any) -> BaseException:
        with pytest.raises(RetriesExhausted) as caught:
            self.fetch(library, **settings)
        assert caught.value.__cause__ is not None
        return caught.value.__cause__


def in_chunks(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


# ---------------------------------------------------------------------------- what is asked


def test_the_request_is_the_same_on_the_wire(library: str) -> None:
    server = Server([WHOLE])
    server.fetch(library, "a/b+c d&e=ä%2F")
    ((line, headers, body),) = server.asked
    assert line == (
        f"GET /dpc/v1/ai/agents/tasks/{TASK}/messages"
        "?limit=1000&paginationToken=a%2Fb%2Bc+d%26e%3D%C3%A4%252F HTTP/1.1"
    )
    assert headers.pop("user-agent").startswith("maia-sync/")
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "authorization": "Bearer s3cret-bearer",
    }
    assert body == b""


def test_a_message_is_the_same_on_the_wire(library: str) -> None:
    server = Server([b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"])
    server.meet(library, lambda client: client.post_message(TASK, HELLO))
    ((line, headers, body),) = server.asked
    assert line == f"POST /dpc/v1/ai/agents/tasks/{TASK}/messages HTTP/1.1"
    assert (headers["content-type"], headers["content-length"]) == ("application/json", "19")
    assert set(headers) == {
        *("host", "accept", "accept-encoding", "user-agent", "authorization"),
        *("content-type", "content-length"),
    }
    assert body == b'{"message":"hello"}'


def test_a_login_in_an_address_goes_along_where_no_token_does(library: Any) -> None:
    server = Server([WHOLE])

    async def story(_: MaiaClient) -> None:
        for token in (None, Secret("t")):
            address = f"http://us%40er:p%3Aw@127.0.0.1:{server.port}/x?y=%2F"
            http = open_http(address, timeout=5, ca_file=None, library=library)
            request = http.make_request("GET")
            await http.ask(request, whom="it", deadline=5, whole=None, bearer=token)
            await http.aclose()

    server.meet(library, story)
    assert [line for line, *_ in server.asked] == ["GET /x?y=%2F HTTP/1.1"] * 2
    assert [headers["authorization"] for _, headers, _ in server.asked] == [
        httpx.BasicAuth("us@er", "p:w")._auth_header,
        "Bearer t",
    ]


@given(token=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_page_token_is_encoded_as_httpx_does_and_comes_back(library: str, token: str) -> None:
    del library  # the target is made before a library is asked
    api = ApiSettings(base_url="http://127.0.0.1:1/dpc")
    auth = make_auth(AuthSettings(token=Secret("t")), clock=SystemClock())
    client = MaiaClient(api, auth, clock=SystemClock(), random=random.Random(1))
    target = client._page_request(TASK, token, 7).target
    url = httpx.URL(
        f"{api.base_url}/v1/ai/agents/tasks/{TASK}/messages", params={"limit": 7, "paginationToken": token}
    )
    assert target == url.raw_path.decode()
    assert parse_qs(target.partition("?")[2], keep_blank_values=True)["paginationToken"] == [token]


def test_a_token_that_is_too_long_to_ask_for_is_refused_unasked(library: str) -> None:
    server = Server([WHOLE])
    for token in ("x" * 65_536, "/" * 30_000):
        with pytest.raises(TokenRefused):
            server.fetch(library, token)
    assert server.asked == []
    server.fetch(library, "x" * 60_000)
    assert len(server.asked) == 1


# ---------------------------------------------------------------------------- whole answers


@pytest.mark.parametrize(
    "parts",
    [
        [WHOLE],
        [WHOLE[n : n + 1] for n in range(len(WHOLE))],
        [b"HTTP/1.0 200 OK\r\n\r\n" + PAGE, CLOSE],
        [OK + b"Connection: close\r\n\r\n" + PAGE, CLOSE],
        [CHUNKED + in_chunks(PAGE, 5)],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE],
        [OK + b"Content-Encoding: GZIP\r\n" + CHUNKED[len(OK) :] + in_chunks(gzip.compress(PAGE), 7)],
        [b"HTTP/1.1 200\r\nX: \xff\xfe\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE],
        [OK + b"X: " + b"x" * 30_000 + b"\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE],
    ],
    ids=["plain", "bytewise", "1.0", "till its end", "chunked", "100", "gzip", "no reason", "long header"],
)
def test_a_page_comes_however_it_is_carried(library: str, parts: list[bytes]) -> None:
    assert Server(parts).fetch(library).events[0].data == "1"


def test_a_connection_serves_many_requests_and_is_dropped_once_one_did_not_end_well(library: str) -> None:
    lost = b"HTTP/1.1 404 Not Found\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000
    server = Server([WHOLE], [WHOLE], [lost], [WHOLE], [WHOLE])

    async def story(client: MaiaClient) -> list[int]:
        seen = []
        for _ in range(5):
            with suppress(TaskMissing):
                await client.fetch_page(TASK, None)
            seen.append(server.connections)
        return seen

    assert server.meet(library, story) == [1, 1, 1, 2, 2]


def test_a_connection_that_the_server_has_closed_meanwhile_costs_no_request(library: str) -> None:
    server = Server([WHOLE], [OK + b"Connection: close\r\n" + WHOLE[len(OK) :], CLOSE], [WHOLE])

    async def story(client: MaiaClient) -> None:
        for number in range(6):
            if number == 4:
                await server.close_connections()
            await client.fetch_page(TASK, None)

    server.meet(library, story)
    assert (len(server.asked), server.connections) == (6, 3)


def test_a_connection_that_lay_unused_for_long_is_not_used_again(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"httpx": "over_httpcore", "aiohttp": "over_aiohttp"}[library]
    monkeypatch.setattr(f"maia_sync.maia.{module}.KEPT_ALIVE", 0.05)
    server = Server([WHOLE])

    async def story(client: MaiaClient) -> None:
        await client.fetch_page(TASK, None)
        await asyncio.sleep(0.2)
        await client.fetch_page(TASK, None)

    server.meet(library, story)
    assert server.connections == 2


def test_many_at_once_have_a_connection_each_and_all_of_them_are_closed_in_the_end(library: str) -> None:
    server = Server([WHOLE], pause=0.05)

    async def story(client: MaiaClient) -> None:
        for _ in range(2):
            await asyncio.gather(*(client.fetch_page(TASK, None) for _ in range(6)))

    server.meet(library, story, concurrency=3)
    assert (len(server.asked), server.connections) == (12, 3)


@pytest.mark.parametrize("at_once", [True, False])
def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(library: str, at_once: bool) -> None:
    stray = WHOLE.replace(b":1}", b":0}")
    server = Server([WHOLE + stray] if at_once else [WHOLE, stray], [WHOLE], pause=0.05)

    async def story(client: MaiaClient) -> list[str | None]:
        first = await client.fetch_page(TASK, None)
        await asyncio.sleep(0.0 if at_once else 0.2)
        return [first.events[0].data, (await client.fetch_page(TASK, None)).events[0].data]

    assert server.meet(library, story) == ["1", "1"]
    assert server.connections == 2


# ---------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([CLOSE], UpstreamSilent),
        ([OK, CLOSE], UpstreamSilent),
        ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n", CLOSE], UpstreamSilent),
        ([OK + b"no header\r\n\r\n", CLOSE], UpstreamSilent),
        ([OK + b"X: " + b"x" * 1_000_000, CLOSE], UpstreamSilent),
        ([OK + b"X: y\r\n" * 200_000, CLOSE], UpstreamSilent),
        ([WHOLE[:-3], CLOSE], BrokenPage),
        ([CHUNKED + in_chunks(PAGE, 5)[:-9], CLOSE], BrokenPage),
        ([OK + b"Content-Encoding: zstd\r\nContent-Length: 4\r\n\r\nabcd"], BrokenPage),
        ([OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"], BrokenPage),
        (
            [OK + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"],
            BrokenPage,
        ),
        ([OK + b"Content-Length: 9000\r\n\r\n" + b" " * 9000], PageTooLarge),
        ([CHUNKED + in_chunks(b" " * 9000, 100)], PageTooLarge),
        ([OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b" " * 9000), CLOSE], PageTooLarge),
    ],
)
def test_what_goes_wrong_is_told_apart_and_asked_no_second_time_unbidden(
    library: str, parts: list[bytes], kind: type[Exception]
) -> None:
    server = Server(parts)
    assert type(server.failure(library, max_page_bytes=8000)) is kind
    assert len(server.asked) == 1


def test_a_body_whose_chunks_are_none_may_pass(library: str) -> None:
    server = Server([CHUNKED + b"zz\r\n" + PAGE, CLOSE], [WHOLE])
    assert len(server.fetch(library, retries=1).events) == 1


def test_p8_what_is_too_large_is_not_read_to_its_end(library: str) -> None:
    sent = []

    class Endless(Server):
        async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"\r\n")
            for _ in range(1000):
                writer.write(b" " * 65_536)
                await writer.drain()
                sent.append(65_536)
            return False

    assert type(Endless([]).failure(library, max_page_bytes=100_000)) is PageTooLarge
    assert sum(sent) < 30_000_000  # a reader that reads on would have had 65 million


def test_a_connection_that_breaks_on_a_later_request_is_not_repeated_by_the_library(library: str) -> None:
    server = Server([WHOLE], [CLOSE], [WHOLE])

    async def story(client: MaiaClient) -> None:
        await client.fetch_page(TASK, None)
        with pytest.raises(RetriesExhausted) as caught:
            await client.fetch_page(TASK, None)
        assert type(caught.value.__cause__) is UpstreamSilent
        await client.fetch_page(TASK, None)
        assert client.requests == 3

    server.meet(library, story)
    assert len(server.asked) == 3


@pytest.mark.parametrize("parts", [[CLOSE], [OK, CLOSE], [b"no HTTP\r\n\r\n", CLOSE]])
def test_a_message_whose_answer_does_not_come_is_sent_once_and_its_outcome_unknown(
    library: str, parts: list[bytes]
) -> None:
    server = Server(parts)
    with pytest.raises(OutcomeUnknown):
        server.meet(library, lambda client: client.post_message(TASK, HELLO), retries=3)
    assert len(server.asked) == 1


def test_a_message_over_a_connection_that_breaks_is_sent_once(library: str) -> None:
    server = Server([WHOLE], [CLOSE])

    async def story(client: MaiaClient) -> None:
        await client.fetch_page(TASK, None)
        with pytest.raises(OutcomeUnknown):
            await client.post_message(TASK, HELLO)

    server.meet(library, story, retries=3)
    assert len(server.asked) == 2


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9/dpc", "http://no-such-host.invalid/dpc"])
def test_a_server_that_is_not_there_is_not_connected_to_and_asked_again(library: str, base_url: str) -> None:
    server = Server([WHOLE])

    async def story(client: MaiaClient) -> int:
        with pytest.raises(RetriesExhausted) as caught:
            await client.post_message(TASK, HELLO)
        assert type(caught.value.__cause__) is NotConnected
        assert "the connection could not be made (asked 3 times)" in str(caught.value)
        return client.requests

    assert server.meet(library, story, base_url=base_url, retries=2) == 3


def test_an_answer_that_stays_away_or_stops_is_too_slow(library: str) -> None:
    for parts in ([], [OK], [WHOLE[:-3]]):
        failure = Server(parts).failure(library, timeout=0.1)
        assert type(failure) is AnswerTooSlow
        assert "nothing came in time" in str(failure)


def test_silence_after_an_interim_answer_ends_at_the_deadline_at_the_latest(library: str) -> None:
    failure = Server([b"HTTP/1.1 103 Early Hints\r\n\r\n"]).failure(library, timeout=0.1, page_deadline=0.3)
    assert type(failure) is AnswerTooSlow


def test_an_answer_that_trickles_beyond_the_deadline_is_too_slow(library: str) -> None:
    drops = [WHOLE[n : n + 1] for n in range(len(WHOLE))]
    failure = Server(drops, pause=0.02).failure(library, timeout=5.0, page_deadline=0.2)
    assert type(failure) is AnswerTooSlow
    assert "was not whole after 0.2 s" in str(failure)


def test_an_error_answer_counts_even_if_it_breaks_off(library: str) -> None:
    server = Server([b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n{", CLOSE])
    with pytest.raises(TaskMissing):
        server.fetch(library)


@pytest.mark.parametrize("host", ["localhost", "maia.invalid"], ids=["direct", "by proxy"])
def test_neither_redirects_are_followed_nor_cookies_kept(
    library: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = (
        b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    )
    server = Server([moved], [WHOLE], host=host)  # some keep no cookies of an IP address

    async def story(client: MaiaClient) -> None:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
        with pytest.raises(RequestRefused, match="redirect"):
            await client.fetch_page(TASK, None)
        await client.fetch_page(TASK, None)

    server.meet(library, story)
    origin = "" if host == "localhost" else f"http://{host}:{server.port}"
    assert [line.split("?")[0] for line, *_ in server.asked] == [
        f"GET {origin}/dpc/v1/ai/agents/tasks/{TASK}/messages"
    ] * 2
    assert all("cookie" not in headers for _, headers, _ in server.asked)


def test_p7_a_request_that_is_cancelled_at_any_step_costs_no_later_one_its_connection(library: str) -> None:
    parts = [CHUNKED, *(in_chunks(PAGE, 12)[n : n + 9] for n in range(0, 45, 9))]
    server = Server(parts)

    async def story(client: MaiaClient) -> int:
        cancelled = 0
        for steps in [*range(40), *range(40)]:
            fetch = asyncio.create_task(client.fetch_page(TASK, None))
            for _ in range(steps):
                await asyncio.sleep(0)
            fetch.cancel()
            await asyncio.wait([fetch])
            cancelled += fetch.cancelled()
            assert len((await client.fetch_page(TASK, None)).events) == 1
        return cancelled

    assert server.meet(library, story, concurrency=1) > 10


# ---------------------------------------------------------------------------- certificates, proxies


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate of its own for 127.0.0.1 and maia.invalid."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "maia")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("maia.invalid")]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "own.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def served_by(certificate: Path) -> ssl.SSLContext:
    trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trust.load_cert_chain(certificate)
    return trust


def test_a_certificate_of_ca_file_is_trusted_and_no_other(library: str, certificate: Path) -> None:
    server = Server([WHOLE])
    assert server.fetch(library, trust=served_by(certificate), ca_file=certificate).events[0].data == "1"
    failure = server.failure(library, trust=served_by(certificate))
    assert type(failure) is NotConnected
    assert "its certificate is not trusted (see api.ca_file)" in str(failure)
    assert len(server.asked) == 1


def test_a_certificate_for_another_host_is_not_trusted(library: str, certificate: Path) -> None:
    server = Server([WHOLE])

    async def story(_: MaiaClient) -> None:
        address = f"https://localhost:{server.port}/"
        http = open_http(address, timeout=5, ca_file=certificate, library=library)  # type: ignore[arg-type]
        with pytest.raises(NotConnected, match="certificate"):
            await http.ask(http.make_request("GET"), whom="it", deadline=5, whole=None)
        await http.aclose()

    server.meet(library, story, trust=served_by(certificate), ca_file=certificate)
    assert server.asked == []


def test_a_server_that_speaks_no_tls_is_not_connected_to(library: str, certificate: Path) -> None:
    server = Server([WHOLE])

    async def story(_: MaiaClient) -> None:
        address = f"https://127.0.0.1:{server.port}/"
        http = open_http(address, timeout=0.5, ca_file=certificate, library=library)  # type: ignore[arg-type]
        with pytest.raises(NotConnected):
            await http.ask(http.make_request("GET"), whom="it", deadline=5, whole=None)
        await http.aclose()

    server.meet(library, story)


async def passed_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes] = bytes
) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(change(data))
            await writer.drain()
    writer.close()


def test_through_a_proxy_certificates_are_checked_as_well(
    library: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server([WHOLE])

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT maia.invalid:")
        answers, asking = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(passed_on(reader, asking), passed_on(answers, writer))

    async def story(_: MaiaClient) -> None:
        async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as proxy:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            address = f"https://maia.invalid:{server.port}/"
            nobodys = server_at(address, trust=None, timeout=5)
            for http, trusted in (
                (open_http(address, timeout=5, ca_file=certificate, library=library), True),
                (open_http(address, timeout=5, ca_file=None, library=library), False),
                (Connections(nobodys, OverHttpx), False),
            ):
                asked = http.ask(http.make_request("GET"), whom="it", deadline=5, whole=None)
                if trusted:
                    assert (await asked).body == PAGE
                else:
                    with pytest.raises(NotConnected, match="certificate"):
                        await asked
                await http.aclose()

    server.meet(library, story, trust=served_by(certificate))
    assert len(server.asked) == 1


def test_what_a_proxy_refuses_was_not_sent(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Server([b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"], host="maia.invalid")

    async def story(client: MaiaClient) -> None:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(RetriesExhausted, match="the proxy refused") as caught:
            await client.post_message(TASK, HELLO)
        assert type(caught.value.__cause__) is NotConnected

    proxy.meet(library, story, base_url="https://maia.invalid/dpc")
    assert [line for line, *_ in proxy.asked] == ["CONNECT maia.invalid:443 HTTP/1.1"]


def test_silence_beyond_a_proxy_is_too_slow(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([], host="maia.invalid")

    async def story(client: MaiaClient) -> None:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
        with pytest.raises(RetriesExhausted, match="nothing came in time"):
            await client.fetch_page(TASK, None)

    server.meet(library, story, timeout=0.1, page_deadline=1.0)


def test_an_encrypted_answer_that_is_damaged_on_its_way_is_a_broken_connection(
    library: Any, certificate: Path
) -> None:
    server = Server([WHOLE])

    async def damage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def damaged(data: bytes) -> bytes:
            return bytes(byte ^ 255 for byte in data) if server.asked else data

        answers, asking = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(passed_on(reader, asking), passed_on(answers, writer, damaged))

    async def story(_: MaiaClient) -> None:
        async with await asyncio.start_server(damage, "127.0.0.1", 0) as between:
            address = f"https://127.0.0.1:{between.sockets[0].getsockname()[1]}/"
            http = open_http(address, timeout=5, ca_file=certificate, library=library)
            with pytest.raises(UpstreamSilent, match="the connection broke"):
                await http.ask(http.make_request("GET"), whom="it", deadline=5, whole=1000)
            await http.aclose()

    server.meet(library, story, trust=served_by(certificate))
    assert len(server.asked) == 1


# ---------------------------------------------------------------------------- what is loaded, what is told


def test_nothing_of_http_is_loaded_before_the_first_request(library: str) -> None:
    program = f"""
import asyncio, random, sys
from maia_sync.clock import SystemClock
from maia_sync.maia.auth import make_auth
from maia_sync.maia.client import MaiaClient
from maia_sync.settings import ApiSettings, AuthSettings, Secret
async def main():
    api = ApiSettings(transport={library!r})
    for auth in (AuthSettings(token=Secret("t")), AuthSettings(client_id="me")):
        clock = SystemClock()
        async with MaiaClient(api, make_auth(auth, clock=clock), clock=clock, random=random.Random()):
            pass
asyncio.run(main())
print(*({{"httpx", "httpcore", "aiohttp"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_aiohttp_is_loaded_only_if_it_is_asked_for(library: str) -> None:
    program = f"""
import sys
from maia_sync.maia.connection import open_http
open_http("http://127.0.0.1:1/", timeout=1, ca_file=None, library={library!r})
print("aiohttp" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(library == "aiohttp")


def test_what_has_to_be_installed_or_cannot_be_loaded_is_told(
    library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "maia_sync.maia.over_aiohttp", raising=False)
    server = Server([WHOLE])
    if library == "aiohttp":
        with pytest.raises(ConfigError, match=r"pip install 'maia-sync\[fast\]'"):
            server.fetch(library)
    (tmp_path / "ca.pem").write_text("no certificates")
    with pytest.raises(ConfigError, match=r"api\.ca_file"):
        server.fetch(library, base_url="https://127.0.0.1:1/", ca_file=tmp_path / "ca.pem")
    assert server.asked == []


def test_p9_not_even_a_traceback_shows_the_page_token(library: str) -> None:
    token = "page-t0ken"
    cases: list[tuple[list[bytes], dict[str, Any]]] = [
        ([CLOSE], {}),
        ([b"no HTTP\r\n\r\n", CLOSE], {}),
        ([OK + b"X: " + b"x" * 1_000_000, CLOSE], {}),
        ([WHOLE[:-3], CLOSE], {}),
        ([], {"timeout": 0.1}),
        ([], {"base_url": "http://127.0.0.1:9/"}),
        ([], {"base_url": "http://192.0.2.1/", "timeout": 0.1}),  # for documentation: nobody answers
    ]
    for parts, settings in cases:
        with pytest.raises(RetriesExhausted) as caught:
            Server(parts).fetch(library, token, **settings)
        shown = "".join(traceback.format_exception(caught.value))
        assert "Traceback" in shown
        assert token not in shown
        assert "s3cret-bearer" not in shown
