"""What does the archive prove, to whom? archive prove and check-proof."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from maia_sync.cli.archive_checks import Key, find_key, find_place, read_named
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import print_json, say, write_text
from maia_sync.cli.task_ids import parse_task_id
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted
from maia_sync.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.archive.note import VerifierKey
    from maia_sync.archive.proof import Proven
    from maia_sync.archive.prove import EventAddress
    from maia_sync.cli.invocation import Invocation

_NUMBER = re.compile(r"[0-9]{1,18}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_LONGEST_PROOF = 16 << 20
Force = Annotated[bool, typer.Option("--force", help="Overwrite whatever file is there.")]


def register(archive: typer.Typer) -> None:
    """Add the verbs of this module to those of `archive`."""
    archive.command()(prove)
    archive.command("check-proof")(check_proof)


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
    group: Annotated[str | None, typer.Option(metavar="G", help="The event's group; default: none.")] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(metavar="T", help="As it came, or in nanoseconds since 1970; default: none."),
    ] = None,
    ordinal: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Among events of the same key; default: 0.")
    ] = None,
    revision: Annotated[
        int | None, typer.Option(metavar="R", min=0, help="Default: the newest that is archived.")
    ] = None,
    without_payload: Annotated[
        bool,
        typer.Option("--without-payload", help="Prove that it was received, but not what it says."),
    ] = False,
    force: Force = False,
    key: Key = None,
) -> int:
    """Write a proof of one event that anybody can check offline, with the verifier key alone.

    The file is a C2SP tlog-proof. It holds the event's payload unless --without-payload is given. A file that
    is there is left alone, unless it is such a proof.
    """
    from maia_sync.archive.proof import encode_proof, is_proof
    from maia_sync.archive.prove import prove as make_proof

    invocation = invocation_of(context)
    name = _Name(group, timestamp, ordinal)
    wanted = _wanted(invocation, event, name, revision)
    if not force:
        _require_free(output, "--output", but=is_proof)
    where, verifier = find_place(invocation, None), find_key(invocation, key)
    proof = make_proof(where, verifier, wanted, with_payload=not without_payload)
    text = encode_proof(proof)
    if str(output) == "-":
        write_text(text)
        return EXIT_OK
    _write(output, text.encode(), told_by="--output")
    what = "with its payload" if proof.payload is not None else "without a payload"
    say(f"Entry {proof.number} of the log of {verifier.name}, {what}: {output}")
    say(f"It is checked with: maia-sync archive check-proof {output} --key {verifier}")
    return EXIT_OK


def _require_free(path: Path, option: str, *, but: "Callable[[bytes], bool] | None" = None) -> None:
    """Raise UsageError if a file is there, `but` for one that may be overwritten; pipes and devices may."""
    if str(path) == "-" or not path.is_file():
        return
    if but is not None and path.stat().st_size <= _LONGEST_PROOF and but(read_named(path)):
        return
    raise UsageError(f"{option}: {path} is there already; --force overwrites it")


def _write(path: Path, content: bytes, *, told_by: str) -> None:
    from maia_sync.report.whole_file import whole_file

    with whole_file(str(path), told_by=told_by) as file:
        file.write(content)


class _Name(NamedTuple):
    """What names an event of a task, as far as it was given."""

    group: str | None
    timestamp: str | None
    ordinal: int | None


def _wanted(invocation: "Invocation", event: str, name: _Name, revision: int | None) -> "EventAddress | int":
    from maia_sync.archive.prove import EventAddress, find_at

    is_named = any(each is not None for each in name)
    if _NUMBER.fullmatch(event):
        if is_named or revision is not None:
            raise UsageError("an entry is named by its number alone: an event's name belongs to a task")
        return int(event)
    task, slash, seq = event.partition("/")
    task_id = parse_task_id(task)
    if not slash:
        return EventAddress(
            task_id=task_id,
            group_id=name.group or "",
            timestamp=_instant(name.timestamp),
            ordinal=name.ordinal or 0,
            revision=revision,
        )
    if not _INTEGER.fullmatch(seq) or not _fits(int(seq)):
        raise UsageError("expected TASK/SEQ, with the seq that `maia-sync events TASK --json` shows")
    if is_named:
        raise UsageError("TASK/SEQ names the event: --group, --timestamp and --ordinal go with TASK alone")
    with invocation.app() as app:
        return find_at(app.database, task_id, int(seq), revision)


def _instant(text: str | None) -> int:
    from maia_sync.model import NO_TIMESTAMP

    if text is None:
        return NO_TIMESTAMP
    if _INTEGER.fullmatch(text) and _fits(int(text)):
        return int(text)
    from maia_sync.maia.timestamp import read_instant

    instant = read_instant(text)
    if instant.nanoseconds == NO_TIMESTAMP and instant.occurred_at is None:
        raise UsageError(
            "--timestamp: expected a moment as it came (RFC 3339), or nanoseconds since 1970; an event that "
            "has none that can be read is named without --timestamp"
        )
    return instant.nanoseconds


def _fits(number: int) -> bool:
    return -(2**63) <= number < 2**63


def check_proof(
    context: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A proof; - for standard input.")],
    key: Key = None,
    payload: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the payload there, to the letter; - for stdout, alone."),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Check a proof, offline, and say what it proves. Exit code 7 if it proves nothing.

    --payload leaves a file alone that is there already.
    """
    from maia_sync.archive.proof import check_proof as check
    from maia_sync.archive.proof import decode_proof

    verifier = find_key(invocation_of(context), key)
    proven = check(decode_proof(read_named(file)), verifier)
    if payload is not None:
        if not force:
            _require_free(payload, "--payload")
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
    _write(path, proven.payload, told_by="--payload")


def summarize_proven(proven: "Proven", key: "VerifierKey") -> "Iterator[str]":
    """Yield the lines that tell a person what a proof proves, and what it cannot."""
    from maia_sync.archive.note import text_of_root
    from maia_sync.cli.archive_telling import told_of

    entry = proven.entry
    yield f"Proven: entry {proven.number} of the log of {key.name} is what this proof says, and is signed"
    yield f"  Signed: {counted(proven.head.size, 'entry')} with root {text_of_root(proven.head.root)}"
    yield f"  By the key: {key}"
    yield f"  What: {entry.type}"
    if entry.received is not None:
        yield f"  Received: {entry.received}"
    for name, value in told_of(entry):
        yield f"  {name}: {value}"
    if proven.payload is not None:
        yield f"  Payload: {counted(len(proven.payload), 'byte')}, as received; --payload FILE writes them"
        if b"\0" in proven.payload and entry.type in ("event", "revision"):
            yield "    (data, unknown fields and timestamp, with a zero byte between each)"
    elif entry.payload is not None:
        yield "  Payload: not in this proof"
    yield "Not proven: that whoever holds the key has served the truth, or that the clock there was right"


def _as_json(proven: "Proven", key: "VerifierKey") -> dict[str, object]:
    from maia_sync.archive.note import text_of_root

    return {
        "origin": key.name,
        "key": str(key),
        "size": proven.head.size,
        "root": text_of_root(proven.head.root),
        "root_hex": proven.head.root.hex(),
        "number": proven.number,
        "entry": proven.entry,
        "payload_bytes": None if proven.payload is None else len(proven.payload),
    }
