"""How does a report become one HTML file? Everything is in it; it asks for nothing and runs no script."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from markupsafe import Markup

from maia_sync.errors import Bug
from maia_sync.report.cells import csv_text
from maia_sync.report.figures import FILTERS, heading, short
from maia_sync.report.making import told
from maia_sync.report.panel import Showing, Tile, render_panel, render_tiles
from maia_sync.report.templates import make_environment
from maia_sync.report.tiles import activity_tiles, freshness_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.analytics.filling import Filled
    from maia_sync.report.making import Report, Section

_LARGEST_DOWNLOAD: Final = 300_000
"""How many characters an answer may have as CSV to be in the file for a second time."""


class _Inside:
    """The places of a report: no pages to lead to; what can be downloaded is in the file itself."""

    def task(self, _task_id: str) -> None:
        return None

    def turn(self, _task_id: str, _group_id: str) -> None:
        return None

    def event(self, _task_id: str, _seq: int) -> None:
        return None

    def quarantine(self, _task_id: str) -> None:
        return None

    def csv(self, filled: Filled) -> str | None:
        text = csv_text(filled.columns, filled.rows)
        if len(text) > _LARGEST_DOWNLOAD:
            return None
        return f"data:text/csv;charset=utf-8,{quote(text.encode('utf-8', 'backslashreplace'))}"

    def fragment(self, _filled: Filled) -> None:
        return None


def render_html(report: Report) -> str:
    """Return the report as a page."""
    showing = Showing(
        zone=report.window.zone,
        now=report.made_at,
        window=report.window,
        places=_Inside(),
        level=3,
        axis=report.axis,
    )
    style = style_sheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = make_environment(filters=FILTERS)
    return environment.get_template("report.html").render(
        report=report,
        zone=report.window.zone,
        stretch=told(report.window),
        sections=[(section.title, list(_pieces(section, report, showing))) for section in report.sections],
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=f"sha256-{digest}",
    )


@lru_cache(maxsize=1)
def style_sheet() -> str:
    """Return the sheet of pages and reports."""
    text = resources.files(__package__).joinpath("static", "page.css").read_text(encoding="utf-8")
    if "</style" in text.lower():
        raise Bug("page.css would end the element that it stands in")
    return text


def _pieces(section: Section, report: Report, showing: Showing) -> Iterator[Markup]:
    """Yield the panels of a section; those of one row that are not drawn become key figures together."""
    figures = [filled for filled in section.panels if _is_one_row(filled)]
    if figures:
        yield render_tiles([tile for filled in figures for tile in _tiles_of(filled, report, showing)])
    yield from (render_panel(filled, showing) for filled in section.panels if filled not in figures)


def _is_one_row(filled: Filled) -> bool:
    return filled.panel.chart is None and filled.panel.limit is None and len(filled.rows) == 1


def _tiles_of(filled: Filled, report: Report, showing: Showing) -> list[Tile]:
    """Return the only row of an answer as key figures."""
    if filled.panel.name == "figures":
        before = report.window.before(report.made_at)
        return activity_tiles(filled, report.earlier, "" if before is None else before.label)
    if filled.panel.name == "freshness":
        return freshness_tiles(filled, report.made_at)
    return [
        Tile(
            label=heading(name).capitalize(),
            value=short(name, cell, showing.zone),
        )
        for name, cell in zip(filled.columns, filled.rows[0], strict=True)
    ]
