"""Does the client ask as the contract says, repeat what may pass, and tell the refusals apart?"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING

import httpx
import pytest

from maia_sync.clock import ManualClock
from maia_sync.errors import (
    AnswerTooSlow,
    BrokenPage,
    CredentialsRefused,
    NotConnected,
    OutcomeUnknown,
    RequestRefused,
    RetriesExhausted,
    SignInFailed,
    TaskForbidden,
    TaskMissing,
    TokenRefused,
    TooManyRequests,
    UpstreamBusy,
    UpstreamFault,
    UpstreamSilent,
    UpstreamTimedOut,
    UsageError,
)
from maia_sync.maia.auth import AccessToken, BearerAuth, make_auth
from maia_sync.maia.client import MaiaClient
from maia_sync.model import OutgoingMessage
from maia_sync.settings import ApiSettings, AuthSettings, Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from maia_sync.model import Page

TASK = "11111111-2222-4333-8444-555555555555"
PAGE = httpx.Response(200, content=b'{"results":[{"data":1}]}')
Answer = httpx.Response | Exception


class Upstream:
    """Answers one after another, and keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.clock = ManualClock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, auth: BearerAuth | None = None, **settings: object) -> MaiaClient:
        api = ApiSettings(base_url="http://127.0.0.1:1/dpc", **settings)  # type: ignore[arg-type]
        auth = auth or make_auth(AuthSettings(token=Secret("s3cret-bearer")), clock=self.clock)
        transport = httpx.MockTransport(self)
        return MaiaClient(api, auth, clock=self.clock, random=random.Random(1), transport=transport)

    def fetch(self, page_token: str | None = None, *, limit: int | None = None, **settings: object) -> Page:
        async def once() -> Page:
            async with self.client(**settings) as client:
                return await client.fetch_page(TASK, page_token, limit)

        return asyncio.run(once())

    def post(self, message: OutgoingMessage, **settings: object) -> None:
        async def once() -> None:
            async with self.client(**settings) as client:
                await client.post_message(TASK, message)

        asyncio.run(once())


def problem(status: int, **fields: object) -> httpx.Response:
    return httpx.Response(status, json=fields, headers={"Content-Type": "application/problem+json"})


def test_a_page_is_asked_for_as_the_contract_says() -> None:
    upstream = Upstream(PAGE, PAGE)
    upstream.fetch(page_size=250)
    upstream.fetch("a/b+c d&e=ä")
    first, second = upstream.asked
    assert first.url.path == f"/dpc/v1/ai/agents/tasks/{TASK}/messages"
    assert dict(first.url.params) == {"limit": "250"}
    assert second.url.params["paginationToken"] == "a/b+c d&e=ä"
    assert first.headers["Authorization"] == "Bearer s3cret-bearer"
    assert first.headers["Accept-Encoding"] == "gzip"
    assert first.headers["User-Agent"].startswith("maia-sync/")


def test_a_page_token_is_asked_for_as_long_as_its_address_may_be() -> None:
    upstream = Upstream(PAGE, PAGE)
    upstream.fetch("x")
    room = 65_536 - len(str(upstream.asked[0].url)) + 1
    upstream.fetch("x" * room)
    with pytest.raises(TokenRefused):
        upstream.fetch("x" * (room + 1))
    assert len(upstream.asked) == 2


PASSING: list[Callable[[], Answer]] = [
    *(lambda status=status: problem(status, title="busy") for status in (429, 500, 502, 503, 504, 599)),
    lambda: httpx.ConnectError("refused"),
    lambda: httpx.ReadTimeout("slow"),
    lambda: httpx.RemoteProtocolError("cut"),
    lambda: httpx.Response(200, content=b"<html>"),
    lambda: httpx.Response(200, content=b'{"results":[1'),
    lambda: httpx.Response(200, content=b"{}"),
    lambda: httpx.Response(200, stream=httpx.ByteStream(b"no gzip"), headers={"Content-Encoding": "gzip"}),
]


