"""What do overview, tools, errors and sync show? Panels over a window of time, each on its own as well."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.responses import Response  # noqa: TC002
from starlette.routing import Route

from maia_sync.analytics.filling import row_of
from maia_sync.errors import UsageError
from maia_sync.report.buckets import axis_of
from maia_sync.report.figures import FILTERS, count
from maia_sync.report.panel import render_tiles
from maia_sync.report.removed import sentence, without_advice
from maia_sync.report.tiles import activity_tiles, freshness_tiles
from maia_sync.web.answers import PATIENCE
from maia_sync.web.downloads import Downloads
from maia_sync.web.filler import Filler
from maia_sync.web.renderings import Renderings
from maia_sync.web.site import NotThere
from maia_sync.web.task_pages import TaskPages
from maia_sync.web.windows import AHEAD, LABELS, Choice, choose_window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from starlette.routing import BaseRoute

    from maia_sync.analytics.filling import Filled
    from maia_sync.analytics.panels import Panel
    from maia_sync.analytics.window import Window
    from maia_sync.report.buckets import Axis
    from maia_sync.report.removed import Removed
    from maia_sync.web.site import Site

OVERVIEW: Final = ("activity", "tool-calls", "tokens", "cost", "errors", "task-states", "slowest-turns")
TOOLS: Final = (
    "tool-calls",
    "tools",
    "tool-error-rates",
    "tool-durations",
    "failing-calls",
    "slowest-calls",
    "unanswered-calls",
)
ERRORS: Final = ("errors", "errors-by-type", "error-types", "latest-errors")
SYNC: Final = (
    "task-states",
    "stale-tasks",
    "failing-tasks",
    "withheld-tasks",
    "workers",
    "next-polls",
    "runs",
    "quarantine",
    "kept",
)
"""The panels of each page, in their order; where a window is short, the one by the hour takes its place."""

_BY_HOUR: Final = "-by-hour"
_FOR_AXIS: Final = "activity"
"""Of an open window, where most of this is all charts of the page are drawn."""


def routes(site: Site) -> list[BaseRoute]:
    """Return the paths of these pages, of single panels, of their downloads and of the list of tasks."""
    site.environment.filters.update(FILTERS)
    filler = Filler(site.database, site.clock, max_lag=site.max_lag)
    downloads = Downloads(site.database)
    pages = _Pages(site, filler, downloads)
    tasks = TaskPages(site, filler, downloads)
    paths = {
        "/": pages.overview,
        "/tools": pages.tools,
        "/errors": pages.errors,
        "/sync": pages.sync,
        "/tasks": tasks.list,
        "/panels/overview-tiles": pages.tiles,
        "/panels/task-list": tasks.fragment,
        "/panels/task-list.csv": tasks.csv,
        "/panels/{name}.csv": pages.csv,
        "/panels/{name}": pages.panel,
    }
    return [Route(path, site.answering(answer), methods=["GET"]) for path, answer in paths.items()]


class _Pages:
    def __init__(self, site: Site, filler: Filler, downloads: Downloads) -> None:
        self._site = site
        self._filler = filler
        self._downloads = downloads
        self._renderings = Renderings(site.zone, site.clock)

    async def overview(self, request: Request) -> Response:
        asked = await self._asked(request)
        names = ["freshness", *self._for(asked.choice, OVERVIEW)]
        panels = [self._filler.panels[name] for name in names]
        figures, earlier, before = await self._figures(asked, along_with=panels)
        freshness, *filled = await self._fill(panels, asked)
        return await self._page(
            request,
            "overview.html",
            asked,
            filled,
            **_tiles(asked, figures, earlier, before),
            freshness=freshness,
            fresh_tiles=partial(_fresh_tiles, freshness, self._site.clock.now()),
            fresh=row_of(freshness),
            figures_of=row_of(figures),
        )

    async def tiles(self, request: Request) -> Response:
        asked = await self._asked(request)
        figures, earlier, before = await self._figures(asked)
        tiles = _tiles(asked, figures, earlier, before)
        return await self._site.render(request, "overview_tiles.html", panel=self._shower(asked), **tiles)

    async def _figures(
        self, asked: _Asked, along_with: Sequence[Panel] = ()
    ) -> tuple[Filled, Filled | None, Window | None]:
        """Return the figures of the window, and of the one before it if there is one.

        What is asked `along_with` them is begun, and fetched afterwards.
        """
        panels, choice = [self._filler.panels["figures"]], asked.choice
        before = choice.window.before(_quarter(self._site.clock.now()))
        earlier_key = f"before {choice.key}"
        if before is not None:
            await self._filler.fill(panels, before, earlier_key, patience=0)
        [figures, *_] = await self._fill([*panels, *along_with], asked)
        await self._look_for_removed(asked)
        if before is None or asked.removed is not None:
            return figures, None, None
        if await self._filler.count_removed(
            before, earlier_key, task_id=asked.task_id, patience=asked.left()
        ):
            return figures, None, None
        [earlier] = await self._filler.fill(panels, before, earlier_key, patience=asked.left())
        return figures, earlier, before

    async def tools(self, request: Request) -> Response:
        return await self._plain(request, "tools.html", TOOLS)

    async def errors(self, request: Request) -> Response:
        return await self._plain(request, "errors.html", ERRORS)

    async def sync(self, request: Request) -> Response:
        asked = await self._asked(request, has_window=False)
        panels = [self._filler.panels[name] for name in ("freshness", *SYNC)]
        freshness, *filled = await self._fill(panels, asked)
        tiles = partial(_fresh_tiles, freshness, self._site.clock.now())
        return await self._page(request, "sync.html", asked, filled, freshness=freshness, fresh_tiles=tiles)

    async def _plain(self, request: Request, template: str, names: Sequence[str]) -> Response:
        asked = await self._asked(request)
        panels = [self._filler.panels[name] for name in self._for(asked.choice, names)]
        filled = await self._fill(panels, asked)
        await self._look_for_removed(asked)
        return await self._page(request, template, asked, filled)

    # ------------------------------------------------------------------ one panel

    async def panel(self, request: Request) -> Response:
        panel = self._named(request)
        asked = await self._asked(request)
        [filled] = await self._fill([panel], asked)
        await self._look_for_removed(asked)
        return await self._site.render(request, "panel_alone.html", panel=self._shower(asked), filled=filled)

    async def csv(self, request: Request) -> Response:
        panel = self._named(request)
        asked = await self._asked(request)
        values: Mapping[str, Any] = {**asked.choice.window.values(), "task": asked.task_id}
        name = "-".join((panel.name, *asked.choice.query.values()))
        return await self._downloads.send(name, panel.statement, values)

    def _named(self, request: Request) -> Panel:
        panel = self._filler.panels.get(request.path_params["name"])
        if panel is None:
            raise NotThere("There is no panel of this name.")
        return panel

    # ------------------------------------------------------------------ what is asked

    async def _asked(self, request: Request, *, has_window: bool = True) -> _Asked:
        """Return what an address asks for.

        Raises UsageError, and DatabaseError if the database cannot be used.
        """
        begun = self._site.clock.monotonic()
        now = self._site.clock.now()
        newest = await self._filler.look(now + AHEAD, patience=PATIENCE)
        query = request.query_params if has_window else {}
        choice = choose_window(query, now=now, zone=self._site.zone, newest=newest)
        return _Asked(self._site, choice, _task_id(request.query_params), begun)

    @staticmethod
    def _for(choice: Choice, names: Sequence[str]) -> list[str]:
        told_in_hours = ("activity", "tool-calls", "tokens", "cost", "errors")
        is_short = choice.window.is_short
        return [f"{name}{_BY_HOUR}" if is_short and name in told_in_hours else name for name in names]

    async def _fill(self, panels: Sequence[Panel], asked: _Asked) -> list[Filled]:
        choice = asked.choice
        if choice.window.is_open and asked.axis is None:
            asked.axis = await self._axis(asked)
        return await self._filler.fill(
            panels,
            choice.window,
            choice.key,
            task_id=asked.task_id,
            patience=asked.left(),
            then=self._shower(asked),
        )

    async def _look_for_removed(self, asked: _Asked) -> None:
        asked.removed = await self._filler.count_removed(
            asked.choice.window, asked.choice.key, task_id=asked.task_id, patience=asked.left()
        )

    async def _axis(self, asked: _Asked) -> Axis | None:
        """Return the axis of all charts over an open window; None if it is not to be had in time."""
        window = asked.choice.window
        [most] = await self._filler.fill(
            [self._filler.panels[_FOR_AXIS]],
            window,
            asked.choice.key,
            task_id=asked.task_id,
            patience=asked.left(),
        )
        return axis_of(most, window, self._site.clock.now())

    async def _page(
        self, request: Request, template: str, asked: _Asked, filled: Sequence[Filled], **more: Any
    ) -> Response:
        figures = more.pop("figures_of", None)
        events = "the events of this time" if figures is None else f"{count(figures['events'])} events"
        return await self._site.render(
            request,
            template,
            choice=asked.choice,
            choices=LABELS,
            filled=filled,
            panel=self._shower(asked),
            is_waiting=any(each.is_pending for each in filled),
            removed=None if asked.removed is None else sentence(asked.removed, events),
            **more,
        )

    def _shower(self, asked: _Asked) -> Callable[[Filled], object]:
        def show(filled: Filled) -> object:
            told = without_advice(filled, asked.removed)
            return self._renderings.render(told, choice=asked.choice, axis=asked.axis)

        return show


class _Asked:
    """What an address asks for, and since when it has been waiting."""

    def __init__(self, site: Site, choice: Choice, task_id: str | None, begun: float) -> None:
        self.choice = choice
        self.task_id = task_id
        self.axis: Axis | None = None
        self.removed: Removed | None = None
        self._clock = site.clock
        self._begun = begun

    def left(self) -> float:
        """Return for how many seconds the page still waits."""
        return max(0.0, PATIENCE - (self._clock.monotonic() - self._begun))


def _tiles(asked: _Asked, figures: Filled, earlier: Filled | None, before: Window | None) -> dict[str, Any]:
    """Return what the template of the tiles is told."""
    fragment = f"/panels/overview-tiles?{urlencode(asked.choice.query)}"
    span = "" if before is None else before.label
    tiles = activity_tiles(figures, earlier, span)
    return {"figures": figures, "tiles_fragment": fragment, "tiles": partial(render_tiles, tiles)}


def _fresh_tiles(freshness: Filled, now: datetime) -> Any:
    return render_tiles(freshness_tiles(freshness, now))


def _quarter(now: datetime) -> datetime:
    """Return when the quarter of an hour began: summaries know no shorter stretch of time."""
    return now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)


def _task_id(query: Mapping[str, str]) -> str | None:
    text = query.get("task")
    if not text:
        return None
    try:
        return str(UUID(text))
    except ValueError:
        raise UsageError("task: expected the id of a task, a UUID") from None
