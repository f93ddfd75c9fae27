"""Which access tokens does the sandbox accept, and who gets a new one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from maia_sync.clock import Clock

LIFE = 1800.0
"""Seconds that an access token lives, as at the real identity provider."""

_PREFIX = "sandbox-access-"


class Bearers:
    """Fixed access tokens, and those issued for client credentials, which expire.

    `fixed` None accepts any token that is not empty (issued ones still expire); `clients` None accepts any
    client id and secret that are not empty. `told_life` is what the token endpoint says of an access token's
    life where that is not the truth; `revoke` refuses every one so far, and the endpoint goes on giving.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        fixed: Iterable[str] | None = None,
        clients: Mapping[str, str] | None = None,
        life: float = LIFE,
        told_life: float | None = None,
    ) -> None:
        self.fixed = None if fixed is None else set(fixed)
        self.clients = None if clients is None else dict(clients)
        self.life = life
        self.told_life = told_life
        self._clock = clock
        self._issued: dict[str, float] = {}
        self._count = 0

    def accepts(self, token: str) -> bool:
        """Say whether a request with this bearer token is let in."""
        if token in self._issued:
            return self._clock.monotonic() < self._issued[token]
        if self.fixed is None:
            return bool(token) and not token.startswith(_PREFIX)
        return token in self.fixed

    def knows(self, client_id: str, client_secret: str) -> bool:
        """Say whether these client credentials are good."""
        if self.clients is None:
            return bool(client_id and client_secret)
        return self.clients.get(client_id) == client_secret

    @property
    def issued(self) -> int:
        """How many access tokens were issued so far; no two are the same."""
        return self._count

    def issue(self) -> str:
        """Return a new access token."""
        self._count += 1
        token = f"{_PREFIX}{self._count:06d}"
        self._issued[token] = self._clock.monotonic() + self.life
        return token

    def revoke(self) -> None:
        """Refuse every access token issued so far."""
        self._issued.clear()