@pytest.mark.parametrize("passing", PASSING)
def test_what_may_pass_is_asked_again_with_growing_waits(passing: Callable[[], Answer]) -> None:
    upstream = Upstream(passing(), passing(), passing(), PAGE)
    assert upstream.fetch(backoff=1.0).events[0].data == "1"
    assert len(upstream.asked) == 4
    for number, waited in enumerate(upstream.clock.slept):
        assert 2**number / 2 <= waited <= 2**number


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (lambda: problem(429), TooManyRequests),
        (lambda: problem(503), UpstreamBusy),
        (lambda: problem(502), UpstreamFault),
        (lambda: problem(504), UpstreamTimedOut),
        (lambda: httpx.PoolTimeout("none free"), NotConnected),
        (lambda: httpx.ProxyError("no"), NotConnected),
        (lambda: httpx.ReadTimeout("slow"), AnswerTooSlow),
        (lambda: httpx.ConnectError("refused"), NotConnected),
        (lambda: httpx.ReadError("broken"), UpstreamSilent),
        (lambda: httpx.Response(200, content=b"[]"), BrokenPage),
    ],
)
def test_what_does_not_pass_is_given_up_after_the_configured_number(
    answer: Callable[[], Answer], cause: type[Exception]
) -> None:
    upstream = Upstream(*(answer() for _ in range(3)))
    with pytest.raises(RetriesExhausted, match=r"\(asked 3 times\)$") as caught:
        upstream.fetch(retries=2, backoff=0.01)
    assert type(caught.value.__cause__) is cause
    assert len(upstream.asked) == 3


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7), ("0", 0, 1), ("-5", 0, 1), ("99999999", 300, 300), ("soon", 0, 1), ("1e9", 0, 1)],
)
def test_a_wait_that_upstream_asks_for_is_kept_within_bounds(header: str, least: float, most: float) -> None:
    upstream = Upstream(httpx.Response(429, headers={"Retry-After": header}), PAGE)
    upstream.fetch(backoff=1.0)
    assert least <= upstream.clock.slept[0] <= most


@pytest.mark.parametrize(
    ("status", "token", "kind"),
    [
        (400, None, RequestRefused),
        (400, "page-token-2", TokenRefused),
        (401, None, CredentialsRefused),
        (403, None, TaskForbidden),
        (404, None, TaskMissing),
        (409, None, RequestRefused),
        (302, None, RequestRefused),
    ],
)
def test_refusals_are_told_apart_and_not_repeated(
    status: int, token: str | None, kind: type[Exception]
) -> None:
    upstream = Upstream(problem(status, detail="no way", violations=["limit: too large"]))
    with pytest.raises(kind) as caught:
        upstream.fetch(token)
    assert type(caught.value) is kind
    assert len(upstream.asked) == 1
    assert "no way; limit: too large" in str(caught.value)


@pytest.mark.parametrize(
    "detail", ["token a%2Fb is bad", "token a/b is bad", "you sent s3cret-bearer", "a%252Fb"]
)
def test_p9_words_of_upstream_that_quote_a_token_are_not_repeated(detail: str) -> None:
    with pytest.raises(TokenRefused) as caught:
        Upstream(problem(400, detail=detail)).fetch("a/b")
    for secret in ("a/b", "a%2Fb", "s3cret-bearer"):
        assert secret not in str(caught.value)


def test_upstreams_words_are_cut_and_stripped_of_control_characters() -> None:
    with pytest.raises(TaskMissing) as caught:
        Upstream(problem(404, detail="\x1b[31m" + "x" * 5000)).fetch()
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_larger_answer_than_allowed_is_a_broken_page() -> None:
    upstream = Upstream(*(httpx.Response(200, content=b" " * 5000) for _ in range(2)))
    with pytest.raises(RetriesExhausted, match="max_page_bytes"):
        upstream.fetch(max_page_bytes=4096, retries=1, backoff=0.01)


# ---------------------------------------------------------------------------- limits


def limits_asked(upstream: Upstream) -> list[int]:
    return [int(request.url.params["limit"]) for request in upstream.asked]


@pytest.mark.parametrize(
    "slow",
    [
        lambda: problem(504),
        lambda: httpx.ReadTimeout("slow"),
        lambda: httpx.Response(200, content=b" " * 5000),
    ],
    ids=["504", "timeout", "too large"],
)
def test_what_is_too_slow_or_too_large_is_asked_again_with_half_the_limit(slow: Callable[[], Answer]) -> None:
    upstream = Upstream(slow(), slow(), PAGE)
    page = upstream.fetch(limit=300, max_page_bytes=4096)
    assert (limits_asked(upstream), page.limit) == ([300, 150, 75], 75)


