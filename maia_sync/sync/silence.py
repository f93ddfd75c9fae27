"""Is it one task that gets no answer, or is the API not there at all?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.errors import (
    AnswerTooSlow,
    BrokenPage,
    NotConnected,
    RetriesExhausted,
    SignInFailed,
    TooManyRequests,
    UpstreamBusy,
    UpstreamFault,
    UpstreamSilent,
    UpstreamUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from maia_sync.errors import RetryLater

_FEWEST_UNCONNECTED = 3
_FEWEST_FAULTS = 10


class Silence:
    """Counts the tasks of a run that failed for want of an answer, one after another.

    `answers` returns how many answers have shown the API alive so far: each begins the row anew.
    """

    def __init__(self, *, concurrency: int, answers: Callable[[], int]) -> None:
        self._most_unconnected = max(concurrency, _FEWEST_UNCONNECTED)
        self._most_faults = max(2 * concurrency, _FEWEST_FAULTS)
        self._answers = answers
        self._answers_seen = 0
        self._silent = 0
        self._row = 0
        self._unconnected = 0
        self._last: RetryLater | None = None
        self._outage: str | None = None

    def note_failure(self, error: Exception) -> None:
        """Note why a task failed."""
        cause = error.__cause__ if isinstance(error, RetriesExhausted) else None
        self._begin_anew_after_an_answer(cause)
        if isinstance(cause, UpstreamSilent | SignInFailed):
            self._silent += 1
            self._last = cause
        unconnected = isinstance(cause, NotConnected) or (
            isinstance(cause, SignInFailed) and cause.unconnected
        )
        if not unconnected and not _is_fault(cause):
            return
        self._row += 1
        self._unconnected = self._unconnected + 1 if unconnected else 0
        if self._unconnected >= self._most_unconnected or self._row >= self._most_faults:
            self._outage = (
                f"the API is plainly down, so it is asked no more: {self._row} tasks in a row failed,"
                f" the last because {cause}"
            )

    def require_no_outage(self) -> None:
        """Raise UpstreamUnreachable if so many tasks in a row failed that asking on is pointless.

        Broken bodies and time-outs do not count: they may be one task's own, and must not stop the
        others. A 5xx or a connection that breaks without an answer may be too, so it takes more of them.
        """
        if self._outage is not None:
            raise UpstreamUnreachable(self._outage)

    def unanswered(self, tasks: int) -> str | None:
        """Return the sentence for a run in which none of so many tasks got an answer, else None."""
        if self._last is None or self._silent < tasks:
            return None
        return str(self._last)

    def _begin_anew_after_an_answer(self, cause: BaseException | None) -> None:
        answers = self._answers()
        if answers != self._answers_seen or isinstance(cause, BrokenPage):
            self._row = self._unconnected = 0
        self._answers_seen = answers


def _is_fault(cause: BaseException | None) -> bool:
    """Tell whether a failure shows a server that fails; signing in serves every task, so it counts too."""
    if isinstance(cause, TooManyRequests | AnswerTooSlow):
        return False
    return isinstance(cause, UpstreamBusy | UpstreamFault | UpstreamSilent | SignInFailed)
