"""How does an application get served from within a loop that has other work? Uvicorn, as a guest.

It leaves signals alone, writes no line for a request, and ends quickly however many connections
are kept open.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self

import uvicorn

from maia_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from starlette.types import ASGIApp

_GRACE = 1.0
"""Seconds that answers in hand have when the server stops."""
_MOST_CONNECTIONS = 256


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
                http="h11",
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
        """Serve until told to leave, keeping the Date header right."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), timeout=1)

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