def test_the_limit_is_halved_down_to_25_and_the_last_attempt_asks_for_no_more() -> None:
    upstream = Upstream(*(problem(504) for _ in range(6)))
    with pytest.raises(RetriesExhausted):
        upstream.fetch(limit=1000)
    assert limits_asked(upstream) == [1000, 500, 250, 125, 62, 25]
    upstream = Upstream(*(problem(504) for _ in range(3)))
    with pytest.raises(RetriesExhausted):
        upstream.fetch(limit=10, retries=2)
    assert limits_asked(upstream) == [10, 10, 10]


def test_other_failures_leave_the_limit_alone() -> None:
    upstream = Upstream(problem(502), httpx.ConnectError("no"), problem(429), PAGE)
    assert upstream.fetch(limit=300).limit == 300
    assert limits_asked(upstream) == [300] * 4


@pytest.mark.parametrize("page_token", [None, "page-2"])
def test_an_api_that_refuses_a_smaller_limit_is_asked_with_the_given_one_again(
    page_token: str | None,
) -> None:
    upstream = Upstream(problem(504), problem(400), problem(504), PAGE)
    page = upstream.fetch(page_token, limit=300)
    assert (limits_asked(upstream), page.limit) == ([300, 150, 300, 300], 300)


def test_a_token_that_is_refused_under_the_given_limit_too_is_refused() -> None:
    upstream = Upstream(problem(504), problem(400), problem(400))
    with pytest.raises(TokenRefused):
        upstream.fetch("page-2", limit=300)


def test_a_token_that_takes_one_limit_only_which_is_too_much_is_given_up_for_the_logs_start() -> None:
    answers = (504, 400, 502, 504)
    upstream = Upstream(*map(problem, answers))
    with pytest.raises(TokenRefused, match="no smaller limit"):
        upstream.fetch("page-2", limit=300, retries=3)
    assert limits_asked(upstream) == [300, 150, 300, 300]
    with pytest.raises(TokenRefused, match="no smaller limit"):
        Upstream(problem(504), problem(400)).fetch("page-2", limit=300, retries=1)
    for page_token, last in ((None, 504), ("page-2", 502)):
        upstream = Upstream(problem(504), problem(400), problem(last))
        with pytest.raises(RetriesExhausted):
            upstream.fetch(page_token, limit=300, retries=2)


# ---------------------------------------------------------------------------- hostile answers


