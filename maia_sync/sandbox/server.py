"""How is a world served on loopback? Uvicorn in a thread for tests, in the foreground for the CLI."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from maia_sync.errors import UsageError
from maia_sync.sandbox.mischief import DISRUPT
from maia_sync.sandbox.routes import build_app

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from maia_sync.sandbox.world import World

__all__ = ["SandboxServer", "build_app", "serve_forever"]

LOOPBACK = "127.0.0.1"

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def serve_forever(
    world: World,
    host: str = LOOPBACK,
    port: int = 0,
    announce: Callable[[str], None] | None = None,
    *,
    compress: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM, which is raised again after the clean end.

    `announce` receives the base URL once connections are accepted. UsageError where the address is not
    loopback or cannot be bound.
    """
    with _listening(host, port) as listener:
        url = _url(listener)
        server = _Server(world, compress=compress, started=lambda: announce(url) if announce else None)
        server.run(sockets=[listener])


class SandboxServer:
    """A world served from a background thread for as long as the `with` block lasts.

    `url` is the base URL, such as http://127.0.0.1:40123; port 0 takes a free port.
    """

    def __init__(self, world: World, *, host: str = LOOPBACK, port: int = 0, compress: bool = False) -> None:
        self.world = world
        self._host = host
        self._port = port
        self._compress = compress
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to serve; returns once connections are accepted."""
        started = threading.Event()
        self._listener = _listening(self._host, self._port)
        self.url = _url(self._listener)
        self._port = self._listener.getsockname()[1]
        self._server = _Server(self.world, compress=self._compress, started=started.set)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._listener],), name="maia-sandbox", daemon=True
        )
        self._thread.start()
        if not started.wait(timeout=10):
            raise RuntimeError("the sandbox did not start within ten seconds")

    def stop(self) -> None:
        """Stop serving and break every open connection; `start` begins again on the same port."""
        self._server.leave()
        self._thread.join(timeout=10)
        self._listener.close()


class _Server(uvicorn.Server):
    """Uvicorn, silent, that says when it has started and does not wait for stalled connections."""

    def __init__(self, world: World, *, compress: bool, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                build_app(world, compress=compress),
                http=_Protocol,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_keep_alive=75,
            )
        )
        self._say_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        self._loop = asyncio.get_running_loop()
        self._leaving = asyncio.Event()
        await super().startup(sockets=sockets)
        self._say_started()

    async def main_loop(self) -> None:
        """Serve until told to stop, at once where `leave` tells it."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % 864_000
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), timeout=0.1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Break every connection, stalled ones too, and wait for no client."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        if unfinished := set(self.server_state.tasks):
            _, stuck = await asyncio.wait(unfinished, timeout=1)
            for task in stuck:
                task.cancel()

    def leave(self) -> None:
        """Stop soon; to be called from another thread."""
        self.should_exit = True
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._leaving.set)


class _Protocol(H11Protocol):
    """HTTP/1.1 whose connections can be broken from the inside, by a scripted fault."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        # asyncio leaves this out for sockets made by socket.create_server, whose protocol number is 0;
        # without it small answers wait 40 ms for the client's acknowledgement.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state: dict[str, Any] = {**self.app_state, DISRUPT: self._disrupt}

    def _disrupt(self, *, reset: bool) -> None:
        if not reset:
            self.transport.close()
            return
        raw = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


def _listening(host: str, port: int) -> socket.socket:
    address = LOOPBACK if host == "localhost" else host
    if not _is_loopback(address):
        raise UsageError(f"The sandbox serves on loopback only, not on {host}: use 127.0.0.1 or ::1.")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=512)
    except OSError as error:
        raise UsageError(f"The sandbox cannot listen on {host}, port {port}: {error.strerror}.") from error


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _url(listener: socket.socket) -> str:
    address, port = listener.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
