"""Who would want to harm a reader? A raw TCP server that plays a trick on each task and serves others well.

It speaks HTTP/1.1 by hand, so that it can say what no framework lets one say. Everything is counted; a
second listener, the other origin, notes whatever reaches it.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import struct
import threading
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    Trick = Callable[["Visit"], Awaitable[None]]

MIB = 1024 * 1024
BOMB = 2048 * MIB
"""What the bombs come to when they are unpacked."""
SIGN_IN = "sign-in"
"""The name under which a trick of the token endpoint stands, where a task's UUID stands else."""

_TASK = re.compile(r"/tasks/([0-9a-f-]{36})/messages$")
_ACCESS = b'{"access_token":"hostile-access-token","token_type":"Bearer","expires_in":1800}'


class Visit(NamedTuple):
    """One request, and where its answer goes."""

    number: int
    """1 for the first of its task."""
    token: str | None
    limit: int
    elsewhere: str
    """The base URL of the other origin."""
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def answer(self, body: bytes, status: str = "200 OK", *headers: str) -> None:
        """Send a whole answer with its length."""
        await self.begin(status, f"Content-Length: {len(body)}", *headers)
        await self.send(body)

    async def begin(self, status: str = "200 OK", *headers: str) -> None:
        """Send status line and headers."""
        lines = (f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, "", "")
        await self.send("\r\n".join(lines).encode())


# ------------------------------------------------------------------ bombs


