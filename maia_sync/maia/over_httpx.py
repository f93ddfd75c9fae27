"""How is a request made by httpx, and how are its errors made ours? Where a proxy may stand between."""

from __future__ import annotations

import ssl
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx

from maia_sync.errors import RequestRefused
from maia_sync.maia.transport import Reply, Server, not_connected, silent, too_slow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.errors import RetryLater
    from maia_sync.maia.transport import Request

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Never asked through a proxy, whatever the environment says of proxies."""
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout)
_SILENT = (httpx.HTTPError, ssl.SSLError)
"""httpx lets what goes wrong within TLS pass as it is, once a connection is made."""


def server_at(address: str, *, trust: ssl.SSLContext | None, timeout: float) -> Server:
    """Return the server of an address. Raises RequestRefused if it cannot be asked for."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise RequestRefused("the address of the request is too long, or no address") from error
    return Server(
        scheme=url.scheme,
        host=url.raw_host.decode("ascii"),
        netloc=url.netloc.decode("ascii"),
        port=url.port or (443 if url.scheme == "https" else 80),
        target=url.raw_path.decode("ascii"),
        userinfo=url.userinfo,
        trust=trust,
        timeout=timeout,
    )


class OverHttpx:
    """One connection by a transport of httpx, or by its client, which finds the environment's proxies."""

    def __init__(self, server: Server, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._origin = server.origin
        self._extensions = {"timeout": httpx.Timeout(server.timeout).as_dict()}
        self._transport = transport or _ThroughProxies(server)

    @property
    def usable(self) -> bool:
        """Whether it can be used again: it makes a new connection by itself where it needs one."""
        return True

    async def send(self, request: Request, headers: Sequence[tuple[bytes, bytes]]) -> Reply:
        """Make the request."""
        response = await self._transport.handle_async_request(
            httpx.Request(
                request.method,
                self._origin + request.target,
                headers=headers,
                content=request.body,
                extensions=self._extensions,
            )
        )
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError
        return Reply(
            status=response.status_code,
            headers=response.headers,
            body=response.stream,
            aclose=response.aclose,
        )

    def convert(self, error: Exception, whom: str) -> RetryLater | None:
        """Return our error for one of httpx's."""
        if isinstance(error, _NOT_CONNECTED):
            return not_connected(whom, error)
        if isinstance(error, httpx.ReadTimeout):
            return too_slow(whom, error)
        return silent(whom, error) if isinstance(error, _SILENT) else None

    async def aclose(self) -> None:
        """Close what is open."""
        await self._transport.aclose()


class _ThroughProxies(httpx.AsyncBaseTransport):
    """httpx's client as a transport: it alone knows which address is asked through which proxy."""

    def __init__(self, server: Server) -> None:
        self._client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=1),
            verify=server.trust or server.scheme != "http",
            follow_redirects=False,
        )
        # Nothing here lives on cookies, and a server that sets ever new ones would fill our memory.
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()
