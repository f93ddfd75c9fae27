"""How are connections made, one request answered, and httpx's errors made ours? Here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx
import msgspec

from maia_sync.errors import (
    AnswerTooSlow,
    BrokenPage,
    NotConnected,
    RequestRefused,
    RetryLater,
    UpstreamSilent,
)
from maia_sync.maia.body import read_whole, read_words
from maia_sync.settings import Secret
from maia_sync.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

# httpx tells every request line at INFO, page token included (promise P9).
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

_LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Never asked through a proxy, whatever the environment says of proxies."""
_BEARER = "Bearer "


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer, whatever it says."""

    status: int
    headers: httpx.Headers
    body: bytes
    """Of a 200 that had to be whole: all of it. Else what could be had of its first 64 KiB."""
    bearer: Secret
    """The token that the request carried."""


class Connections:
    """Connections to one server; each serves one request at a time, and is dropped if one did not end well.

    Each has an httpx client of its own. In a pool, httpcore (1.0.9) loses a connection for good if the
    task is cancelled in the moment when an answer is closed, or before a new connection is begun; and
    with as many lost as there may be, nothing could be asked any more.
    """

    def __init__(self, open_one: Callable[[], httpx.AsyncClient]) -> None:
        self._open_one = open_one
        self._free = [open_one()]
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.build_request = self._free[0].build_request

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield a connection that no other request uses: the one used last, or a new one."""
        connection = self._free.pop() if self._free else self._open_one()
        ended_well = False
        try:
            yield connection
            ended_well = True
        finally:
            if ended_well and not self._closed:
                self._free.append(connection)
            else:
                self._drop(connection)

    def _drop(self, connection: httpx.AsyncClient) -> None:
        """Close a connection in a task of its own, which nobody cancels."""
        closing = asyncio.create_task(connection.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._note_closed)

    def _note_closed(self, closing: asyncio.Task[None]) -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.exception()  # seen: what does not even close well is gone all the same

    async def aclose(self) -> None:
        """Close all connections; those in use when their request ends."""
        self._closed = True
        while self._free:
            self._drop(self._free.pop())
        if self._closing:
            await asyncio.wait(self._closing)


def open_http(
    address: str,
    *,
    timeout: float,
    ca_file: Path | None,
    auth: httpx.Auth | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Connections:
    """Make connections to the server at this address as they are needed.

    `timeout` is the longest silence, in seconds. No redirect is followed: it could carry the token
    elsewhere.
    """
    trust = _trust(address, ca_file)
    return Connections(partial(_open_one, timeout=timeout, trust=trust, auth=auth, transport=transport))


def _open_one(
    *,
    timeout: float,
    trust: ssl.SSLContext | bool,
    auth: httpx.Auth | None,
    transport: httpx.AsyncBaseTransport | None,
) -> httpx.AsyncClient:
    client = httpx.AsyncClient(
        auth=auth,
        timeout=timeout,
        limits=httpx.Limits(max_connections=1),
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"maia-sync/{__version__}",
        },
        verify=trust,
        mounts=dict.fromkeys(_LOOPBACK),
        transport=transport,
        follow_redirects=False,
    )
    # Nothing here lives on cookies, and a server that sets ever new ones would fill our memory.
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


def _trust(address: str, ca_file: Path | None) -> ssl.SSLContext | bool:
    """Return which certificates are trusted; a plain http:// address has none to check."""
    if address.startswith("http://"):
        return False
    return ssl.create_default_context(cafile=ca_file) if ca_file else True


def make_request(
    http: Connections,
    method: str,
    url: str,
    *,
    params: Mapping[str, str | int] | None = None,
    form: Mapping[str, str] | None = None,
    json: bytes | None = None,
    text: bytes | None = None,
) -> httpx.Request:
    """Make a request that carries a form, JSON or plain text, if anything.

    Raises RequestRefused for an address that cannot be asked for, such as one that is too long.
    """
    content, headers = json, None
    if json is not None:
        headers = {"Content-Type": "application/json"}
    elif text is not None:
        content, headers = text, {"Content-Type": "text/plain; charset=utf-8"}
    try:
        return http.build_request(method, url, params=params, data=form, content=content, headers=headers)
    except httpx.InvalidURL as error:
        raise RequestRefused("the address of the request is too long, or no address") from error


