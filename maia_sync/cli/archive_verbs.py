"""How is the audit archive made? archive keygen, create and list; see archive_checks for verify and prove."""

import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.durations import show_duration, show_moment
from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.cli.interruption import noticed
from maia_sync.cli.invocation import invocation_of, require_verb
from maia_sync.cli.screen import complain, console, note, print_json, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.creating import CreateProgress, CreateReport, Observe
    from maia_sync.archive.overview import Overview

_KEY_FILE = "archive.key"
_MOST_DATES = 31

archive = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


def register(cli: typer.Typer) -> None:
    """Add the verbs of this module."""
    cli.add_typer(archive, name="archive", help="Keep an audit archive that others can verify.")


@archive.callback()
def archive_verbs(context: typer.Context) -> None:
    """Keep an audit archive: complete, unaltered, and provable to someone who trusts nobody here."""
    require_verb(context)


@archive.command()
def keygen(
    context: typer.Context,
    *,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the log is called; default: this machine's name/maia-sync."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where the private key goes; default: archive.key_file."
        ),
    ] = None,
) -> int:
    """Make the key that signs the archive's checkpoints.

    The public key is written beside it. A key that is there is never overwritten.
    """
    from maia_sync.archive.keys import make_key, verifier_path

    configured = invocation_of(context).load_settings().archive.key_file if output is None else None
    path = output or configured or Path(_KEY_FILE)
    key = make_key(path, name or f"{socket.gethostname()}/maia-sync")
    say(f"The private key:  {path}")
    say(f"The verifier key: {verifier_path(path)}")
    say(f"  {key}")
    say()
    say("Keep the private key apart from the archive: who has both can write another history.")
    say("Keep a copy of the verifier key where nobody who runs this machine can change it: the archive is")
    say("verified with it.")
    if configured is None:
        say(f"Then set archive.key_file to {path.absolute()}")
    return EXIT_OK


@archive.command()
def create(context: typer.Context, as_json: AsJson = False) -> int:
    """Archive what is new since the last time, and sign a checkpoint.

    It can be interrupted at any moment, and goes on when it is started again. Exit code 7 if the archive is
    not what this database has written.
    """
    with invocation_of(context).app() as app, _watched() as observers, noticed() as stopped:
        report = app.create_archive(observers=observers, stopped=stopped)
    if as_json:
        print_json(report)
    else:
        for line in summarize_create(report):
            say(line)
    return _exit_code(report)


def _exit_code(report: "CreateReport") -> int:
    if report.interrupted_by is not None:
        return exit_code_of_signal(report.interrupted_by)
    if report.anchor == "failed":
        complain([f"the checkpoint could not be anchored, the archive itself is fine: {report.anchor_error}"])
        return EXIT_FAILED
    return EXIT_OK


def summarize_create(report: "CreateReport") -> "Iterator[str]":
    """Yield the lines that tell a person what a create came to."""
    if report.was_cut_off:
        yield "The create before was cut off: what it had left has been put in order"
    if report.enrolled:
        yield f"{counted(report.enrolled, 'task')} archived from now on"
    if report.new:
        told = ", ".join(f"{number:,} {kind}" for kind, number in report.entries.items())
        yield f"{counted(report.new, 'new record')} ({told}) in {show_duration(report.seconds)}"
        yield f"{counted(report.segments, 'data segment')}, {report.segment_bytes / 1e6:,.1f} MB"
    elif report.interrupted_by is None:
        yield "Nothing new to archive"
    if report.checkpoints:
        grown = f"from {report.size_before:,} to {report.size_after:,} entries"
        yield f"The log of {report.origin} has grown {grown}"
    elif report.checkpoint is not None:
        yield f"The log of {report.origin} has {report.size_after:,} entries"
    if report.checkpoint is not None:
        yield f"Checkpoint: {report.size_after} {report.root}"
        yield f"Anchored: {_anchored(report)}"
    if report.interrupted_by is not None:
        yield "Interrupted; the next create goes on from this checkpoint"


def _anchored(report: "CreateReport") -> str:
    return {
        "anchored": "yes",
        "failed": "no, that failed; the next create tries again",
        "none configured": "no, neither archive.anchor_command nor archive.anchor_url is set",
        "no checkpoint": "no",
        "interrupted": "not yet; the next create does it",
    }[report.anchor]


@contextmanager
def _watched() -> "Iterator[list[Observe]]":
    """Yield what shows how far a create is, on a terminal."""
    if not sys.stderr.isatty():
        yield []
        return
    with console(stderr=True).status("Archiving") as status:

        def tell(progress: "CreateProgress") -> None:
            status.update(
                f"Archiving: {counted(progress.entries, 'record')}, {progress.segment_bytes / 1e6:,.1f} MB"
            )

        yield [tell]


@archive.command("list")
def list_(
    context: typer.Context,
    place: Annotated[
        str | None, typer.Argument(metavar="[DIR|URL]", help="An archive; default: archive.url.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="So many checkpoints.")] = 20,
    as_json: AsJson = False,
) -> int:
    """List the archive's checkpoints and its dates. Nothing is verified: that is what archive verify does."""
    from maia_sync.archive.configured import configured_place
    from maia_sync.archive.overview import look, look_with
    from maia_sync.archive.places import open_place

    if place is not None:
        overview = look(open_place(place), most=limit)
    else:
        with invocation_of(context).app() as app:
            overview = look_with(app.database, configured_place(app.settings.archive), most=limit)
    if as_json:
        print_json(overview)
    else:
        _print(overview)
    return EXIT_OK


def _print(overview: "Overview") -> None:
    if overview.size is None:
        say(f"{overview.place} holds no archive")
        return
    say(f"The log of {overview.origin} at {overview.place} has {overview.size:,} entries")
    if overview.is_unfinished:
        say("A create is at work there, or was cut off")
    say()
    rows = [
        (
            f"{one.size:,}",
            one.root,
            "" if one.created_at is None else show_moment(one.created_at),
            one.anchor_error or ("" if one.anchored_at is None else show_moment(one.anchored_at)),
        )
        for one in overview.checkpoints
    ]
    print_table(make_table(("entries", "root", "made", "anchored"), rows, numbers=("entries",)))
    if overview.checkpoints_in_all > len(rows):
        note(f"... and {overview.checkpoints_in_all - len(rows):,} older ones: see --limit")
    say()
    dates = overview.dates[-_MOST_DATES:]
    table = [(one.date or "undated", f"{one.segments:,}", f"{one.size_bytes:,}") for one in dates]
    print_table(make_table(("date", "segments", "bytes"), table, numbers=("segments", "bytes")))
    if len(overview.dates) > len(dates):
        note(f"... and {len(overview.dates) - len(dates):,} earlier dates: --json lists them")
    say()
    say(f"{counted(overview.segments, 'data segment')}, {overview.segment_bytes / 1e6:,.1f} MB")
