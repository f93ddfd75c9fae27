"""In which formats is there a report, and how does it get into one? The end of a file's name says which."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from maia_sync.report.making import Report

Format: TypeAlias = Literal["html", "md", "csv", "json"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def format_of(path: str) -> Format | None:
    """Return the format that a file's name ends with; None if it ends with none."""
    ending = PurePath(path).suffix.removeprefix(".").lower()
    return next((one for one in FORMATS if one == ending), "html" if ending == "htm" else None)


def render(report: Report, form: Format) -> str:
    """Return a report in a format."""
    # What draws and fills templates is loaded by who needs it.
    if form == "html":
        from maia_sync.report.html_page import render_html  # noqa: PLC0415

        return render_html(report)
    if form == "md":
        from maia_sync.report.markdown_text import render_markdown  # noqa: PLC0415

        return render_markdown(report)
    from maia_sync.report import data_text  # noqa: PLC0415

    return data_text.render_csv(report) if form == "csv" else data_text.render_json(report)
