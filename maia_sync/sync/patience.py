"""What if the database goes away for a while? What was asked of it is asked again, as a whole.

A transaction that certainly did not happen is repeated. So is one that may have happened, because the
connection broke during COMMIT, unless the caller wants to look first (`once`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from maia_sync.errors import DatabaseLost, DatabaseUnreachable
from maia_sync.model import Waited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maia_sync.clock import Clock
    from maia_sync.model import Observer
    from maia_sync.sync.handover import Handover

T = TypeVar("T")

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0


class PatientHandover:
    """Hands work over and, while the database is away, waits and hands it over again.

    For `patience` seconds from the first failure; a coroutine that is being cancelled does not wait.
    """

    def __init__(
        self, handover: Handover, *, clock: Clock, patience: float, observers: Sequence[Observer] = ()
    ) -> None:
        self._handover = handover
        self._clock = clock
        self._patience = patience
        self._observers = observers

    async def run(self, work: Callable[[], T], *, surely: bool = False, once: bool = False) -> T:
        """Return what the work returns. Raises DatabaseUnreachable when patience is over."""
        end: float | None = None
        wait = _FIRST_WAIT
        while True:
            try:
                return await self._handover.run(work, surely=surely, once=once)
            except DatabaseUnreachable as trouble:
                now = self._clock.monotonic()
                end = now + self._patience if end is None else end
                if now + wait > end or (once and may_have_happened(trouble)) or _is_being_cancelled():
                    raise
                self._tell(Waited(seconds=wait, cause=type(trouble).__name__))
            await self._clock.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def _tell(self, waited: Waited) -> None:
        for observer in self._observers:
            observer(waited)


def may_have_happened(trouble: Exception) -> bool:
    """Tell whether a transaction that failed may have been committed all the same."""
    return isinstance(trouble, DatabaseLost) and trouble.commit_unknown


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
