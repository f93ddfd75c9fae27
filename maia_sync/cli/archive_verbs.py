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
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import complain, console, note, print_json, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted, sized
from maia_sync.errors import EXIT_FAILED, EXIT_OK, ArchiveError, ConfigError, DatabaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.creating import CreateProgress, CreateReport, Observe
    from maia_sync.archive.overview import Overview
    from maia_sync.cli.invocation import Invocation
    from maia_sync.settings import ArchiveSettings

_KEY_FILE = "archive.key"
_MOST_DATES = 31


def register(archive: typer.Typer) -> None:
    """Add the verbs of this module to those of `archive`."""
    archive.command()(keygen)
    archive.command()(create)
    archive.command("list")(list_)


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
    from_key: Annotated[
        Path | None,
        typer.Option(
            "--from-key",
            metavar="FILE",
            help="Make no key: print the verifier key of this private key, and write it if it is lost.",
        ),
    ] = None,
) -> int:
    """Make the key that signs the archive's checkpoints.

    The public key is written beside it, and the key by which payloads are known again once they are pruned or
    erased, unless there is one. A key that is there is never overwritten.
    """
    if from_key is not None:
        return _print_verifier(from_key, is_alone=name is None and output is None)
    from maia_sync.archive.configured import lies_in_archive
    from maia_sync.archive.keys import make_key, verifier_path
    from maia_sync.store.digest_key import make_digest_key

    archive = _settings_of(context, is_needed=output is None)
    path = output or archive.key_file or Path(_KEY_FILE)
    digests = _digests_path(archive, path, is_elsewhere=output is not None)
    for each in (path, digests):
        if lies_in_archive(archive, each):
            raise UsageError(
                f"{each}: lies in the archive's folder: everyone who gets a copy would get the key"
            )
    key = make_key(path, name or f"{socket.gethostname()}/maia-sync")
    say(f"The private key:  {path}")
    say(f"The verifier key: {verifier_path(path)}")
    say(f"  {key}")
    if not digests.exists():
        make_digest_key(digests)
    say(f"The digests' key: {digests}")
    say()
    for line in _advice(archive, path, digests, None if name is not None else key.name):
        say(line)
    return EXIT_OK


def _settings_of(context: typer.Context, *, is_needed: bool) -> "ArchiveSettings":
    """Return what is configured; a key may be made before everything is in order, if it is told where to."""
    from maia_sync.settings import ArchiveSettings

    try:
        return invocation_of(context).load_settings().archive
    except ConfigError:
        if is_needed:
            raise
        return ArchiveSettings()


def _digests_path(archive: "ArchiveSettings", path: Path, *, is_elsewhere: bool) -> Path:
    """Return where the digests' key is, or goes: what was removed is known again by the one that there is."""
    from maia_sync.archive.keys import digests_path

    configured = archive.digest_key_file
    if configured is None or (is_elsewhere and not configured.exists()):
        return digests_path(path)
    return configured


def _advice(
    archive: "ArchiveSettings", path: Path, digests: Path, default_name: str | None
) -> "Iterator[str]":
    from maia_sync.archive.keys import digests_path

    yield "Keep the private key apart from the archive: who has both can write another history."
    yield "Keep a copy of it in a safe place: without it the log cannot go on."
    yield "Keep a copy of the verifier key where nobody who runs this machine can change it: the archive is"
    yield "verified with it."
    yield "Keep a copy of the digests' key as well, and give it to every worker: payloads that were pruned or"
    yield "erased are known again by it, and who does not have it cannot find them out by trying."
    if default_name is not None:
        yield f"The log is called {default_name} for good. Where several databases of this machine are"
        yield "archived, give each log a name of its own: delete the key and its .pub, and use --name."
    if archive.key_file is None or archive.key_file.absolute() != path.absolute():
        yield f"Then set archive.key_file to {path.absolute()}"
    if digests != digests_path(path) and archive.key_file != path:
        yield f"Then set archive.digest_key_file to {digests.absolute()}"
    if archive.url is None:
        yield "Then set archive.url to the folder or URL where the archive is to lie"


def _print_verifier(path: Path, *, is_alone: bool) -> int:
    from maia_sync.archive.keys import restore_verifier, verifier_path

    if not is_alone:
        raise UsageError("--from-key makes no key: --name and --output do not go with it")
    key, is_new = restore_verifier(path)
    say(str(key))
    if is_new:
        note(f"written to {verifier_path(path)}")
    return EXIT_OK


