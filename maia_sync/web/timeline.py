"""What has a task done? Its log as a conversation, page by page, and what is new in it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from markupsafe import Markup
from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from maia_sync.analytics.filling import fill_panel
from maia_sync.analytics.panels import read_panels
from maia_sync.report.figures import FILTERS, ago, count, moment, moment_text
from maia_sync.report.removed import REMOVED, Removed, removed_of, sentence
from maia_sync.store.asking import READ_WITHIN
from maia_sync.store.timeline import find_turn_start, read_standing, read_whole
from maia_sync.web import event_page
from maia_sync.web.addresses import (
    event_address,
    quarantine_address,
    read_cursor,
    read_standing_cursor,
    read_whole_number,
    task_address,
    write_cursor,
)
from maia_sync.web.asked_task import task_id_of, task_of
from maia_sync.web.log_page import Asked, read_answered, read_page
from maia_sync.web.site import NotThere
from maia_sync.web.windows import EVER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from jinja2 import Environment

    from maia_sync.model import Task
    from maia_sync.store.timeline import Whole
    from maia_sync.web.log_page import LogPage
    from maia_sync.web.site import Site

_MOST_REMOVED: Final = 10_000
"""Events without a payload that are counted for each look at a task."""
_GLOBALS: Final[dict[str, Any]] = {
    "event_address": event_address,
    "quarantine_address": quarantine_address,
    "task_address": task_address,
    "write_cursor": write_cursor,
}


def routes(site: Site) -> list[BaseRoute]:
    """Return the paths of a task's pages."""
    prepare(site.environment)
    endpoints = _Timeline(site)
    return [
        Route("/tasks/{task_id}", site.answering(endpoints.page), methods=["GET"]),
        Route("/tasks/{task_id}/news", site.answering(endpoints.news), methods=["GET"]),
        *event_page.routes(site),
    ]


def prepare(environment: Environment) -> None:
    """Give an environment what the templates of these pages use."""
    filters = {"moment_ago": moment_ago, "moment_beside": moment_beside, "moment_exact": moment_exact}
    environment.filters.update({**FILTERS, **filters})
    environment.globals.update(_GLOBALS)


def moment_beside(value: datetime, other: datetime | None, zone: ZoneInfo) -> Markup:
    """Return a moment that stands below another one: of the same day, by its clock alone."""
    whole = moment(value, zone)
    day, _, clock = moment_text(value, zone).rpartition(", ")
    if other is None or moment_text(other, zone).rpartition(", ")[0] != day:
        return whole
    return Markup(whole.replace(f"{day}, {clock}", clock))  # noqa: S704 - a part of what is Markup already


def moment_exact(value: datetime | None, zone: ZoneInfo) -> Markup:
    """Return a moment with the milliseconds, or microseconds, that it has."""
    whole = moment(value, zone)
    if value is None or not value.microsecond:
        return whole
    fraction = f"{value.microsecond:06}"
    text = moment_text(value, zone)
    exact = f"{text}.{fraction.removesuffix('000')}"
    return Markup(whole.replace(text, exact))  # noqa: S704 - a part of what is Markup already


def moment_ago(value: datetime, now: datetime, zone: ZoneInfo) -> Markup:
    """Return how long ago a moment was; the moment itself in its title."""
    whole, text = str(moment(value, zone)), moment_text(value, zone)
    told = whole.replace(f">{text}<", f">{ago(value, now)}<").replace("<time ", f'<time title="{text}" ')
    return Markup(told)  # noqa: S704 - of our own words


class Ids:
    """Sees to it that no two elements of a page have one id: events can share their `seq`."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def is_first(self, seq: int) -> bool:
        """Tell whether an element may have the id of this `seq`."""
        if seq in self._given:
            return False
        self._given.add(seq)
        return True


class NoIds(Ids):
    """Gives no id: what is shown goes into a page that has them already."""

    def is_first(self, seq: int) -> bool:  # noqa: ARG002 - the same for all
        """Tell that there is to be no id."""
        return False


class _Timeline:
    """The pages of all tasks' logs."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._removed = read_panels()[REMOVED]

    async def page(self, request: Request) -> Response:
        """Answer with a stretch of a log."""
        task_id = task_id_of(request)
        asked = _asked(request)
        group_id = request.query_params.get("group")
        task, whole, page, removed = await self._site.read(self._read, task_id, asked, group_id)
        others = {name: value for name, value in request.query_params.items() if name != "text"}
        return await self._site.render(
            request,
            "timeline.html",
            task=task,
            whole=whole,
            page=page,
            mode=_mode(asked.plain),
            marked_seq=page.first[0] if asked.seq is not None and page.first else None,
            ids=Ids(),
            removed=None if removed is None else sentence(removed.whenever(), _events(whole)),
            here=partial(_here, task_id, others),
        )

    def _read(
        self, task_id: str, asked: Asked, group_id: str | None
    ) -> tuple[Task, Whole | None, LogPage, Removed | None]:
        with self._site.database.transaction(write=False) as tx:
            task = task_of(tx, task_id)
            if group_id is not None:
                seq = None if "\0" in group_id else find_turn_start(tx, task_id, group_id)
                if seq is None:
                    raise NotThere("There is no such turn in this task.")
                asked = msgspec.structs.replace(asked, seq=seq)
            whole, page = read_whole(tx, task_id), read_page(tx, task_id, asked)
        removed = fill_panel(
            self._site.database,
            self._removed,
            EVER,
            task_id=task_id,
            limit=_MOST_REMOVED,
            timeout=READ_WITHIN,
        )
        return task, whole, page, removed_of(removed)

    async def news(self, request: Request) -> Response:
        """Answer with the events behind a place, as HTML within JSON."""
        return JSONResponse(await self._site.read(self._news, request))

    def _news(self, request: Request) -> dict[str, Any]:
        task_id = task_id_of(request)
        place, told = read_standing_cursor(request.query_params.get("after", ""))
        plain = request.query_params.get("text") == "plain"
        asked = Asked(after=place, from_start=place is None, plain=plain)
        with self._site.database.transaction(write=False) as tx:
            task = task_of(tx, task_id)
            now = read_standing(tx, task_id, place)
            page = read_page(tx, task_id, asked)
            answered = read_answered(tx, task_id, page, plain=plain)
            if page.last is None:
                after = write_cursor(place, now)
            else:
                after = write_cursor(page.last, read_standing(tx, task_id, page.last))
        given = {"task": task, "mode": _mode(plain), "zone": self._site.zone}
        template = self._site.environment.get_template
        return {
            "html": template("timeline_news.html").render(page=page, ids=Ids(), **given),
            "answered": template("timeline_answered.html").render(page=answered, ids=NoIds(), **given),
            "after": after,
            "count": page.events,
            "more": not page.is_newest,
            "changed": told != (now.events, now.revisions, now.vanished),
        }


def _events(whole: Whole | None) -> str:
    return "the events of this task" if whole is None else f"{count(whole.events)} events"


def _mode(plain: bool) -> str | None:  # noqa: FBT001 - its only meaning
    return "plain" if plain else None


def _here(task_id: str, others: Mapping[str, str], text: str | None = None) -> str:
    """Return the address of this very stretch, its texts shown in one way or the other."""
    return task_address(task_id, **others, text=text)


def _asked(request: Request) -> Asked:
    query = request.query_params
    after, before = (read_cursor(query[each]) if each in query else None for each in ("after", "before"))
    return Asked(
        after=after,
        before=before,
        from_start=query.get("from") == "start",
        seq=read_whole_number(query["seq"], "seq") if "seq" in query else None,
        plain=query.get("text") == "plain",
    )
