"""How often was what asked for, and what was answered? The sandbox's counters."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """When a request came, and how many were then on their way, itself included."""

    at: float
    """Seconds of the world's monotonic clock."""
    in_flight: int


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request for or to a task's messages, as it was answered."""

    method: str
    task_id: str
    token: str | None
    limit: str | None
    status: int | None
    """None: no answer was begun."""
    fault: str | None
    events: int
    arrival: Arrival | None = None
    answered_at: float | None = None
    """Seconds of the world's monotonic clock: when its answer was ready."""


class Tally:
    """Counts requests to the messages endpoints; the token endpoint is counted apart.

    `journal` keeps the latest 10,000 requests, in the order of their answers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.journal: deque[Seen] = deque(maxlen=10_000)
        self._in_flight = 0
        self._start()

    def _start(self) -> None:
        self.requests = 0
        self.oauth_requests = 0
        self.events_served = 0
        self.bytes_served = 0
        self.by_method: Counter[str] = Counter()
        self.by_task: Counter[str] = Counter()
        self.by_status: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.pages: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.most_in_flight = self._in_flight
        self.journal.clear()

    def reset(self) -> None:
        """Begin again at zero."""
        with self._lock:
            self._start()

    @contextmanager
    def answering(self, clock: Clock) -> Iterator[Arrival]:
        """Count a request as on its way, from its arrival until it is answered or given up."""
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            arrival = Arrival(at=clock.monotonic(), in_flight=self._in_flight)
        try:
            yield arrival
        finally:
            with self._lock:
                self._in_flight -= 1

    def note(self, seen: Seen) -> None:
        """Count a request and its answer."""
        with self._lock:
            self.requests += 1
            self.by_method[seen.method] += 1
            self.by_task[seen.task_id] += 1
            self.by_status["none" if seen.status is None else str(seen.status)] += 1
            if seen.fault:
                self.faults[seen.fault] += 1
            self.journal.append(seen)

    def note_page(self, task_id: str, token: str | None, *, events: int, size: int) -> None:
        """Count a page that was served whole; the page without a token is counted under ""."""
        with self._lock:
            self.pages[task_id][token or ""] += 1
            self.events_served += events
            self.bytes_served += size

    def note_oauth(self, fault: str | None) -> None:
        """Count a request for an access token."""
        with self._lock:
            self.oauth_requests += 1
            if fault:
                self.faults[fault] += 1

    def as_json(self) -> dict[str, Any]:
        """Return the counters as a JSON value."""
        with self._lock:
            return {
                "requests": self.requests,
                "most_in_flight": self.most_in_flight,
                "oauth_requests": self.oauth_requests,
                "events_served": self.events_served,
                "bytes_served": self.bytes_served,
                "by_method": dict(self.by_method),
                "by_task": dict(self.by_task),
                "by_status": dict(self.by_status),
                "faults": dict(self.faults),
                "pages": {task_id: dict(pages) for task_id, pages in self.pages.items()},
            }
