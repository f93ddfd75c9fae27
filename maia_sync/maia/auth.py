"""Which bearer token goes with a request? Static ones: given, read from a file, printed by a command."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import httpx

from maia_sync.errors import ConfigError, CredentialsRefused
from maia_sync.settings import Secret, read_secret_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from maia_sync.settings import AuthSettings

_COMMAND_SECONDS = 60


class BearerAuth(httpx.Auth):
    """Puts a bearer token on every request; the token is had once, at the first one."""

    def __init__(self, source: Callable[[], Secret]) -> None:
        self._source = source
        self._token: Secret | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header (RFC 6750 section 2.1)."""
        if self._token is None:
            self._token = self._source()
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        yield request


def make_auth(settings: AuthSettings) -> BearerAuth:
    """Make the auth flow that the settings ask for; nothing is read before the first request.

    Raises ConfigError if no credential is configured.
    """
    kind = settings.require_credential()
    if kind == "client_credentials":
        raise ConfigError(
            ["auth.client_id: not usable in this version yet, expected token, token_file or token_command"]
        )
    return BearerAuth(lambda: read_token(settings))


def read_token(settings: AuthSettings) -> Secret:
    """Return the configured static token. Raises CredentialsRefused if it cannot be had."""
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
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialsRefused(f"auth.token_command could not be run: {type(error).__name__}") from error
    if done.returncode != 0:
        raise CredentialsRefused(f"auth.token_command ended with exit code {done.returncode}")
    text = done.stdout.decode("ascii", "replace").strip()
    return _bearer(text, "auth.token_command printed")


def _bearer(text: str, told: str) -> Secret:
    """Accept what can stand in a header; what it was never gets into a message."""
    if not text or not text.isprintable() or not text.isascii() or " " in text:
        raise CredentialsRefused(f"{told} nothing that can be a bearer token: expected one, and nothing else")
    return Secret(text)
