"""How does a verb end when it is told to? With the signal's exit code.

One that only reads ends at once, one that writes where it can be gone on with.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from maia_sync.cli.failure import exit_code_of_signal
from maia_sync.errors import MaiaSyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end a query as Ctrl-C does, so that nothing is left behind; each with its exit code.

    A signal that comes while SQLite calls us back is swallowed by it, and ends the query as if by an error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    numbers = [
        number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN
    ]
    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except (KeyboardInterrupt, MaiaSyncError):
        if came:
            raise typer.Exit(exit_code_of_signal(came[0])) from None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def noticed() -> Iterator[Callable[[], int | None]]:
    """Yield what tells the number of the first SIGINT or SIGTERM that has come, or None.

    A second one finds the usual handlers again, and ends the process at once.
    """
    came: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if is_main and signal.getsignal(number) != signal.SIG_IGN
    ]

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def take(number: int, _: object) -> None:
        came.append(number)
        restore()

    previous = {number: signal.signal(number, take) for number in numbers}
    try:
        yield lambda: came[0] if came else None
    finally:
        restore()
