"""Which work is benchmarked? Tasks with logs of events, made from a number, the same each time."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

_DISTINCT_LOGS = 8
"""Tasks share this many logs, so that the server's memory does not limit the work."""
_WORDS = ("plan", "query", "table", "column", "load", "join", "filter", "retry", "error", "schema", "agent")


@dataclass(frozen=True, kw_only=True)
class Work:
    """So many tasks with so many events each, of about so many bytes of JSON."""

    tasks: int
    events_per_task: int
    page_size: int = 1000
    event_bytes: int = 400
    new_events: int = 0
    """So many come to each task once the logs have grown."""
    delay: float = 0.0
    """Seconds that each answer takes."""

    @property
    def events(self) -> int:
        """All events of all tasks."""
        return self.tasks * self.events_per_task

    @property
    def grown_by(self) -> int:
        """New events of all tasks, once the logs have grown."""
        return self.tasks * self.new_events

    @property
    def last_token(self) -> str | None:
        """The token of a log's last page before it grows; None for its first page."""
        page = max(self.events_per_task - 1, 0) // self.page_size
        return f"p{page}" if page else None

    @property
    def events_from_last(self) -> int:
        """Events of all tasks from that page on, before the logs grow."""
        return self.tasks * (
            self.events_per_task - max(self.events_per_task - 1, 0) // self.page_size * self.page_size
        )

    @property
    def task_ids(self) -> list[str]:
        """The tasks' UUIDs."""
        return [str(UUID(int=(0xA11CE << 80) | number)) for number in range(self.tasks)]


def log_number(task_id: str) -> int:
    """Tell which of the distinct logs a task has."""
    return int(task_id[-4:], 16) % _DISTINCT_LOGS


def make_pages(work: Work, *, grown: bool = False) -> list[list[bytes]]:
    """Make the bodies of every page of every distinct log; page n is fetched by token `pN`."""
    logs = []
    for number in range(min(_DISTINCT_LOGS, work.tasks)):
        events = _make_log(random.Random(number), work)
        if not grown:
            del events[work.events_per_task :]
        pages = [events[at : at + work.page_size] for at in range(0, len(events), work.page_size)] or [[]]
        last = len(pages) - 1
        logs.append(
            [
                b'{"results":[%b]%b}' % (b",".join(page), b"" if at == last else b',"more":"p%d"' % (at + 1))
                for at, page in enumerate(pages)
            ]
        )
    return logs


def _make_log(chance: random.Random, work: Work) -> list[bytes]:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=chance.random() * 86_400)
    events = []
    group = ""
    for number in range(work.events_per_task + work.new_events):
        if number % 12 == 0:
            group = str(UUID(int=chance.getrandbits(128)))
        moment += timedelta(microseconds=chance.randrange(50_000, 3_000_000))
        events.append(_make_event(chance, group, f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z", work.event_bytes))
    return events


def _make_event(chance: random.Random, group: str, timestamp: str, size: int) -> bytes:
    data = {
        "type": chance.choice(("message", "tool_call", "tool_result", "plan")),
        "id": f"{chance.getrandbits(64):016x}",
        "durationMs": chance.randrange(10, 30_000),
        "usage": {"inputTokens": chance.randrange(9000), "outputTokens": chance.randrange(2000)},
        "text": "",
    }
    event = {"data": data, "groupId": group, "timestamp": timestamp}
    missing = max(size - len(_compact(event)), 0)
    words: list[str] = []
    written = 0
    while written < missing:
        words.append(chance.choice(_WORDS))
        written += len(words[-1]) + 1
    data["text"] = " ".join([*words, ""])[:missing]
    return _compact(event).encode()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
