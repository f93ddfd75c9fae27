"""What is served under which path? The web application; its server is in server.py."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, Router, request_response

from maia_sync.clock import SystemClock
from maia_sync.errors import MaiaSyncError
from maia_sync.web.guard import SECURITY_HEADERS, Guard
from maia_sync.web.threads import start

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from maia_sync.clock import Clock
    from maia_sync.service.health import Health
    from maia_sync.service.metrics import Metrics
    from maia_sync.settings import Secret
    from maia_sync.web.site import Site


def make_web(
    *,
    health: Health,
    token: Secret | None,
    metrics: Metrics | None = None,
    pages: Pages | None = None,
    routes: Sequence[BaseRoute] = (),
    clock: Clock | None = None,
) -> Starlette:
    """Return the application: health, metrics if there are any, `routes` beside them, and the pages.

    With a `token` all but the probes and the login need it; without one, listen on loopback only.
    """
    ours = _Probes(health)
    paths: dict[str, Callable[[Request], Awaitable[Response]]]
    paths = {"/healthz": ours.alive, "/readyz": ours.ready}
    if metrics is not None:
        paths["/metrics"] = _Numbers(metrics).show
    app = Starlette(
        routes=[*(Route(path, answer, methods=["GET"]) for path, answer in paths.items()), *routes],
        middleware=[Middleware(Guard, token=token, clock=clock or SystemClock())],
        exception_handlers={Exception: _broken},
    )
    app.router.redirect_slashes = False
    if pages is not None:
        app.router.default = pages  # for what has no route above
    return app


class Pages:
    """The pages, made when the first is asked for: most services start without ever seeing a visitor.

    What they are made of costs time and memory, so it is imported then, in a thread. `routes` are those of
    the site, all unless told otherwise; the login comes along.
    """

    def __init__(
        self,
        make_site: Callable[[], Site],
        *,
        token: Secret | None,
        routes: Callable[[Site], list[BaseRoute]] | None = None,
    ) -> None:
        self._make_site = make_site
        self._token = token
        self._routes = routes or _every_page
        self._making: Future[tuple[Site, ASGIApp]] | None = None
        self._closing = threading.Lock()
        self._made: Site | None = None
        self._is_closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a page."""
        await (await self._ready())(scope, receive, send)

    async def get_ready(self) -> None:
        """Make the pages now, so that the first visitor need not wait for it; trouble is told to visitors."""
        with suppress(MaiaSyncError):
            await self._ready()

    async def _ready(self) -> ASGIApp:
        making = self._making
        if making is None or (making.done() and making.exception() is not None):
            making = self._making = Future()
            making.set_running_or_notify_cancel()  # whoever goes away meanwhile takes nothing from the others
            start("maia-sync-pages", partial(self._make, making))
        _, app = await asyncio.wrap_future(making)
        return app

    def _make(self, making: Future[tuple[Site, ASGIApp]]) -> None:
        try:
            made = self._made_now()
        except BaseException as error:  # noqa: BLE001 - raised for whoever waits
            making.set_exception(error)
        else:
            making.set_result(made)

    def _made_now(self) -> tuple[Site, ASGIApp]:
        from maia_sync.web.login import Login  # noqa: PLC0415 - see above

        site = self._make_site()
        with self._closing:
            self._made, is_closed = site, self._is_closed
        if is_closed:  # meanwhile
            site.close()
        routes = [*self._routes(site), *Login(site, self._token).routes()]
        not_there = request_response(site.answering(site.not_there))
        return site, Router(routes, redirect_slashes=False, default=not_there)

    def close(self) -> None:
        """Let go of the database, if it has been asked for anything, or is about to be."""
        with self._closing:
            self._is_closed, made = True, self._made
        if made is not None:
            made.close()


def _every_page(site: Site) -> list[BaseRoute]:
    from maia_sync.web import pages, timeline  # noqa: PLC0415
    from maia_sync.web.site import static_route  # noqa: PLC0415

    return [*pages.routes(site), *timeline.routes(site), static_route()]


class _Numbers:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def show(self, request: Request) -> Response:
        body, content_type = await self._metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})


class _Probes:
    def __init__(self, health: Health) -> None:
        self._health = health

    async def alive(self, _request: Request) -> Response:
        if self._health.is_alive():
            return _verdict("alive")
        return _verdict("not alive", "the loop has not turned for too long")

    async def ready(self, _request: Request) -> Response:
        reasons = await self._health.reasons_against()
        return _verdict("not ready" if reasons else "ready", *reasons)


def _verdict(status: str, *reasons: str) -> Response:
    return JSONResponse({"status": status, "reasons": reasons}, 503 if reasons else 200)


async def _broken(_request: Request, _error: Exception) -> Response:
    """Answer for a mistake of ours; it is raised on, so that the log has it."""
    return PlainTextResponse("This is a mistake in maia-sync.\n", 500, headers=SECURITY_HEADERS)
