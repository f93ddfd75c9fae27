"""How does a person with a browser show the token? A form, a cookie, and a way to leave again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from maia_sync.web.admission import COOKIE, LOGIN, LOGOUT, is_token, local_path, sealed
from maia_sync.web.guard import ADMITTED, CHALLENGE

if TYPE_CHECKING:
    from maia_sync.settings import Secret
    from maia_sync.web.site import Site

LASTS: Final = timedelta(hours=12)
_LARGEST_FORM: Final = 4096
_PATIENCE: Final = 10.0
"""Seconds within which a form must have come."""
_AT_ONCE: Final = 4
"""Wrong attempts that are slowed down in the same moment; further ones are sent away at once."""
_SLOWED: Final = 1.0
"""Seconds that a wrong token waits for its answer, so that a person notices, and a form in a loop is slow.

What makes guessing hopeless is the token, which must be long and random: neither this wait nor anything else
bounds how many are tried, in the header Authorization least of all.
"""


class Login:
    """The login of a site; without a token there is nothing to log in to."""

    def __init__(self, site: Site, token: Secret | None) -> None:
        self._site = site
        self._token = token
        self._in_hand = 0

    def routes(self) -> list[Route]:
        """Return its paths."""
        paths = ((LOGIN, self.show, "GET"), (LOGIN, self.log_in, "POST"), (LOGOUT, self.log_out, "POST"))
        return [Route(path, self._site.answering(answer), methods=[method]) for path, answer, method in paths]

    async def show(self, request: Request) -> Response:
        """Show the form, unless it is not needed."""
        wanted = local_path(request.query_params.get("next", "/"))
        if self._token is None or request.scope.get(ADMITTED):
            return RedirectResponse(wanted, 303)
        return await self._form(request, wanted)

    async def log_in(self, request: Request) -> Response:
        """Let in whoever has the token; a wrong one is answered late, and nothing of it is kept."""
        try:
            typed, wanted, trouble = await _read_form(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to see the form again
        if trouble is not None:
            return await self._form(request, wanted, trouble, status=400)
        if self._token is None:
            return RedirectResponse(wanted, 303)
        if is_token(typed, self._token):  # first: a flood of wrong ones keeps nobody out
            return self._let_in(request, wanted, self._token)
        if self._in_hand >= _AT_ONCE:
            sentence = "Too many attempts at once. Wait a moment, then try again."
            return await self._form(request, wanted, sentence, status=429)
        self._in_hand += 1
        try:
            await self._site.clock.sleep(_SLOWED)
        finally:
            self._in_hand -= 1
        return await self._form(request, wanted, "This is not the token.", status=401)

    async def log_out(self, request: Request) -> Response:
        """Take the cookie back."""
        response = RedirectResponse("/" if self._token is None else LOGIN, 303)
        response.delete_cookie(COOKIE, path="/", secure=_is_secure(request), httponly=True, samesite="strict")
        return response

    def _let_in(self, request: Request, wanted: str, token: Secret) -> Response:
        response = RedirectResponse(wanted, 303)
        response.set_cookie(
            COOKIE,
            sealed(self._site.clock.now() + LASTS, token),
            max_age=int(LASTS.total_seconds()),
            path="/",
            secure=_is_secure(request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def _form(
        self, request: Request, wanted: str, trouble: str | None = None, *, status: int = 200
    ) -> Response:
        # A strict cookie stays at home when a link on another site leads here; the next click takes it along.
        came_by_link = request.headers.get("sec-fetch-site") == "cross-site"
        response = await self._site.render(
            request,
            "login.html",
            status=status,
            pages=(),
            wanted=wanted,
            trouble=trouble,
            came_by_link=came_by_link,
        )
        if status == 401:
            response.headers["WWW-Authenticate"] = CHALLENGE
        if status == 429:
            response.headers["Retry-After"] = f"{_SLOWED:.0f}"
        return response


async def _read_form(request: Request) -> tuple[str, str, str | None]:
    """Return what was typed, the page that is wanted, and what is wrong with the form if anything is."""
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _LARGEST_FORM:
                    return "", "/", "This is too long to be a token."
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=8)
    except (TimeoutError, ValueError):
        return "", "/", "This form did not come whole. Try again."
    typed, wanted = (fields.get(name, [""])[-1] for name in ("token", "next"))
    return typed, local_path(wanted), None


def _is_secure(request: Request) -> bool:
    """Tell whether the browser has a secure connection, if need be to the proxy before us that says so."""
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return "https" in (request.url.scheme, forwarded)