@pytest.mark.parametrize("coding", ["zstd", "br", "deflate", "gzip, gzip", "identity, gzip", "x"])
def test_p8_a_body_packed_in_another_way_than_one_gzip_is_broken_before_a_byte_is_unpacked(
    coding: str,
) -> None:
    class Untouched(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            raise AssertionError
            yield b""

    upstream = Upstream(httpx.Response(200, stream=Untouched(), headers={"Content-Encoding": coding}))
    with pytest.raises(RetriesExhausted, match=r"\(asked once\)$") as caught:
        upstream.fetch(retries=0)
    assert type(caught.value.__cause__) is BrokenPage


def test_redirects_are_not_followed_and_their_goal_is_not_told() -> None:
    headers = {"Location": "https://elsewhere.example/s3cret"}
    upstream = Upstream(httpx.Response(307, headers=headers))
    with pytest.raises(RequestRefused, match=r"api\.base_url") as caught:
        upstream.fetch()
    assert "elsewhere" not in str(caught.value)
    assert len(upstream.asked) == 1


def test_a_page_that_breaks_off_is_a_broken_page_and_an_error_answer_that_does_counts_all_the_same() -> None:
    class Breaking(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b'{"results":['
            raise httpx.RemoteProtocolError("cut")

    with pytest.raises(RetriesExhausted) as caught:
        Upstream(httpx.Response(200, stream=Breaking())).fetch(retries=0)
    assert type(caught.value.__cause__) is BrokenPage
    with pytest.raises(TaskMissing):
        Upstream(httpx.Response(404, stream=Breaking())).fetch(retries=0)


def test_no_cookie_is_kept() -> None:
    upstream = Upstream(httpx.Response(500, headers={"Set-Cookie": "a=b; Path=/"}), PAGE)
    upstream.fetch()
    assert "cookie" not in upstream.asked[1].headers


# ---------------------------------------------------------------------------- messages

HELLO = OutgoingMessage(message="hello")
ACCEPTED = httpx.Response(202, content=b'{"taskId":"x"}')


def test_a_message_is_posted_as_the_contract_says() -> None:
    upstream = Upstream(ACCEPTED)
    upstream.post(
        OutgoingMessage(message="grüß dich", agent="a", mode="PLAN", branch="b", allowed_tools=("sql", "py"))
    )
    (request,) = upstream.asked
    assert (request.method, request.url.path) == ("POST", f"/dpc/v1/ai/agents/tasks/{TASK}/messages")
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.content) == {
        "message": "grüß dich",
        "agentConfig": {"name": "a", "mode": "PLAN", "targetBranchName": "b"},
        "grantedPermissions": [{"toolName": "sql"}, {"toolName": "py"}],
    }


def test_what_a_message_does_not_have_is_left_out() -> None:
    upstream = Upstream(ACCEPTED)
    upstream.post(HELLO)
    assert upstream.asked[0].content == b'{"message":"hello"}'


@pytest.mark.parametrize(
    "passing",
    [
        lambda: problem(429),
        lambda: httpx.ConnectError("refused"),
        lambda: httpx.ConnectTimeout("slow"),
        lambda: httpx.PoolTimeout("none"),
        lambda: httpx.ProxyError("no"),
    ],
)
def test_a_message_that_was_certainly_not_processed_is_sent_again(passing: Callable[[], Answer]) -> None:
    upstream = Upstream(passing(), passing(), ACCEPTED)
    upstream.post(HELLO)
    assert len(upstream.asked) == 3
    upstream = Upstream(passing(), passing())
    with pytest.raises(RetriesExhausted):
        upstream.post(HELLO, retries=1)


@pytest.mark.parametrize(
    "lost",
    [
        *(lambda status=status: problem(status) for status in (500, 502, 503, 504)),
        lambda: httpx.ReadTimeout("slow"),
        lambda: httpx.WriteTimeout("slow"),
        lambda: httpx.WriteError("broken"),
        lambda: httpx.ReadError("broken"),
        lambda: httpx.RemoteProtocolError("cut"),
    ],
)
def test_a_message_that_may_have_been_processed_is_never_sent_again(lost: Callable[[], Answer]) -> None:
    upstream = Upstream(lost())
    with pytest.raises(OutcomeUnknown) as caught:
        upstream.post(HELLO)
    assert len(upstream.asked) == 1
    assert "hello" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, CredentialsRefused),
        (403, TaskForbidden),
        (404, TaskMissing),
        (409, RequestRefused),
        (302, RequestRefused),
    ],
)
def test_a_refused_message_is_refused(status: int, kind: type[Exception]) -> None:
    upstream = Upstream(problem(status, detail="no way"))
    with pytest.raises(kind) as caught:
        upstream.post(HELLO)
    assert type(caught.value) is kind
    assert len(upstream.asked) == 1


def test_a_202_counts_whatever_its_body_is_and_another_2xx_if_it_names_the_task() -> None:
    class Breaking(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            raise httpx.ReadError("broken")

    for answer in (
        httpx.Response(202, stream=Breaking()),
        httpx.Response(200, json={"taskId": TASK.upper()}),
        httpx.Response(202, stream=httpx.ByteStream(b"x"), headers={"Content-Encoding": "zstd"}),
    ):
        Upstream(answer).post(HELLO)


@pytest.mark.parametrize(
    "body", [b"<html>Please sign in</html>", b"", b"{}", b'{"taskId":"another"}', b"[" * 5000]
)
def test_a_200_that_is_not_the_apis_leaves_the_outcome_unknown(body: bytes) -> None:
    upstream = Upstream(httpx.Response(200, content=body))
    with pytest.raises(OutcomeUnknown, match="base_url"):
        upstream.post(HELLO)
    assert len(upstream.asked) == 1


def test_a_message_that_the_contract_cannot_carry_is_refused_before_it_leaves() -> None:
    for message in (
        OutgoingMessage(message="x", mode="ACT"),
        OutgoingMessage(message="x", branch="b"),
        OutgoingMessage(message="half \ud800"),
    ):
        upstream = Upstream()
        with pytest.raises(UsageError):
            upstream.post(message)
        assert upstream.asked == []


def test_a_message_whose_sign_in_fails_was_certainly_not_sent() -> None:
    upstream = Upstream(ACCEPTED)

    async def once() -> None:
        async def fetch() -> AccessToken:
            raise SignInFailed("no access token just now")

        auth = BearerAuth(fetch, clock=upstream.clock)
        async with upstream.client(auth, retries=1) as client:
            await client.post_message(TASK, HELLO)

    with pytest.raises(RetriesExhausted) as caught:
        asyncio.run(once())
    assert type(caught.value.__cause__) is SignInFailed
    assert upstream.asked == []
