"""How do payloads go for good? archive erase: out of database and archive, with the reason in the log."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from maia_sync.cli.archive_hold import ByName
from maia_sync.cli.durations import show_moment
from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.cli.interruption import noticed
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.moments import parse_moment
from maia_sync.cli.screen import complain, console, note, print_json, say
from maia_sync.cli.task_ids import parse_task_id
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.app import App
    from maia_sync.archive.erasing import EraseReport, EraseRequest

_MOST_EARLIER = 3


def register(archive: typer.Typer) -> None:
    """Add the verb of this module to those of `archive`."""
    archive.command()(erase)


def erase(
    context: typer.Context,
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task id (UUID).")],
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="Why; it stands in the log for good.")],
    basis: Annotated[
        str, typer.Option("--basis", metavar="B", help="The legal basis, such as 'GDPR Art. 17 (1) (b)'.")
    ],
    before: Annotated[
        str | None,
        typer.Option(metavar="T", help="Only what is older: 400d, a date, or a moment. Default: everything."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Erase nothing, write nothing, and tell what would be erased.")
    ] = False,
    new_digest_key: Annotated[
        bool,
        typer.Option(
            "--new-digest-key",
            help="The digests' key is lost for good: do without it. A new one is made unless there is one.",
        ),
    ] = False,
    name: ByName = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask; a terminal alone is asked to confirm it.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Erase a task's payloads from the database and the archive, for good.

    Their entries stay in the log, which tells who has erased them, when and why; all the rest still verifies.
    Refused under a legal hold. Copies elsewhere are named, and not reached.
    """
    from maia_sync.archive.erasing import EraseRequest
    from maia_sync.archive.reasons import require_told
    from maia_sync.service.person import person

    task_id = parse_task_id(task)
    why, legally = require_told(reason, "--reason"), require_told(basis, "--basis")
    name = None if name is None else require_told(name, "--by")
    with invocation_of(context).app() as app:
        zone, now = ZoneInfo(app.settings.facets.time_zone), app.clock.now()
        request = EraseRequest(
            task_id=task_id,
            before=None if before is None else parse_moment(before, option="--before", now=now, zone=zone),
            reason=why,
            basis=legally,
            erased_by=person(app.settings.schedule.worker, name),
            new_digest_key=new_digest_key,
        )
        if not dry_run and not yes:
            _confirm(request)
        report = _rehearsed(app, request) if dry_run else _erased(app, request)
    if as_json:
        print_json(report)
    else:
        for line in summarize_erase(report):
            say(line)
    return _exit_code(report)


def _rehearsed(app: "App", request: "EraseRequest") -> "EraseReport":
    from maia_sync.archive.configured import configured_place, configured_signer
    from maia_sync.archive.erase import rehearse_erase

    settings = app.settings.archive
    place, signer = configured_place(settings), configured_signer(settings)
    return rehearse_erase(app.database, place, signer.verifier, request, clock=app.clock)


def _erased(app: "App", request: "EraseRequest") -> "EraseReport":
    from maia_sync.archive.anchor import anchor_of
    from maia_sync.archive.configured import configured_place, configured_signer
    from maia_sync.archive.erase import erase as erase_archived
    from maia_sync.service.posting import poster_of

    settings = app.settings.archive
    place, signer = configured_place(settings), configured_signer(settings)
    with noticed() as stopped, _watched():
        return erase_archived(
            app.database,
            place,
            signer,
            request,
            worker=app.worker,
            clock=app.clock,
            anchor=anchor_of(settings, post=poster_of(app.settings), stopped=stopped),
            stopped=stopped,
        )


def _confirm(request: "EraseRequest") -> None:
    """Have a person at a terminal confirm it; scripts are not asked. Raises UsageError."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    since = "" if request.before is None else f" from before {show_moment(request.before)}"
    note(f"All payloads of {request.task_id}{since} are to be erased for good, here and in the archive.")
    sys.stderr.write("Type the task's id to confirm: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != request.task_id:
        raise UsageError(
            "the task's id was not typed, so nothing was erased; --dry-run tells what would be, and --yes "
            "does not ask"
        )


@contextmanager
def _watched() -> "Iterator[None]":
    if not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status("Erasing"):
        yield


def summarize_erase(report: "EraseReport") -> "Iterator[str]":
    """Yield the lines that tell a person what an erasure came to."""
    whose = f"of {report.task_id}"
    if report.before is not None:
        whose += f" from before {show_moment(report.before)}"
    if report.archived:
        yield f"{counted(report.archived, 'record')} archived first"
    if report.interrupted_by is not None:
        yield "Interrupted: nothing was erased"
        return
    yield _main_line(report, whose)
    if report.dry_run:
        yield "Nothing was written"
    elif report.erasure is not None:
        taken = f"{counted(report.emptied, 'payload')} taken out of the database"
        yield taken if report.emptied else f"{taken}: they had been pruned from it before"
        yield f"Entry {report.erasure} of the log of {report.origin} tells who, when and why"
    yield from _exceptions(report, whose)
    if report.is_tracked and not report.dry_run:
        yield (
            "The task is still tracked: what it tells from now on is stored; "
            f"`maia-sync untrack {report.task_id}` stops that"
        )
    if report.erased or report.waiting_payloads:
        yield "Not reached from here, and to be seen to as well:"
        yield from (f"- {copy}" for copy in report.not_reached)


def _main_line(report: "EraseReport", whose: str) -> str:
    told = ", ".join(f"{number:,} {kind}" for kind, number in report.payloads.items())
    payloads, files = f"{counted(report.erased, 'payload')} {whose}", counted(report.files, "data segment")
    waiting = report.waiting_payloads
    waits = f"that {'waits' if waiting == 1 else 'wait'} to be archived first"
    if report.erased and waiting:
        return f"{payloads} in the archive ({told}; {files}) and {waiting:,} {waits} would be erased"
    if report.erased:
        return f"{payloads} ({told}) {'would be' if report.dry_run else 'were'} erased from {files}"
    if waiting:
        return f"{counted(waiting, 'payload')} {whose} {waits} would be erased"
    if report.earlier:
        return f"Nothing to erase: no payload {whose} is left; {_earlier(report)}"
    return f"Nothing to erase: there is no payload {whose} in the archive"


def _earlier(report: "EraseReport") -> str:
    shown = report.earlier[-_MOST_EARLIER:]
    told = ", ".join(
        f"{one.payloads:,} {'was' if one.payloads == 1 else 'were'} erased on {one.erased_at:%Y-%m-%d} "
        f"(entry {one.entry})"
        for one in shown
    )
    return told if len(shown) == len(report.earlier) else f"at last {told}"


def _exceptions(report: "EraseReport", whose: str) -> "Iterator[str]":
    if report.newer:
        are = "is" if report.newer == 1 else "are"
        told = f"{counted(report.newer, 'payload')} {whose} came meanwhile"
        yield f"{told}, and {are} not erased: erase once more"
    if report.unknown:
        yield (
            f"{counted(report.unknown, 'payload')} {whose} that another key took out will not be known "
            "again: while the task is followed, its walks fail where Maia still serves them"
        )


def _exit_code(report: "EraseReport") -> int:
    if report.interrupted_by is not None:
        return exit_code_of_signal(report.interrupted_by)
    if report.unscrubbed is not None:
        complain([report.unscrubbed])
    if report.anchor == "failed":
        complain([f"the checkpoint could not be anchored, the archive itself is fine: {report.anchor_error}"])
    is_well = report.unscrubbed is None and report.anchor != "failed"
    return EXIT_OK if is_well else EXIT_FAILED
