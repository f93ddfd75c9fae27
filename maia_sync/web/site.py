"""Of what is the site made? The database that it reads, its templates, and the pages beside each other."""

from __future__ import annotations

from functools import wraps
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from maia_sync.errors import MaiaSyncError, UsageError
from maia_sync.report.templates import make_environment
from maia_sync.settings import ScheduleSettings
from maia_sync.web.guard import ADMITTED
from maia_sync.web.threads import Busy, Threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from zoneinfo import ZoneInfo

    from maia_sync.clock import Clock
    from maia_sync.store.asking import ReadingDatabase

T = TypeVar("T")

PAGES = (
    ("/", "Overview"),
    ("/tasks", "Tasks"),
    ("/tools", "Tools"),
    ("/errors", "Errors"),
    ("/sync", "Sync"),
)
"""What the navigation leads to."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    # Without it a browser would not say, where it sees no secure connection, that a form comes from here.
    "Referrer-Policy": "same-origin",
}
_HEADINGS = {
    400: "The address asks for something that cannot be",
    404: "Page not found",
    503: "The database does not answer",
}
_STATIC = {"page.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}

READERS: Final = 4
RENDERERS: Final = 2
READ_WITHIN: Final = 8.0
"""Seconds that a page waits for what it reads, a free thread included."""
RENDER_WITHIN: Final = 15.0

DEFAULT_MAX_LAG = ScheduleSettings().max_lag


class NotThere(Exception):  # noqa: N818 - an answer, not a fault
    """There is no such page; the sentence says what is not there."""


class Site:
    """The pages over one database, which is only read.

    `zone` is the reporting time zone, `max_lag` the seconds that the copy of an active task may be behind,
    `patience` the seconds that a page waits for what it reads.
    """

    def __init__(
        self,
        *,
        database: ReadingDatabase,
        zone: ZoneInfo,
        clock: Clock,
        max_lag: float = DEFAULT_MAX_LAG,
        patience: float = READ_WITHIN,
    ) -> None:
        self.database = database
        self.zone = zone
        self.clock = clock
        self.max_lag = max_lag
        self.environment = make_environment("maia_sync.web", filters={})
        self._readers = Threads(
            "maia-sync-read",
            READERS,
            patience=patience,
            sentence="The database is busy: try again in a moment",
        )
        self._renderers = Threads(
            "maia-sync-render",
            RENDERERS,
            patience=RENDER_WITHIN,
            sentence="There are too many visitors: try again in a moment",
        )

    def close(self) -> None:
        """Let go of the database; what is being asked ends, and nobody waits for what does not."""
        self._readers.close()
        self._renderers.close()
        self.database.close()

    async def read(self, work: Callable[..., T], *given: Any) -> T:
        """Have something read from the database in a thread, and return it.

        Raises what it raises, Busy, and DatabaseError where the database is not at this version's migration.
        """
        return await self._readers.run(self._read, work, *given)

    def _read(self, work: Callable[..., T], *given: Any) -> T:
        self.database.require_migrated_lately()
        return work(*given)

    async def render(self, request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
        """Return a page; rendering happens in a thread. Raises Busy."""
        given = self._given(request) | context
        text = await self._renderers.run(self._rendered, template, given)
        return HTMLResponse(text, status, headers=_HEADERS)

    def _rendered(self, template: str, given: Mapping[str, Any]) -> str:
        return self.environment.get_template(template).render(**given)

    def _given(self, request: Request) -> dict[str, Any]:
        return {
            "path": request.url.path,
            "pages": PAGES,
            "can_leave": request.scope.get(ADMITTED) == "cookie",
            "now": self.clock.now(),
            "zone": self.zone,
        }

    async def not_there(self, request: Request) -> Response:
        """Answer for an address that leads to no page."""
        return self._trouble(request, 404, "There is no such page.")

    def _trouble(self, request: Request, status: int, sentence: str) -> Response:
        """Return a page of one sentence; it is short, and rendered at once, whoever is busy."""
        told = f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}."
        given = self._given(request) | {"heading": _HEADINGS[status], "sentence": told}
        return HTMLResponse(self._rendered("trouble.html", given), status, headers=_HEADERS)

    def answering(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Any]:
        """Wrap an endpoint, so that what goes wrong is answered by a page with one sentence."""

        @wraps(endpoint)
        async def answered(request: Request) -> Response:
            try:
                return await endpoint(request)
            except NotThere as error:
                status, sentence = 404, str(error)
            except UsageError as error:
                status, sentence = 400, str(error)
            except Busy as error:
                answer = self._trouble(request, 503, str(error))
                answer.headers["Retry-After"] = str(error.retry_after)
                return answer
            except MaiaSyncError as error:
                status, sentence = 503, str(error)
            return self._trouble(request, status, sentence)

        return answered


def static_route() -> Route:
    """Return the path of styles, scripts and pictures."""
    return Route("/static/{name}", _static, methods=["GET"])


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return Response("There is no such file.\n", 404, media_type="text/plain")
    home = "maia_sync.report" if name == "page.css" else "maia_sync.web"  # a report has the sheet in it
    body = resources.files(home).joinpath("static", name).read_bytes()
    return Response(body, media_type=_STATIC[name], headers={"Cache-Control": "no-cache"})
