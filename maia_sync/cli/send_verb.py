"""What is said to a task, and did it arrive? send: one message, and what became of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maia_sync.cli.durations import parse_duration
from maia_sync.cli.escaping import one_line
from maia_sync.cli.events_verb import LinePrinter
from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.cli.invocation import invocation_of
from maia_sync.cli.screen import flush, note, print_json, say
from maia_sync.cli.task_ids import parse_task_id, shown
from maia_sync.cli.task_verbs import AsJson
from maia_sync.cli.wording import counted
from maia_sync.errors import (
    EXIT_CONFIG,
    EXIT_CREDENTIALS,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UPSTREAM,
    UsageError,
)

if TYPE_CHECKING:
    from typing import Literal

    from maia_sync.app import App
    from maia_sync.model import Observation, SentMessage

_NEWEST = 20
"""Where a log is read for the first time, only so many of its events are printed."""


def register(cli: typer.Typer) -> None:
    """Add the verb of this module."""
    cli.command()(send)


def send(
    context: typer.Context,
    *,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="A task id (UUID).")],
    message: Annotated[str | None, typer.Argument(metavar="[MESSAGE]", help="What to say.")] = None,
    message_file: Annotated[
        str | None, typer.Option(metavar="F", help="Take the message from a file, to the letter; - is stdin.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="NAME", help="The agent that is to answer, by name.")
    ] = None,
    mode: Annotated[str | None, typer.Option(metavar="PLAN|ACT", help="Its mode; needs --agent.")] = None,
    branch: Annotated[
        str | None, typer.Option(metavar="B", help="The branch that it works on; needs --agent.")
    ] = None,
    allow_tool: Annotated[
        list[str] | None, typer.Option(metavar="T", help="A tool that it may use; repeatable.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print the task's new events until it has been quiet.")
    ] = False,
    quiet: Annotated[
        str, typer.Option(metavar="DURATION", help="How long --follow waits for more events.")
    ] = "60s",
    as_json: AsJson = False,
) -> int:
    """Send a message to a task, and say what became of it.

    The task is tracked from then on, and polled at once. Exit code 1: refused, or nobody knows.
    """
    if follow and as_json:
        raise UsageError("--json prints one whole document, so it does not take --follow")
    task_id, text, named_mode = parse_task_id(task_id), _message(message, message_file), _mode(mode)
    if agent is None and (mode is not None or branch is not None):
        raise UsageError("--mode and --branch belong to an agent: name it by --agent")
    seconds = parse_duration(quiet, option="--quiet")
    with invocation_of(context).app() as app:
        sent = app.send(
            task_id,
            text,
            agent=agent,
            mode=named_mode,
            branch=branch,
            allowed_tools=allow_tool or [],
            follow_until_quiet=seconds if follow else None,
            observers=[_News(app, task_id, quiet)] if follow else [],
        )
    if as_json:
        print_json(sent)
    else:
        _tell(sent, followed=follow)
    return exit_code_of_sending(sent)


def _message(given: str | None, file: str | None) -> str:
    """Return the message to the letter. Raises UsageError."""
    if (given is None) == (file is None):
        raise UsageError("give either a MESSAGE or --message-file")
    if given is not None:
        return given
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file or "").read_bytes()
        return raw.decode()
    except UnicodeDecodeError:
        raise UsageError("--message-file: expected UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UsageError(f"--message-file: cannot read {shown(file or '')}: {reason}") from error


def _mode(text: str | None) -> "Literal['PLAN', 'ACT'] | None":
    match text.upper() if text is not None else None:
        case None:
            return None
        case "PLAN":
            return "PLAN"
        case "ACT":
            return "ACT"
        case _:
            raise UsageError(f"--mode: expected PLAN or ACT, got {shown(text or '')}")


class _News:
    """Prints what each poll has brought; an observer of the run that follows the task."""

    def __init__(self, app: "App", task_id: str, quiet: str) -> None:
        from maia_sync.store.log_reader import LogReader

        self._reader = LogReader(app.database, task_id, with_vanished=False)
        self._reader.skip_to_newest(0)
        self._quiet = quiet
        self._printer = LinePrinter()

    def __call__(self, seen: "Observation") -> None:
        """Print the new events after each walk, and first that it is the time to wait for them."""
        from maia_sync.model import RunStarted, WalkReport

        if isinstance(seen, RunStarted):
            note(f"The message was accepted. New events follow, until none has come for {self._quiet}:")
        elif isinstance(seen, WalkReport) and seen.error is not None:
            note(one_line(f"A poll failed: {seen.error}"))
        elif isinstance(seen, WalkReport):
            if not self._reader.has_begun:
                self._reader.skip_to_newest(_NEWEST)
            for row in self._reader.read_news():
                self._printer(row)
            flush()


def _tell(sent: "SentMessage", *, followed: bool) -> None:
    if sent.outcome == "accepted":
        _tell_accepted(sent, followed=followed)
        return
    if sent.outcome == "refused":
        note(one_line(f"Error: the message was not sent: {sent.error}"))
        return
    note(one_line(f"Error: {sent.error}"))
    note(
        f"It may or may not have reached the task, so do not just send it again. To find out, run "
        f"`maia-sync sync --task {sent.task_id}` in a moment, then `maia-sync events {sent.task_id} "
        f"--limit 20`. It is row {sent.id} of the table sent_message."
    )


def _tell_accepted(sent: "SentMessage", *, followed: bool) -> None:
    tracked = "; the task is tracked from now on" if sent.newly_tracked else ""
    if not followed:
        say(f"Accepted: message {sent.id} to task {sent.task_id}{tracked}")
        if sent.poll is not None and sent.poll.new:
            say(f"{counted(sent.poll.new, 'new event')} stored")
    failed = sent.poll_error or (sent.poll.error if sent.poll is not None else None)
    if failed is not None:
        note(one_line(f"The message was accepted, but polling the task failed: {failed}"))


def exit_code_of_sending(sent: "SentMessage") -> int:
    """Return the exit code: what became of the message, not of the poll that followed."""
    if sent.interrupted_by is not None:
        return exit_code_of_signal(sent.interrupted_by)
    if sent.outcome == "accepted":
        return EXIT_OK
    if sent.unreachable:
        return EXIT_UPSTREAM
    known = {"CredentialsRefused": EXIT_CREDENTIALS, "ConfigError": EXIT_CONFIG}
    return known.get(sent.error_kind or "", EXIT_FAILED)
