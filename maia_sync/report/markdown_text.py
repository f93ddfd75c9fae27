"""How does a report become Markdown? Headings and tables; what cells hold is shown, and does nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from maia_sync.report.figures import heading, is_number, moment_text, plain
from maia_sync.report.making import told
from maia_sync.report.panel import SHOWN_ROWS
from maia_sync.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from maia_sync.analytics.filling import Filled
    from maia_sync.report.making import Report

_SIGNS: Final = re.compile(
    r"[\\`*_{}\[\]#!|~@$^]|:(?=[^\s0-9])|(?<![0-9]):(?=[0-9])|(?<=www)\.", re.IGNORECASE
)
"""What Markdown, or a dialect of it, could take for something else than a sign; a clock's colon stays."""
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def inert(text: str) -> str:
    """Return a text on one line that Markdown shows as it is."""
    line = " ".join(visible(text).split())
    return _SIGNS.sub(r"\\\g<0>", line).translate(_ENTITIES)


def render_markdown(report: Report) -> str:
    """Return the report as a document in Markdown (CommonMark with tables)."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    zone = report.window.zone
    yield f"# {inert(report.title)}"
    yield f"\n{inert(told(report.window))}"
    if report.task_id is not None:
        yield f"\nOnly of task {inert(report.task_id)}."
    if report.removed_told is not None:
        yield f"\n**{inert(report.removed_told)}**"
    for section in report.sections:
        yield f"\n## {section.title}"
        for filled in section.panels:
            if filled.panel.title != section.title:
                yield f"\n### {inert(filled.panel.title)}"
            yield f"\n{inert(filled.panel.description)}\n"
            yield from _answer(filled, zone)
    made = moment_text(report.made_at, zone)
    yield f"\nMade {made} by maia-sync {report.version} from {inert(report.database)}.\n"


def _answer(filled: Filled, zone: ZoneInfo) -> Iterator[str]:
    if filled.trouble is not None:
        yield f"**There is no answer:** {inert(filled.trouble)}"
        return
    if not filled.rows:
        yield filled.panel.empty  # our own sentence, whose commands are code
        return
    rows = filled.rows[:SHOWN_ROWS]
    names = filled.columns
    numbers = [is_number(name, [row[at] for row in rows]) for at, name in enumerate(names)]
    yield _line(heading(name) for name in names)
    yield _row("---:" if number else "---" for number in numbers)
    for row in rows:
        yield _line(plain(name, cell, zone) for name, cell in zip(names, row, strict=True))
    if len(filled.rows) > len(rows):
        yield f"\nand {len(filled.rows) - len(rows):,} more."


def _line(cells: Iterator[str]) -> str:
    return _row(inert(cell) for cell in cells)


def _row(cells: Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"
