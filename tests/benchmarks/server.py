"""What serves the pages? A process of its own that answers with prebuilt bytes and does nothing else.

Prints its port on stdout when it listens. Understands just the requests that the benchmark makes.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from tests.benchmarks.work import Work, log_number, make_pages


class Pages(asyncio.Protocol):
    """One connection: request heads in, prebuilt answers out."""

    def __init__(self, answers: list[list[bytes]]) -> None:
        self._answers = answers
        self._unread = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while b"\r\n\r\n" in self._unread:
            head, _, self._unread = self._unread.partition(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode()
            path, _, query = target.partition("?")
            log = self._answers[log_number(path.split("/")[-2])]
            _, _, token = query.partition("paginationToken=p")
            self._transport.write(log[int(token.partition("&")[0] or 0)])


async def serve(work: Work) -> None:
    """Serve the work's pages on a free port of loopback until the process is ended."""
    answers = [[_answer(body) for body in pages] for pages in make_pages(work)]
    server = await asyncio.get_running_loop().create_server(lambda: Pages(answers), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def _answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


if __name__ == "__main__":
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Work)))
