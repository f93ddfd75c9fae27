"""What is served under which path? The web application; its server is in server.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from maia_sync.web.guard import SECURITY_HEADERS, Guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

    from maia_sync.service.health import Health
    from maia_sync.service.metrics import Metrics
    from maia_sync.settings import Secret

_INDEX = """maia-sync

/metrics   numbers for Prometheus
/healthz   whether the service lives
/readyz    whether it is ready
"""


def make_web(
    *, metrics: Metrics, health: Health, token: Secret | None, routes: Sequence[BaseRoute] = ()
) -> Starlette:
    """Return the application: metrics, health, and `routes` beside them.

    With a `token` all but the probes need it; without one, listen on loopback only.
    """
    ours = _Endpoints(metrics, health)
    paths = {"/metrics": ours.metrics, "/healthz": ours.alive, "/readyz": ours.ready}
    taken = {route.path for route in routes if isinstance(route, Route)}
    index = [] if "/" in taken else [Route("/", ours.index, methods=["GET"])]
    app = Starlette(
        routes=[*(Route(path, answer, methods=["GET"]) for path, answer in paths.items()), *index, *routes],
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={Exception: _broken},
    )
    app.router.redirect_slashes = False
    return app


class _Endpoints:
    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health

    async def index(self, _request: Request) -> Response:
        return PlainTextResponse(_INDEX)

    async def metrics(self, request: Request) -> Response:
        body, content_type = await self._metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

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
