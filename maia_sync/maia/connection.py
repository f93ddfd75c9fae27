"""How are connections made, and one request answered, whichever library speaks HTTP for us?"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote_to_bytes, urlencode
from urllib.request import getproxies

import httpx
import msgspec

from maia_sync.errors import (
    AnswerTooSlow,
    BrokenPage,
    ConfigError,
    RequestRefused,
    RetryLater,
    UpstreamSilent,
)
from maia_sync.maia.body import read_whole, read_words
from maia_sync.maia.over_httpcore import OverHttpcore
from maia_sync.maia.over_httpx import LOOPBACK, OverHttpx, server_at
from maia_sync.maia.transport import Request
from maia_sync.settings import Secret
from maia_sync.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from maia_sync.maia.transport import Pairs, Reply, Server, Transport
    from maia_sync.settings import ApiSettings

# httpx tells every request line at INFO, page token included (promise P9).
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

LONGEST_ADDRESS = 65_536
"""Characters of an address that are asked for at most: httpx takes no more."""
_NO_TOKEN = Secret("")


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

    There is no pool. In one, httpcore (1.0.9) loses a connection for good if the task is cancelled in the
    moment when an answer is closed, or before a new connection is begun; and with as many lost as there
    may be, nothing could be asked any more.
    """

    def __init__(self, server: Server, open_one: Callable[[Server], Transport]) -> None:
        self.server = server
        self.headers: Pairs = (
            (b"Host", server.netloc.encode()),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"gzip"),
            (b"User-Agent", f"maia-sync/{__version__}".encode()),
        )
        """What goes with every request."""
        self.login = _login(server.userinfo)
        """What goes with a request that carries no token."""
        self._open_one = open_one
        self._free: list[Transport] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def make_request(
        self,
        method: Literal["GET", "POST"],
        target: str | None = None,
        *,
        form: Mapping[str, str] | None = None,
        json: bytes | None = None,
        text: bytes | None = None,
    ) -> Request:
        """Make a request that carries a form, JSON or plain text, if anything.

        `target` is the path, percent-encoded; None for the address of the connections itself. Raises
        RequestRefused for one that is too long.
        """
        target = self.server.target if target is None else target
        if len(self.server.origin) + len(target) > LONGEST_ADDRESS:
            raise RequestRefused("the address of the request is too long")
        headers, body = self.headers, None
        for carried, kind in (
            (urlencode(form).encode() if form else None, b"application/x-www-form-urlencoded"),
            (json, b"application/json"),
            (text, b"text/plain; charset=utf-8"),
        ):
            if carried is not None:
                body = carried
                headers += ((b"Content-Type", kind), (b"Content-Length", b"%d" % len(carried)))
        return Request(method=method, target=target, headers=headers, body=body)

    async def ask(
        self,
        request: Request,
        *,
        whom: str,
        deadline: float,
        whole: int | None,
        bearer: Secret | None = None,
    ) -> Answer:
        """Make one request, and return the answer whatever its status.

        `whole` is the most bytes that the body of a 200 may have, which then must arrive whole within the
        deadline (seconds, for everything). Other bodies, and all if it is None, are only read for what
        they say: if they break, the status counts all the same. `whom` names the server in errors; `bearer`
        is the token that goes along, if any.

        Raises NotConnected (nothing was sent), AnswerTooSlow, UpstreamSilent, BrokenPage, PageTooLarge.
        """
        reply: Reply | None = None
        connection, ended_well = self.take(), False
        try:
            async with asyncio.timeout(deadline):
                authorization = _authorization(bearer) if bearer is not None else self.login
                reply = await connection.send(request, request.headers + authorization)
                try:
                    body = await _read(reply, whole)
                finally:
                    await reply.aclose()
            ended_well = True
            return Answer(status=reply.status, headers=reply.headers, body=body, bearer=bearer or _NO_TOKEN)
        except Exception as error:
            failure = _failure(error, connection, whom, deadline)
            if failure is None:
                raise
            if reply is not None and not _must_be_whole(reply, whole):
                return Answer(
                    status=reply.status, headers=reply.headers, body=b"", bearer=bearer or _NO_TOKEN
                )
            if reply is not None and _broke_off(failure):
                failure = BrokenPage(f"the answer began, but broke off: {failure}")
            if failure is error:
                raise
            raise failure from error
        finally:
            self.give_back(connection, ended_well=ended_well)

    def take(self) -> Transport:
        """Return a connection that no other request uses: the one used last, or a new one."""
        while self._free:
            connection = self._free.pop()
            if connection.usable:
                return connection
            self._drop(connection)
        return self._open_one(self.server)

    def give_back(self, connection: Transport, *, ended_well: bool) -> None:
        """Keep a connection for another request, if its own ended well."""
        if ended_well and not self._closed:
            self._free.append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Transport) -> None:
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
    library: Literal["httpx", "aiohttp"] = "httpx",
    transport: httpx.AsyncBaseTransport | None = None,
) -> Connections:
    """Make connections to the server at this address as they are needed.

    `timeout` is the longest silence, in seconds. No redirect is followed: it could carry the token
    elsewhere. `transport` takes the network's place. Raises RequestRefused for an address that cannot be
    asked for, and ConfigError if the library is not installed.
    """
    trust = None if transport is not None else _trust(address, ca_file)
    server = server_at(address, trust=trust, timeout=timeout)
    if transport is not None or _may_take_a_proxy(server):
        return Connections(server, partial(OverHttpx, transport=transport))
    if library == "aiohttp":
        return Connections(server, _over_aiohttp())
    return Connections(server, OverHttpcore)


