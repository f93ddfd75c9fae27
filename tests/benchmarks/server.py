"""What serves the pages? A process of its own that answers with prebuilt bytes and does nothing else.

Prints its port on stdout when it listens. Understands just the requests that the benchmark makes, and two of
its own, which are not counted: `/-/grow`, from which on the logs have their new events, and `/-/counts`,
which tells what was asked since the last time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from tests.benchmarks.work import Work, log_number, make_pages


class Shelf:
    """The answers, and what has been taken of them."""

    def __init__(self, work: Work) -> None:
        self.delay = work.delay
        self.answers = _answers(make_pages(work))
        self._grown = _answers(make_pages(work, grown=True)) if work.new_events else self.answers
        self._forget()

    def _forget(self) -> None:
        self.requests = self.sent = 0
        self._began = time.process_time()

    def ask(self, question: str) -> bytes:
        """Answer a request of the benchmark's own."""
        told = {"requests": self.requests, "sent": self.sent, "cpu": time.process_time() - self._began}
        if question == "/-/grow":
            self.answers = self._grown
        self._forget()
        return _answer(json.dumps(told).encode())

    def take(self, target: str) -> bytes:
        """Return the answer to a request for a page."""
        path, _, query = target.partition("?")
        log = self.answers[log_number(path.split("/")[-2])]
        _, _, token = query.partition("paginationToken=p")
        answer = log[int(token.partition("&")[0] or 0)]
        self.requests += 1
        self.sent += len(answer)
        return answer


class Pages(asyncio.Protocol):
    """One connection: request heads in, prebuilt answers out."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
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
            if target.startswith("/-/"):
                self._transport.write(self._shelf.ask(target))
            elif self._shelf.delay:
                answer = self._shelf.take(target)
                asyncio.get_running_loop().call_later(self._shelf.delay, self._transport.write, answer)
            else:
                self._transport.write(self._shelf.take(target))


async def serve(work: Work) -> None:
    """Serve the work's pages on a free port of loopback until the process is ended."""
    shelf = Shelf(work)
    server = await asyncio.get_running_loop().create_server(lambda: Pages(shelf), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _answers(logs: list[list[bytes]]) -> list[list[bytes]]:
    return [[_answer(body) for body in pages] for pages in logs]


def _answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


if __name__ == "__main__":
    asyncio.run(serve(Work(**json.loads(sys.argv[1]))))
