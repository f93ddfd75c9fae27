"""What is one request, and what comes back? The seam between us and the library that speaks HTTP."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Literal, Protocol

import httpx
import msgspec

from maia_sync.errors import AnswerTooSlow, NotConnected, UpstreamSilent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.errors import RetryLater

Pairs = tuple[tuple[bytes, bytes], ...]
"""Headers as they go over the wire."""

KEPT_ALIVE = 5.0
"""Seconds that a connection may lie unused before it is not used again; servers close theirs too."""

_TOLD = {
    "ConnectError": "the connection could not be made",
    "ClientConnectorError": "the connection could not be made",
    "ConnectTimeout": "the connection was not made in time",
    "ConnectionTimeoutError": "the connection was not made in time",
    "PoolTimeout": "no connection was free in time",
    "ReadTimeout": "nothing came in time",
    "SocketTimeoutError": "nothing came in time",
    "ReadError": "the connection broke",
    "WriteError": "the connection broke",
    "SSLError": "the connection broke",
    "ClientConnectionError": "the connection broke",
    "RemoteProtocolError": "the connection ended before the answer did, or it was no HTTP",
    "ServerDisconnectedError": "the connection ended before the answer did, or it was no HTTP",
    "ClientPayloadError": "the connection ended before the answer did, or it was no HTTP",
    "ClientResponseError": "the connection ended before the answer did, or it was no HTTP",
    "ProxyError": "the proxy refused",
}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a server, without the token that goes along."""

    method: Literal["GET", "POST"]
    target: str
    """Path and query, percent-encoded."""
    headers: Pairs
    body: bytes | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer whose body is still to be read."""

    status: int
    headers: httpx.Headers
    body: AsyncIterable[bytes]
    """As it came: nothing is unpacked."""
    aclose: Callable[[], Awaitable[None]]


class Transport(Protocol):
    """One connection to one server, for one request at a time. What it raises is the library's own."""

    @property
    def usable(self) -> bool:
        """Whether it can serve another request after one that ended well."""

    async def send(self, request: Request, headers: Sequence[tuple[bytes, bytes]]) -> Reply:
        """Make a request with these headers, which begin with the request's own; return its answer's head."""

    def convert(self, error: Exception, whom: str) -> RetryLater | None:
        """Return our error for one of the library's; None if it is none. `whom` names the server."""

    async def aclose(self) -> None:
        """Close the connection."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go, and with which certificates."""

    scheme: str
    host: str
    """In ASCII; an IPv6 address without brackets."""
    netloc: str
    """As in an address: in brackets where it must be, the port if it is not the usual one."""
    port: int
    target: str
    """Path and query of the address itself."""
    userinfo: bytes
    """`name:password` if the address holds one, else empty."""
    trust: ssl.SSLContext | None
    """Whose certificates are trusted; None where there are none to check."""
    timeout: float
    """The longest silence, in seconds."""

    @property
    def origin(self) -> str:
        """The part of the address before its path."""
        return f"{self.scheme}://{self.netloc}"


def not_connected(whom: str, error: Exception) -> NotConnected:
    """Return the error for a request of which nothing was sent."""
    return NotConnected(f"{whom} cannot be reached: {_told(error)}")


def too_slow(whom: str, error: Exception) -> AnswerTooSlow:
    """Return the error for an answer that did not come in time."""
    return AnswerTooSlow(f"no whole answer from {whom}: {_told(error)}")


def silent(whom: str, error: Exception) -> UpstreamSilent:
    """Return the error for a request of which nobody knows what became of it."""
    return UpstreamSilent(f"no whole answer from {whom}: {_told(error)}")


def _told(error: Exception) -> str:
    """Name a library's error by its kind."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its certificate is not trusted (see api.ca_file)"
        cause = cause.__cause__ or cause.__context__
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((_TOLD[name] for name in names if name in _TOLD), names[0])
