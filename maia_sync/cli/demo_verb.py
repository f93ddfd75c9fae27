"""What can it do, in one command? demo: tells the story that demo.py plays, step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.durations import show_duration
from maia_sync.cli.sandbox_verb import require_sandbox
from maia_sync.cli.screen import flush, print_heading, say
from maia_sync.cli.tables import make_table, print_table
from maia_sync.errors import EXIT_DIFFERENCE, EXIT_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from maia_sync.demo import Answer, Demo
    from maia_sync.model import Observer, RunReport, VerifyReport

_EXCERPT = 60


class _BrokenOffError(Exception):
    """A step was interrupted, or did not do what the story says; carries the exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(demo)


def demo(
    keep: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder that the demo's database is made in.")
    ] = Path(),
) -> int:
    """Play the whole story offline, in a few seconds.

    Starts the sandbox, syncs it into a database, syncs again, finds changes, asks SQL.
    """
    require_sandbox()
    from maia_sync.demo import FILE_NAME, Demo

    if not keep.is_dir():
        raise UsageError(f"--keep: there is no folder {keep}")
    say("maia-sync demo: the whole story in a few seconds, offline.")
    try:
        with Demo(keep / FILE_NAME) as played:
            _set_the_scene(played)
            _first_sync(played)
            _second_sync(played)
            _find_changes(played)
            _verify(played)
            _ask(played)
    except _BrokenOffError as broken_off:
        return broken_off.exit_code
    _say_goodbye(played)
    return EXIT_OK


def _step(number: int, title: str, command: str) -> None:
    say()
    print_heading(f"{number}. {title}")
    say(f"   $ {command}")
    flush()


def _observers(played: "Demo") -> "AbstractContextManager[list[Observer]]":
    """Show a bar on a terminal; without one, the story itself says what each run came to."""
    from maia_sync.cli.progress import watching
    from maia_sync.settings import LogSettings

    return watching(LogSettings(level="warning"), played.app.clock)


def _sync(played: "Demo", *, full: bool = False) -> "tuple[RunReport, int, int]":
    from maia_sync.cli.sync_verbs import exit_code_of_run

    with _observers(played) as observers:
        report, traffic = played.sync(observers, full=full)
    if code := exit_code_of_run(report):
        say(f"   The demo ends here: the run is {report.status}.")
        raise _BrokenOffError(code)
    return report, traffic.requests, traffic.events_served


def _set_the_scene(played: "Demo") -> None:
    from maia_sync.demo import EVENTS_PER_TASK

    number = len(played.task_ids)
    title = "A stand-in for the Maia API, a database, and tasks to track."
    _step(1, title, "maia-sync init && maia-sync track ID...")
    played.track()
    replaced = " (it replaces an earlier demo's)" if played.replaced else ""
    say(f"   The sandbox serves {number} tasks with {EVENTS_PER_TASK:,} events each at {played.url}.")
    say(f"   The database is {played.path}{replaced}.")


def _first_sync(played: "Demo") -> None:
    _step(2, "The first sync reads everything.", "maia-sync sync")
    report, requests, _ = _sync(played)
    took = show_duration(report.ended_at - report.started_at)
    say(f"   {report.new:,} events stored with {requests} requests in {took}.")


def _second_sync(played: "Demo") -> None:
    from maia_sync.demo import MORE_EVENTS

    in_all = played.go_on()
    _step(3, f"The agents go on: {MORE_EVENTS} more events in each log.", "maia-sync sync")
    report, requests, served = _sync(played)
    say(f"   {report.new} new events. By the API's own counters only the tails were read:")
    say(f"   {requests} requests, one a task, for {served:,} of {in_all:,} events.")


def _find_changes(played: "Demo") -> None:
    played.meddle()
    _step(4, "Upstream edits an old event and drops another.", "maia-sync sync --full")
    _sync(played, full=True)
    found = played.read_meddling()
    say(f"   Found both. The edited event is now at revision {found.revision}; the earlier payload stays:")
    say(f"     before  {_text(found.changed_before)}")
    say(f"     now     {_text(found.changed_now)}")
    say("   The dropped event is kept, and marked vanished:")
    say(f"     gone    {_text(found.vanished)}")


def _text(data: str) -> str:
    import json

    text = str(json.loads(data).get("text", data)).split("\n")[0]
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 3] + "..."


def _verify(played: "Demo") -> None:
    _step(5, "Is the copy true? Compare every event with the API.", "maia-sync verify")
    with _observers(played) as observers:
        report = played.verify(observers)
    say(f"   {report.events:,} events compared, {report.difference_count} differences.")
    if code := _exit_code(report):
        raise _BrokenOffError(code)


def _exit_code(report: "VerifyReport") -> int:
    if report.difference_count:
        return EXIT_DIFFERENCE
    return EXIT_FAILED if report.failed or report.interrupted_by is not None else EXIT_OK


def _ask(played: "Demo") -> None:
    from maia_sync.demo import QUESTIONS

    say()
    print_heading("6. Now ask the copy, in SQL.")
    for question in QUESTIONS:
        say(f"\n   {question.title}\n")
        for line in question.sql.split("\n"):
            say(f"    {line}")
        say()
        _print_answer(played.ask(question))


def _print_answer(answer: "Answer") -> None:
    rows = [[_shown(value) for value in row] for row in answer.rows]
    numbers = [
        name
        for name, value in zip(answer.columns, answer.rows[0], strict=True)
        if isinstance(value, int | float)
    ]
    print_table(make_table(answer.columns, rows, numbers=numbers), indent=4)


def _shown(value: object) -> object:
    return f"{value:,}" if isinstance(value, int | float) else value


def _say_goodbye(played: "Demo") -> None:
    path = played.path
    say()
    print_heading("The database stays. Look at it:")
    say(f"   $ sqlite3 -box {path} 'SELECT * FROM task'")
    say(f"   $ export MAIA_SYNC_DATABASE__URL=sqlite:///{path}")
    say("   $ maia-sync status")
    say(f"   $ maia-sync events {played.task_ids[0]} --limit 20")
    say("\nFor your own tasks, `maia-sync init` in a new shell says how to go on.")
