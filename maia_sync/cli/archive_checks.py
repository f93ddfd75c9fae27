"""Is the archive what it was? archive verify; and how its verbs find the archive and its key."""

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.cli.interruption import noticed
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import console, print_json, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted, sized
from maia_sync.errors import EXIT_DIFFERENCE, EXIT_OK, DatabaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from maia_sync.app import App
    from maia_sync.archive.finding import Finding
    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.verifying import ArchiveReport, Comparison, Progress
    from maia_sync.cli.invocation import Invocation

_MOST_SHOWN = 100
_NUMBER = re.compile(r"[0-9]{1,18}")
_NOUNS = ("event", "revision", "run", "segment", "task", "hold", "erasure")
PlaceName = Annotated[
    str | None, typer.Argument(metavar="[DIR|URL]", help="An archive; default: archive.url.")
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="K", help="A verifier key, or a file that holds one; default: the configured one."
    ),
]


def register(archive: typer.Typer) -> None:
    """Add the verb of this module to those of `archive`."""
    archive.command()(verify)


def verify(
    context: typer.Context,
    *,
    place: PlaceName = None,
    key: Key = None,
    since_checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="An earlier checkpoint, kept elsewhere, that the log must go on from."
        ),
    ] = None,
    no_database: Annotated[
        bool, typer.Option("--no-database", help="Compare nothing with the database: it is not needed then.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Compare the archive with its signatures, its log and the database; write nothing.

    Reads all of it. Exit code 7 if anything differs.
    """
    from maia_sync.archive.verify import verify_archive

    invocation = invocation_of(context)
    where, verifier = find_place(invocation, place), find_key(invocation, key)
    since = None if since_checkpoint is None else _read_checkpoint(since_checkpoint)
    may_lack = place is not None or key is not None
    with (
        _comparison(invocation, verifier, wanted=not no_database, may_lack=may_lack) as (comparison, notes),
        noticed() as stopped,
        watched("Verifying") as progress,
    ):
        report = verify_archive(
            where,
            verifier,
            since=since,
            comparison=comparison,
            notes=notes,
            progress=progress,
            stopped=stopped,
        )
    if as_json:
        print_json(report)
    else:
        for line in summarize_archive(report):
            say(line)
        print_findings(report.findings, report.finding_count)
    if report.finding_count:
        return EXIT_DIFFERENCE
    return EXIT_OK if report.interrupted_by is None else exit_code_of_signal(report.interrupted_by)


def _read_checkpoint(path: Path) -> bytes:
    from maia_sync.archive.note import is_checkpoint

    content = read_named(path)
    if not is_checkpoint(content):
        raise UsageError(f"--since-checkpoint: {path} is no checkpoint")
    return content


@contextmanager
def _comparison(
    invocation: "Invocation", key: "VerifierKey", *, wanted: bool, may_lack: bool
) -> "Iterator[tuple[Comparison | None, list[str]]]":
    """Yield what compares with the database, and notes.

    `may_lack`: the archive may be somebody else's, so that there need not be a database here.
    """
    if not wanted:
        yield None, []
        return
    from maia_sync.archive.against_database import AgainstDatabase

    with invocation.app(migrated=False) as app:
        if may_lack and _is_lacking(invocation, app):
            yield None, [f"there is no database at {app.database.place}, so only the archive was verified"]
            return
        try:
            app.database.require_migrated()
        except DatabaseError as error:
            raise type(error)(f"{error}; --no-database verifies the archive alone") from error
        yield AgainstDatabase(app.database, key), []


def _is_lacking(invocation: "Invocation", app: "App") -> bool:
    """Tell whether there is no database, and nobody has configured one."""
    from maia_sync.config import DatabaseSettings, config_path

    if app.settings.database.url != DatabaseSettings().url or config_path(invocation.config).is_file():
        return False
    try:
        app.database.require_file()
    except DatabaseError:
        return True
    return False


@contextmanager
def watched(what: str) -> "Iterator[Progress | None]":
    """Yield what shows how far the reading of a log is, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with console(stderr=True).status(what) as status:
        yield lambda done, total: status.update(f"{what}: {done:,} of {total:,} entries")


def summarize_archive(report: "ArchiveReport") -> "Iterator[str]":
    """Yield the lines that tell a person what a verification came to: what was compared, and what was not."""
    if report.root is None and not report.finding_count:
        yield f"There is no archive of {report.origin} at {report.place} so far"
    elif report.root is None:
        yield f"Nothing of the archive at {report.place} could be compared with the key of {report.origin}"
    else:
        yield f"The log of {report.origin} at {report.place} has {counted(report.size, 'entry')}"
        yield f"  Root: {report.root}"
        yield f"  Signed by: {report.key}"
        told = ", ".join(
            counted(number, kind) if kind in _NOUNS else f"{number:,} {kind}"
            for kind, number in report.entries.items()
        )
        yield f"  Compared: {counted(report.files, 'file')}, {counted(report.checkpoints, 'checkpoint')}"
        yield f"  Entries: {told}"
        yield (
            f"  Payloads: {report.payloads - report.erased:,} in {counted(report.segments, 'data segment')} "
            f"({sized(report.segment_bytes)})"
        )
        if report.erased:
            yield f"  Erased: {counted(report.erased, 'more payload')}, as the log says; the entries stay"
        if report.unchecked:
            yield f"  {counted(report.unchecked, 'payload')} could not be compared"
        yield from _of_database(report)
        if report.since is None:
            yield "  Not compared with an earlier checkpoint, kept elsewhere: see --since-checkpoint"
        else:
            yield f"  Earlier checkpoint: of {counted(report.since, 'entry')}"
    yield from (f"  Note: {note}" for note in report.notes)
    if report.interrupted_by is not None:
        yield "Interrupted: the rest was not compared"
    if report.finding_count:
        yield counted(report.finding_count, "difference")
    elif report.interrupted_by is None:
        yield "No difference"


def _of_database(report: "ArchiveReport") -> "Iterator[str]":
    figures = report.database
    if figures is None:
        yield "  Not compared with a database"
        return
    yield (
        f"  Database: {counted(figures.events, 'revision')} of events and "
        f"{counted(figures.rows, 'other row')} looked up in {figures.place}"
    )
    if figures.pruned:
        yield f"  Pruned there: {counted(figures.pruned, 'payload')}, which the archive alone has"
    if figures.waiting:
        yield f"  Waiting there for the next create: {counted(figures.waiting, 'change')}"
    if figures.not_enrolled:
        yield f"  {counted(figures.not_enrolled, 'task')} there not archived so far: the next create begins"


def print_findings(findings: "Sequence[Finding]", count: int) -> None:
    """Print the first of so many findings as a table."""
    shown = findings[:_MOST_SHOWN]
    if shown:
        say()
        rows = [(finding.kind, finding.place, finding.sentence) for finding in shown]
        print_table(make_table(("difference", "where", "what"), rows, yielding="what"))
    more = count - len(shown)
    if more:
        say(f"\n... and {counted(more, 'more difference')}")


def find_place(invocation: "Invocation", url: str | None) -> "Place":
    """Return the archive's place: that of a URL or a folder, or the configured one."""
    from maia_sync.archive.configured import configured_place
    from maia_sync.archive.places import open_place

    return open_place(url) if url is not None else configured_place(invocation.load_settings().archive)


def find_key(invocation: "Invocation", key: str | None) -> "VerifierKey":
    """Return the verifier key: the one that was named, or the configured one."""
    from maia_sync.archive.keys import load_verifier
    from maia_sync.errors import ConfigError

    if key is not None:
        return load_verifier(key)
    path = invocation.load_settings().archive.verifier_key_file
    if path is None:
        raise ConfigError(
            ["archive.verifier_key_file: expected the verifier key's file, or the option --key"]
        )
    return load_verifier(path)


def read_named(path: Path) -> bytes:
    """Return a file that somebody has named. Raises UsageError."""
    most = 256 << 20
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(most)
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from error