def create(
    context: typer.Context,
    *,
    new_log: Annotated[
        bool,
        typer.Option(
            "--new-log",
            help="Begin another log, with a new key at an empty place, and archive everything anew there.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Archive what is new since the last time, and sign a checkpoint.

    It can be interrupted at any moment, and goes on when it is started again. Exit code 7 if the archive is
    not what this database has written.
    """
    with invocation_of(context).app() as app, _watched() as observers, noticed() as stopped:
        report = app.create_archive(new_log=new_log, observers=observers, stopped=stopped)
    if as_json:
        print_json(report)
    else:
        for line in summarize_create(report):
            say(line)
    return exit_code_of_create(report)


def exit_code_of_create(report: "CreateReport") -> int:
    """Tell what has gone wrong, and return the exit code."""
    if report.incomplete is not None:
        complain([report.incomplete])
    if report.interrupted_by is not None:
        return exit_code_of_signal(report.interrupted_by)
    if report.anchor == "failed":
        complain([f"the checkpoint could not be anchored, the archive itself is fine: {report.anchor_error}"])
    if report.unscrubbed is not None:
        complain([report.unscrubbed])
    is_well = report.incomplete is None and report.anchor != "failed" and report.unscrubbed is None
    return EXIT_OK if is_well else EXIT_FAILED


def summarize_create(report: "CreateReport") -> "Iterator[str]":
    """Yield the lines that tell a person what a create came to."""
    if report.replaced is not None:
        yield f"The log of {report.origin} takes the place of that of {report.replaced}"
    if report.was_cut_off:
        yield "The create before was cut off: what it had left has been put in order"
    if report.enrolled:
        yield f"{counted(report.enrolled, 'task')} archived from now on"
    yield from _news(report)
    if report.checkpoints:
        grown = f"from {report.size_before:,} to {counted(report.size_after, 'entry')}"
        yield f"The log of {report.origin} has grown {grown}"
    elif report.checkpoint is not None:
        yield f"The log of {report.origin} has {counted(report.size_after, 'entry')}"
    if report.checkpoint is not None:
        yield f"Checkpoint: {report.size_after} {report.root}"
        yield f"Anchored: {_anchored(report)}"
    if report.interrupted_by is not None:
        from_there = "begins again" if report.checkpoint is None else "goes on from this checkpoint"
        yield f"Interrupted; the next create {from_there}"


def _news(report: "CreateReport") -> "Iterator[str]":
    if report.new:
        told = ", ".join(f"{number:,} {kind}" for kind, number in report.entries.items())
        yield f"{counted(report.new, 'new record')} ({told}) in {show_duration(report.seconds)}"
    elif report.interrupted_by is None:
        yield "Nothing new to archive"
    gone = report.entries.get("missing", 0)
    if gone:
        had = "had been pruned before, or their rows deleted"
        yield f"{counted(gone, 'payload')} of them {had}: the log tells of them without what they were"
    if report.segments:
        yield f"{counted(report.segments, 'data segment')}, {sized(report.segment_bytes)}"


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
                f"Archiving: {counted(progress.entries, 'record')}, {sized(progress.segment_bytes)}"
            )

        yield [tell]


def list_(
    context: typer.Context,
    place: Annotated[
        str | None, typer.Argument(metavar="[DIR|URL]", help="An archive; default: archive.url.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="So many checkpoints.")] = 20,
    as_json: AsJson = False,
) -> int:
    """List the archive's checkpoints and its dates. Nothing is verified: that is what archive verify does."""
    from maia_sync.archive.overview import look
    from maia_sync.archive.places import open_place

    is_whole = True
    if place is not None:
        overview = look(open_place(place), most=limit)
    else:
        overview, is_whole = _look_at_ours(invocation_of(context), limit)
    if overview.size is None:
        at_work = ": a create is at work there, or was cut off" if overview.is_unfinished else ""
        raise ArchiveError(f"{overview.place}: there is no archive{at_work}")
    if not is_whole:
        note("without the database: it alone knows when checkpoints were made and anchored")
    if as_json:
        print_json(overview)
    else:
        _print(overview)
    return EXIT_OK


def _look_at_ours(invocation: "Invocation", limit: int) -> "tuple[Overview, bool]":
    """Return what lies at the place of archive.url, and whether the database could tell its part of it."""
    from maia_sync.archive.configured import configured_place
    from maia_sync.archive.overview import look, look_with

    place = configured_place(invocation.load_settings().archive)
    try:
        with invocation.app() as app:
            return look_with(app.database, place, most=limit), True
    except DatabaseError:
        return look(place, most=limit), False


def _print(overview: "Overview") -> None:
    has = counted(overview.size or 0, "entry")
    say(f"The log of {overview.origin} at {overview.place} has {has}")
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
    anew = f", {overview.redacted:,} written anew as payloads were erased" if overview.redacted else ""
    say(f"{counted(overview.segments, 'data segment')}, {sized(overview.segment_bytes)}{anew}")
