"""Who may see what, and with which headers does every answer leave?

With a token, all but the probes need it: `Authorization: Bearer <token>`, compared in constant time.
Without one the service listens on loopback only, and answers only to a name of this machine or an
address: a page in a browser here cannot read it under a name of its own that it has pointed at us.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from maia_sync.settings import Secret

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What probes ask for, who have no token."""
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer; one that says something else in a header of these keeps it."""


class Guard:
    """ASGI middleware that refuses visitors and adds the headers."""

    def __init__(self, app: ASGIApp, *, token: Secret | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = None if scope["path"] in OPEN_PATHS else self._refusal(Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, headers: Headers) -> Response | None:
        if self._token is None:
            if _is_of_this_machine(headers.get("host", "")):
                return None
            return PlainTextResponse("Ask for this by an address or as localhost.\n", 421)
        given = headers.getlist("authorization")
        if len(given) == 1 and _is_token(given[0], self._token):
            return None
        return PlainTextResponse(
            "A token is needed: Authorization: Bearer <token>.\n",
            401,
            headers={"WWW-Authenticate": 'Bearer realm="maia-sync"'},
        )


def _is_token(header: str, token: Secret) -> bool:
    scheme, _, given = header.partition(" ")
    expected = token.reveal().encode()
    # Headers come as Latin-1, which gives their bytes back.
    same = hmac.compare_digest(given.strip().encode("latin-1"), expected)
    return same and scheme.lower() == "bearer" and expected != b""


def _is_of_this_machine(host: str) -> bool:
    """Tell whether the Host header names an address or localhost, which no one else can point at us."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
