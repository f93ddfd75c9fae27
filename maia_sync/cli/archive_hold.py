"""What must not be removed? archive hold, release and holds: legal holds, of which the log tells."""

from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.archive_verbs import exit_code_of_create
from maia_sync.cli.durations import show_moment
from maia_sync.cli.failure import sentences_of
from maia_sync.cli.interruption import noticed
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import complain, note, print_json, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_ids import parse_task_ids
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_FAILED, EXIT_OK, ArchiveDiffers, MaiaSyncError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.app import App
    from maia_sync.archive.creating import CreateReport
    from maia_sync.store.holds import Hold

TaskIds = Annotated[list[str] | None, typer.Argument(metavar="[TASK]...", help="Task ids (UUIDs).")]

ByName = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who has decided it; user and host are told behind it."),
]
_ELSEWHERE = (
    "the archive is not where it should be, or not as it was left. Tell whoever runs it: `maia-sync doctor` "
    "shows what is found there"
)


def register(archive: typer.Typer) -> None:
    """Add the verbs of this module to those of `archive`."""
    for verb in (hold, release, holds):
        archive.command()(verb)


def hold(
    context: typer.Context,
    task_ids: TaskIds = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="All tasks, also those that are tracked later.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="Why; the log tells it for good.")],
    name: ByName = None,
    as_json: AsJson = False,
) -> int:
    """Put tasks on legal hold: nothing of them is pruned or erased until they are released.

    It is in force at once. Then the archive is brought up to date, so that its log tells of it.
    """
    from maia_sync.archive.reasons import require_told
    from maia_sync.service.person import person
    from maia_sync.store.holds import insert_holds, lock_holds, read_unknown_tasks

    reason = require_told(reason, "--reason")
    name = None if name is None else require_told(name, "--by")
    wanted = _targets(task_ids, every=every)
    with invocation_of(context).app() as app:
        by = person(app.settings.schedule.worker, name)
        with app.database.transaction(durable=True) as tx:
            lock_holds(tx)
            unknown = read_unknown_tasks(tx, [task_id for task_id in wanted if task_id is not None])
            if unknown:
                raise UsageError(f"task {unknown[0]} is not known here: was it ever tracked?")
            made = insert_holds(tx, wanted, reason=reason, held_by=by)
        if not as_json:
            already = len(wanted) - len(made)
            _tell("On legal hold from now on", made)
            if already:
                say(f"On legal hold for this reason already: {_counted(already, every=every)}")
        return _archive(app, made, as_json=as_json, what="hold")


def release(
    context: typer.Context,
    task_ids: TaskIds = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="The hold on all tasks.")] = False,
    number: Annotated[
        list[int] | None,
        typer.Option("--hold", metavar="N", help="One hold by its number in `archive holds`; repeatable."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="Why; the log tells it for good.")],
    name: ByName = None,
    as_json: AsJson = False,
) -> int:
    """Release tasks from legal hold. A hold on all tasks and a task's own are released one by one.

    It is in force at once. Then the archive is brought up to date, so that its log tells of it.
    """
    from maia_sync.archive.reasons import require_told
    from maia_sync.service.person import person
    from maia_sync.store.holds import lock_holds, read_holds, read_own_holds, release_holds

    reason = require_told(reason, "--reason")
    name = None if name is None else require_told(name, "--by")
    if number and (task_ids or every):
        raise UsageError("--hold names holds: no tasks and no --all go with it")
    wanted = [] if number else _targets(task_ids, every=every)
    with invocation_of(context).app() as app:
        by = person(app.settings.schedule.worker, name)
        with app.database.transaction(durable=True) as tx:
            lock_holds(tx)
            if number:
                chosen = _numbered(read_holds(tx), number)
            else:
                chosen = _of_tasks(read_own_holds(tx, [*wanted, None]), wanted)
            released = release_holds(tx, chosen, reason=reason, released_by=by)
        if not as_json:
            _tell("Released", released)
        return _archive(app, released, as_json=as_json, what="release")


def holds(
    context: typer.Context,
    *,
    with_released: Annotated[bool, typer.Option("--released", help="Also those that were released.")] = False,
    as_json: AsJson = False,
) -> int:
    """List the legal holds that are in force."""
    from maia_sync.store.holds import read_all_holds, read_holds

    with invocation_of(context).app() as app, app.database.transaction(write=False) as tx:
        found = read_all_holds(tx) if with_released else read_holds(tx)
    if as_json:
        print_json(found)
    elif found:
        _print(found, with_released=with_released)
    else:
        say("No legal hold is in force" if not with_released else "There was never a legal hold")
    return EXIT_OK


