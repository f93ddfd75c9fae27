"""Which bearer token goes with a request? Given, read from a file, printed by a command, or signed in for.

Our own, as no maintained library keeps these rules: httpx-auth fetches tokens by a
blocking client in the event loop, Authlib's OAuth 2 client wants to be the client itself.
"""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import msgspec

from maia_sync.errors import CredentialsRefused, MaiaSyncError, OperatorMustAct, SignInFailed
from maia_sync.maia.sign_in import SignIn, read_client_secret
from maia_sync.settings import ApiSettings, Secret, read_secret_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from maia_sync.clock import Clock
    from maia_sync.settings import AuthSettings

_COMMAND_SECONDS = 60
_MARGIN = 60.0
"""A token is renewed so many seconds ahead of its end, or a fifth of its life ahead if that is less."""
_NEXT_TRY = 10.0
"""Seconds until an early renewal that failed is tried again, as long as the old token is good."""


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token, and how long it lives (seconds from when it was asked for); None if nobody said."""

    secret: Secret
    life: float | None = None


class BearerAuth:
    """Has a bearer token for every request: had at the first one, renewed in time, shared by all.

    Many requests at once make one fetch, and share its failure. The client calls `ready` ahead of a
    request and `replace` after a 401: so whatever is waited for here is outside of the request's own
    deadline, a failure here is never taken for one of the request, and what is repeated keeps the pace.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[AccessToken]],
        *,
        clock: Clock,
        renewable: bool = True,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._renewable = renewable
        self._close = close
        self._one_flight = asyncio.Lock()
        self._flights = 0
        self._token: Secret | None = None
        self._renew_at: float | None = None
        self._expires_at: float | None = None
        self._failure: MaiaSyncError | None = None
        self._not_before = clock.monotonic()

    async def bearer(self) -> Secret | None:
        """Return a token that is not due for renewal, if one is to be had. Raises like `ready`."""
        await self.ready()
        if self._token is None:  # another request found it refused meanwhile
            await self.ready()
        return self._token

    async def ready(self) -> None:
        """Make sure of a token that is not due for renewal.

        Raises SignInFailed, CredentialsRefused or ConfigError, but not as long as the old one is good.
        """
        if self._token is not None and not self._has_passed(self._renew_at):
            return
        await self._renew()
        if self._failure is not None and (self._token is None or self._has_passed(self._expires_at)):
            raise self._failure.with_traceback(None)

    async def replace(self, refused: Secret) -> bool:
        """Make sure of another token than one that was refused (401); False if there is no other.

        If another request has seen to it meanwhile, its token counts. Raises like `ready`.
        """
        if self._token is None or self._token == refused:
            if not self._renewable:
                return False
            await self._renew(refused)
            if self._token is None and self._failure is not None:
                raise self._failure.with_traceback(None)
        return self._token is not None and self._token != refused

    def has_run_out(self, token: Secret) -> bool:
        """Tell whether a token that was refused is past its time, or has been renewed since."""
        return token != self._token or self._has_passed(self._expires_at)

    def due_in(self) -> float | None:
        """Return in how many seconds the token should be renewed; None if that is not known."""
        if self._token is None or self._renew_at is None:
            return None
        return max(self._renew_at, self._not_before) - self._clock.monotonic()

    async def aclose(self) -> None:
        """Give back what the token's source holds."""
        if self._close is not None:
            await self._close()

    async def _renew(self, refused: Secret | None = None) -> None:
        """Fetch a token, or wait for the fetch that is on its way, and take what that came to."""
        seen = self._flights
        async with self._one_flight:
            if self._flights != seen or (refused is not None and self._token not in (None, refused)):
                return
            if refused is not None:
                self._token = None
            if self._failure is None or self._has_passed(self._not_before):
                await self._fly()

    async def _fly(self) -> None:
        began = self._clock.monotonic()
        try:
            fetched = await self._fetch()
        except (SignInFailed, OperatorMustAct) as failure:
            self._failure = failure
            self._not_before = self._clock.monotonic() + self._respite(failure)
        else:
            life = fetched.life
            self._failure = None
            self._token = fetched.secret
            self._expires_at = None if life is None else began + life
            self._renew_at = None if life is None else began + life - min(_MARGIN, life / 5)
        self._flights += 1

    def _respite(self, failure: MaiaSyncError) -> float:
        """Return how long the source is left alone after a failure, in seconds."""
        asked = (failure.retry_after if isinstance(failure, SignInFailed) else None) or 0.0
        if self._token is None or self._expires_at is None:
            return asked
        left = self._expires_at - self._clock.monotonic()
        return max(asked, min(_NEXT_TRY, left / 4))

    def _has_passed(self, moment: float | None) -> bool:
        return moment is not None and moment <= self._clock.monotonic()


def make_auth(
    settings: AuthSettings,
    *,
    clock: Clock,
    api: ApiSettings | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> BearerAuth:
    """Make the auth flow that the settings ask for; nothing is read before the first request.

    `api` says how the sign-in server is reached (ca_file, timeouts). Raises ConfigError if no
    credential is configured.
    """
    kind = settings.require_credential()
    if kind == "client_credentials":
        sign_in = SignIn(settings, api or ApiSettings(), transport=transport)

        async def fetch() -> AccessToken:
            token, life = await sign_in.fetch_token(clock.now())
            return AccessToken(secret=_bearer(token, "the sign-in server (auth.token_url) gave"), life=life)

        return BearerAuth(fetch, clock=clock, close=sign_in.aclose)

    async def read() -> AccessToken:
        return AccessToken(secret=await asyncio.to_thread(read_token, settings))

    return BearerAuth(read, clock=clock, renewable=kind != "token")


def read_credential(settings: AuthSettings) -> None:
    """Make sure that what is configured can be had here; whether it is good is upstream's to say.

    Raises ConfigError or CredentialsRefused.
    """
    check = read_client_secret if settings.require_credential() == "client_credentials" else read_token
    check(settings)


def read_token(settings: AuthSettings) -> Secret:
    """Return the configured token. Raises CredentialsRefused if it cannot be had."""
    if settings.token is not None:
        return settings.token
    if settings.token_file is not None:
        text = read_secret_file(settings.token_file, key="auth.token_file").reveal().strip()
        return _bearer(text, f"auth.token_file: {settings.token_file} holds")
    return _run(settings.token_command or ())


def _run(command: tuple[str, ...]) -> Secret:
    """Run the command and take what it prints; what it printed never gets into a message."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_SECONDS, check=False)  # noqa: S603 - the operator's own command
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise CredentialsRefused(f"auth.token_command could not be run: {why}") from error
    except subprocess.TimeoutExpired as error:
        raise CredentialsRefused(
            f"auth.token_command was stopped: it took longer than {_COMMAND_SECONDS} seconds"
        ) from error
    if done.returncode != 0:
        raise CredentialsRefused(f"auth.token_command ended with exit code {done.returncode}")
    text = done.stdout.decode("ascii", "replace").strip()
    return _bearer(text, "auth.token_command printed")


def _bearer(text: str, told: str) -> Secret:
    """Accept what can stand in a header; what it was never gets into a message."""
    if not text or not text.isprintable() or not text.isascii() or " " in text:
        raise CredentialsRefused(f"{told} nothing that can be a bearer token: expected one, and nothing else")
    return Secret(text)
