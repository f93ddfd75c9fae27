"""Which payloads does the database keep no longer? archive prune: those that the archive holds."""

import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.durations import parse_duration, show_duration, show_moment
from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.cli.interruption import noticed
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import complain, console, print_json, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_ids import shown
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted, sized
from maia_sync.errors import EXIT_DIFFERENCE, EXIT_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.pruning import PruneReport
    from maia_sync.archive.verifying import Progress
    from maia_sync.settings import ArchiveSettings

_MOST_SHOWN = 100
_LONGEST = 36_500 * 86_400.0
"""A hundred years: what is older than that has no date."""


def register(archive: typer.Typer) -> None:
    """Add the verb of this module to those of `archive`."""
    archive.command()(prune)


def prune(
    context: typer.Context,
    *,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="DURATION", help="How old payloads are: 400d. Default: archive.retention."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Take nothing out, and tell what would be; verifies as well.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Take old payloads out of the database that the archive holds; their rows stay.

    The whole archive is verified first. What is on legal hold stays. Exit code 7, and nothing is taken out,
    if anything differs. It can be interrupted at any moment, and goes on when it is started again.
    """
    from maia_sync.archive.configured import configured_place, configured_signer
    from maia_sync.archive.prune import prune as prune_archived
    from maia_sync.archive.recovery import require_begun
    from maia_sync.service.person import person

    invocation = invocation_of(context)
    given = None if older_than is None else _parse_age(older_than)
    with invocation.app() as app, noticed() as stopped, _watched() as progress:
        settings = app.settings.archive
        place, signer = configured_place(settings), configured_signer(settings)
        require_begun(app.database, place, signer.verifier)  # the wrong key is told of before all else
        report = prune_archived(
            app.database,
            place,
            signer,
            _age(given, settings),
            worker=app.worker,
            by=person(app.settings.schedule.worker),
            clock=app.clock,
            dry_run=dry_run,
            progress=progress,
            stopped=stopped,
        )
    if as_json:
        print_json(report)
    else:
        _print(report)
    return _exit_code(report)


def _parse_age(text: str) -> float:
    """Return the seconds of a duration with a unit: 400 alone hardly means seconds. Raises UsageError."""
    if not text.strip()[-1:].isalpha():
        raise UsageError(f"--older-than: expected a duration with a unit, such as 400d, got {shown(text)}")
    return parse_duration(text, option="--older-than")


def _age(given: float | None, settings: "ArchiveSettings") -> timedelta:
    seconds = settings.retention if given is None else given
    if seconds is None:
        raise UsageError("--older-than: expected a duration such as 400d, as archive.retention is not set")
    if seconds > _LONGEST:
        raise UsageError(f"--older-than: expected {show_duration(_LONGEST)} at most")
    return timedelta(seconds=seconds)


@contextmanager
def _watched() -> "Iterator[Progress | None]":
    """Yield what shows how far a verification is, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with console(stderr=True).status("Verifying") as status:

        def tell(done: int, total: int) -> None:
            what = f"Verifying: {done:,} of {total:,} entries" if done < total else "Comparing payloads"
            status.update(what)

        yield tell


def _print(report: "PruneReport") -> None:
    for line in summarize_prune(report):
        say(line)
    if report.finding_count:
        say()
        shown = report.findings[:_MOST_SHOWN]
        rows = [(finding.kind, finding.place, finding.sentence) for finding in shown]
        print_table(make_table(("difference", "where", "what"), rows, yielding="what"))
    elif report.months:
        say()
        columns = ("month", "payloads", "bytes", "held")
        months = [
            (one.month, f"{one.payloads:,}", f"{one.bytes:,}", f"{one.held:,}" if one.held else None)
            for one in report.months
        ]
        print_table(make_table(columns, months, numbers=columns[1:]))


def summarize_prune(report: "PruneReport") -> "Iterator[str]":
    """Yield the lines that tell a person what a prune came to."""
    if report.finding_count:
        differences = counted(report.finding_count, "difference")
        yield f"Nothing was pruned: the archive at {report.place} has {differences}"
        return
    if report.interrupted_by is None or report.months:
        entries = counted(report.size, "entry")
        yield f"The log of {report.origin} at {report.place} has {entries}: no difference"
    payloads = f"{counted(report.payloads, 'payload')} ({sized(report.bytes)})"
    did = "Would prune" if report.dry_run else "Pruned"
    yield f"{did} {payloads} from before {show_moment(report.older_than)} in {show_duration(report.seconds)}"
    if report.held:
        are = "is old enough, and stays" if report.held == 1 else "are old enough, and stay"
        yield f"{counted(report.held, 'payload')} {are}: on legal hold"
    if report.interrupted_by is not None:
        yield "Interrupted; the next prune goes on"


def _exit_code(report: "PruneReport") -> int:
    if report.finding_count:
        return EXIT_DIFFERENCE
    if report.interrupted_by is not None:
        return exit_code_of_signal(report.interrupted_by)
    if report.unscrubbed is not None:
        complain([report.unscrubbed])
        return EXIT_FAILED
    return EXIT_OK
