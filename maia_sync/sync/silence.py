"""Is it one task that gets no answer, or is the API not there at all?"""

from __future__ import annotations

from maia_sync.errors import NotConnected, RetriesExhausted, UpstreamSilent

_FEWEST_UNCONNECTED = 3


class Silence:
    """Counts the tasks of a run that got no answer."""

    def __init__(self) -> None:
        self._silent = 0
        self._unconnected_in_a_row = 0
        self._last: UpstreamSilent | None = None

    def note_answer(self) -> None:
        """Note that a task was walked to its end."""
        self._unconnected_in_a_row = 0

    def note_failure(self, error: Exception) -> None:
        """Note why a task failed."""
        if isinstance(error, RetriesExhausted) and isinstance(error.__cause__, UpstreamSilent):
            self._silent += 1
            self._unconnected_in_a_row += isinstance(error.__cause__, NotConnected)
            self._last = error.__cause__

    def is_outage(self, concurrency: int) -> bool:
        """Tell whether no connection was made for so many tasks in a row that asking on is pointless.

        Broken answers do not count: they may be one task's own, and must not stop the others.
        """
        return self._unconnected_in_a_row >= max(concurrency, _FEWEST_UNCONNECTED)

    def unreachable(self, tasks: int) -> str | None:
        """Return the sentence for a run in which none of so many tasks got an answer, else None."""
        if self._last is None or self._silent < tasks:
            return None
        return str(self._last)
