"""How is a request made by httpcore, and how are its errors made ours? Straight on one connection.

httpx itself would make a request of its own and lead it through its client and a pool, which costs more
than all the rest. What its client does for us is done in connection.py instead, and a pool of one
connection is none.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpcore
import httpx

from maia_sync.maia.transport import KEPT_ALIVE, Reply, not_connected, silent, too_slow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.errors import RetryLater
    from maia_sync.maia.transport import Request, Server

_NOT_CONNECTED = (httpcore.ConnectError, httpcore.ConnectTimeout)
_SILENT = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError)
"""httpcore lets what goes wrong within TLS pass as it is, once a connection is made."""


class OverHttpcore:
    """One connection, made at the first request."""

    def __init__(self, server: Server) -> None:
        self._scheme = server.scheme.encode()
        self._host = server.host.encode()
        self._port = server.port
        self._extensions = {
            "timeout": {"connect": server.timeout, "read": server.timeout, "write": server.timeout}
        }
        self._connection = httpcore.AsyncHTTPConnection(
            httpcore.Origin(self._scheme, self._host, self._port),
            ssl_context=server.trust,
            keepalive_expiry=KEPT_ALIVE,
        )

    @property
    def usable(self) -> bool:
        """Whether neither side has closed the connection, and nothing came that nobody asked for."""
        if self._connection.is_closed() or self._connection.has_expired():
            return False
        made = self._connection._connection  # noqa: SLF001 - else it would be the answer to the next request
        return not (isinstance(made, httpcore.AsyncHTTP11Connection) and made._h11_state.trailing_data[0])  # noqa: SLF001

    async def send(self, request: Request, headers: Sequence[tuple[bytes, bytes]]) -> Reply:
        """Make the request."""
        target = request.target.encode()
        response = await self._connection.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=self._scheme, host=self._host, port=self._port, target=target),
                headers=headers,
                content=request.body,
                extensions=self._extensions,
            )
        )
        return Reply(
            status=response.status,
            headers=httpx.Headers(response.headers),
            body=response.aiter_stream(),
            aclose=response.aclose,
        )

    def convert(self, error: Exception, whom: str) -> RetryLater | None:
        """Return our error for one of httpcore's."""
        if isinstance(error, _NOT_CONNECTED):
            return not_connected(whom, error)
        if isinstance(error, httpcore.ReadTimeout):
            return too_slow(whom, error)
        return silent(whom, error) if isinstance(error, _SILENT) else None

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        await self._connection.aclose()
