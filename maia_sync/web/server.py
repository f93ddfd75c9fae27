"""How does an application get served from within a loop that has other work? Uvicorn, as a guest.

It leaves signals alone, writes no line for a request, and ends quickly however many connections
are kept open. Nobody holds one for nothing: it is let go of where no request comes, and where an answer is
not taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from maia_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from starlette.types import ASGIApp, Receive, Scope, Send

_GRACE = 1.0
"""Seconds that answers in hand have when the server stops."""
_MOST_CONNECTIONS = 256
MOST_TICKS_WITHOUT_REQUEST: Final = 10
"""Ticks, of about a second each, within which a whole request must have come."""
MOST_TICKS_WITHOUT_PROGRESS: Final = 30
"""Ticks for which nothing of an answer need be taken."""


class BrokenOff(Exception):  # noqa: N818 - no fault
    """Raised by an application that breaks an answer off, and the connection with it."""


class WebServer:
    """Serves an application for as long as the `async with` block lasts.

    `url` is where, such as http://127.0.0.1:8321; port 0 takes a free port. Entering raises ConfigError
    if the address cannot be listened on; connections are accepted from then on.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._port = port
        self.url = ""

    async def __aenter__(self) -> Self:
        listener = _listening(self._host, self._port)
        self.url = _url(listener)
        self._server = _Guest(self._app)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="maia-sync-web")
        started = asyncio.create_task(self._server.has_started.wait())
        try:
            await asyncio.wait({self._serving, started}, return_when=asyncio.FIRST_COMPLETED)
            if self._serving.done():
                self._serving.result()  # raises why
        except BaseException:
            self._serving.cancel()
            listener.close()
            raise
        finally:
            started.cancel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.leave()
        await self._serving


class _Guest(uvicorn.Server):
    """Uvicorn in somebody else's loop."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_MOST_CONNECTIONS,
            )
        )
        self.has_started = asyncio.Event()
        self._leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the host."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        self.has_started.set()

    async def main_loop(self) -> None:
        """Serve until told to leave, keeping the Date header right, and letting go of who holds us up."""
        while not await self.on_tick(0):
            self.tick()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), timeout=1)

    def tick(self) -> None:
        """Look at every connection; to be called about once a second."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Connection):
                connection.tick()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the answers in hand, for a moment, and close every connection."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=_GRACE)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        if stuck := set(self.server_state.tasks):
            for task in stuck:
                task.cancel()
            await asyncio.wait(stuck, timeout=_GRACE / 2)

    def leave(self) -> None:
        """Stop soon."""
        self.should_exit = True
        self._leaving.set()


class _Connection(H11Protocol):
    """A connection that does not stay for nothing."""

    _numbers = count()

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._told_app = self.app
        self.app = self._answer
        self._number = next(self._numbers)
        self._lost = asyncio.Event()
        self._ticks = 0
        self._resumed = 0
        self._last_progress: tuple[Any, ...] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it; where there are too many, the one that has been waiting for longest gives way."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            others = [each for each in self.connections if isinstance(each, _Connection)]
            waiting = [each for each in others if each is not self and each.is_waiting]
            if waiting:
                oldest = min(waiting, key=lambda each: each._number)  # noqa: SLF001 - one of us
                self.connections.discard(oldest)
                oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is gone."""
        self._lost.set()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Go on: the visitor has taken something."""
        self._resumed += 1
        super().resume_writing()

    @property
    def is_waiting(self) -> bool:
        """Tell whether a request is still to come, or to come whole."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def tick(self) -> None:
        """Break it off if it has been of no use for too many ticks."""
        unsent = self.transport.get_write_buffer_size()
        progress = (unsent, self._resumed, self.cycle, self.is_waiting)
        if progress != self._last_progress or (unsent == 0 and not self.is_waiting):
            self._ticks = 0
        else:
            self._ticks += 1
        self._last_progress = progress
        if self._ticks > (MOST_TICKS_WITHOUT_PROGRESS if unsent else MOST_TICKS_WITHOUT_REQUEST):
            self.transport.abort()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer; what ends an answer on purpose is no fault to be logged."""
        try:
            await self._told_app(scope, receive, send)
        except (BrokenOff, asyncio.CancelledError):  # only a server that stops cancels
            self.transport.abort()
            await self._lost.wait()


def _listening(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # With its protocol named, asyncio does not hold small answers back to join them (Nagle).
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_MOST_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    reason = error.strerror or type(error).__name__
    return ConfigError([f"web.bind: cannot listen on {host}, port {port}: {reason}"])


def _url(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
