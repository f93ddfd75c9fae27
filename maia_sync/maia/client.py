"""How is one page of a task's log fetched? Requests, retries, and httpx's errors made ours."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Self, TypeVar

import httpx
import msgspec

from maia_sync import __version__
from maia_sync.errors import (
    BrokenPage,
    CredentialsRefused,
    GiveUpTask,
    NotConnected,
    RequestRefused,
    RetriesExhausted,
    RetryLater,
    TaskForbidden,
    TaskMissing,
    TokenRefused,
    UpstreamBusy,
    UpstreamFault,
    UpstreamSilent,
)
from maia_sync.maia.problem import explain_problem
from maia_sync.maia.wire import decode_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from maia_sync.clock import Clock
    from maia_sync.model import Page
    from maia_sync.settings import ApiSettings

T = TypeVar("T")

# httpx tells every request line at INFO, page token included (promise P9).
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

_LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Never asked through a proxy, whatever the environment says of proxies."""
_NOBODY = "00000000-0000-0000-0000-000000000000"
_REFUSED_TOKEN = (400, 410, 414, 422)
"""The contract names 400; the others say the same of a page token."""
_LONGEST_WAIT = 60.0
_LONGEST_RETRY_AFTER = 300.0
_PROBLEM_BYTES = 64 * 1024


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What one request told about the API, whatever it answered."""

    status: int
    server_time: datetime | None


class MaiaClient:
    """Speaks to the Maia REST API; an async context manager. Knows pages, not tasks' states."""

    def __init__(
        self,
        settings: ApiSettings,
        auth: httpx.Auth,
        *,
        clock: Clock,
        random: Random,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self.requests = 0
        """Requests made so far, repeated ones included."""
        self._http = httpx.AsyncClient(
            auth=auth,
            timeout=settings.timeout,
            limits=httpx.Limits(
                max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency
            ),
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": f"maia-sync/{__version__}",
            },
            verify=_trust(settings),
            mounts=dict.fromkeys(_LOOPBACK),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def fetch_page(self, task_id: str, page_token: str | None, limit: int | None = None) -> Page:
        """Fetch one page of a task's log; repeats what may pass.

        Raises TaskForbidden, TaskMissing, RequestRefused (400 and other 4xx), RetriesExhausted,
        or CredentialsRefused.
        """

        async def attempt() -> Page:
            asked = limit or self._settings.page_size
            page = decode_page(await self._get(task_id, page_token, asked))
            return msgspec.structs.replace(page, limit=asked)

        return await self._persist(attempt)

    async def probe(self, task_id: str | None) -> Probe:
        """Ask once for one event of a task (or of none) and tell what came. Raises UpstreamSilent."""
        self.requests += 1
        try:
            response = await self._http.get(self._url(task_id or _NOBODY), params={"limit": 1})
        except httpx.HTTPError as error:
            raise UpstreamSilent(f"no answer from the API: {_name(error)}") from error
        return Probe(status=response.status_code, server_time=_server_time(response))

    async def _persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an attempt while what went wrong may pass: backoff doubles, with jitter."""
        for repeated in range(self._settings.retries + 1):
            try:
                return await attempt()
            except RetryLater as error:
                if repeated == self._settings.retries:
                    raise RetriesExhausted(f"{error} (asked {repeated + 1} times)") from error
                await self._clock.sleep(self._wait(repeated, error.retry_after))
        raise AssertionError  # pragma: no cover - range() is never empty

    def _wait(self, repeated: int, retry_after: float | None) -> float:
        longest = min(self._settings.backoff * 2.0**repeated, _LONGEST_WAIT)
        jittered = longest * (0.5 + self._random.random() / 2)
        return max(jittered, min(max(retry_after or 0.0, 0.0), _LONGEST_RETRY_AFTER))

    def _url(self, task_id: str) -> str:
        return f"{self._settings.base_url}/v1/ai/agents/tasks/{task_id}/messages"

    async def _get(self, task_id: str, page_token: str | None, limit: int) -> bytes:
        params: dict[str, str | int] = {"limit": limit}
        if page_token is not None:
            params["paginationToken"] = page_token
        self.requests += 1
        try:
            async with (
                asyncio.timeout(self._settings.page_deadline),
                self._http.stream("GET", self._url(task_id), params=params) as response,
            ):
                if response.status_code == 200:
                    return await self._read(response, self._settings.max_page_bytes)
                problem = await self._read(response, _PROBLEM_BYTES, cut=True)
                raise _refusal(response, problem, page_token)
        except TimeoutError as error:
            raise UpstreamSilent(
                f"the API's answer was not whole after {self._settings.page_deadline:g} s"
            ) from error
        except httpx.InvalidURL as error:
            raise TokenRefused(
                f"the page token that the API gave ({len(page_token or ''):,} characters) cannot be asked for"
            ) from error
        except httpx.DecodingError as error:
            raise BrokenPage("the API's answer could not be decompressed") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise NotConnected(f"the API cannot be reached: {_name(error)}") from error
        except httpx.TransportError as error:
            raise UpstreamSilent(f"no whole answer from the API: {_name(error)}") from error

    @staticmethod
    async def _read(response: httpx.Response, most: int, *, cut: bool = False) -> bytes:
        """Read a body of at most `most` decoded bytes; a larger one is cut, or a BrokenPage."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                if cut:
                    break
                raise BrokenPage(f"the API's answer is larger than api.max_page_bytes ({most:,})")
        return b"".join(chunks)


def _trust(settings: ApiSettings) -> ssl.SSLContext | bool:
    """Return which certificates are trusted; a plain http:// address has none to check."""
    if settings.base_url.startswith("http://"):
        return False
    return ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True


def _refusal(  # noqa: PLR0911 - one return per kind of answer
    response: httpx.Response, body: bytes, page_token: str | None
) -> GiveUpTask | RetryLater | CredentialsRefused:
    """Tell the answers other than 200 apart by what to do next."""
    status = response.status_code
    bearer = response.request.headers.get("Authorization", "").removeprefix("Bearer ")
    said = explain_problem(body, secrets=(page_token or "", bearer))
    if status == 401:
        return CredentialsRefused(f"the API refused the credentials (401){said}: check [auth]")
    if status == 403:
        return TaskForbidden(f"the credentials may not read this task (403){said}")
    if status == 404:
        return TaskMissing(f"the API knows no such task (404){said}")
    if status in (429, 503):
        return UpstreamBusy(f"the API is busy ({status}){said}", retry_after=_retry_after(response))
    if status >= 500:
        return UpstreamFault(f"the API failed ({status}){said}")
    if status in _REFUSED_TOKEN and page_token is not None:
        return TokenRefused(f"the API refused the page token ({status}){said}")
    if status == 400:
        return RequestRefused(f"the API refused the request (400){said}")
    return RequestRefused(f"the API gave an answer that the contract does not know ({status}){said}")


def _retry_after(response: httpx.Response) -> float | None:
    """Read Retry-After in seconds (RFC 9110 section 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _server_time(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError):
        return None


def _name(error: Exception) -> str:
    """Name a transport error by its kind and, where it is one of the system's, its reason."""
    names = {
        "ConnectError": "the connection could not be made",
        "ConnectTimeout": "the connection was not made in time",
        "ReadTimeout": "nothing came in time",
        "ReadError": "the connection broke",
        "RemoteProtocolError": "the connection ended before the answer did",
        "ProxyError": "the proxy refused",
    }
    kind = type(error).__name__
    return names.get(kind, kind)
