"""How does an error become a sentence and an exit code? The one place that decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.cli.escaping import one_line
from maia_sync.errors import EXIT_FAILED, Bug, ConfigError, MaiaSyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_READER_GONE = 141
"""Who read our output has closed the pipe: what a shell reports for a death by SIGPIPE."""
REPORT_IT = "please report it, with the output of the same command with --traceback"


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of DESIGN section 4 that belongs to an error."""
    return error.exit_code if isinstance(error, MaiaSyncError) else EXIT_FAILED


def sentences_of(error: BaseException) -> Sequence[str]:
    """Return what to tell a person about an error: one line for each problem.

    The text of a foreign exception is not shown: it could hold a payload or a secret (promise P9).
    """
    if isinstance(error, ConfigError):
        return [one_line(problem) for problem in error.problems]
    if isinstance(error, Bug):
        return [one_line(f"this is a mistake in maia-sync, {REPORT_IT}: {error}")]
    if isinstance(error, MaiaSyncError):
        return [one_line(str(error))]
    return [f"an unexpected {type(error).__name__} has stopped maia-sync: {REPORT_IT}"]


def exit_code_of_signal(number: int) -> int:
    """Return the exit code of a run that a signal ended early."""
    return 128 + number