def open_api(
    address: str, api: ApiSettings, *, transport: httpx.AsyncBaseTransport | None = None
) -> Connections:
    """Make connections as the settings of the API say. Raises ConfigError too for a bad api.ca_file."""
    try:
        return open_http(
            address, timeout=api.timeout, ca_file=api.ca_file, library=api.transport, transport=transport
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError([f"api.ca_file: the certificates cannot be loaded: {reason}"]) from error


def _over_aiohttp() -> Callable[[Server], Transport]:
    try:
        from maia_sync.maia.over_aiohttp import OverAiohttp  # noqa: PLC0415 - of an extra
    except ImportError as error:
        told = "api.transport: \"aiohttp\" needs one more package: pip install 'maia-sync[fast]'"
        raise ConfigError([told]) from error
    return OverAiohttp


def _may_take_a_proxy(server: Server) -> bool:
    """Tell whether the environment names any proxy: httpx finds out which, and for what."""
    proxies = getproxies()
    return server.host not in LOOPBACK and any(proxies.get(kind) for kind in ("http", "https", "all"))


def _trust(address: str, ca_file: Path | None) -> ssl.SSLContext | None:
    """Return which certificates are trusted; a plain http:// address has none to check."""
    if address.startswith("http://"):
        return None
    trust = ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context()
    trust.set_alpn_protocols(["http/1.1"])
    return trust


def _failure(error: Exception, connection: Transport, whom: str, deadline: float) -> RetryLater | None:
    """Return our error for what went wrong; None for what nobody foresaw."""
    if isinstance(error, RetryLater):
        return error
    failure = connection.convert(error, whom)
    if failure is None and isinstance(error, TimeoutError):
        return AnswerTooSlow(f"the answer of {whom} was not whole after {deadline:g} s")
    return failure


def _broke_off(error: RetryLater) -> bool:
    """Tell whether a connection broke, as opposed to an answer that is too slow, too large or damaged."""
    return isinstance(error, UpstreamSilent) and not isinstance(error, AnswerTooSlow)


def _authorization(bearer: Secret) -> Pairs:
    """Return the header that carries a token (RFC 6750 section 2.1)."""
    return ((b"Authorization", f"Bearer {bearer.reveal()}".encode()),)


def _login(userinfo: bytes) -> Pairs:
    """Return the header for the name and password of an address (RFC 7617)."""
    if not userinfo:
        return ()
    name, _, password = userinfo.partition(b":")
    login = b"%b:%b" % (unquote_to_bytes(name), unquote_to_bytes(password))
    return ((b"Authorization", b"Basic " + base64.b64encode(login)),)


def _must_be_whole(reply: Reply, whole: int | None) -> bool:
    return whole is not None and reply.status == 200


async def _read(reply: Reply, whole: int | None) -> bytes:
    codings = reply.headers.get_list("Content-Encoding", split_commas=True)
    if whole is None or reply.status != 200:
        return await read_words(reply.body, codings)
    return await read_whole(reply.body, codings, reply.headers.get("Content-Length", ""), most=whole)
