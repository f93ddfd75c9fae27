"""How does the copy stand, in lines that a person reads at once? Eighty columns are enough for them."""

from __future__ import annotations

import shutil
import sys
import textwrap
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from maia_sync.cli.durations import show_ago, show_duration
from maia_sync.cli.escaping import one_line
from maia_sync.cli.screen import say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_verbs import name_of
from maia_sync.cli.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from maia_sync.model import Task, TaskStatus
    from maia_sync.settings import ScheduleSettings
    from maia_sync.store.archive_standing import ArchiveStanding
    from maia_sync.store.reading import Totals
    from maia_sync.store.retention_standing import RetentionStanding
    from maia_sync.store.standing import Backlog, Leases, ListedTask, Staleness, Standing

_MOST_ERRORS = 10
_MOST_HELD = 20
_RUN_NUMBERS = ("tasks", "failed", "requests", "new", "changed")


def print_standing(
    standing: Standing,
    runs: list[dict[str, Any]],
    *,
    bound: float,
    schedule: ScheduleSettings,
    archive: ArchiveStanding | None = None,
    retention: RetentionStanding | None = None,
) -> None:
    """Print it all; `bound` is the lag in seconds beyond which a task is stale."""
    for line in overview_lines(standing, bound, schedule):
        _say_cut(line)
    if archive is not None:
        for line in archive_lines(archive, standing.now):
            _say_cut(line)
    if retention is not None:
        for line in retention_lines(retention, standing.now):
            _say_cut(line)
    _print_leases(standing.leases, standing.now)
    _print_troubles(standing, schedule)
    _print_tasks(standing)
    if standing.by_status:
        _print_runs(runs, standing.now)


def overview_lines(standing: Standing, bound: float, schedule: ScheduleSettings) -> Iterator[str]:
    """Yield the lines that tell how the whole stands."""
    totals, now = standing.totals, standing.now
    by_status = ", ".join(f"{count:,} {name}" for name, count in standing.by_status.items())
    yield f"Tasks        {by_status or 'none yet: `maia-sync track TASK_ID` begins'}"
    yield f"Events       {totals.events:,}, {totals.vanished:,} of them vanished upstream{_removed(totals)}"
    yield f"Revisions    {counted(totals.revisions, 'earlier payload')} kept"
    yield f"Quarantine   {counted(totals.quarantined, 'element')}"
    if not standing.by_status:
        return
    yield f"Due now      {_due(standing.backlog, now)}"
    yield f"Reconcile    {_reconcile(standing.backlog, now, schedule)}"
    yield f"Stale        {_stale(standing.staleness, bound)}"
    if standing.freshest:
        yield f"Freshest     {_age(standing.freshest[0], now)}"
    if standing.stalest:
        yield f"Stalest      {_age(standing.stalest[0], now)}"


def archive_lines(archive: ArchiveStanding, now: datetime) -> Iterator[str]:
    """Yield the lines that tell how the archive stands."""
    waiting = archive.waiting
    if archive.checkpoint_at is None:
        yield "Archive      begun, without a checkpoint yet"
    else:
        made = show_ago(archive.checkpoint_at, now)
        yield f"Archive      {counted(archive.entries, 'entry')}, checkpoint made {made}"
    parts = [
        counted(number, thing)
        for number, thing in (
            (waiting.changes, "change"),
            (waiting.whole_tasks + waiting.tasks_unknown, "whole task"),
            (waiting.quarantined, "quarantined element"),
            (waiting.sent, "message"),
            (waiting.runs, "run"),
            (waiting.holds, "hold"),
        )
        if number
    ]
    yield f"To archive   {', '.join(parts) or 'nothing'}"
    if archive.anchor_error is not None:
        yield f"Anchoring    failed: {one_line(archive.anchor_error)}"


def retention_lines(retention: RetentionStanding, now: datetime) -> Iterator[str]:
    """Yield the lines that tell what goes from the database, what went, and what must not."""
    if retention.retention_seconds is not None and retention.come_of_age is not None:
        kept = f"payloads stay for {show_duration(retention.retention_seconds)}"
        yield f"Retention    {kept}; {_to_prune(retention)}"
    last = retention.last_prune
    if last is not None:
        held = f", {last.held:,} left on legal hold" if last.held else ""
        what = f"{counted(last.payloads, 'payload')}{held}"
        when = f"begun {show_ago(last.started_at, now)}, at work or cut off"
        yield f"Last prune   {what}, {when if last.ended_at is None else show_ago(last.ended_at, now)}"
    if retention.holds:
        holds = counted(retention.holds, "hold")
        yield f"Legal hold   {holds} in force: `maia-sync archive holds` lists them"
    if retention.unfinished_erasures:
        unfinished = counted(retention.unfinished_erasures, "erasure")
        yield f"Erasing      {unfinished} unfinished: the next `maia-sync archive create` goes on"


