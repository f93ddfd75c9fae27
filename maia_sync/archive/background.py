"""How is work done beside the work in hand, so much at a time, and nothing of it forgotten?

The threads are daemons: work that hangs, on a network disk or in a request, keeps no process from ending.
They are there only as long as there is work.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """Does work in threads; what goes wrong there is raised by the next call from outside."""

    def __init__(self, *, threads: int, most_weight: int) -> None:
        self._threads = threads
        self._most_weight = most_weight
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._running = 0
        self._weight = 0
        self._error: BaseException | None = None

    def do(self, work: Callable[[], None], weight: int = 0) -> None:
        """Have it done; wait first while more than the most weight is under way.

        Raises what went wrong with earlier work.
        """
        with self._changed:
            while self._weight and self._weight + weight > self._most_weight and self._error is None:
                self._changed.wait()
            self._raise_error()
            self._waiting.append((work, weight))
            self._weight += weight
            if self._running < self._threads:
                self._running += 1
                threading.Thread(target=self._work, name="maia-sync-archive", daemon=True).start()

    def wait(self) -> None:
        """Wait until all of it is done. Raises what went wrong first."""
        with self._changed:
            while self._running:
                self._changed.wait()
            self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._running -= 1
                    self._changed.notify_all()
                    return
                work, weight = self._waiting.popleft()
            error: BaseException | None = None
            try:
                work()
            except BaseException as caught:  # noqa: BLE001 - raised again by whoever comes next
                error = caught
            with self._changed:
                self._error = self._error or error
                self._weight -= weight
                if error is not None:
                    self._weight -= sum(each for _, each in self._waiting)
                    self._waiting.clear()
                self._changed.notify_all()
