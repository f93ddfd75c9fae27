"""How is a question shown with its answer? Chart, table, SQL and a download, or why there are none."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from zoneinfo import ZoneInfo

import msgspec
from markupsafe import Markup

from maia_sync.analytics.window import Window
from maia_sync.report.charts import draw
from maia_sync.report.figures import FILTERS, figure, heading, is_number, kind_of, moment
from maia_sync.report.templates import make_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import jinja2

    from maia_sync.analytics.filling import Filled
    from maia_sync.store.answer import Cell, Row

SHOWN_ROWS: Final = 200
"""How many rows a table on a page has at most; the download has all."""
_FOR_LINKS: Final = ("seq",)
"""Columns that tell where a row's event is to be found; nobody reads them."""
_LONG: Final = 40
_FRESH = timedelta(seconds=5)


class Places(Protocol):
    """Where things are to be found, from the page on which they are named; each an href, None for no link."""

    def task(self, task_id: str) -> str | None:
        """Return where a task is shown."""
        ...

    def turn(self, task_id: str, group_id: str) -> str | None:
        """Return where a turn is shown."""
        ...

    def event(self, task_id: str, seq: int) -> str | None:
        """Return where an event is shown in its task's log."""
        ...

    def csv(self, filled: Filled) -> str | None:
        """Return where an answer can be had as CSV."""
        ...

    def fragment(self, filled: Filled) -> str | None:
        """Return where to ask again for a panel whose answer is still being worked out."""
        ...


class Showing(msgspec.Struct, frozen=True, kw_only=True):
    """For whom answers are shown: in which zone, when, of which stretch of time, with links to where."""

    zone: ZoneInfo
    now: datetime
    window: Window
    places: Any  # Places
    level: Literal[2, 3] = 2
    """Of the panels' headings."""


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """A key figure, as text; `note` says what to compare it with."""

    label: str
    value: str
    note: str = ""
    role: Literal["plain", "good", "bad"] = "plain"


class _Column(msgspec.Struct, frozen=True, kw_only=True):
    heading: str
    css_class: Literal["number", "text", ""]


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return make_environment(filters=FILTERS)


def render_panel(filled: Filled, showing: Showing) -> Markup:
    """Return a panel as a `<section>`; its ids begin with the panel's name."""
    places: Places = showing.places
    panel = filled.panel
    is_answered = not filled.is_pending and filled.trouble is None
    rows = filled.rows[:SHOWN_ROWS]
    shown_columns = [at for at, name in enumerate(filled.columns) if _is_shown(name, at, rows)]
    return _rendered(
        "panel.html",
        panel=panel,
        level=showing.level,
        trouble=filled.trouble,
        is_pending=filled.is_pending,
        fragment=places.fragment(filled) if filled.is_pending else None,
        as_of=moment(filled.asked_at, showing.zone) if _is_old(filled, showing) else None,
        drawing=draw(filled, showing.window, showing.now) if is_answered else None,
        columns=[_column(filled, at, rows) for at in shown_columns],
        rows=[_cells(filled, shown_columns, row, showing) for row in rows],
        row_count=len(filled.rows),
        sql=filled.sql,
        csv=places.csv(filled) if is_answered else None,
    )


def render_tiles(tiles: Sequence[Tile]) -> Markup:
    """Return a row of key figures."""
    return _rendered("tiles.html", tiles=tiles)


def _rendered(template: str, **context: Any) -> Markup:
    return Markup(_environment().get_template(template).render(context))  # noqa: S704 - a template's text


def _is_old(filled: Filled, showing: Showing) -> bool:
    return not filled.is_pending and showing.now - filled.asked_at > _FRESH


def _is_shown(name: str, at: int, rows: Sequence[Row]) -> bool:
    """Tell whether a column is of use to a reader: the download has all of them."""
    return name not in _FOR_LINKS and any(row[at] is not None for row in rows)


def _column(filled: Filled, at: int, rows: Sequence[Row]) -> _Column:
    name = filled.columns[at]
    cells = [row[at] for row in rows]
    if is_number(name, cells):
        return _Column(heading=heading(name), css_class="number")
    is_long = any(isinstance(cell, str) and len(cell) > _LONG for cell in cells) and kind_of(name) == "other"
    return _Column(heading=heading(name), css_class="text" if is_long else "")


def _cells(filled: Filled, shown_columns: Sequence[int], row: Row, showing: Showing) -> list[Markup]:
    """Return a row's cells; tasks, turns and events lead to where they are shown."""
    told: Mapping[str, Cell] = dict(zip(filled.columns, row, strict=True))
    cells: list[Markup] = []
    for at in shown_columns:
        name = filled.columns[at]
        html = figure(name, row[at], showing.zone)
        href = _href(name, told, showing.places, is_first=not cells)
        cells.append(html if href is None else Markup('<a href="{}">{}</a>').format(href, html))
    return cells


def _href(column: str, row: Mapping[str, Cell], places: Places, *, is_first: bool) -> str | None:
    task_id, group_id, seq = row.get("task_id"), row.get("group_id"), row.get("seq")
    if not isinstance(task_id, str):
        return None
    if column == "task_id":
        return places.task(task_id)
    if column == "group_id":
        return places.turn(task_id, group_id) if isinstance(group_id, str) and group_id else None
    return places.event(task_id, seq) if is_first and isinstance(seq, int) else None
