"""How does a database come back from the audit archive? archive restore."""

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.archive_checks import Key, PlaceName, find_key, find_place, print_findings, watched
from maia_sync.cli.durations import show_duration
from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.cli.interruption import noticed
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import print_json, say
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_DIFFERENCE, EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.restore import RestoreReport
    from maia_sync.settings import Settings


def register(archive: typer.Typer) -> None:
    """Add the verb of this module to those of `archive`."""
    archive.command()(restore)


def restore(
    context: typer.Context,
    *,
    place: PlaceName = None,
    database: Annotated[
        str | None,
        typer.Option(
            "--database", metavar="URL", help="The empty database to restore to; default: database.url."
        ),
    ] = None,
    key: Key = None,
    as_json: AsJson = False,
) -> int:
    """Rebuild a database from the archive alone, and verify the archive while it is read.

    The database has to be empty. If this is interrupted, the same command goes on; until it has ended,
    nothing else uses the database. Exit code 7 if anything is wrong with the archive.
    """
    from maia_sync.app import open_app
    from maia_sync.archive.restore import restore_archive

    invocation = invocation_of(context)
    where, verifier = find_place(invocation, place), find_key(invocation, key)
    settings = _with_database(invocation.load_settings(), database)
    with open_app(settings) as app, noticed() as stopped, watched("Restoring") as progress:
        report = restore_archive(
            where,
            verifier,
            app.database,
            facets=app.facets,
            time_zone=settings.facets.time_zone,
            progress=progress,
            stopped=stopped,
        )
    if as_json:
        print_json(report)
    else:
        for line in summarize_restore(report):
            say(line)
        print_findings(report.findings, report.finding_count)
    if report.finding_count:
        return EXIT_DIFFERENCE
    if report.completed:
        return EXIT_OK
    return exit_code_of_signal(report.interrupted_by or signal.SIGTERM)


def _with_database(settings: "Settings", url: str | None) -> "Settings":
    """Return settings with the database that was named, if one was. Raises UsageError."""
    if url is None:
        return settings
    import msgspec

    from maia_sync.config_addresses import RefusedError, database_url
    from maia_sync.errors import UsageError

    try:
        named = database_url(url)
    except RefusedError as error:
        raise UsageError(
            "--database: expected sqlite:///<file> or postgresql+psycopg://<user>@<host>/<database>"
        ) from error
    database = msgspec.structs.replace(settings.database, url=named)
    if database.dialect == "sqlite" or database.has_password:
        database = msgspec.structs.replace(database, password_file=None)
    return msgspec.structs.replace(settings, database=database)


def summarize_restore(report: "RestoreReport") -> "Iterator[str]":
    """Yield the lines that tell a person what a restore came to."""
    if not report.size and report.finding_count:
        yield f"{counted(report.finding_count, 'difference')}: nothing was restored to {report.database}"
        return
    if report.resumed_at:
        yield f"The restore before had come to {counted(report.resumed_at, 'entry')}"
    restored = sum(report.entries.values())
    told = ", ".join(f"{number:,} {kind}" for kind, number in report.entries.items())
    behind = f" ({told})" if told else ""
    in_time = f"{behind} in {show_duration(report.seconds)}"
    yield f"{counted(restored, 'entry')} restored to {report.database}{in_time}"
    if report.erased:
        yield f"  {counted(report.erased, 'payload')} of them had been erased: their rows tell when"
        yield "  They are known again by the digests' key alone: see archive.digest_key_file"
    yield from (f"  Note: {note}" for note in report.notes)
    if report.completed:
        has = f"has {counted(report.size, 'entry')}: no difference"
        yield f"The log of {report.origin} at {report.place} {has}"
        yield f"  Root: {report.root}"
        yield "The database is whole. The next `sync` reads each log from its start, and stores nothing twice"
    elif report.interrupted_by is not None:
        yield "Interrupted; the same command goes on from there"
    if report.finding_count:
        yield (
            f"{counted(report.finding_count, 'difference')}: the database stays unfinished, with "
            f"{report.restored:,} of {counted(report.size, 'entry')}"
        )
