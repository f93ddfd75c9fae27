"""What stands in the archive's log? archive entries: one line for each entry, verified."""

from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.archive_checks import Key, PlaceName, find_key, find_place
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import say, write_text
from maia_sync.cli.task_ids import parse_task_id
from maia_sync.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.entry import Entry
    from maia_sync.archive.log_reader import LogReader


def register(archive: typer.Typer) -> None:
    """Add the verb of this module to those of `archive`."""
    archive.command()(entries)


def entries(
    context: typer.Context,
    *,
    place: PlaceName = None,
    start: Annotated[int, typer.Option("--from", metavar="N", min=0, help="From this entry on.")] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=0, help="So many entries; default: all.")
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="T", help="Those of a type, such as run or vanished.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="ID", help="Those of a task, and holds on all tasks.")
    ] = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """Print the entries of the log, each verified against the signed checkpoint.

    Runs, vanished events, holds, erasures and data segments stand here alone. Needs no database.
    """
    from maia_sync.archive.entry import TYPES
    from maia_sync.archive.prove import open_log
    from maia_sync.cli.archive_telling import line_of

    if type_ is not None and type_ not in TYPES:
        raise UsageError(f"--type: expected one of {', '.join(TYPES)}")
    task_id = None if task is None else parse_task_id(task)
    invocation = invocation_of(context)
    log, _ = open_log(find_place(invocation, place), find_key(invocation, key))
    if start > log.head.size:
        raise UsageError(f"--from: the log ends with entry {log.head.size - 1}")
    left = limit
    for number, encoded, entry in _read(log, start):
        if left == 0:
            break
        of_all_tasks = entry.type == "hold" and entry.task is None
        is_of_another = task_id is not None and entry.task != task_id and not of_all_tasks
        if is_of_another or (type_ is not None and entry.type != type_):
            continue
        if as_json:
            write_text(_json_line(number, encoded))
        else:
            say(line_of(number, entry))
        left = None if left is None else left - 1
    return EXIT_OK


def _read(log: "LogReader", start: int) -> "Iterator[tuple[int, bytes, Entry]]":
    """Yield the entries that can be read, and say which cannot."""
    from maia_sync.archive.entry import decode_entry
    from maia_sync.cli.screen import note

    for first, some in log.entries(start):
        for number, encoded in enumerate(some, first):
            try:
                yield number, encoded, decode_entry(encoded)
            except ValueError:
                note(f"entry {number} cannot be read: it is no entry of maia-sync, or of a later version")


def _json_line(number: int, encoded: bytes) -> str:
    """Return an entry to the letter, as an object that its number stands in as well."""
    import msgspec

    on_one_line = msgspec.json.format(encoded, indent=-1) if b"\n" in encoded else encoded
    told = on_one_line.decode(errors="backslashreplace").lstrip().removeprefix("{")
    return f'{{"entry":{number},{told}\n'
