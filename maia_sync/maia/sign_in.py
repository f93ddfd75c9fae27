"""How does an API client get an access token? OAuth 2 client credentials (RFC 6749 section 4.4)."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import msgspec

from maia_sync.errors import (
    BrokenPage,
    CredentialsRefused,
    NotConnected,
    RequestRefused,
    RetryLater,
    SignInFailed,
)
from maia_sync.maia.pace import read_retry_after
from maia_sync.settings import Secret, read_secret_file

if TYPE_CHECKING:
    from datetime import datetime

    import httpx

    from maia_sync.maia.connection import Answer, Connections
    from maia_sync.settings import ApiSettings, AuthSettings

_WHOM = "the sign-in server (auth.token_url)"
_MOST_BYTES = 64 * 1024
_LONGEST_DEADLINE = 60.0
_LONGEST_LIFE = 86_400.0
"""A token that is said to live longer is renewed once a day all the same."""
_CODES = (
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
)
"""What RFC 6749 section 5.2 knows; no other word of the answer is ever repeated."""
_ABOUT_THE_CLIENT = ("invalid_client", "invalid_grant", "unauthorized_client")
_MAY_PASS = (408, 425, 429)


class _Granted(msgspec.Struct, frozen=True):
    access_token: str
    token_type: object = None
    expires_in: object = None


class _Denied(msgspec.Struct, frozen=True):
    error: object = None


class SignIn:
    """Fetches access tokens with an HTTP client of its own, made at the first."""

    def __init__(
        self, settings: AuthSettings, api: ApiSettings, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._api = api
        self._transport = transport
        self._http: Connections | None = None

    async def fetch_token(self, now: datetime) -> tuple[str, float | None]:
        """Return an access token and its life in seconds, None if that is not told.

        Raises CredentialsRefused, SignInFailed, or ConfigError if the secret's file cannot be read.
        """
        secret = await asyncio.to_thread(read_client_secret, self._settings)
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id or "",
            "client_secret": secret.reveal(),
            "audience": self._settings.audience,
        }
        try:
            answer = await self._post(form)
        except SignInFailed:
            raise
        except RetryLater as error:
            raise SignInFailed(
                f"no access token just now: {error}", unconnected=isinstance(error, NotConnected)
            ) from error
        if answer.status != 200:
            raise _refusal(answer, now)
        return _read_grant(answer.body)

    async def _post(self, form: dict[str, str]) -> Answer:
        deadline = min(self._api.page_deadline, _LONGEST_DEADLINE)
        try:
            http = self._opened()
            request = http.make_request("POST", form=form)
            return await http.ask(request, whom=_WHOM, deadline=deadline, whole=_MOST_BYTES)
        except (BrokenPage, RequestRefused) as error:
            raise _unreadable() from error

    def _opened(self) -> Connections:
        if self._http is None:
            from maia_sync.maia.connection import open_api  # noqa: PLC0415 - httpx takes long to load

            self._http = open_api(self._settings.token_url, self._api, transport=self._transport)
        return self._http

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        if self._http is not None:
            await self._http.aclose()


def read_client_secret(settings: AuthSettings) -> Secret:
    """Return the API client's secret; a file is read anew each time, so that a rotated one is found.

    Raises ConfigError if it cannot be read.
    """
    if settings.client_secret_file is not None:
        text = read_secret_file(settings.client_secret_file, key="auth.client_secret_file").reveal()
        return Secret(text.strip())
    return settings.client_secret or Secret("")


def _read_grant(body: bytes) -> tuple[str, float | None]:
    """Read a successful answer (RFC 6749 section 5.1)."""
    try:
        granted = msgspec.json.decode(body, type=_Granted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable() from None  # the cause could quote the token
    if isinstance(granted.token_type, str) and granted.token_type.lower() != "bearer":
        raise CredentialsRefused(f"{_WHOM} gave a token that is no bearer token: check auth.token_url")
    return granted.access_token, _read_life(granted.expires_in)


def _read_life(told: object) -> float | None:
    """Read `expires_in`, in whatever spelling; what cannot be a life counts as not told."""
    if isinstance(told, bool) or not isinstance(told, int | float | str):
        return None
    try:
        life = float(told)
    except (ValueError, OverflowError):
        return None
    return min(life, _LONGEST_LIFE) if math.isfinite(life) and life > 0 else None


def _unreadable() -> SignInFailed:
    return SignInFailed(f"no access token just now: {_WHOM} gave an answer that cannot be read")


def _refusal(answer: Answer, now: datetime) -> CredentialsRefused | SignInFailed:
    """Tell a refusal from what may pass."""
    status = answer.status
    if status >= 500 or status in _MAY_PASS:
        headers = answer.headers
        wait = read_retry_after(headers.get("Retry-After", ""), date=headers.get("Date", ""), now=now)
        state = "is busy" if status in (429, 503) else "failed"
        return SignInFailed(f"no access token just now: {_WHOM} {state} ({status})", retry_after=wait)
    code = _error_code(answer.body)
    told = f"{status}, {code}" if code else f"{status}"
    if 300 <= status < 400:
        return CredentialsRefused(f"{_WHOM} answered with a redirect ({status}): check auth.token_url")
    if status == 401 or code in _ABOUT_THE_CLIENT:
        return CredentialsRefused(
            f"{_WHOM} refused the API client ({told}): check auth.client_id and auth.client_secret"
        )
    return CredentialsRefused(f"{_WHOM} refused to sign in ({told}): check auth.token_url and auth.audience")


def _error_code(body: bytes) -> str | None:
    try:
        code = msgspec.json.decode(body, type=_Denied).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return code if isinstance(code, str) and code in _CODES else None
