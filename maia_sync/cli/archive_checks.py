"""Is the archive what it was, and what does it prove? archive verify, prove and check-proof."""

import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.archive_verbs import archive
from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.cli.interruption import noticed
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import console, print_json, say, write_text
from maia_sync.cli.tables import make_table, print_table
from maia_sync.cli.task_ids import parse_task_id
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_DIFFERENCE, EXIT_OK, DatabaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.place import Place
    from maia_sync.archive.proof import Proven
    from maia_sync.archive.prove import EventAddress
    from maia_sync.archive.verifying import ArchiveReport, Comparison, Progress
    from maia_sync.cli.invocation import Invocation

_MOST_SHOWN = 100
_NUMBER = re.compile(r"[0-9]{1,18}")
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="K", help="A verifier key, or a file that holds one; default: the configured one."
    ),
]


def register(cli: typer.Typer) -> None:
    """Add the verbs of this module to those of `archive`."""
    del cli  # archive_verbs has added the group
    archive.command()(verify)
    archive.command()(prove)
    archive.command("check-proof")(check_proof)


def verify(
    context: typer.Context,
    *,
    place: Annotated[
        str | None, typer.Argument(metavar="[DIR|URL]", help="An archive; default: archive.url.")
    ] = None,
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
    where, verifier = _place(invocation, place), _key(invocation, key)
    since = None if since_checkpoint is None else _read(since_checkpoint)
    with (
        _comparison(invocation, verifier, wanted=not no_database) as comparison,
        noticed() as stopped,
        _watched() as progress,
    ):
        report = verify_archive(
            where, verifier, since=since, comparison=comparison, progress=progress, stopped=stopped
        )
    if as_json:
        print_json(report)
    else:
        for line in summarize_archive(report):
            say(line)
        _print_findings(report)
    if report.finding_count:
        return EXIT_DIFFERENCE
    return EXIT_OK if report.interrupted_by is None else exit_code_of_signal(report.interrupted_by)


@contextmanager
def _comparison(
    invocation: "Invocation", key: "VerifierKey", *, wanted: bool
) -> "Iterator[Comparison | None]":
    if not wanted:
        yield None
        return
    from maia_sync.archive.against_database import AgainstDatabase

    with invocation.app(migrated=False) as app:
        try:
            app.database.require_migrated()
        except DatabaseError as error:
            raise type(error)(f"{error}; --no-database verifies the archive alone") from error
        yield AgainstDatabase(app.database, key)


@contextmanager
def _watched() -> "Iterator[Progress | None]":
    """Yield what shows how far a verification is, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with console(stderr=True).status("Verifying") as status:
        yield lambda done, total: status.update(f"Verifying: {done:,} of {total:,} entries")


def summarize_archive(report: "ArchiveReport") -> "Iterator[str]":
    """Yield the lines that tell a person what a verification came to: what was compared, and what was not."""
    if report.root is None:
        yield f"Nothing of the archive at {report.place} could be compared with the key of {report.origin}"
    else:
        yield f"The log of {report.origin} at {report.place} has {report.size:,} entries"
        yield f"  Root: {report.root}"
        yield f"  Signed by: {report.key}"
        told = ", ".join(f"{number:,} {kind}" for kind, number in report.entries.items())
        yield f"  Compared: {counted(report.files, 'file')}, {counted(report.checkpoints, 'checkpoint')}"
        yield f"  Entries: {told}"
        yield (
            f"  Payloads: {report.payloads:,} in {counted(report.segments, 'data segment')} "
            f"({report.segment_bytes / 1e6:,.1f} MB)"
        )
        if report.unchecked:
            yield f"  {counted(report.unchecked, 'payload')} could not be compared"
    yield from _of_database(report)
    if report.since is None:
        yield "  Not compared with an earlier checkpoint, kept elsewhere: see --since-checkpoint"
    else:
        yield f"  Earlier checkpoint: of {report.since:,} entries"
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
        f"  Database: {counted(figures.events, 'payload')} of events and "
        f"{counted(figures.rows, 'other row')} looked up in {figures.place}"
    )
    if figures.waiting:
        yield f"  Waiting there for the next create: {counted(figures.waiting, 'change')}"
    if figures.not_enrolled:
        yield f"  {counted(figures.not_enrolled, 'task')} there not archived so far: the next create begins"


def _print_findings(report: "ArchiveReport") -> None:
    shown = report.findings[:_MOST_SHOWN]
    if shown:
        say()
        rows = [(finding.kind, finding.place, finding.sentence) for finding in shown]
        print_table(make_table(("difference", "where", "what"), rows, yielding="what"))
    more = report.finding_count - len(shown)
    if more:
        say(f"\n... and {more:,} more differences")


def prove(
    context: typer.Context,
    *,
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT",
            help="TASK with --group, --timestamp and --ordinal; TASK/SEQ; or an entry's number in the log.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the proof goes; - for stdout.")
    ],
    group: Annotated[str, typer.Option(metavar="G", help="The event's group; default: none.")] = "",
    timestamp: Annotated[
        str | None,
        typer.Option(metavar="T", help="As it came, or in nanoseconds since 1970; default: none."),
    ] = None,
    ordinal: Annotated[int, typer.Option(metavar="N", help="Among events of the same key.")] = 0,
    revision: Annotated[
        int | None, typer.Option(metavar="R", help="Default: the newest that is archived.")
    ] = None,
    without_payload: Annotated[
        bool,
        typer.Option("--without-payload", help="Prove that it was received, but not what it says."),
    ] = False,
    key: Key = None,
) -> int:
    """Write a proof of one event that anybody can check offline, with the verifier key alone.

    The file is a C2SP tlog-proof. It holds the event's payload unless --without-payload is given.
    """
    from maia_sync.archive.proof import encode_proof
    from maia_sync.archive.prove import prove as make_proof

    invocation = invocation_of(context)
    where, verifier = _place(invocation, None), _key(invocation, key)
    if _NUMBER.fullmatch(event):
        wanted: EventAddress | int = int(event)
    else:
        wanted = _address(invocation, event, (group, _instant(timestamp), ordinal), revision)
    proof = make_proof(where, verifier, wanted, with_payload=not without_payload)
    text = encode_proof(proof)
    if str(output) == "-":
        write_text(text)
        return EXIT_OK
    try:
        output.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {error.strerror or type(error).__name__}") from error
    what = "with its payload" if proof.payload is not None else "without a payload"
    say(f"Entry {proof.number} of the log of {verifier.name}, {what}: {output}")
    say(f"It is checked with: maia-sync archive check-proof {output} --key {verifier}")
    return EXIT_OK


def _address(
    invocation: "Invocation", event: str, name: tuple[str, int, int], revision: int | None
) -> "EventAddress":
    from maia_sync.archive.prove import EventAddress, find_at

    task, slash, seq = event.partition("/")
    task_id = parse_task_id(task)
    if not slash:
        return EventAddress(
            task_id=task_id, group_id=name[0], timestamp=name[1], ordinal=name[2], revision=revision
        )
    if not re.fullmatch(r"-?[0-9]{1,19}", seq) or not -(2**63) <= int(seq) < 2**63:
        raise UsageError("expected TASK/SEQ, with the seq that `maia-sync events TASK --json` shows")
    with invocation.app() as app:
        return find_at(app.database, task_id, int(seq), revision)


def _instant(text: str | None) -> int:
    from maia_sync.model import NO_TIMESTAMP

    if text is None:
        return NO_TIMESTAMP
    if re.fullmatch(r"-?[0-9]{1,19}", text):
        return int(text)
    from maia_sync.maia.timestamp import read_instant

    return read_instant(text).nanoseconds


def check_proof(
    context: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A proof; - for standard input.")],
    key: Key = None,
    payload: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the payload there, to the letter; - for stdout, alone."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check a proof, offline, and say what it proves. Exit code 7 if it proves nothing."""
    from maia_sync.archive.proof import check_proof as check
    from maia_sync.archive.proof import decode_proof

    verifier = _key(invocation_of(context), key)
    proven = check(decode_proof(_read(file)), verifier)
    if payload is not None:
        _write_payload(proven, payload)
        if str(payload) == "-":
            return EXIT_OK
    if as_json:
        print_json(_as_json(proven, verifier))
    else:
        for line in summarize_proven(proven, verifier):
            say(line)
    return EXIT_OK


def _write_payload(proven: "Proven", path: Path) -> None:
    if proven.payload is None:
        raise UsageError("the proof holds no payload: it was made without, or its entry has none")
    if str(path) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(proven.payload)
        sys.stdout.buffer.flush()
        return
    try:
        path.write_bytes(proven.payload)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or type(error).__name__}") from error


