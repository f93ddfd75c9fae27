"""How is a question shown with its answer? Chart, table, SQL and a download, or why there are none."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from zoneinfo import ZoneInfo

import msgspec
from markupsafe import Markup

from maia_sync.analytics.window import Window
from maia_sync.report.buckets import Axis
from maia_sync.report.charts import draw
from maia_sync.report.figures import (
    FILTERS,
    figure,
    heading,
    is_number,
    kind_of,
    moment,
    read_moment,
    shown,
)
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
_LONGEST_LABEL: Final = 80
_UNBROKEN: Final = ("agent_name",)
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

    def quarantine(self, task_id: str) -> str | None:
        """Return where that is shown which could not be stored of a task."""
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
    axis: Axis | None = None
    """Of all charts over an open window; None: each chart has its own."""


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """A key figure, as text; `note` says what to compare it with."""

    label: str
    value: str
    note: str = ""
    role: Literal["plain", "good", "bad"] = "plain"


class _Column(msgspec.Struct, frozen=True, kw_only=True):
    heading: str
    css_class: Literal["number", "text", "nowrap", ""]


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return make_environment(filters=FILTERS)


def render_panel(filled: Filled, showing: Showing) -> Markup:
    """Return a panel as a `<section>`; its ids begin with the panel's name."""
    places: Places = showing.places
    panel = filled.panel
    is_answered = not filled.is_pending and filled.trouble is None
    rows = filled.rows[:SHOWN_ROWS]
    shown_columns = [at for at in range(len(filled.columns)) if _is_shown(filled.columns, at, rows)]
    return _rendered(
        "panel.html",
        panel=panel,
        level=showing.level,
        trouble=filled.trouble,
        is_pending=filled.is_pending,
        fragment=places.fragment(filled) if filled.is_pending else None,
        as_of=moment(filled.asked_at, showing.zone) if _is_old(filled, showing) else None,
        drawing=draw(filled, showing.window, showing.now, showing.axis) if is_answered else None,
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


def _is_shown(names: Sequence[str], at: int, rows: Sequence[Row]) -> bool:
    """Tell whether a column is of use to a reader: the download has all of them."""
    name = names[at]
    is_with_its_task = name == "label" and "task_id" in names
    return name not in _FOR_LINKS and not is_with_its_task and any(row[at] is not None for row in rows)


def _is_end(names: Sequence[str], name: str) -> bool:
    """Tell whether a column is told as the time that passed: when it ended, beside when it started."""
    return name == "ended_at" and "started_at" in names


def _column(filled: Filled, at: int, rows: Sequence[Row]) -> _Column:
    name = filled.columns[at]
    cells = [row[at] for row in rows]
    if _is_end(filled.columns, name):
        return _Column(heading="took", css_class="number")
    if name == "task_id":
        return _Column(heading="task", css_class="")
    if is_number(name, cells):
        return _Column(heading=heading(name), css_class="number")
    is_long = any(isinstance(cell, str) and len(cell) > _LONG for cell in cells) and kind_of(name) == "other"
    if name in _UNBROKEN and not is_long:
        return _Column(heading=heading(name), css_class="nowrap")
    return _Column(heading=heading(name), css_class="text" if is_long else "")


def _cells(filled: Filled, shown_columns: Sequence[int], row: Row, showing: Showing) -> list[Markup]:
    """Return a row's cells; tasks, turns and events lead to where they are shown."""
    told: Mapping[str, Cell] = dict(zip(filled.columns, row, strict=True))
    cells: list[Markup] = []
    for at in shown_columns:
        name = filled.columns[at]
        href = _href(name, told, showing.places, is_first=not cells)
        if name == "task_id":
            cells.append(_task(told, href, showing.zone))
        elif _is_end(filled.columns, name):
            cells.append(figure("took_seconds", _took(told), showing.zone))
        else:
            cells.append(_linked(figure(name, row[at], showing.zone), href))
    return cells


def _linked(html: Markup, href: str | None) -> Markup:
    return html if href is None else Markup('<a href="{}">{}</a>').format(href, html)


def _task(row: Mapping[str, Cell], href: str | None, zone: ZoneInfo) -> Markup:
    """Return a task: by its label, with the beginning of its id behind it; without a label by that alone."""
    identity = figure("task_id", row["task_id"], zone)
    label = row.get("label")
    if not isinstance(label, str) or not label.strip():
        return _linked(identity, href)
    name = _linked(Markup("<bdi>{}</bdi>").format(shown(label.strip(), _LONGEST_LABEL)), href)
    return Markup('{} <span class="muted nowrap">{}</span>').format(name, identity)


def _took(row: Mapping[str, Cell]) -> float | None:
    began, ended = (read_moment(row[name]) for name in ("started_at", "ended_at"))
    return None if began is None or ended is None else (ended - began).total_seconds()


def _href(column: str, row: Mapping[str, Cell], places: Places, *, is_first: bool) -> str | None:
    task_id, group_id, seq = row.get("task_id"), row.get("group_id"), row.get("seq")
    if not isinstance(task_id, str):
        return None
    if column == "task_id":
        return places.task(task_id)
    if column == "group_id":
        return places.turn(task_id, group_id) if isinstance(group_id, str) and group_id else None
    if column == "quarantined":
        return places.quarantine(task_id) if row["quarantined"] else None
    return places.event(task_id, seq) if is_first and isinstance(seq, int) else None