@cache
def gzip_bomb() -> bytes:
    """Return a page of no events and 2 GiB of white space, as 2 MB of gzip."""
    block = b" " * MIB
    head, tail = b'{"results":[', b"]}"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # After a full flush the packer remembers nothing, so that what follows can be repeated as it is.
    packed = [packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)]
    packed += [packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)] * (BOMB // MIB)
    packed.append(packer.compress(tail) + packer.flush(zlib.Z_FINISH))
    check = zlib.crc32(head)
    for _ in range(BOMB // MIB):
        check = zlib.crc32(block, check)
    check = zlib.crc32(tail, check)
    size = (len(head) + BOMB + len(tail)) % 2**32
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"".join(packed) + struct.pack("<II", check, size)


@cache
def double_bomb() -> bytes:
    """Return the gzip bomb, packed once more: some kilobytes."""
    return gzip.compress(gzip_bomb(), 9)


@cache
def zstd_bomb() -> bytes:
    """Return 32 KiB that are 1 GiB of white space in zstd (RFC 8878): blocks of one repeated byte."""
    size = 128 * 1024
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x38"  # magic, no options, a window of 128 KiB
    block = struct.pack("<I", size << 3 | 1 << 1)[:3] + b" "
    last = struct.pack("<I", size << 3 | 1 << 1 | 1)[:3] + b" "
    return frame + block * 8191 + last


# ------------------------------------------------------------------ tricks


async def empty_pages(visit: Visit) -> None:
    """No events, and a fresh token for ever."""
    await visit.answer(b'{"results":[],"more":"empty-%d"}' % visit.number)


async def same_events(visit: Visit) -> None:
    """The same events again under a fresh token for ever."""
    page = b",".join(
        b'{"data":{"n":%d},"groupId":"g","timestamp":"2026-01-05T08:00:%02dZ"}' % (n, n) for n in range(25)
    )
    await visit.answer(b'{"results":[%b],"more":"again-%d"}' % (page, visit.number))


async def bomb(visit: Visit) -> None:
    """2 MB of gzip that are 2 GiB."""
    await visit.answer(gzip_bomb(), "200 OK", "Content-Encoding: gzip")


async def bomb_in_bomb(visit: Visit) -> None:
    """Some kilobytes that are 2 MB of gzip that are 2 GiB."""
    await visit.answer(double_bomb(), "200 OK", "Content-Encoding: gzip, gzip")


async def bomb_in_a_refusal(visit: Visit) -> None:
    """A 404 whose problem is a bomb."""
    await visit.answer(gzip_bomb(), "404 Not Found", "Content-Encoding: gzip")


async def zstd(visit: Visit) -> None:
    """A compression that nobody asked for."""
    await visit.answer(zstd_bomb(), "200 OK", "Content-Encoding: zstd")


async def huge_header(visit: Visit) -> None:
    """A header of 1 MB before a good page."""
    await visit.answer(b'{"results":[]}', "200 OK", "X-Filler: " + "x" * 1_000_000)


async def early_hints(visit: Visit) -> None:
    """Answers that announce an answer, for ever."""
    while True:
        await visit.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 50)
        await asyncio.sleep(0.01)


async def trickle(visit: Visit) -> None:
    """A byte a second."""
    await visit.begin("200 OK", "Content-Length: 60000")
    for byte in b'{"results":[' + b" " * 59_988:
        await visit.send(bytes([byte]))
        await asyncio.sleep(1)


async def trickle_in_a_refusal(visit: Visit) -> None:
    """A 403 whose problem comes at a byte a second."""
    await visit.begin("403 Forbidden", "Content-Length: 60000")
    while True:
        await visit.send(b" ")
        await asyncio.sleep(1)


async def redirect(visit: Visit) -> None:
    """Go to another origin, please, and bring your token."""
    target = f"{visit.elsewhere}/v1/ai/agents/tasks/x/messages"
    await visit.answer(b"", "307 Temporary Redirect", f"Location: {target}")


async def white_space(visit: Visit) -> None:
    """A page that never ends: white space, chunk by chunk."""
    await visit.begin("200 OK", "Transfer-Encoding: chunked")
    await visit.send(b'c\r\n{"results":[\r\n')
    while True:
        await visit.send(b"10000\r\n", b" " * 65536, b"\r\n")


async def tiny_chunks(visit: Visit) -> None:
    """A page that never ends, in chunks of one byte."""
    await visit.begin("200 OK", "Transfer-Encoding: chunked")
    while True:
        await visit.send(b"1\r\n \r\n" * 10_000)


async def lying_length(visit: Visit) -> None:
    """A length that nobody could keep, and then silence."""
    await visit.begin("200 OK", f"Content-Length: {10**17}")
    await visit.send(b'{"results":[')
    await asyncio.sleep(3600)


async def abyss(visit: Visit) -> None:
    """Four million brackets."""
    await visit.answer(b'{"results":[' + b"[" * 4_000_000)


async def long_token(visit: Visit) -> None:
    """A page token of 4 MB."""
    await visit.answer(b'{"results":[],"more":"%b"}' % (b"t" * 4_000_000))


async def many_headers(visit: Visit) -> None:
    """A hundred thousand headers."""
    await visit.answer(b'{"results":[]}', "200 OK", *(f"X-{n}: y" for n in range(100_000)))


async def no_http(visit: Visit) -> None:
    """Not HTTP at all, without an end."""
    while True:
        await visit.send(b"SSH-2.0-OpenSSH_9.6 " * 1000)


TRICKS: dict[str, Trick] = {
    trick.__name__: trick
    for trick in (
        empty_pages,
        same_events,
        bomb,
        bomb_in_bomb,
        bomb_in_a_refusal,
        zstd,
        huge_header,
        early_hints,
        trickle,
        trickle_in_a_refusal,
        redirect,
        white_space,
        tiny_chunks,
        lying_length,
        abyss,
        long_token,
        many_headers,
        no_http,
    )
}


# ------------------------------------------------------------------ the server


@dataclass
class HostileServer:
    """Serves `logs` well and plays `tricks`, by task; a context manager."""

    logs: Mapping[str, Sequence[bytes]]
    tricks: Mapping[str, Trick]
    requests: Counter[str] = field(default_factory=Counter)
    """By task (or SIGN_IN)."""
    reached_elsewhere: list[bytes] = field(default_factory=list)
    """What the other origin was sent, connection by connection."""
    url: str = ""
    elsewhere: str = ""

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        here = await asyncio.start_server(self._meet, "127.0.0.1", 0, limit=MIB)
        there = await asyncio.start_server(self._note, "127.0.0.1", 0)
        self.url, self.elsewhere = (
            f"http://127.0.0.1:{each.sockets[0].getsockname()[1]}" for each in (here, there)
        )
        started.set()
        await self._over.wait()
        for each in (here, there):
            each.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _note(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached_elsewhere.append(await reader.read(65536))
        writer.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await self._answer(await reader.readuntil(b"\r\n\r\n"), reader, writer)
        writer.transport.abort()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(head.split(b" ", 2)[1].decode())
        query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        found = _TASK.search(target.path)
        name = found[1] if found else SIGN_IN
        if length := re.search(rb"(?i)content-length: (\d+)", head):
            await reader.readexactly(int(length[1]))
        self.requests[name] += 1
        visit = Visit(
            number=self.requests[name],
            token=query.get("paginationToken"),
            limit=int(query.get("limit", 25)),
            elsewhere=self.elsewhere,
            writer=writer,
        )
        trick = self.tricks.get(name)
        if trick is not None:
            await trick(visit)
        else:
            await visit.answer(_ACCESS if name == SIGN_IN else self._page(name, visit))

    def _page(self, task_id: str, visit: Visit) -> bytes:
        begin = int(visit.token or 0)
        end = begin + visit.limit
        events = self.logs[task_id]
        more = b',"more":"%d"' % end if end < len(events) else b""
        return b'{"results":[%b]%b}' % (b",".join(events[begin:end]), more)
