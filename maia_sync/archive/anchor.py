"""Who else gets a new checkpoint, so that a copy lies outside the operator's reach? A command, an address.

The command is the first of a process group of its own, which is killed whole when it takes too long or nobody
waits for it any more. What it prints is not read: it may hold a secret. Addresses are posted to by whoever
can: see service/posting.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from maia_sync.config import read_environment
from maia_sync.errors import ArchiveError, MaiaSyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maia_sync.archive.creating import Anchor
    from maia_sync.settings import ArchiveSettings

DEADLINE: Final = 60.0
"""Seconds that a command may take."""
_LOOK: Final = 0.1
"""Seconds between two looks whether anybody still waits."""
_COMMAND: Final = "archive.anchor_command"
SIZE: Final = "MAIA_SYNC_CHECKPOINT_SIZE"
ORIGIN: Final = "MAIA_SYNC_CHECKPOINT_ORIGIN"
"""Variables that tell a command which checkpoint it is given."""


def anchor_of(
    settings: ArchiveSettings,
    *,
    post: Callable[[str], None] | None = None,
    stopped: Callable[[], object] = lambda: None,
    seconds: float = DEADLINE,
) -> Anchor | None:
    """Return what hands on a checkpoint as the settings say; None if they name nobody.

    `post` sends a text to archive.anchor_url, and raises MaiaSyncError. Once `stopped` says anything but
    None, a command that is under way is ended. What is returned raises MaiaSyncError if one of both has
    failed, after both were tried.
    """
    ways: list[Callable[[str, int], None]] = []
    command = settings.anchor_command
    if command is not None:
        ways.append(lambda checkpoint, size: _run(command, checkpoint, size, seconds, stopped))
    if settings.anchor_url is not None and post is not None:
        ways.append(lambda checkpoint, _: post(checkpoint))
    if not ways:
        return None

    def anchor(checkpoint: str, size: int) -> None:
        troubles = []
        for way in ways:
            try:
                way(checkpoint, size)
            except MaiaSyncError as error:
                troubles.append(str(error))
        if troubles:
            raise ArchiveError("; ".join(troubles))

    return anchor


def _run(
    command: Sequence[str], checkpoint: str, size: int, seconds: float, stopped: Callable[[], object]
) -> None:
    """Give a command the checkpoint on its standard input, and wait for its end."""
    told = {SIZE: str(size), ORIGIN: checkpoint.partition("\n")[0]}
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**read_environment(), **told},
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ArchiveError(f"{_COMMAND} cannot be started: {reason}") from error
    try:
        code = _code_of(process, checkpoint.encode(), seconds, stopped)
    finally:
        if process.returncode is None:
            with suppress(OSError):  # it has just ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # hangs in the kernel
                process.communicate(timeout=1)
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise ArchiveError(f"{_COMMAND} {how}")


def _code_of(
    process: subprocess.Popen[bytes], given: bytes | None, seconds: float, stopped: Callable[[], object]
) -> int:
    for _ in range(max(1, round(seconds / _LOOK))):
        with suppress(subprocess.TimeoutExpired):
            process.communicate(given, timeout=_LOOK)
            return process.returncode
        given = None  # what is left of it is written by the next call
        if stopped() is not None:
            raise ArchiveError(f"{_COMMAND} was given up, as maia-sync ends")
    raise ArchiveError(f"{_COMMAND} did not end within {seconds:g} seconds")
