"""Which tasks does the list show? Searched, filtered, sorted, and fifty a page."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast, get_args
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request  # noqa: TC002 - Starlette reads the annotations of endpoints
from starlette.responses import Response  # noqa: TC002

from maia_sync.errors import UsageError
from maia_sync.model import TaskStatus
from maia_sync.report.figures import read_moment
from maia_sync.report.removed import sentence
from maia_sync.store.answer import Row
from maia_sync.store.task_list import DESCENDING_FIRST, SORTS, Listing, Sort
from maia_sync.web.answers import PATIENCE
from maia_sync.web.windows import AHEAD, EVER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from maia_sync.store.answer import Cell
    from maia_sync.web.downloads import Downloads
    from maia_sync.web.filler import Filler
    from maia_sync.web.site import Site

A_PAGE: Final = 50
STATES: Final[tuple[TaskStatus, ...]] = get_args(TaskStatus)
_LONGEST_SEARCH: Final = 200
_MOST_PAGES: Final = 1_000_000
_SHOWN: Final[tuple[tuple[Sort, str], ...]] = (
    ("label", "Task"),
    ("status", "State"),
    ("events", "Events"),
    ("turns", "Turns"),
    ("tool_calls", "Tool calls"),
    ("errors", "Errors"),
    ("tokens", "Tokens"),
    ("cost", "Cost"),
    ("last_at", "Newest event"),
    ("lag", "Behind"),
)
"""The columns of the table."""
_NUMBERS: Final = frozenset(SORTS) - {"label", "status", "last_at", "news"}


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an address asks for."""

    listing: Listing
    page: int

    def query(self, **changes: str | int | None) -> str:
        """Return how to ask for it again, with something changed; as short as can be."""
        listing = self.listing
        told: dict[str, str | int | None] = {
            "search": listing.search,
            "state": listing.state,
            "sort": listing.sort,
            "order": "desc" if listing.is_descending else "asc",
            "page": self.page,
        }
        told |= changes
        if told["sort"] == "news" and told["order"] == "desc":
            told["sort"] = told["order"] = None
        if told["page"] == 1:
            told["page"] = None
        return urlencode({name: value for name, value in told.items() if value})


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """A column's head: where clicking it leads, and how it is sorted now."""

    name: str
    query: str
    order: str | None
    is_number: bool


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


class TaskPages:
    """The list of tasks, its table alone, and its download."""

    def __init__(self, site: Site, filler: Filler, downloads: Downloads) -> None:
        self._site = site
        self._filler = filler
        self._downloads = downloads

    async def list(self, request: Request) -> Response:
        """Return the whole page."""
        return await self._shown(request, "tasks.html")

    async def fragment(self, request: Request) -> Response:
        """Return the table alone."""
        return await self._shown(request, "task_list.html")

    async def csv(self, request: Request) -> Response:
        """Return all tasks that are found, on whichever page."""
        asked = _read(request.query_params)
        listing = msgspec.structs.replace(asked.listing, offset=0, limit=None)
        # The last column, how many there are, is for the page.
        return await self._downloads.send("tasks", listing.statement(), listing.values(), columns=-1)

    async def _shown(self, request: Request, template: str) -> Response:
        begun = self._site.clock.monotonic()
        asked = _read(request.query_params)
        await self._filler.look(self._site.clock.now() + AHEAD, patience=PATIENCE)
        left = PATIENCE - (self._site.clock.monotonic() - begun)
        answer = await self._filler.find(asked.listing, partial(self._ask, asked.listing), max(left, 0.0))
        left = PATIENCE - (self._site.clock.monotonic() - begun)
        removed = await self._filler.count_removed(EVER, "ever", patience=max(left, 0.0))
        rows = [] if answer is None else [_by_name(answer.columns, row) for row in answer.rows]
        found = rows[0]["found"] if rows else 0
        return await self._site.render(
            request,
            template,
            asked=asked,
            states=STATES,
            heads=[_head(asked, sort, name) for sort, name in _SHOWN],
            rows=rows,
            found=found,
            last_page=max(1, -(-int(cast("int", found)) // A_PAGE)),
            is_pending=answer is None,
            removed=None if removed is None else sentence(removed.whenever(), "all events"),
            behind=partial(_behind, self._site.clock.now()),
            sql=f"{asked.listing.statement().spelt_out(asked.listing.values())};",
        )

    def _ask(self, listing: Listing, timeout: float) -> _Answer:
        database = self._site.database
        with database.ask(listing.statement(), listing.values(), timeout=timeout) as answer:
            return _Answer(columns=tuple(each.name for each in answer.columns), rows=tuple(answer.rows))


def _behind(now: datetime, row: Mapping[str, Cell]) -> timedelta | None:
    """Return since when the copy of a task was complete, or the task tracked if it never was."""
    since = read_moment(row["last_polled_at"] or row["tracked_at"])
    return None if since is None else max(now - since, timedelta(0))


def _by_name(columns: tuple[str, ...], row: Row) -> Mapping[str, Cell]:
    return dict(zip(columns, row, strict=True))


def _head(asked: _Request, sort: Sort, name: str) -> _Head:
    listing = asked.listing
    is_chosen = listing.sort == sort
    descends = not listing.is_descending if is_chosen else sort in DESCENDING_FIRST
    order = ("descending" if listing.is_descending else "ascending") if is_chosen else None
    query = asked.query(sort=sort, order="desc" if descends else "asc", page=1)
    return _Head(name=name, query=query, order=order, is_number=sort in _NUMBERS)


def _read(query: Mapping[str, str]) -> _Request:
    """Return what an address asks for. Raises UsageError."""
    search = query.get("search", "").strip()
    if len(search) > _LONGEST_SEARCH or "\0" in search or not _is_text(search):
        raise UsageError(f"search: expected at most {_LONGEST_SEARCH} characters of plain text")
    state = query.get("state") or None
    if state is not None and state not in STATES:
        raise UsageError(f"state: expected one of {', '.join(STATES)}")
    sort = query.get("sort") or "news"
    if sort not in SORTS:
        raise UsageError(f"sort: expected one of {', '.join(SORTS)}")
    order = query.get("order") or ("desc" if sort in DESCENDING_FIRST else "asc")
    if order not in ("asc", "desc"):
        raise UsageError("order: expected asc or desc")
    page = query.get("page") or "1"
    if not (page.isascii() and page.isdecimal() and len(page) < 8 and 1 <= int(page) <= _MOST_PAGES):
        raise UsageError("page: expected a whole number from 1")
    number = int(page)
    listing = Listing(
        search=search,
        state=state,
        sort=cast("Any", sort),
        is_descending=order == "desc",
        offset=(number - 1) * A_PAGE,
        limit=A_PAGE,
    )
    return _Request(listing=listing, page=number)


def _is_text(text: str) -> bool:
    return all(not "\ud800" <= sign <= "\udfff" for sign in text)
