"""Is the copy up to date, and is it true? sync and verify."""

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.collector import collect_seldom
from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import note, print_json, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_ids import parse_task_ids
from maia_sync.cli.task_verbs import AsJson, require_tracked
from maia_sync.errors import EXIT_DIFFERENCE, EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from maia_sync.app import App
    from maia_sync.model import RunReport, VerifyReport

Chosen = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="ID", help="Only this task; repeatable. Takes paused ones too."),
]


def register(cli: typer.Typer) -> None:
    """Add the verbs of this module."""
    cli.command()(sync)
    cli.command()(verify)


def sync(
    context: typer.Context,
    task: Chosen = None,
    full: Annotated[
        bool, typer.Option("--full", help="Reconcile: read from the start, find what changed or vanished.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Bring the copy up to date: one run over every active task."""
    from maia_sync.cli.progress import watching
    from maia_sync.cli.summary import summarize_run

    task_ids = parse_task_ids(task or [])
    with invocation_of(context).app() as app:
        _require_tracked(app, task_ids)
        collect_seldom()
        with watching(app.settings.log, app.clock) as observers:
            report = app.sync(task_ids=task_ids, full=full, observers=observers)
    if as_json:
        print_json(report)
    else:
        if report.tasks == 0 and not report.held and report.interrupted_by is None:
            note("No active tasks: `maia-sync track TASK_ID` begins.")
        for line in summarize_run(report):
            say(line)
    return exit_code_of_run(report)


def verify(context: typer.Context, task: Chosen = None, as_json: AsJson = False) -> int:
    """Compare the copy with Maia, event by event; write nothing.

    Exit code 7 if they differ.
    """
    from maia_sync.cli.progress import watching
    from maia_sync.cli.summary import summarize_verify

    task_ids = parse_task_ids(task or [])
    with invocation_of(context).app() as app:
        _require_tracked(app, task_ids)
        collect_seldom()
        with watching(app.settings.log, app.clock) as observers:
            report = app.verify(task_ids=task_ids, observers=observers)
    if as_json:
        print_json(report)
    else:
        for line in summarize_verify(report):
            say(line)
        _print_differences(report)
    return exit_code_of_verify(report)


def _require_tracked(app: "App", task_ids: list[str]) -> None:
    if task_ids:
        with app.database.transaction(write=False) as tx:
            require_tracked(tx, task_ids)


def _print_differences(report: "VerifyReport") -> None:
    columns = ("difference", "group", "timestamp", "ordinal", "page")
    for task_id, differences in groupby(report.differences, key=attrgetter("task_id")):
        say(f"\nTask {task_id}")
        rows = [(one.kind, one.group_id, one.timestamp_text, one.ordinal, one.page) for one in differences]
        print_table(make_table(columns, rows, numbers=("ordinal", "page"), yielding="group"), indent=2)
    more = report.difference_count - len(report.differences)
    if more:
        say(f"\n... and {more:,} more differences")


def exit_code_of_run(report: "RunReport") -> int:
    """Return the exit code of a sync: interrupted goes before failed."""
    if report.interrupted_by is not None:
        return exit_code_of_signal(report.interrupted_by)
    return EXIT_FAILED if report.failed or report.status == "failed" else EXIT_OK


def exit_code_of_verify(report: "VerifyReport") -> int:
    """Return the exit code of a comparison: a difference that was found goes before all else."""
    if report.difference_count:
        return EXIT_DIFFERENCE
    if report.interrupted_by is not None:
        return exit_code_of_signal(report.interrupted_by)
    return EXIT_FAILED if report.failed else EXIT_OK
