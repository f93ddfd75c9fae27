"""Which request goes wrong, and how? A script of faults; acting them out is the server's business."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FaultKind = Literal[
    "status",
    "cut",
    "reset",
    "stall",
    "trickle",
    "flood",
    "garbage",
    "html",
    "not_a_page",
    "empty_pages",
]
KINDS: tuple[str, ...] = get_args(FaultKind)

OAUTH = "oauth"
"""The name under which faults of the token endpoint are queued, where a task's UUID stands else."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way in which a request goes wrong.

    - `status`: a problem+json answer with that `status`, `detail` and `retry_after`
    - `cut`: the whole Content-Length is announced, half of the body comes, the connection closes
    - `reset`: the connection is reset (RST) without an answer
    - `stall`: nothing for `seconds`, then the true answer; `seconds` None: nothing, ever
    - `trickle`: the true answer, `size` bytes (1) every `seconds` (0.05)
    - `flood`: a 200 that goes on for `size` bytes (64 MiB), without a Content-Length
    - `garbage`, `html`, `not_a_page`: a 200 with broken JSON, with HTML, with an object without results
    - `empty_pages`: a page without events, with a token that goes on from the same place
    """

    kind: FaultKind
    status: int = 500
    retry_after: float | str | None = None
    """Retry-After: seconds, or an HTTP date as text."""
    seconds: float | None = None
    count: int | None = 1
    """How many requests it hits; None: all that follow."""
    after: int = 0
    """How many requests it lets pass before the first that it hits."""
    method: Literal["GET", "POST"] | None = None
    """Only requests of this method; None: of any."""
    applied: bool = False
    """For a POST: the message is taken in all the same, only the answer goes wrong."""
    detail: str = "A scripted fault."
    body: bytes | None = None
    """Overrides the body of `status`, `garbage`, `html` and `not_a_page`."""
    headers: tuple[tuple[str, str], ...] = ()
    size: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind!r}; known are {', '.join(KINDS)}")


def fault_from_json(value: Mapping[str, Any]) -> Fault:
    """Return the fault that a JSON object describes (the control endpoint's form); ValueError if none."""
    known = {field.name for field in fields(Fault)}
    if unknown := sorted(set(value) - known):
        raise ValueError(f"unknown fields of a fault: {', '.join(unknown)}")
    if "kind" not in value:
        raise ValueError("a fault needs a kind")
    taken = dict(value)
    if isinstance(taken.get("body"), str):
        taken["body"] = taken["body"].encode()
    taken["headers"] = tuple((str(name), str(text)) for name, text in taken.get("headers", ()))
    return Fault(**taken)


PASSING: tuple[Fault, ...] = (
    Fault(kind="status", status=429, retry_after=0),
    Fault(kind="status", status=500),
    Fault(kind="status", status=502),
    Fault(kind="status", status=503, retry_after=0),
    Fault(kind="status", status=504),
    Fault(kind="cut"),
    Fault(kind="reset"),
    Fault(kind="garbage"),
    Fault(kind="html"),
    Fault(kind="not_a_page"),
)
"""Faults of a bad day that a retry overcomes."""


class FaultScript:
    """Decides per request: the task's queue first, then the queue of all tasks, then chance."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str | None, deque[Fault]] = {}
        self._chance: _Chance | None = None

    def add(self, *faults: Fault, task_id: str | None = None) -> None:
        """Queue faults for one task's requests (or OAUTH's), or for those of any task."""
        with self._lock:
            self._queues.setdefault(task_id and task_id.lower(), deque()).extend(faults)

    def random_faults(
        self, *, seed: int, rate: float, menu: Sequence[Fault] = PASSING, in_a_row: int = 3
    ) -> None:
        """Let a share `rate` of the requests fail, at most `in_a_row` of one task one after another.

        What befalls a task's n-th request depends on the seed, the task and n only, however the requests
        of several tasks interleave.
        """
        with self._lock:
            self._chance = _Chance(seed=seed, rate=rate, menu=tuple(menu), in_a_row=in_a_row)

    def clear(self) -> None:
        """Forget every queued and random fault."""
        with self._lock:
            self._queues.clear()
            self._chance = None

    def take(self, task_id: str, method: str) -> Fault | None:
        """Return the fault of this request and use it up, or None where all goes well."""
        with self._lock:
            for name in (task_id, None) if task_id != OAUTH else (OAUTH,):
                queue = self._queues.get(name)
                if queue and (fault := _take_from(queue, method)):
                    return fault
            chance = self._chance if task_id != OAUTH else None
            return chance.draw(task_id) if chance else None


def _take_from(queue: deque[Fault], method: str) -> Fault | None:
    index = next((i for i, fault in enumerate(queue) if fault.method in (None, method)), None)
    if index is None:
        return None
    fault = queue[index]
    if fault.after > 0:
        queue[index] = replace(fault, after=fault.after - 1)
        return None
    if fault.count is not None and fault.count <= 1:
        del queue[index]
    elif fault.count is not None:
        queue[index] = replace(fault, count=fault.count - 1)
    return fault


class _Chance:
    """Draws faults at random, the same for the same seed, task and number of the request."""

    def __init__(self, *, seed: int, rate: float, menu: tuple[Fault, ...], in_a_row: int) -> None:
        self._seed = seed
        self._rate = rate
        self._menu = menu
        self._in_a_row = in_a_row
        self._requests: Counter[str] = Counter()
        self._row: Counter[str] = Counter()

    def draw(self, task_id: str) -> Fault | None:
        self._requests[task_id] += 1
        dice = random.Random(f"{self._seed}/{task_id}/{self._requests[task_id]}")  # noqa: S311 - a test's dice
        if dice.random() >= self._rate or self._row[task_id] >= self._in_a_row:
            self._row[task_id] = 0
            return None
        self._row[task_id] += 1
        return dice.choice(self._menu)