def _removed(totals: Totals) -> str:
    if not totals.pruned and not totals.erased:
        return ""
    parts = ((totals.pruned, "pruned"), (totals.erased, "erased"))
    return "; " + ", ".join(f"{number:,} {how}" for number, how in parts if number)


def _to_prune(retention: RetentionStanding) -> str:
    """Tell what is older; what of it is on hold is not known without reading its rows."""
    number = retention.come_of_age or 0
    if not number and not retention.is_come_of_age_exact:
        return "how many events to prune now is not known"
    have = f"{'' if retention.is_come_of_age_exact else 'at least '}{counted(number, 'event')}"
    if number and retention.holds_all_tasks:
        return f"{have} older, all on legal hold"
    if number and retention.holds:
        return f"{have} older, of which those on legal hold stay"
    return f"{have} to prune now"


def _due(backlog: Backlog, now: datetime) -> str:
    if backlog.due and backlog.due_since is not None:
        return f"{counted(backlog.due, 'task')}, the first for {show_duration(now - backlog.due_since)}"
    if backlog.next_poll_at is None:
        return "none"
    return f"none; the next in {show_duration(backlog.next_poll_at - now)}"


def _stale(staleness: Staleness, bound: float) -> str:
    behind = f"more than {show_duration(bound)} behind"
    if not staleness.tasks:
        return f"none: no active task is {behind}"
    never = f"; {staleness.never_complete:,} never complete yet" if staleness.never_complete else ""
    return f"{counted(staleness.tasks, 'active task')} {behind}{never}"


def _reconcile(backlog: Backlog, now: datetime, schedule: ScheduleSettings) -> str:
    from maia_sync.settings import Cron

    if isinstance(schedule.reconcile, Cron):
        return f"at {schedule.reconcile} (cron, UTC)"
    if backlog.reconciles_due:
        return f"{counted(backlog.reconciles_due, 'task')} due now"
    if backlog.next_reconcile_at is None:
        return "none planned yet"
    return f"none due; the next in {show_duration(backlog.next_reconcile_at - now)}"


def _age(task: Task, now: datetime) -> str:
    since = task.last_polled_at
    if since is None:
        return f"incomplete for {show_duration(now - task.tracked_at)}: {name_of(task)}"
    return f"{show_duration(now - since)} behind: {name_of(task)}"