async def ask(
    http: Connections, request: httpx.Request, *, whom: str, deadline: float, whole: int | None
) -> Answer:
    """Make one request, and return the answer whatever its status.

    `whole` is the most bytes that the body of a 200 may have, which then must arrive whole within the
    deadline (seconds, for everything). Other bodies, and all if it is None, are only read for what
    they say: if they break, the status counts all the same. `whom` names the server in errors.

    Raises NotConnected (nothing was sent), AnswerTooSlow, UpstreamSilent, BrokenPage, PageTooLarge.
    """
    response: httpx.Response | None = None
    body = b""
    try:
        with _converted(whom, deadline):
            async with http.one() as connection, asyncio.timeout(deadline):
                response = await connection.send(request, stream=True)
                try:
                    body = await _read(response, whole)
                finally:
                    await response.aclose()
    except RetryLater as error:
        if response is None:
            raise
        if _must_be_whole(response, whole):
            if _broke_off(error):
                raise BrokenPage(f"the answer began, but broke off: {error}") from error
            raise
    return Answer(
        status=response.status_code,
        headers=response.headers,
        body=body,
        bearer=Secret(response.request.headers.get("Authorization", "").removeprefix(_BEARER)),
    )


def _broke_off(error: RetryLater) -> bool:
    """Tell whether a connection broke, as opposed to an answer that is too slow, too large or damaged."""
    return isinstance(error, UpstreamSilent) and not isinstance(error, AnswerTooSlow)


def bearer_header(token: Secret) -> str:
    """Return the Authorization header's value for a token (RFC 6750 section 2.1)."""
    return f"{_BEARER}{token.reveal()}"


def _must_be_whole(response: httpx.Response, whole: int | None) -> bool:
    return whole is not None and response.status_code == 200


async def _read(response: httpx.Response, whole: int | None) -> bytes:
    """Read the body from the stream itself: httpx's own readers unpack without a bound."""
    raw = response.stream
    if not isinstance(raw, httpx.AsyncByteStream):
        raise TypeError
    codings = response.headers.get_list("Content-Encoding", split_commas=True)
    if whole is None or response.status_code != 200:
        return await read_words(raw, codings)
    return await read_whole(raw, codings, response.headers.get("Content-Length", ""), most=whole)


@contextmanager
def _converted(whom: str, deadline: float) -> Iterator[None]:
    """Turn httpx's errors, and a deadline that has passed, into ours."""
    try:
        yield
    except TimeoutError as error:
        raise AnswerTooSlow(f"the answer of {whom} was not whole after {deadline:g} s") from error
    except httpx.DecodingError as error:
        raise BrokenPage(f"the answer of {whom} could not be unpacked") from error
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout) as error:
        raise NotConnected(f"{whom} cannot be reached: {_name(error)}") from error
    except httpx.ReadTimeout as error:
        raise AnswerTooSlow(f"no whole answer from {whom}: {_name(error)}") from error
    except httpx.HTTPError as error:
        raise UpstreamSilent(f"no whole answer from {whom}: {_name(error)}") from error


def _name(error: Exception) -> str:
    """Name a transport error by its kind."""
    names = {
        "ConnectError": "the connection could not be made",
        "ConnectTimeout": "the connection was not made in time",
        "PoolTimeout": "no connection was free in time",
        "ReadTimeout": "nothing came in time",
        "ReadError": "the connection broke",
        "WriteError": "the connection broke",
        "RemoteProtocolError": "the connection ended before the answer did, or it was no HTTP",
        "ProxyError": "the proxy refused",
    }
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "its certificate is not trusted (see api.ca_file)"
        cause = cause.__cause__ or cause.__context__
    kind = type(error).__name__
    return names.get(kind, kind)
