"""Does the client ask as the contract says, repeat what may pass, and tell the refusals apart?"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import httpx
import pytest

from maia_sync.clock import ManualClock
from maia_sync.errors import (
    BrokenPage,
    ConfigError,
    CredentialsRefused,
    NotConnected,
    RequestRefused,
    RetriesExhausted,
    TaskForbidden,
    TaskMissing,
    TokenRefused,
    UpstreamBusy,
    UpstreamFault,
    UpstreamSilent,
)
from maia_sync.maia.auth import BearerAuth, make_auth
from maia_sync.maia.client import MaiaClient
from maia_sync.settings import ApiSettings, AuthSettings, Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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

    def fetch(self, page_token: str | None = None, **settings: object) -> Page:
        async def once() -> Page:
            api = ApiSettings(base_url="http://127.0.0.1:1/dpc", **settings)  # type: ignore[arg-type]
            auth = BearerAuth(lambda: Secret("s3cret-bearer"))
            transport = httpx.MockTransport(self)
            async with MaiaClient(
                api, auth, clock=self.clock, random=random.Random(1), transport=transport
            ) as client:
                return await client.fetch_page(TASK, page_token)

        return asyncio.run(once())


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
        (lambda: problem(429), UpstreamBusy),
        (lambda: problem(502), UpstreamFault),
        (lambda: httpx.ConnectError("refused"), NotConnected),
        (lambda: httpx.ReadError("broken"), UpstreamSilent),
        (lambda: httpx.Response(200, content=b"[]"), BrokenPage),
    ],
)
def test_what_does_not_pass_is_given_up_after_the_configured_number(
    answer: Callable[[], Answer], cause: type[Exception]
) -> None:
    upstream = Upstream(*(answer() for _ in range(3)))
    with pytest.raises(RetriesExhausted) as caught:
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


def token_of(settings: AuthSettings) -> str:
    flow = make_auth(settings).auth_flow(httpx.Request("GET", "http://127.0.0.1/"))
    return next(flow).headers["Authorization"]


def test_the_bearer_comes_from_the_settings_a_file_or_a_command(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert token_of(AuthSettings(token=Secret("given"))) == "Bearer given"
    assert token_of(AuthSettings(token_file=file)) == "Bearer from-file"
    assert token_of(AuthSettings(token_command=("printf", "printed\\n"))) == "Bearer printed"


@pytest.mark.parametrize(
    "command", [("false",), ("printf", "two words"), ("true",), ("no-such-command-anywhere",)]
)
def test_a_command_that_gives_no_token_is_a_credential_refused(command: tuple[str, ...]) -> None:
    with pytest.raises(CredentialsRefused) as caught:
        token_of(AuthSettings(token_command=command))
    assert "two words" not in str(caught.value)


def test_no_credential_and_one_not_usable_yet_are_config_errors() -> None:
    for settings in (AuthSettings(), AuthSettings(client_id="id", client_secret=Secret("x"))):
        with pytest.raises(ConfigError):
            make_auth(settings)
