"""Who may see what, and with which headers does every answer leave?

With a token, all but the probes and the login need it: `Authorization: Bearer <token>`, or the cookie of a
login. Without one the service listens on loopback only, and answers only to a name of this machine or an
address: a page in a browser here cannot read it under a name of its own that it has pointed at us.
Whoever it is may only read.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

from maia_sync.web.admission import LOGIN, LOGOUT, has_bearer, has_cookie, is_cross_site

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from maia_sync.clock import Clock
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
ADMITTED = "maia_sync.admitted"
"""In the scope of a request where there is a token: `bearer` or `cookie`, by which it was let in, or None."""
CHALLENGE = 'Bearer realm="maia-sync"'
_OPEN_WITHOUT_TOKEN = (LOGIN, LOGOUT)
_STATIC = "/static/"


class Guard:
    """ASGI middleware that refuses visitors and adds the headers."""

    def __init__(self, app: ASGIApp, *, token: Secret | None, clock: Clock) -> None:
        self._app = app
        self._token = token
        self._clock = clock

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

        headers = Headers(scope=scope)
        refusal = _refusal_to_write(scope, headers) or self._refusal_to_show(scope, headers)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal_to_show(self, scope: Scope, headers: Headers) -> Response | None:
        path: str = scope["path"]
        if path in OPEN_PATHS:
            return None
        if self._token is None:
            if _is_of_this_machine(headers.get("host", "")):
                return None
            return PlainTextResponse("Ask for this by an address or as localhost.\n", 421)
        scope[ADMITTED] = self._admitted(headers, self._token)
        if scope[ADMITTED] or path in _OPEN_WITHOUT_TOKEN or path.startswith(_STATIC):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse(f"{LOGIN}?next={quote(_target(scope), safe='/')}", 303)
        return PlainTextResponse(
            "A token is needed: Authorization: Bearer <token>.\n",
            401,
            headers={"WWW-Authenticate": CHALLENGE},
        )

    def _admitted(self, headers: Headers, token: Secret) -> str | None:
        if has_bearer(headers, token):
            return "bearer"
        return "cookie" if has_cookie(headers, token, now=self._clock.now()) else None


def _refusal_to_write(scope: Scope, headers: Headers) -> Response | None:
    """Refuse all but reading, and what a page of somebody else's makes a browser send to the login."""
    if scope["method"] in ("GET", "HEAD"):
        return None
    if scope["method"] != "POST" or scope["path"] not in _OPEN_WITHOUT_TOKEN:
        return PlainTextResponse("This can only be read.\n", 405, headers={"Allow": "GET, HEAD"})
    if is_cross_site(headers):
        return PlainTextResponse("This was sent by a page of another site.\n", 403)
    return None


def _target(scope: Scope) -> str:
    """Return path and query as they were asked for."""
    path, query = (scope[name].decode("latin-1") for name in ("raw_path", "query_string"))
    return f"{path}?{query}" if query else path


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