def _targets(task_ids: list[str] | None, *, every: bool) -> "list[str | None]":
    """Return the tasks that are named; None stands for all. Raises UsageError."""
    if every and task_ids:
        raise UsageError("--all means every task: no task ids go with it")
    if not every and not task_ids:
        raise UsageError("no task ids given: name them, or use --all")
    return [None] if every else [*parse_task_ids(task_ids or [])]


def _numbered(in_force: "list[Hold]", numbers: list[int]) -> "list[Hold]":
    known = {one.id: one for one in in_force}
    for number in numbers:
        if number not in known:
            raise UsageError(f"hold {number} is not in force: see `maia-sync archive holds`")
    return [known[number] for number in dict.fromkeys(numbers)]


def _of_tasks(found: "list[Hold]", wanted: "Sequence[str | None]") -> "list[Hold]":
    """Return the hold of each task. Raises UsageError for a task that has none, or more than one."""
    chosen: list[Hold] = []
    for task_id in wanted:
        own = [one for one in found if one.task_id == task_id]
        named = "no hold is on all tasks" if task_id is None else f"task {task_id} has no hold of its own"
        if not own:
            general = task_id is not None and any(one.task_id is None for one in found)
            raise UsageError(f"{named}{': the one on all tasks is released with --all' if general else ''}")
        if len(own) > 1:
            numbers = ", ".join(str(one.id) for one in own)
            on = "all tasks" if task_id is None else f"task {task_id}"
            raise UsageError(
                f"{counted(len(own), 'hold')} ({numbers}) are on {on}: choose by --hold, `maia-sync archive "
                "holds` tells the reasons"
            )
        chosen += own
    return chosen


def _archive(app: "App", changed: "Sequence[Hold]", *, as_json: bool, what: str) -> int:
    """Have the log tell of it; return the exit code. It is in force whatever comes of that."""
    report: CreateReport | None = None
    why: str | None = None
    is_configured = app.settings.archive.url is not None
    with noticed() as stopped:
        try:
            if is_configured:
                report = app.create_archive(stopped=stopped)
        except MaiaSyncError as error:
            why = _reason_of(error)
    if as_json:
        print_json(
            {
                "holds": changed,
                "checkpoint": None if report is None else report.checkpoint,
                "archive_error": why,
            }
        )
    if not is_configured:
        note("No archive is configured (archive.url), so no log tells of it")
        return EXIT_OK
    if report is None:
        complain([f"the {what} is in force, but the archive's log does not tell of it yet: {why}"])
        return EXIT_FAILED
    if report.interrupted_by is not None:
        note(f"The {what} is in force; the next create has the log tell of it")
    elif not as_json:
        say(f"The log of {report.origin} tells of it: {counted(report.size_after, 'entry')}")
    return exit_code_of_create(report)


def _reason_of(error: MaiaSyncError) -> str:
    """Tell why the log does not tell of it, to somebody who sets holds and may not run the archive.

    A new log, which some errors advise, is nothing to begin for a hold's sake.
    """
    from maia_sync.store.archive_log import ANEW

    if isinstance(error, ArchiveDiffers):
        return _ELSEWHERE
    return "; ".join(sentences_of(error)).replace(f", or {ANEW}", "").replace(f" or {ANEW}", "")


def _tell(how: str, changed: "Sequence[Hold]") -> None:
    for one in changed:
        on = "all tasks" if one.task_id is None else f"task {one.task_id}"
        say(f"{how}: {on} (hold {one.id})")


def _counted(number: int, *, every: bool) -> str:
    return "all tasks" if every else counted(number, "task")


def _print(found: "Sequence[Hold]", *, with_released: bool) -> None:
    columns: tuple[str, ...] = ("hold", "task", "since", "by", "reason")
    rows: list[tuple[object, ...]] = [
        (one.id, one.task_id or "all tasks", show_moment(one.held_at), one.held_by, one.reason)
        for one in found
    ]
    if with_released:
        columns = (*columns, "released", "by whom", "why")
        rows = [
            (*row, show_moment(one.released_at), one.released_by, one.release_reason)
            for row, one in zip(rows, found, strict=True)
        ]
    print_table(make_table(columns, rows, numbers=("hold",), yielding="reason"))
