"""What did a task do? events: its log, read from the database alone."""

import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import flush, note, write_text
from maia_sync.cli.task_ids import not_tracked, parse_task_id
from maia_sync.cli.wording import counted
from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from maia_sync.clock import Clock
    from maia_sync.store.database import Transaction
    from maia_sync.store.log_reader import LogReader
    from maia_sync.store.reading import LogRow

FOLLOW_SECONDS = 1.0
_PIPED_WIDTH = 160


class Printer(Protocol):
    """Prints one event; `end` closes what the first one opened."""

    def __call__(self, row: "LogRow") -> None:
        """Print one event."""

    def end(self) -> None:
        """Print what comes behind the last event."""


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(events)


def events(
    context: typer.Context,
    *,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="A task id (UUID).")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing new events until interrupted.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print each event's data exactly as it came, nothing else.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=0, metavar="N", help="Only the newest N, oldest first.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With --raw: also what has vanished upstream (else marked).")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help='Print one JSON array; an event without data has no "data".')
    ] = False,
) -> None:
    """Print a task's log as it is stored."""
    if as_json and (follow or raw):
        raise UsageError("--json prints one whole document, so it takes neither --follow nor --raw")
    task_id = parse_task_id(task_id)
    printer: Printer = JsonPrinter() if as_json else RawPrinter() if raw else LinePrinter()
    with invocation_of(context).app() as app:
        from maia_sync.store.log_reader import LogReader

        with app.database.transaction(write=False) as tx:
            require_known(tx, task_id)
        reader = LogReader(app.database, task_id, with_vanished=everything or not raw)
        if limit is not None:
            reader.skip_to_newest(limit)
        for row in reader.read_on():
            printer(row)
        printer.end()
        if follow:
            print_news(reader, printer, app.clock)


def require_known(tx: "Transaction", task_id: str) -> None:
    """Raise UsageError unless the task is, or was, tracked: an untracked one keeps its log."""
    from maia_sync.store.tasks import read_tasks

    if not read_tasks(tx, task_ids=[task_id]):
        raise not_tracked([task_id])


def print_news(reader: "LogReader", printer: Printer, clock: "Clock") -> None:
    """Print what comes, until interrupted."""
    for _ in turns(clock):
        for row in reader.read_news():
            printer(row)


def turns(clock: "Clock") -> Iterator[None]:
    """Yield once a second, for ever."""
    while True:
        flush()
        clock.pause(FOLLOW_SECONDS)
        yield


class LinePrinter:
    """One line for people to each event."""

    def __init__(self) -> None:
        on_terminal = sys.stdout.isatty()
        self._width = shutil.get_terminal_size().columns if on_terminal else _PIPED_WIDTH

    def __call__(self, row: "LogRow") -> None:
        """Print one event."""
        from maia_sync.cli.event_lines import human_line

        sys.stdout.write(human_line(row, self._width) + "\n")

    def end(self) -> None:
        """Print nothing more."""


class RawPrinter:
    """The stored text of `data`, to the letter; an event without data prints nothing."""

    def __init__(self) -> None:
        self._pruned = self._erased = 0
        self._last_pruned = ""

    def __call__(self, row: "LogRow") -> None:
        """Print one event."""
        if row.data is not None:
            write_text(row.data + "\n")
        elif row.erased_at is not None:
            self._erased += 1
        elif row.pruned_at is not None:
            self._pruned += 1
            self._last_pruned = f"{row.task_id}/{row.seq}"

    def end(self) -> None:
        """Tell, beside the result, of which events nothing was printed because it is not there any more."""
        if self._pruned:
            note(
                f"Not printed: {counted(self._pruned, 'payload')} pruned from this database. The archive has "
                f"such payloads: `maia-sync archive prove {self._last_pruned} --output event.tlog-proof` and "
                "then `maia-sync archive check-proof event.tlog-proof --payload FILE` write the last one to "
                "FILE."
            )
        if self._erased:
            note(f"Not printed: {counted(self._erased, 'payload')} erased, here and from the archive.")


class JsonPrinter:
    """One JSON array, written piece by piece, so that it is never in memory as a whole."""

    def __init__(self) -> None:
        self._between = "[\n"

    def __call__(self, row: "LogRow") -> None:
        """Print one event."""
        from maia_sync.cli.event_lines import json_object

        write_text(self._between + json_object(row))
        self._between = ",\n"

    def end(self) -> None:
        """Close the array, also the empty one."""
        write_text("[]\n" if self._between == "[\n" else "\n]\n")
