"""How is a page of a task's log fetched, and a message sent? Requests in their turn, and what is repeated."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import quote, quote_plus

import msgspec

from maia_sync.errors import (
    MaiaSyncError,
    NotConnected,
    OutcomeUnknown,
    RequestRefused,
    RetriesExhausted,
    RetryLater,
    SignInFailed,
    TokenRefused,
    TooManyRequests,
)
from maia_sync.maia.pace import Pace, read_http_date, read_retry_after
from maia_sync.maia.page_limit import ShrinkingLimit
from maia_sync.maia.refusal import refusal_of
from maia_sync.maia.wire import decode_page, encode_message, names_task
from maia_sync.model import RequestMade, Waited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random

    import httpx

    from maia_sync.clock import Clock
    from maia_sync.maia.auth import BearerAuth
    from maia_sync.maia.connection import Answer, Connections
    from maia_sync.maia.transport import Request
    from maia_sync.model import Observation, Observer, OutgoingMessage, Page
    from maia_sync.settings import ApiSettings, Secret

T = TypeVar("T")

_NOBODY = "00000000-0000-0000-0000-000000000000"
_LONGEST_BACKOFF = 60.0
_LONGEST_TOKEN = 65_536
_WHOM = "the API"
_LARGE_BYTES = 1 << 20


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What one request told about the API, whatever it answered."""

    status: int
    server_time: datetime | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One of the times that a request is made."""

    backoff: float
    """Seconds until the next, if it fails."""
    left: int
    """How many more may follow."""


class MaiaClient:
    """Speaks to the Maia REST API; an async context manager. Knows pages, not tasks' states.

    All its requests keep one pace, so a process needs one of them.
    """

    def __init__(
        self,
        settings: ApiSettings,
        auth: BearerAuth,
        *,
        clock: Clock,
        random: Random,
        transport: httpx.AsyncBaseTransport | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._settings = settings
        self._observers = observers
        self._auth = auth
        self._clock = clock
        self._random = random
        self.requests = 0
        """Requests made so far, repeated ones included, those for access tokens not."""
        self.answers = 0
        """Answers that showed the API alive: any but 5xx and 429."""
        self._pace = Pace(
            clock=clock,
            concurrency=settings.concurrency,
            requests_per_second=settings.requests_per_second,
            sleep=self._sleep,
        )
        self._line = _Line(settings, transport)

    def for_a_run(self) -> MaiaClient:
        """Return the same client, keeping the same pace, with counts of its own from zero."""
        twin = copy(self)
        twin.requests = twin.answers = 0
        return twin

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._line.aclose()
        finally:
            await self._auth.aclose()

    async def fetch_page(self, task_id: str, page_token: str | None, limit: int | None = None) -> Page:
        """Fetch one page of a task's log, of at most `limit` events (None: api.page_size).

        Repeats what may pass. What is not answered in time or is too large is asked again with half
        the limit; `Page.limit` is the one that it came with. A token for which `limit` remains too
        much, while a smaller one is refused, counts as refused: either it is, or it takes no other
        limit, and then only a walk from the log's start gets by with smaller pages.

        Raises TaskForbidden, TaskMissing, RequestRefused (400 and other 4xx), TokenRefused,
        RetriesExhausted, or CredentialsRefused.
        """
        sized = ShrinkingLimit(limit or self._settings.page_size)

        async def attempt(this: Attempt) -> Page:
            asked = sized.now
            try:
                body = await self._get(task_id, page_token, asked, this)
                return await _decoded(body, asked)
            except RetryLater as error:
                sized.note_failure(error, one_left=this.left == 1)
                raise
            except RequestRefused as refusal:
                failure = sized.note_refusal()
                if failure is None:
                    raise
                raise failure from refusal

        try:
            return await self._persist(attempt)
        except RetriesExhausted as error:
            if page_token is None or not sized.is_stuck:
                raise
            raise TokenRefused(f"{error}, and the API takes this page token with no smaller limit") from error

    async def post_message(self, task_id: str, message: OutgoingMessage) -> None:
        """Send a message to a task; returns if the API took it in: 202, or another 2xx that names the task.

        Repeats only what was certainly not processed. Raises TaskForbidden, TaskMissing,
        RequestRefused, CredentialsRefused or RetriesExhausted if it certainly was not, UsageError
        if it cannot be sent, and OutcomeUnknown if no answer tells what became of it.
        """
        body = encode_message(message)
        request = self._line.http.make_request("POST", self._target(task_id), json=body)

        async def attempt(this: Attempt) -> None:
            try:
                answer = await self._answered(request, this)
            except (NotConnected, SignInFailed):
                raise
            except RetryLater as error:
                raise _unknown(error) from error
            if 200 <= answer.status < 300:
                if answer.status != 202 and not names_task(answer.body, task_id):
                    raise OutcomeUnknown(
                        f"whether the message was taken in is not known: the answer ({answer.status}) is not"
                        " the API's; is api.base_url its address?"
                    )
                return
            refusal = refusal_of(answer, retry_after=self._retry_after(answer), deed="send to")
            if isinstance(refusal, RetryLater) and not isinstance(refusal, TooManyRequests):
                raise _unknown(refusal) from refusal
            raise refusal

        await self._persist(attempt)

    async def probe(self, task_id: str | None) -> Probe:
        """Ask once for one event of a task (or of none) and tell what came.

        Raises UpstreamSilent, or what having a token raises.
        """
        request = self._line.http.make_request("GET", f"{self._target(task_id or _NOBODY)}?limit=1")
        answer = await self._ask(request, Attempt(backoff=0.0, left=0), whole=None)
        return Probe(status=answer.status, server_time=read_http_date(answer.headers.get("Date", "")))

    async def _persist(self, attempt: Callable[[Attempt], Awaitable[T]]) -> T:
        """Repeat an attempt while what went wrong may pass: backoff doubles, with jitter."""
        for repeated in range(self._settings.retries + 1):
            this = Attempt(backoff=self._backoff(repeated), left=self._settings.retries - repeated)
            try:
                return await attempt(this)
            except RetryLater as error:
                if not this.left:
                    times = f"{repeated + 1} times" if repeated else "once"
                    raise RetriesExhausted(f"{error} (asked {times})") from error
                wait = max(this.backoff, error.retry_after or 0.0)
                self._tell(Waited(seconds=wait, cause=type(error).__name__))
                await self._pace.rest(wait)
        raise AssertionError  # pragma: no cover - range() is never empty

    def _backoff(self, repeated: int) -> float:
        longest = min(self._settings.backoff * 2.0**repeated, _LONGEST_BACKOFF)
        return longest * (0.5 + self._random.random() / 2)

    async def _sleep(self, seconds: float) -> None:
        """Sleep; a token that comes due meanwhile is renewed meanwhile, once, if it can be."""
        end = self._clock.monotonic() + seconds
        due = self._auth.due_in()
        if due is not None and due < seconds:
            await self._clock.sleep(max(due, 0.0))
            with suppress(MaiaSyncError):
                await self._auth.ready()
        left = end - self._clock.monotonic()
        if left > 0:
            await self._clock.sleep(left)

    def _target(self, task_id: str) -> str:
        return f"{self._line.path}/v1/ai/agents/tasks/{quote(task_id, safe='')}/messages"

    async def _get(self, task_id: str, page_token: str | None, limit: int, this: Attempt) -> bytes:
        request = self._page_request(task_id, page_token, limit)
        answer = await self._answered(request, this, whole=self._settings.max_page_bytes)
        if answer.status == 200:
            return answer.body
        raise refusal_of(answer, retry_after=self._retry_after(answer), page_token=page_token)

    def _page_request(self, task_id: str, page_token: str | None, limit: int) -> Request:
        target = f"{self._target(task_id)}?limit={limit}"
        if page_token is None:
            return self._line.http.make_request("GET", target)
        size = len(page_token)
        try:
            if size < _LONGEST_TOKEN:  # to make the request of a longer one would cost many times its size
                target = f"{target}&paginationToken={quote_plus(page_token)}"
                return self._line.http.make_request("GET", target)
        except RequestRefused:
            pass
        raise TokenRefused(f"the page token that the API gave ({size:,} characters) cannot be asked for")

    async def _answered(self, request: Request, this: Attempt, *, whole: int | None = None) -> Answer:
        """Make a request, and after a 401 once more with another token, if there is one.

        And once more if that one ran out before its answer came: it was not refused for what it is.
        """
        answer = await self._ask(request, this, whole=whole)
        if answer.status == 401 and await self._auth.replace(answer.bearer):
            answer = await self._ask(request, this, whole=whole)
            ran_out = answer.status == 401 and self._auth.has_run_out(answer.bearer)
            if ran_out and await self._auth.replace(answer.bearer):
                answer = await self._ask(request, this, whole=whole)
        return answer

    async def _ask(self, request: Request, this: Attempt, *, whole: int | None) -> Answer:
        """Make a request in its turn.

        The token is made sure of before the turn is waited for, so that it does not cost the turn,
        and again in it: the wait may have been long.
        """
        await self._auth.ready()
        async with self._pace.turn() as begun_in:
            answer = await self._ask_now(request, await self._auth.bearer(), whole)
            asked_for = self._retry_after(answer) if answer.status == 429 else None
            pause = this.backoff if asked_for is None else asked_for
            self._pace.note_answer(answer.status, begun_in=begun_in, pause=pause)
        if answer.status < 500 and answer.status != 429:
            self.answers += 1
        return answer

    async def _ask_now(self, request: Request, bearer: Secret | None, whole: int | None) -> Answer:
        self.requests += 1
        status, began = None, self._clock.monotonic() if self._observers else 0.0
        try:
            deadline = self._settings.page_deadline
            answer = await self._line.http.ask(
                request, whom=_WHOM, deadline=deadline, whole=whole, bearer=bearer
            )
            status = answer.status
        finally:
            if self._observers:
                seconds = self._clock.monotonic() - began
                self._tell(RequestMade(method=request.method, status=status, seconds=seconds))
        return answer

    def _tell(self, observation: Observation) -> None:
        for observer in self._observers:
            observer(observation)

    def _retry_after(self, answer: Answer) -> float | None:
        """Return how long the API asks us to wait, in seconds within bounds; None if it does not say."""
        text, date = answer.headers.get("Retry-After", ""), answer.headers.get("Date", "")
        return read_retry_after(text, date=date, now=self._clock.now()) if text else None


class _Line:
    """The connections to the API, opened at the first request: until then, nothing of HTTP is loaded."""

    def __init__(self, settings: ApiSettings, transport: httpx.AsyncBaseTransport | None) -> None:
        self._settings = settings
        self._transport = transport
        self._opened: Connections | None = None

    @property
    def http(self) -> Connections:
        """The connections. Raises ConfigError if none can be made as the settings say."""
        if self._opened is None:
            from maia_sync.maia.connection import open_api  # noqa: PLC0415 - httpx takes long to load

            self._opened = open_api(self._settings.base_url, self._settings, transport=self._transport)
        return self._opened

    @property
    def path(self) -> str:
        """What the path of every request begins with."""
        return self.http.server.target.rstrip("/")

    async def aclose(self) -> None:
        """Close them, if there are any."""
        if self._opened is not None:
            await self._opened.aclose()


async def _decoded(body: bytes, limit: int) -> Page:
    """Decode a page; a large one in a thread, for an odd one takes long and other tasks have deadlines."""
    if len(body) <= _LARGE_BYTES:
        return decode_page(body, limit=limit)
    return await asyncio.to_thread(decode_page, body, limit=limit)


def _unknown(error: RetryLater) -> OutcomeUnknown:
    return OutcomeUnknown(f"whether the message was taken in is not known: {error}")
