"""Which tasks are kept up to date? track, untrack, pause, resume and tasks."""

from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.durations import show_ago
from maia_sync.cli.escaping import one_line
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import print_json, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_ids import (
    check_label,
    not_tracked,
    parse_task_id,
    parse_task_ids,
    read_task_file,
    shown,
)
from maia_sync.cli.wording import counted
from maia_sync.errors import UsageError
from maia_sync.service.task_list import NamedTask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from maia_sync.model import Task, TaskStatus
    from maia_sync.store.database import Transaction
    from maia_sync.store.reading import TaskFigures
    from maia_sync.store.tasks import ChosenStatus

STATUSES: "tuple[TaskStatus, ...]" = ("active", "paused", "forbidden", "missing", "untracked")
TaskIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Task ids (UUIDs).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def register(cli: typer.Typer) -> None:
    """Add the verbs of this module."""
    for verb in (track, untrack, pause, resume, tasks):
        cli.command()(verb)


def track(
    context: typer.Context,
    task_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Task ids (UUIDs).")] = None,
    label: Annotated[
        str | None, typer.Option(metavar="L", help="A name of your own for these tasks.")
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(
            metavar="F", help="A file of ids, one a line, a label behind it if you like; - is stdin."
        ),
    ] = None,
) -> None:
    """Track tasks: from now on, each sync reads their logs."""
    named = [NamedTask(parse_task_id(text), None) for text in task_ids or []]
    if from_file is not None:
        named += read_task_file(from_file)
    if not named:
        nothing = "no task ids given: name them, or use --from-file"
        raise UsageError(nothing if from_file is None else f"{shown(from_file)} names no tasks")
    label = None if label is None else check_label(label)
    labels = {task.task_id: task.label or label for task in named}
    with invocation_of(context).app() as app, app.database.transaction() as tx:
        from maia_sync.store.tasks import upsert_labelled_tasks

        fresh = upsert_labelled_tasks(tx, labels)
    known = len(labels) - fresh
    say(
        f"Tracking {counted(len(labels), 'task')}: {fresh} new"
        + (f", {known} tracked before" if known else "")
    )


def untrack(context: typer.Context, task_ids: TaskIds) -> None:
    """Stop tracking tasks; what is stored of them stays."""
    _set_status(context, task_ids, "untracked", "No longer tracking {}; what is stored stays")


def pause(context: typer.Context, task_ids: TaskIds) -> None:
    """Leave tasks out of each sync until they are resumed."""
    _set_status(context, task_ids, "paused", "Paused {}")


def resume(context: typer.Context, task_ids: TaskIds) -> None:
    """Take tasks up again that were paused, forbidden or missing."""
    _set_status(context, task_ids, "active", "Resumed {}")


def _set_status(context: typer.Context, texts: list[str], status: "ChosenStatus", sentence: str) -> None:
    task_ids = parse_task_ids(texts)
    with invocation_of(context).app() as app, app.database.transaction() as tx:
        from maia_sync.store.tasks import set_status

        require_tracked(tx, task_ids)
        set_status(tx, task_ids, status)
    say(sentence.format(counted(len(task_ids), "task")))


def require_tracked(tx: "Transaction", task_ids: "Sequence[str]") -> None:
    """Raise UsageError, naming the first, unless all these tasks are tracked."""
    from maia_sync.store.tasks import read_tasks

    found = {task.task_id for task in read_tasks(tx, task_ids=task_ids) if task.status != "untracked"}
    missing = [task_id for task_id in task_ids if task_id not in found]
    if missing:
        raise not_tracked(missing)


def tasks(
    context: typer.Context,
    status: Annotated[
        str | None, typer.Option(metavar="S", help=f"Only tasks of this status: {', '.join(STATUSES)}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the tasks. Without --status, untracked ones are left out."""
    statuses = _statuses(status)
    with invocation_of(context).app() as app, app.database.transaction(write=False) as tx:
        from maia_sync.store.holds import read_holds
        from maia_sync.store.reading import read_task_figures
        from maia_sync.store.sources import read_sources

        figures = read_task_figures(tx, statuses=statuses)
        sources = read_sources(tx)
        held = {hold.task_id for hold in read_holds(tx)}
        now = tx.now
    if as_json:
        print_json(
            [
                {
                    **task_as_json(one, now),
                    "sources": sources.get(one.task.task_id, ()),
                    "on_hold": not held.isdisjoint((one.task.task_id, None)),
                }
                for one in figures
            ]
        )
    elif not figures:
        begin = "No tasks yet: `maia-sync track TASK_ID` begins."
        say(begin if status is None else f"No tasks are {status}.")
    else:
        columns = ("task", "label", "status", "events", "last polled", "tracked by")
        rows = (_row(one, sources.get(one.task.task_id, ()), now, held) for one in figures)
        print_table(make_table(columns, rows, numbers=("events",), yielding="label"))
        print_errors(figures)


def _statuses(status: str | None) -> "tuple[TaskStatus, ...]":
    if status is None:
        return tuple(one for one in STATUSES if one != "untracked")
    chosen = tuple(one for one in STATUSES if one == status)
    if not chosen:
        raise UsageError(f"--status: expected one of {', '.join(STATUSES)}, got {shown(status)}")
    return chosen


def _row(
    figures: "TaskFigures", sources: "Sequence[str]", now: "datetime", held: "set[str | None]"
) -> tuple[object, ...]:
    """Return a task's row; `held` are the tasks on legal hold, None among them if all are."""
    task = figures.task
    status = f"paused by {task.paused_by}" if task.paused_by else task.status
    if not held.isdisjoint((task.task_id, None)):
        status += ", on hold"
    polled = show_ago(task.last_polled_at, now)
    # Where all are tracked by hand alone, a column full of that would tell nothing.
    tracked_by = "" if tuple(sources) == ("hand",) else ", ".join(sources)
    return (task.task_id, task.label, status, f"{figures.events:,}", polled, tracked_by)


def print_errors(figures: "Sequence[TaskFigures]") -> None:
    """Print why tasks fail, below their table: an error is too long for a cell."""
    failing = [one.task for one in figures if one.task.last_error is not None]
    if failing:
        say("\nFailing:")
    for task in failing:
        say(f"  {name_of(task)}: {one_line(task.last_error or '')}")


def name_of(task: "Task") -> str:
    """Return a task's id, and its label if it has one."""
    return f"{task.task_id} ({one_line(task.label)})" if task.label else task.task_id


def task_as_json(figures: "TaskFigures", now: "datetime") -> dict[str, object]:
    """Return a task and its figures as plain values."""
    import msgspec

    lag = figures.lag(now)
    plain: dict[str, object] = msgspec.to_builtins(figures.task)
    return {
        **plain,
        "events": figures.events,
        "vanished": figures.vanished,
        "lag_seconds": None if lag is None else lag.total_seconds(),
    }
