"""How does a report become data, for a spreadsheet or a program? One long table of CSV, or one of JSON."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING

from maia_sync.report.cells import csv_line, json_cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from maia_sync.analytics.filling import Filled
    from maia_sync.report.making import Report
    from maia_sync.store.answer import Cell


def render_csv(report: Report) -> str:
    """Return a line for each cell: panel, row (from 1), column, value.

    What the report is stands first, as if it were a panel; a panel without an answer has one that says why.
    """
    return "".join(_csv_lines(report))


def _csv_lines(report: Report) -> Iterator[str]:
    yield csv_line(("panel", "row", "column", "value"))
    for name, value in _about(report).items():
        yield csv_line(("report", 1, name, value))
    for filled in report.panels:
        if filled.trouble is not None:
            yield csv_line((filled.panel.name, None, "trouble", filled.trouble))
        for at, row in enumerate(filled.rows, 1):
            for column, cell in zip(filled.columns, row, strict=True):
                yield csv_line((filled.panel.name, at, column, cell))


def render_json(report: Report) -> str:
    """Return one document; each row of a panel stands on one line, its cells in the order of the columns."""
    about = "".join(f"  {_text(name)}: {json_cell(value)},\n" for name, value in _about(report).items())
    panels = ",\n".join(map(_json_panel, report.panels))
    return f'{{\n{about}  "panels": [\n{panels}\n  ]\n}}\n'


def _json_panel(filled: Filled) -> str:
    panel = filled.panel
    rows = ",\n".join(f"        [{', '.join(map(json_cell, row))}]" for row in filled.rows)
    members = {
        "name": _text(panel.name),
        "title": _text(panel.title),
        "description": _text(panel.description),
        "sql": _text(filled.sql),
        "trouble": json_cell(filled.trouble),
        "columns": json.dumps(filled.columns, ensure_ascii=False),
        "rows": f"[\n{rows}\n      ]" if rows else "[]",
    }
    lines = ",\n".join(f"      {_text(name)}: {value}" for name, value in members.items())
    return f"    {{\n{lines}\n    }}"


def _about(report: Report) -> Mapping[str, Cell]:
    window, removed = report.window, report.removed
    return {
        "title": report.title,
        "since": _moment(window.since),
        "until": _moment(window.until),
        "time_zone": window.zone.key,
        "task": report.task_id,
        "generated_at": _moment(report.made_at),
        "version": report.version,
        "database": report.database,
        "pruned_events": 0 if removed is None else removed.pruned,
        "erased_events": 0 if removed is None else removed.erased,
        "removed_events_of_no_time": 0 if removed is None else removed.undated,
        "removed_at_least": removed is not None and removed.is_at_least,
        "removed": report.removed_told,
    }


def _text(text: str) -> str:
    return json_cell(text)


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