def _print_leases(leases: Leases, now: datetime) -> None:
    if not leases.holders:
        return
    tasks = counted(leases.held + leases.expired, "task")
    say(f"\nBeing read now: {tasks} by {counted(len(leases.holders), 'worker')}")
    share = max(_MOST_HELD // len(leases.holders), 1)
    for holder in leases.holders[:_MOST_HELD]:
        _say_cut(f"  {one_line(holder.worker)}, {counted(holder.tasks, 'task')}")
        mine = [task for task in leases.tasks if task.lease_owner == holder.worker][:share]
        for task in mine:
            _say_cut(f"    {task.task_id}  {_lease(task, now)}  {one_line(task.label or '')}".rstrip())
        if mine:
            _say_rest(holder.tasks - len(mine), indent=4)
    _say_rest(len(leases.holders) - _MOST_HELD, " workers")
    if leases.expired:
        say(f"  {counted(leases.expired, 'lease')} expired: the next worker takes these tasks over")


def _lease(task: Task, now: datetime) -> str:
    since = "" if task.lease_acquired_at is None else f"for {show_duration(now - task.lease_acquired_at)}, "
    until = task.lease_expires_at
    if until is None:
        return since.removesuffix(", ")
    if until < now:
        return f"{since}lease expired {show_ago(until, now)}"
    return f"{since}lease ends in {show_duration(until - now)}"


def _print_troubles(standing: Standing, schedule: ScheduleSettings) -> None:
    """Say what fails and why: an error is too long for a table's cell."""
    from maia_sync.service.polling import DAILY, HOURLY

    def withheld(name: str, rhythm: float) -> str:
        every = show_duration(max(rhythm, schedule.max_interval))
        return f"{name}: {{}}, asked again every {every}; at once: `maia-sync resume ID`"

    groups: tuple[tuple[TaskStatus, str, int], ...] = (
        ("active", "Failing: {}", standing.failing),
        ("forbidden", withheld("Forbidden (403)", HOURLY), standing.by_status.get("forbidden", 0)),
        ("missing", withheld("Missing (404)", DAILY), standing.by_status.get("missing", 0)),
    )
    tasks = [one.figures.task for one in standing.listed]
    for status, sentence, number in groups:
        if not number:
            continue
        say()
        _say_wrapped(sentence.format(counted(number, "task")))
        failing = [
            task for task in tasks if task.status == status and (status != "active" or task.last_error)
        ]
        _print_errors(failing[:_MOST_ERRORS], standing.now)
        rest = number - len(failing[:_MOST_ERRORS])
        _say_rest(rest, f": `maia-sync tasks --status {status}` lists them", indent=2)


def _print_errors(tasks: list[Task], now: datetime) -> None:
    """Print each error once, and below it the tasks that have it."""
    of_error: dict[str | None, list[Task]] = {}
    for task in tasks:
        of_error.setdefault(task.last_error, []).append(task)
    for error, failing in of_error.items():
        _say_wrapped(one_line(error or "never asked yet"), indent=2)
        for task in failing:
            times = f"{counted(task.failures, 'failure')} in a row, " if task.failures > 1 else ""
            when = "" if task.last_error_at is None else f"  {times}{show_ago(task.last_error_at, now)}"
            _say_cut(f"    {task.task_id}{when}  {one_line(task.label or '')}".rstrip())


def _print_tasks(standing: Standing) -> None:
    if not standing.listed:
        return
    say()
    columns = ("task", "status", "behind", "events", "next poll", "fails")
    rows = (_row(one, standing.now) for one in standing.listed)
    print_table(make_table(columns, rows, numbers=("behind", "events", "fails"), yielding="task"))
    shown = sum(count for name, count in standing.by_status.items() if name != "untracked")
    _say_rest(shown - len(standing.listed), ": `maia-sync tasks` lists them all")


def _row(one: ListedTask, now: datetime) -> tuple[object, ...]:
    task = one.figures.task
    return (
        task.label or task.task_id,
        task.status,
        _behind(one, now),
        f"{one.figures.events:,}",
        _next_poll(task, now),
        task.failures or None,
    )


def _behind(one: ListedTask, now: datetime) -> str:
    lag = one.figures.lag(now)
    if lag is None:
        return "-"
    if one.first_read is None:
        return show_duration(lag)
    return "reading" if one.first_read == "under way" else "unread"


def _next_poll(task: Task, now: datetime) -> str | None:
    if task.lease_owner is not None and task.lease_expires_at is not None and task.lease_expires_at >= now:
        return "running"
    if task.next_poll_at is None:
        return None
    return "due" if task.next_poll_at <= now else f"in {show_duration(task.next_poll_at - now)}"


def _print_runs(runs: list[dict[str, Any]], now: datetime) -> None:
    if not runs:
        say("\nNo runs yet: `maia-sync sync` makes one, `maia-sync run` goes on making them.")
        return
    say()
    columns: tuple[str, ...] = ("run", "kind", "ago", "status", *_RUN_NUMBERS)
    rows = [_run_row(run, now) for run in runs]
    if len({run["worker"] for run in runs}) > 1:
        columns = (*columns, "worker")
        workers = _told_apart([run["worker"] for run in runs])
        rows = [(*row, worker) for row, worker in zip(rows, workers, strict=True)]
    print_table(make_table(columns, rows, numbers=("run", *_RUN_NUMBERS), yielding="worker"))
    for run in runs:
        if run["error"] is not None:
            _say_wrapped(f"Run {run['id']}: {one_line(run['error'])}")


def _run_row(run: dict[str, Any], now: datetime) -> tuple[object, ...]:
    always = (run["id"], run["kind"], show_duration(now - run["started_at"]), run["status"])
    numbers = (run["tasks"], run["tasks_failed"], run["requests"], run["events_new"], run["events_changed"])
    return (*always, *(f"{number:,}" for number in numbers))


def _told_apart(names: list[str]) -> list[str]:
    """Return names for a terminal's narrow column: without what they all begin with."""
    shared = len(commonprefix(names))  # noqa: RUF071 - names, no paths
    return [f"…{name[shared:]}" for name in names] if shared and sys.stdout.isatty() else names


def _say_cut(line: str) -> None:
    """Print a line; a terminal gets what fits, as a label may be of any length."""
    if sys.stdout.isatty():
        from rich.cells import cell_len, set_cell_size

        width = shutil.get_terminal_size().columns
        if cell_len(line) > width:
            line = set_cell_size(line, width - 1).rstrip() + "…"
    say(line)


def _say_wrapped(line: str, *, indent: int = 0) -> None:
    """Print a line that must be readable whole; a terminal gets it in several."""
    margin = " " * indent
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(
            line, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
        )
    else:
        line = margin + line
    say(line)


def _say_rest(number: int, how: str = "", *, indent: int = 0) -> None:
    if number > 0:
        say(f"{' ' * indent}... and {number:,} more{how}")
