"""Where does a line go, and how does it look? Results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from maia_sync.cli.escaping import lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console


def say(text: str = "") -> None:
    """Print result lines to stdout, harmless to a terminal."""
    sys.stdout.write(lines(text) + "\n")


def note(text: str) -> None:
    """Print a line beside the result, to stderr."""
    sys.stderr.write(lines(text) + "\n")
    sys.stderr.flush()


def complain(sentences: Iterable[str]) -> None:
    """Print what went wrong, to stderr."""
    for sentence in sentences:
        note(f"Error: {sentence}")


def print_json(value: Any) -> None:
    """Print one JSON document: a struct of model.py, or plain values; datetimes as ISO 8601."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    write_text(text.decode() + "\n")


def print_heading(text: str) -> None:
    """Print a line of our own to stdout, bold where a terminal shows it."""
    sys.stdout.flush()
    console().print(text, style="bold")


def write_text(text: str) -> None:
    """Write text to stdout as UTF-8 to the letter, whatever the locale; escaped if a terminal reads it."""
    if sys.stdout.isatty():
        sys.stdout.write(lines(text))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))


def flush() -> None:
    """Hand over what was written, so that a reader who follows sees it."""
    sys.stdout.flush()
    sys.stdout.buffer.flush()


def console(*, stderr: bool = False) -> Console:
    """Return a console that takes every text for what it is: no markup, no highlighting, no emoji."""
    from rich.console import Console

    return Console(file=sys.stderr if stderr else sys.stdout, markup=False, highlight=False, emoji=False)
