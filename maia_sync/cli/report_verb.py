"""What is there to be told of the copy? report: one file with charts and tables, to be passed on."""

import re
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from maia_sync.cli.interruption import interruptible
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.moments import parse_moment
from maia_sync.cli.screen import complain, note, write_text
from maia_sync.cli.task_ids import not_tracked, parse_task_id, shown
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_FAILED, EXIT_OK, UsageError
from maia_sync.report.formats import FORMATS, Format, format_of

if TYPE_CHECKING:
    from datetime import datetime

    from maia_sync.analytics.window import Window
    from maia_sync.app import App
    from maia_sync.report.making import Report

_ALL = "all"
_DATED = re.compile(r"\s*[0-9]{4}-")


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(report)


def report(
    context: typer.Context,
    *,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help='From when: "30d" ago, 2026-01-05, 2026-01-05T08:00Z, all.')
    ] = "30d",
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Up to when, which is not included any more.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="ID", help="Only of this task.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file; else to stdout.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="F",
            help=f"{', '.join(FORMATS)}; default: what --output ends with, or html.",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="What stands at the top.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> int:
    """Write a report of what the agents did, as one file.

    It has charts and tables, and needs nothing else: no network, no script. The database is only read, and
    what payloads say does not get into the report.
    """
    chosen = _format(form, output, as_json=as_json)
    task_id = None if task is None else parse_task_id(task)
    with invocation_of(context).app(migrated=False) as app, interruptible():
        window = _window(since, until, now=app.clock.now(), zone=ZoneInfo(app.settings.facets.time_zone))
        made = _made(app, window, task_id, title)
        _write(made, chosen, output)
    return _troubles(made)


def _format(form: str | None, output: str | None, *, as_json: bool) -> Format:
    """Return the format that is asked for. Raises UsageError if it cannot be had."""
    to_stdout = output in (None, "-")
    named = form or ("json" if as_json else None)
    wanted = named or ("html" if output is None or output == "-" else format_of(output))
    chosen = next((one for one in FORMATS if one == wanted), None)
    if chosen is None and named is None:
        raise UsageError(f"--output: expected a name that ends with {_endings()}, or --format beside it")
    if chosen is None:
        raise UsageError(f"--format: expected one of {', '.join(FORMATS)}, got {shown(str(wanted))}")
    if as_json and chosen != "json":
        raise UsageError(f"--json and --format {chosen} contradict each other")
    if chosen == "html" and to_stdout and sys.stdout.isatty():
        raise UsageError("HTML is nothing for a terminal: use -o report.html, or --format md")
    return chosen


def _endings() -> str:
    return f"{', '.join(f'.{one}' for one in FORMATS[:-1])} or .{FORMATS[-1]}"


def _made(app: "App", window: "Window", task_id: str | None, title: str | None) -> "Report":
    from maia_sync.report.making import TITLE, is_known, make_report
    from maia_sync.store.asking import ReadingDatabase
    from maia_sync.version import __version__

    url = app.settings.database.resolve_url()
    with closing(ReadingDatabase(url=url, clock=app.clock)) as database:
        if task_id is not None and not is_known(database, task_id):
            raise not_tracked([task_id])
        return make_report(
            database,
            window,
            version=__version__,
            max_lag=app.settings.schedule.max_lag,
            title=title or TITLE,
            task_id=task_id,
        )


def _window(since: str, until: str | None, *, now: "datetime", zone: ZoneInfo) -> "Window":
    """Return the stretch of time that is asked about. Raises UsageError."""
    from maia_sync.analytics.window import Window
    from maia_sync.report.making import last_seconds

    begins = None if since == _ALL else parse_moment(since, option="--since", now=now, zone=zone)
    ends = now if until is None else parse_moment(until, option="--until", now=now, zone=zone)
    if begins is not None and begins >= ends:
        raise UsageError("--since: expected a moment before --until, or before now")
    if until is None and begins is not None and not _DATED.match(since):
        return last_seconds((now - begins).total_seconds(), now, zone)
    label = "everything" if begins is None else "the time chosen"
    return Window(since=begins, until=ends, zone=zone, label=label)


def _write(report: "Report", chosen: Format, output: str | None) -> None:
    """Write a report to where it is wanted. Raises UsageError and MaiaSyncError."""
    from maia_sync.report.formats import render
    from maia_sync.report.whole_file import whole_file

    text = render(report, chosen)
    if output is None or output == "-":
        write_text(text)
        return
    content = text.encode("utf-8", "backslashreplace")
    with whole_file(output, told_by="--output") as file:
        file.write(content)
    note(f"Wrote {output}: {counted(len(report.panels), 'panel')}, {len(content):,} bytes")


def _troubles(report: "Report") -> int:
    """Say which panels have no answer; return the exit code."""
    complain(f"{filled.panel.title}: {filled.trouble}" for filled in report.troubles)
    return EXIT_FAILED if report.troubles else EXIT_OK
