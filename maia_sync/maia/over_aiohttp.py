"""How is a request made by aiohttp, and how are its errors made ours? It costs a third of httpcore's.

Straight by aiohttp rather than by one of the transports that put it under httpx: those take a connection
that broke for one that was never made, so that a message would be sent twice, and keep cookies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import httpx
from yarl import URL

from maia_sync.maia.transport import KEPT_ALIVE, Reply, not_connected, silent, too_slow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from maia_sync.errors import RetryLater
    from maia_sync.maia.transport import Request, Server

_LONGEST_HEADER = 32 * 1024
"""Bytes of one header of an answer; it may have 128 of them."""
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class OverAiohttp:
    """One connection, made anew where it has been closed."""

    def __init__(self, server: Server) -> None:
        self._origin = server.origin
        self._session = aiohttp.ClientSession(
            connector=_Connector(ssl=server.trust or True, limit=0, keepalive_timeout=KEPT_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(connect=server.timeout, sock_read=server.timeout),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            middlewares=(_only_once,),
        )

    @property
    def usable(self) -> bool:
        """Whether it can be used again: it makes a new connection by itself where it needs one."""
        return not self._session.closed

    async def send(self, request: Request, headers: Sequence[tuple[bytes, bytes]]) -> Reply:
        """Make the request."""
        response = await self._session.request(
            request.method,
            URL(self._origin + request.target, encoded=True),
            headers=[(name.decode(), value.decode()) for name, value in headers],
            data=request.body,
            allow_redirects=False,
        )

        async def close() -> None:
            response.close()  # the connection too, unless the body has been read to its end

        return Reply(
            status=response.status,
            headers=httpx.Headers(response.raw_headers),
            body=response.content.iter_any(),
            aclose=close,
        )

    def convert(self, error: Exception, whom: str) -> RetryLater | None:
        """Return our error for one of aiohttp's."""
        if isinstance(error, _NOT_CONNECTED):
            return not_connected(whom, error)
        if isinstance(error, aiohttp.ServerTimeoutError):
            return too_slow(whom, error)
        return silent(whom, error) if isinstance(error, aiohttp.ClientError) else None

    async def aclose(self) -> None:
        """Close what is open."""
        await self._session.close()


class _Connector(aiohttp.TCPConnector):
    """Hands out no connection over which something came that nobody asked for.

    aiohttp would take it for the answer to the next request.
    """

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


async def _only_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Make a request: where its connection breaks, aiohttp would repeat a GET by itself, out of its turn.

    And no error leaves with the address in it, page token included: not even a traceback shows one.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ConnectionTimeoutError:
        raise aiohttp.ConnectionTimeoutError from None
    except aiohttp.ClientResponseError as error:
        raise aiohttp.ClientPayloadError(error.message) from None
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error