def summarize_proven(proven: "Proven", key: "VerifierKey") -> "Iterator[str]":
    """Yield the lines that tell a person what a proof proves, and what it cannot."""
    entry = proven.entry
    yield f"Proven: entry {proven.number} of the log of {key.name} is what this proof says, and is signed"
    yield f"  Signed: {proven.head.size:,} entries with root {proven.head.root.hex()}"
    yield f"  By the key: {key}"
    for name, value in _told(proven):
        yield f"  {name}: {value}"
    if proven.payload is not None:
        yield f"  Payload: {counted(len(proven.payload), 'byte')}, as received; --payload FILE writes them"
        if b"\0" in proven.payload and entry.type in ("event", "revision"):
            yield "    (data, unknown fields and timestamp, with a zero byte between each)"
    elif entry.payload is not None:
        yield "  Payload: not in this proof"
    yield "Not proven: that whoever holds the key has served the truth, or that the clock there was right"


def _told(proven: "Proven") -> "Iterator[tuple[str, str]]":
    from maia_sync.archive.finding import shown

    entry = proven.entry
    yield "What", entry.type
    named = {
        "Task": entry.task,
        "Group": None if entry.group is None else shown(entry.group),
        "Timestamp": entry.timestamp_text,
        "Ordinal": entry.ordinal,
        "Revision": entry.revision,
        "Number": entry.id,
        "Received": entry.received,
        "Run": entry.run,
    }
    yield from ((name, str(value)) for name, value in named.items() if value is not None)


def _as_json(proven: "Proven", key: "VerifierKey") -> dict[str, object]:
    return {
        "origin": key.name,
        "key": str(key),
        "size": proven.head.size,
        "root": proven.head.root.hex(),
        "number": proven.number,
        "entry": proven.entry,
        "payload_bytes": None if proven.payload is None else len(proven.payload),
    }


def _place(invocation: "Invocation", url: str | None) -> "Place":
    from maia_sync.archive.configured import configured_place
    from maia_sync.archive.places import open_place

    return open_place(url) if url is not None else configured_place(invocation.load_settings().archive)


def _key(invocation: "Invocation", key: str | None) -> "VerifierKey":
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


def _read(path: Path) -> bytes:
    """Return a file that somebody has named. Raises UsageError."""
    most = 256 << 20
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(most)
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from error
