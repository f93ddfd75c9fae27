"""How often was what asked for, and what was answered? The sandbox's counters."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import Any


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


class Tally:
    """Counts requests to the messages endpoints; the token endpoint is counted apart.

    `journal` keeps the latest 10,000 requests, in the order of their answers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.journal: deque[Seen] = deque(maxlen=10_000)
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
        self.journal.clear()

    def reset(self) -> None:
        """Begin again at zero."""
        with self._lock:
            self._start()

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
                "oauth_requests": self.oauth_requests,
                "events_served": self.events_served,
                "bytes_served": self.bytes_served,
                "by_method": dict(self.by_method),
                "by_task": dict(self.by_task),
                "by_status": dict(self.by_status),
                "faults": dict(self.faults),
                "pages": {task_id: dict(pages) for task_id, pages in self.pages.items()},
            }
