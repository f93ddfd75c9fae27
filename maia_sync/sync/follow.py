"""When is a task polled that somebody watches? Every two seconds, until it has been quiet for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.model import WalkReport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from maia_sync.clock import Clock
    from maia_sync.model import Observation

_PAUSE_SECONDS = 2.0


class Watch:
    """Names one task again and again, for a run to walk; an observer of that run."""

    def __init__(self, clock: Clock, task_id: str, *, quiet: float) -> None:
        self._clock = clock
        self._task_id = task_id
        self._quiet = quiet
        self._news_at = clock.monotonic()

    def __call__(self, seen: Observation) -> None:
        """Note when the task had news."""
        if isinstance(seen, WalkReport) and (seen.new or seen.changed):
            self._news_at = self._clock.monotonic()

    async def task_ids(self) -> AsyncIterator[str]:
        """Yield the task's id, with a pause each time, until nothing has come for `quiet` seconds."""
        self._news_at = self._clock.monotonic()
        yield self._task_id
        while self._clock.monotonic() - self._news_at < self._quiet:
            await self._clock.sleep(_PAUSE_SECONDS)
            yield self._task_id
