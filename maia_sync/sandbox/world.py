"""What does the stand-in Maia API know? Logs of raw events, cut into pages; no HTTP and no I/O.

JSON is joined from bytes by hand, never through the code under test, or a shared mistake would hide.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from maia_sync.clock import Clock, SystemClock
from maia_sync.sandbox.bearers import Bearers
from maia_sync.sandbox.faults import Fault, FaultScript
from maia_sync.sandbox.tally import Tally
from maia_sync.sandbox.tokens import FixedLimit, Order, PageTokens, TokenStyle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT_LIMIT = 25
MAXIMUM_LIMIT = 1000

TokenField = Literal["more", "nextCursor", "both"]
End = Literal["absent", "null", "empty", "repeat"]

_TOKEN_NAMES: dict[TokenField, tuple[str, ...]] = {
    "more": ("more",),
    "nextCursor": ("nextCursor",),
    "both": ("more", "nextCursor"),
}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")


class Refusal(Exception):  # noqa: N818 - an answer of the API, no mistake of the program
    """The API's answer to a request that it does not fulfil."""

    def __init__(self, status: int, detail: str, violations: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.violations = violations


@dataclass(frozen=True, kw_only=True)
class SentMessage:
    """A message that was accepted by POST."""

    task_id: str
    message: str
    agent_config: dict[str, Any] | None = None
    granted_permissions: list[dict[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Served:
    """One page, before it is sent."""

    body: bytes
    events: int
    next_token: str | None


class Log:
    """One task's log: raw JSON elements of `results`, oldest first whatever the order they are served in.

    An element may be any bytes at all. `teller` continues the story; story.py sets it.
    """

    def __init__(self, task_id: str, events: Iterable[bytes] = ()) -> None:
        self.task_id = task_id.lower()
        self.events = list(events)
        self.teller: Any = None

    def append(self, *events: bytes) -> None:
        """Add events at the newest end."""
        self.events.extend(events)

    def extend(self, events: Iterable[bytes]) -> None:
        """Add events at the newest end."""
        self.events.extend(events)

    def insert(self, position: int, *events: bytes) -> None:
        """Put events before the one at `position`."""
        self.events[position:position] = events

    def replace(self, position: int, event: bytes) -> None:
        """Change the event at `position`."""
        self.events[position] = event

    def remove(self, position: int, count: int = 1) -> list[bytes]:
        """Take events out, and return them."""
        if position < 0:
            position += len(self.events)
        taken = self.events[position : position + count]
        del self.events[position : position + count]
        return taken

    def as_json(self) -> bytes:
        """Return the whole log, oldest first, as one JSON array of the raw elements."""
        return b"[" + b",".join(self.events) + b"]"

    def __len__(self) -> int:
        return len(self.events)


@dataclass(kw_only=True)
class World:
    """All logs, and how they are served; every attribute may be changed while it is served.

    - `orders`: the order of single tasks, where it is not `order`
    - `token_style`: what a token names: the `position` of an event; a `page-number`, which the server
      multiplies with the limit of the request, whatever the limit was that the token was given out under; or
      an `offset` from the log's first page, so that new events at the head of a newest-first log shift it
    - `fixed_limit`: whether a token can be asked with another limit than the one it was given out under:
      `free`, `refused` (400), or `embedded` (the token's own limit counts, the request's is not looked at)
    - `slow_above`: a page asked for with a larger limit is too much for the server: it answers 504 at once,
      or (`slow_how` stall) never
    - `token_field`: under which name a page carries its token
    - `end`: how a last page says so: no token field, null, "", or (`repeat`) its own token again
    - `token_on_full_last_page`: a last page that is full carries a token that leads to an empty page
    - `token_life`: seconds after which a page token is refused
    - `scripted_tokens`: per task, what a page carries instead of its token: a function of the token asked
      with and the natural next token (None at the end), or a list that is used up and then ends
    - `page_extra`: raw members that each page carries besides, such as b'"took":3'
    - `latency`: seconds that each answer takes
    - `answers`: an accepted message is followed by an agent's answer
    """

    clock: Clock = field(default_factory=SystemClock)
    logs: dict[str, Log] = field(default_factory=dict)
    order: Order = "oldest-first"
    orders: dict[str, Order] = field(default_factory=dict)
    token_style: TokenStyle = "position"  # noqa: S105 - a style's name
    fixed_limit: FixedLimit = "free"
    slow_above: int | None = None
    slow_how: Literal["504", "stall"] = "504"
    token_field: TokenField = "more"  # noqa: S105 - a field's name
    end: End = "absent"
    token_on_full_last_page: bool = False
    token_life: float | None = None
    scripted_tokens: dict[str, Callable[[str | None, str | None], str | None] | list[str | None]] = field(
        default_factory=dict
    )
    page_extra: bytes = b""
    latency: float = 0.0
    answers: bool = True
    faults: FaultScript = field(default_factory=FaultScript)
    tally: Tally = field(default_factory=Tally)
    sent: list[SentMessage] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = PageTokens(clock=self.clock)
        self.bearers = Bearers(clock=self.clock)
        self._lock = threading.RLock()
        self._salt = 0

    # ------------------------------------------------------------------ logs

    def add(self, log: Log) -> Log:
        """Add a log, and return it."""
        self.logs[log.task_id] = log
        return log

    def log(self, task_id: str) -> Log:
        """Return a task's log; Refusal 400 for a bad UUID, 404 for an unknown task."""
        name = task_id.lower()
        if not _UUID.fullmatch(name):
            raise Refusal(400, "The task id is not a UUID.", ("taskId: must be a UUID",))
        try:
            return self.logs[name]
        except KeyError:
            raise Refusal(404, "There is no such task.") from None

    # ----------------------------------------------------------------- pages

    def revoke_tokens(self) -> None:
        """Refuse every page token issued so far."""
        self.tokens.revoke()

    def order_of(self, task_id: str) -> Order:
        """Return the order in which a task's log is served."""
        return self.orders.get(task_id.lower(), self.order)

    def token_at(self, task_id: str, position: int, *, salt: str = "", limit: int = DEFAULT_LIMIT) -> str:
        """Return the page token of a position, as it is given out under this limit.

        Oldest-first, a position counts the events before the page; newest-first, those older than the
        page's first event, that one included.
        """
        name = task_id.lower()
        order = self.order_of(name)
        noted = None if self.fixed_limit == "free" else limit
        if self._counts_from_the_head(order):
            position = len(self.log(name)) - position
        if self._counts_pages():
            position //= limit
        return self.tokens.make(name, order, position, salt=salt, limit=noted)

    def page(self, task_id: str, limit: int | str | None = None, token: str | None = None) -> bytes:
        """Return a page's body and count it as served; Refusal where the API would refuse."""
        served = self.read(task_id, limit, token)
        self.count_page(task_id.lower(), token, served)
        return served.body

    def count_page(self, task_id: str, token: str | None, served: Served) -> None:
        """Count a page as served."""
        self.tally.note_page(task_id, token, events=served.events, size=len(served.body))

    def read(self, task_id: str, limit: int | str | None = None, token: str | None = None) -> Served:
        """Return a page without counting it; Refusal where the API would refuse."""
        size = _checked_limit(limit)
        log = self.log(task_id)
        with self._lock:
            size = self._granted(token, size)
            position = self._position(log, token, size)
            chosen, after, at_end = _cut(log.events, self.order_of(log.task_id), position, size)
            natural = None if at_end and not self._goes_on(len(chosen), size) else after
            next_token = self._next_token(log.task_id, token, natural, position, size)
        return Served(body=self._body(chosen, next_token), events=len(chosen), next_token=next_token)

    def read_empty(self, task_id: str, limit: int | str | None = None, token: str | None = None) -> Served:
        """Return a page without events whose token, new each time, goes on from the same position."""
        size = _checked_limit(limit)
        log = self.log(task_id)
        with self._lock:
            size = self._granted(token, size)
            position = self._position(log, token, size)
            self._salt += 1
            next_token = self.token_at(log.task_id, position, salt=str(self._salt), limit=size)
        return Served(body=self._body([], next_token), events=0, next_token=next_token)

    def slowness(self, limit: int | str | None) -> Fault | None:
        """Return what becomes of a page of this limit if it is too much for the server, else None."""
        try:
            if self.slow_above is None or _checked_limit(limit) <= self.slow_above:
                return None
        except Refusal:
            return None
        if self.slow_how == "stall":
            return Fault(kind="stall")
        return Fault(kind="status", status=504, detail="The page took too long.")

    def _granted(self, token: str | None, limit: int) -> int:
        """Return how many events a request gets at most."""
        noted = None if token is None else self.tokens.limit_of(token)
        if noted is None or self.fixed_limit == "free":
            return limit
        if self.fixed_limit == "refused" and noted != limit:
            raise Refusal(400, "The limit is not the one of the token.", (f"limit: must be {noted}",))
        return noted

    def _position(self, log: Log, token: str | None, size: int) -> int:
        order = self.order_of(log.task_id)
        if token is None:
            return 0 if order == "oldest-first" else len(log.events)
        named = self.tokens.position(log.task_id, order, token, life=self.token_life)
        if named is None:
            raise Refusal(400, "The pagination token is not valid.", ("paginationToken: unknown or expired",))
        if self._counts_pages():
            named *= size
        return len(log.events) - named if self._counts_from_the_head(order) else named

    def _counts_pages(self) -> bool:
        return self.token_style == "page-number"  # noqa: S105 - a style's name

    def _counts_from_the_head(self, order: Order) -> bool:
        """Say whether a token's number grows away from the newest event."""
        return order == "newest-first" and self.token_style != "position"  # noqa: S105 - a style's name

    def _goes_on(self, served: int, size: int) -> bool:
        return self.token_on_full_last_page and served == size

    def _next_token(
        self, task_id: str, asked: str | None, after: int | None, position: int, size: int
    ) -> str | None:
        natural = None if after is None else self.token_at(task_id, after, limit=size)
        script = self.scripted_tokens.get(task_id)
        if callable(script):
            natural = script(asked, natural)
        elif script is not None:
            natural = script.pop(0) if script else None
        if natural is None and self.end == "repeat":
            return asked or self.token_at(task_id, position, limit=size)
        return natural

    def _body(self, events: list[bytes], token: str | None) -> bytes:
        extra = b"," + self.page_extra if self.page_extra else b""
        return b'{"results":[' + b",".join(events) + b"]" + self._token_members(token) + extra + b"}"

    def _token_members(self, token: str | None) -> bytes:
        if token is not None:
            value = json.dumps(token)
        elif self.end == "absent":
            return b""
        else:
            value = "null" if self.end == "null" else '""'
        names = _TOKEN_NAMES[self.token_field]
        return "".join(f',"{name}":{value}' for name in names).encode()

    # -------------------------------------------------------------- messages

    def send(self, sent: SentMessage) -> None:
        """Take a message in: record it, and let the log go on; Refusal for an unknown task."""
        log = self.log(sent.task_id)
        with self._lock:
            self.sent.append(sent)
            if log.teller is not None:
                log.extend(log.teller.told(sent, answers=self.answers))
            else:
                log.extend(self._plain_story(sent))

    def _plain_story(self, sent: SentMessage) -> list[bytes]:
        stamp = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        told = [{"type": "userMessage", "text": sent.message}]
        if self.answers:
            told.append({"type": "agentMessage", "text": "Understood."})
        return [
            f'{{"data":{json.dumps(data)},"groupId":"sent-{len(self.sent)}","timestamp":"{stamp}"}}'.encode()
            for data in told
        ]

    # -------------------------------------------------------------- counters

    def counters(self) -> dict[str, Any]:
        """Return what was asked and answered since the last reset, as a JSON value."""
        return {**self.tally.as_json(), "messages": len(self.sent)}

    def reset_counters(self) -> None:
        """Begin counting again at zero; messages stay recorded."""
        self.tally.reset()


def _checked_limit(limit: int | str | None) -> int:
    if limit is None:
        return DEFAULT_LIMIT
    text = str(limit)
    if not _INTEGER.fullmatch(text):
        raise Refusal(400, "The limit is not a whole number.", ("limit: must be an integer",))
    if not 1 <= int(text) <= MAXIMUM_LIMIT:
        raise Refusal(400, "The limit is out of range.", (f"limit: must be between 1 and {MAXIMUM_LIMIT}",))
    return int(text)


def _cut(events: list[bytes], order: Order, position: int, size: int) -> tuple[list[bytes], int, bool]:
    """Return the page's events, the position after them, and whether the log's end is reached."""
    if order == "oldest-first":
        after = min(position + size, len(events))
        return events[position:after], after, after >= len(events)
    top = max(min(position, len(events)), 0)
    after = max(top - size, 0)
    return events[after:top][::-1], after, after == 0
