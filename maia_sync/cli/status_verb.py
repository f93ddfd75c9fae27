"""How does the copy stand: what is in it, how old is it, what fails? status."""

from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maia_sync.cli.durations import parse_duration, show_ago, show_duration, show_moment
from maia_sync.cli.escaping import one_line
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import note, print_json, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_verbs import AsJson, name_of, print_errors, task_as_json
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from maia_sync.store.database import Transaction
    from maia_sync.store.reading import TaskFigures, Totals

_RUNS = 5
_MOST_LISTED = 30


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(status)


def status(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with code 1 if a task is staler than --max-lag.")
    ] = False,
    max_lag: Annotated[str, typer.Option(metavar="DURATION", help="For --check: 30s, 15m, 2h, 7d.")] = "15m",
    as_json: AsJson = False,
) -> int:
    """Show how the copy stands, over all and per task."""
    bound = parse_duration(max_lag, option="--max-lag")
    with invocation_of(context).app() as app, app.database.transaction(write=False) as tx:
        standing = _read(tx)
    stale = stale_tasks(standing.figures, standing.now, bound)
    if as_json:
        print_json(_as_json(standing, stale, bound))
    else:
        _print_overall(standing)
        _print_tasks(standing)
        _print_runs(standing)
    if not check:
        return EXIT_OK
    if stale:
        in_all = len(standing.figures)
        note(f"Stale: {len(stale)} of {in_all} tasks were last complete more than {max_lag} ago")
    return EXIT_FAILED if stale else EXIT_OK


class _Standing:
    """What is shown, read in one transaction."""

    def __init__(
        self, figures: "list[TaskFigures]", totals: "Totals", runs: list[dict[str, Any]], now: "datetime"
    ) -> None:
        self.figures = figures
        self.totals = totals
        self.runs = runs
        self.now = now

    def by_status(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for one in self.figures:
            counts[one.task.status] = counts.get(one.task.status, 0) + 1
        return counts


def _read(tx: "Transaction") -> _Standing:
    from maia_sync.store.reading import read_task_figures, read_totals
    from maia_sync.store.runs import read_last_runs

    figures = read_task_figures(tx)
    return _Standing(figures, read_totals(tx, figures), read_last_runs(tx, _RUNS), tx.now)


def stale_tasks(figures: "Sequence[TaskFigures]", now: "datetime", max_lag: float) -> list[str]:
    """Return the tasks whose copy is older than `max_lag` seconds, except those that are meant to be."""
    lags = ((one.task.task_id, one.lag(now)) for one in figures)
    return [task_id for task_id, lag in lags if lag is not None and lag.total_seconds() > max_lag]


def _print_overall(standing: _Standing) -> None:
    totals = standing.totals
    by_status = ", ".join(f"{count:,} {name}" for name, count in standing.by_status().items())
    say(f"Tasks        {by_status or 'none yet'}")
    say(f"Events       {totals.events:,}, {totals.vanished:,} of them vanished upstream")
    say(f"Revisions    {counted(totals.revisions, 'earlier payload')} kept")
    say(f"Quarantine   {counted(totals.quarantined, 'element')}")
    lags = [(lag, one.task) for one in standing.figures if (lag := one.lag(standing.now)) is not None]
    if lags:
        least, freshest = min(lags, key=itemgetter(0))
        most, stalest = max(lags, key=itemgetter(0))
        say(f"Freshest     {show_duration(least)} behind: {name_of(freshest)}")
        say(f"Stalest      {show_duration(most)} behind: {name_of(stalest)}")


def _print_tasks(standing: _Standing) -> None:
    """List the tasks that need a look first: failing ones, then the stalest."""
    now = standing.now
    shown = [one for one in standing.figures if one.task.status != "untracked"]
    shown.sort(key=lambda one: (one.task.last_error is None, -_seconds(one, now)))
    if not shown:
        return
    say()
    columns = ("task", "status", "lag", "events", "next poll", "failures")
    rows = (_row(one, now) for one in shown[:_MOST_LISTED])
    print_table(make_table(columns, rows, numbers=("events", "failures"), yielding="task"))
    if len(shown) > _MOST_LISTED:
        say(f"... and {len(shown) - _MOST_LISTED:,} more: `maia-sync tasks` lists them all")
    print_errors(shown[:_MOST_LISTED])
    _print_holders(shown)


def _seconds(one: "TaskFigures", now: "datetime") -> float:
    lag = one.lag(now)
    return -1.0 if lag is None else lag.total_seconds()


def _row(one: "TaskFigures", now: "datetime") -> tuple[object, ...]:
    task = one.task
    lag = one.lag(now)
    return (
        task.label or task.task_id,
        task.status,
        "-" if lag is None else show_duration(lag),
        f"{one.events:,}",
        None if task.next_poll_at is None else show_moment(task.next_poll_at),
        task.failures or None,
    )


def _print_holders(figures: "Sequence[TaskFigures]") -> None:
    held = [one.task for one in figures if one.task.lease_owner is not None]
    if held:
        say("\nBeing read now:")
    for task in held[:_MOST_LISTED]:
        say(f"  {name_of(task)} by {task.lease_owner}, lease until {show_moment(task.lease_expires_at)}")


def _print_runs(standing: _Standing) -> None:
    if not standing.runs:
        say("\nNo runs yet: `maia-sync sync` makes one.")
        return
    say()
    columns = ("run", "kind", "started", "status", "tasks", "failed", "requests", "new", "changed")
    rows = [_run_row(run, standing.now) for run in standing.runs]
    print_table(make_table(columns, rows, numbers=columns[:1] + columns[4:]))
    for run in standing.runs:
        if run["error"] is not None:
            say(f"Run {run['id']}: {one_line(run['error'])}")


def _run_row(run: dict[str, Any], now: "datetime") -> tuple[object, ...]:
    numbers = (run["tasks"], run["tasks_failed"], run["requests"], run["events_new"], run["events_changed"])
    started = show_ago(run["started_at"], now)
    return (run["id"], run["kind"], started, run["status"], *(f"{number:,}" for number in numbers))


def _as_json(standing: _Standing, stale: list[str], bound: float) -> dict[str, Any]:
    return {
        "now": standing.now,
        "tasks_by_status": standing.by_status(),
        "totals": standing.totals,
        "max_lag_seconds": bound,
        "stale": stale,
        "tasks": [task_as_json(one, standing.now) for one in standing.figures],
        "last_runs": standing.runs,
    }
