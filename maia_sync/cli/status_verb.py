"""How does the copy stand? status: for a person, as one JSON document, or as an exit code alone."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from maia_sync.cli.durations import parse_duration, show_duration
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import note, print_json, say
from maia_sync.cli.standing_lines import print_standing
from maia_sync.cli.task_verbs import AsJson, task_as_json
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from datetime import datetime

    from maia_sync.app import App
    from maia_sync.model import Task
    from maia_sync.store.standing import Leases, ListedTask, Staleness, Standing

_RUNS = 5
_MOST_LISTED = 30
_MOST_IN_JSON = 1000


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(status)


def status(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether a task is stale: exit with code 1 if one is.")
    ] = False,
    max_lag: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="What is stale: 30s, 15m, 2h, 7d. Default: schedule.max_lag."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show how the copy stands, over all and per task."""
    given = None if max_lag is None else parse_duration(max_lag, option="--max-lag")
    with invocation_of(context).app() as app:
        bound = app.settings.schedule.max_lag if given is None else given
        if as_json:
            is_stale = _print_document(app, bound)
        elif check:
            is_stale = _print_check(app, bound)
        else:
            is_stale = _print_standing(app, bound)
    return EXIT_FAILED if check and is_stale else EXIT_OK


def _print_check(app: "App", bound: float) -> bool:
    from maia_sync.store.standing import read_staleness

    with app.database.transaction(write=False) as tx:
        staleness = read_staleness(tx, max_lag=bound)
    sentence = check_sentence(staleness, bound)
    if staleness.tasks:
        note(sentence)
    else:
        say(sentence)
    return staleness.tasks > 0


def check_sentence(staleness: "Staleness", bound: float) -> str:
    """Return what `--check` found; tasks that upstream withholds are told, but have no bound."""
    behind = f"more than {show_duration(bound)} behind"
    sentence = f"No active task is {behind}"
    if staleness.tasks:
        verb = "is" if staleness.tasks == 1 else "are"
        sentence = f"Stale: {counted(staleness.tasks, 'active task')} {verb} {behind}"
    if staleness.never_complete:
        sentence += f", {staleness.never_complete:,} of them never complete yet"
    withheld = [
        f"{number:,} {name}"
        for name, number in (("forbidden", staleness.forbidden), ("missing", staleness.missing))
        if number
    ]
    return sentence + (f" ({', '.join(withheld)}: no bound)" if withheld else "")


def _print_standing(app: "App", bound: float) -> bool:
    from maia_sync.store.archive_standing import read_archive_standing
    from maia_sync.store.retention_standing import read_retention_standing
    from maia_sync.store.runs import read_last_runs
    from maia_sync.store.standing import read_standing

    with app.database.transaction(write=False) as tx:
        standing = read_standing(tx, max_lag=bound, most=_MOST_LISTED, with_untracked=False)
        runs = read_last_runs(tx, _RUNS)
        archive = read_archive_standing(tx)
        retention = read_retention_standing(tx, app.settings.archive.retention)
    print_standing(
        standing,
        runs,
        bound=bound,
        schedule=app.settings.schedule,
        archive=archive,
        retention=retention,
    )
    return standing.staleness.tasks > 0


def _print_document(app: "App", bound: float) -> bool:
    from maia_sync.settings import Cron
    from maia_sync.store.archive_standing import read_archive_standing
    from maia_sync.store.retention_standing import read_retention_standing
    from maia_sync.store.runs import read_last_runs
    from maia_sync.store.standing import read_stale_ids, read_standing

    with app.database.transaction(write=False) as tx:
        standing = read_standing(tx, max_lag=bound, most=_MOST_IN_JSON, with_untracked=True)
        stale = read_stale_ids(tx, max_lag=bound, most=_MOST_IN_JSON)
        runs = read_last_runs(tx, _RUNS)
        archive = read_archive_standing(tx)
        retention = read_retention_standing(tx, app.settings.archive.retention)
    document = {**_as_json(standing, stale, runs, bound), "archive": archive, "retention": retention}
    if isinstance(app.settings.schedule.reconcile, Cron):  # then these say when it was done last
        document |= {"reconciles_due": None, "next_reconcile_at": None}
    print_json(document)
    return standing.staleness.tasks > 0


def _as_json(
    standing: "Standing", stale: list[str], runs: list[dict[str, Any]], bound: float
) -> dict[str, Any]:
    backlog, staleness = standing.backlog, standing.staleness
    return {
        "now": standing.now,
        "tasks_by_status": standing.by_status,
        "totals": standing.totals,
        "max_lag_seconds": bound,
        "over_lag": staleness.tasks,
        "over_lag_never_complete": staleness.never_complete,
        "due": backlog.due,
        "due_since": backlog.due_since,
        "next_poll_at": backlog.next_poll_at,
        "reconciles_due": backlog.reconciles_due,
        "next_reconcile_at": backlog.next_reconcile_at,
        "failing": standing.failing,
        "leases": _leases_as_json(standing.leases),
        "freshest": [_age_as_json(task, standing.now) for task in standing.freshest],
        "stalest": [_age_as_json(task, standing.now) for task in standing.stalest],
        "stale": stale,
        "tasks": [_task_as_json(one, standing.now) for one in standing.listed],
        "tasks_left_out": sum(standing.by_status.values()) - len(standing.listed),
        "last_runs": runs,
    }


def _task_as_json(one: "ListedTask", now: "datetime") -> dict[str, object]:
    return {**task_as_json(one.figures, now), "first_read": one.first_read}


def _age_as_json(task: "Task", now: "datetime") -> dict[str, object]:
    from maia_sync.store.reading import lag_of

    lag = lag_of(task, now)
    return {
        "task_id": task.task_id,
        "label": task.label,
        "last_polled_at": task.last_polled_at,
        "lag_seconds": None if lag is None else lag.total_seconds(),
    }


def _leases_as_json(leases: "Leases") -> dict[str, object]:
    return {
        "held": leases.held,
        "expired": leases.expired,
        "workers": leases.holders,
        "tasks": [
            {
                "task_id": task.task_id,
                "label": task.label,
                "worker": task.lease_owner,
                "since": task.lease_acquired_at,
                "until": task.lease_expires_at,
            }
            for task in leases.tasks
        ],
    }
