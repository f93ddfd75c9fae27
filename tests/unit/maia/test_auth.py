"""Is there always a good access token, fetched once for all, renewed in time, and never told?"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx
import pytest

from maia_sync.clock import ManualClock
from maia_sync.errors import (
    ConfigError,
    CredentialsRefused,
    RetriesExhausted,
    SignInFailed,
)
from maia_sync.maia import auth as auth_module
from maia_sync.maia.auth import AccessToken, BearerAuth, make_auth, read_credential
from maia_sync.maia.client import MaiaClient
from maia_sync.settings import ApiSettings, AuthSettings, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

TASK = "11111111-2222-4333-8444-555555555555"
SECRET = "client-s3cret"
PAGE = b'{"results":[]}'
Answer = httpx.Response | Exception


def granted(token: str, **fields: object) -> httpx.Response:
    return httpx.Response(200, json={"access_token": token, "token_type": "Bearer", **fields})


class SignInServer:
    """Gives access-1, access-2, ... unless it has another answer to give first."""

    def __init__(self, *answers: Answer, life: object = 1800) -> None:
        self.answers = list(answers)
        self.life = life
        self.forms: list[dict[str, list[str]]] = []
        self.asked: list[httpx.Request] = []
        self.issued = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.forms.append(parse_qs(request.content.decode()))
        await asyncio.sleep(0)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        self.issued += 1
        return granted(f"access-{self.issued}", expires_in=self.life)


class Api:
    """Takes the tokens in `good`, or any if that is None; other answers first."""

    def __init__(self, *answers: Answer, good: set[str] | None = None) -> None:
        self.answers = list(answers)
        self.good = good
        self.tokens: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.tokens.append(token)
        await asyncio.sleep(0)
        if self.good is not None and token not in self.good:
            return httpx.Response(401)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return httpx.Response(200, content=PAGE)


class Stage:
    """A client between an API and a source of tokens."""

    def __init__(self, api: Api, source: SignInServer | AuthSettings, **settings: object) -> None:
        self.api = api
        self.clock = ManualClock()
        signs_in = isinstance(source, SignInServer)
        self.auth = make_auth(
            AuthSettings(client_id="me", client_secret=Secret(SECRET)) if signs_in else source,  # type: ignore[arg-type]
            clock=self.clock,
            transport=httpx.MockTransport(source) if signs_in else None,  # type: ignore[arg-type]
        )
        self.settings = ApiSettings(base_url="http://127.0.0.1:1", **settings)  # type: ignore[arg-type]

    def run(self, story: Callable[[MaiaClient], Coroutine[Any, Any, None]]) -> None:
        async def told() -> None:
            async with MaiaClient(
                self.settings,
                self.auth,
                clock=self.clock,
                random=random.Random(1),
                transport=httpx.MockTransport(self.api),
            ) as client:
                await story(client)

        asyncio.run(told())

    def fetch(self, times: int = 1) -> None:
        async def story(client: MaiaClient) -> None:
            for _ in range(times):
                await client.fetch_page(TASK, None, 25)

        self.run(story)


# ---------------------------------------------------------------------------- fetched once, in time


def test_the_token_request_is_the_form_of_rfc_6749() -> None:
    server = SignInServer()
    Stage(Api(), server).fetch()
    (request,) = server.asked
    assert (request.method, str(request.url)) == ("POST", "https://id.core.matillion.com/oauth/dpc/token")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in request.headers
    assert server.forms == [
        {
            "grant_type": ["client_credentials"],
            "client_id": ["me"],
            "client_secret": [SECRET],
            "audience": ["https://api.matillion.com"],
        }
    ]


def test_many_requests_at_once_share_one_token() -> None:
    server, api = SignInServer(), Api()

    async def story(client: MaiaClient) -> None:
        await asyncio.gather(*(client.fetch_page(TASK, None, 25) for _ in range(30)))

    Stage(api, server).run(story)
    assert (len(server.asked), api.tokens) == (1, ["access-1"] * 30)


def test_many_requests_at_once_share_the_failure_of_one_fetch() -> None:
    server = SignInServer(httpx.Response(503))

    async def story(client: MaiaClient) -> None:
        fetches = (client.fetch_page(TASK, None, 25) for _ in range(8))
        results = await asyncio.gather(*fetches, return_exceptions=True)
        assert {type(each) for each in results} == {RetriesExhausted}

    Stage(Api(), server, retries=0).run(story)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("life", "late"), [(1800, 1740.0), (100, 80.0), (2, 1.6), ("1800", 1740.0), (10**9, 86_340.0)]
)
def test_a_token_is_renewed_ahead_of_its_end(life: object, late: float) -> None:
    server, api = SignInServer(life=life), Api()
    stage = Stage(api, server)

    async def story(client: MaiaClient) -> None:
        await client.fetch_page(TASK, None, 25)
        stage.clock.advance(late - 0.1)
        await client.fetch_page(TASK, None, 25)
        stage.clock.advance(0.2)
        await client.fetch_page(TASK, None, 25)

    stage.run(story)
    assert api.tokens == ["access-1", "access-1", "access-2"]


@pytest.mark.parametrize("life", [None, 0, -5, "soon", "", True, [], "nan", "inf", 10**400])
def test_a_token_whose_life_is_not_told_is_used_until_it_is_refused(life: object) -> None:
    server, api = SignInServer(life=life), Api()
    stage = Stage(api, server)

    async def story(client: MaiaClient) -> None:
        for _ in range(3):
            await client.fetch_page(TASK, None, 25)
            stage.clock.advance(100_000)

    stage.run(story)
    assert len(server.asked) == 1


def test_as_long_as_a_token_is_good_a_failing_renewal_does_no_harm_and_is_not_hammered() -> None:
    server, api = SignInServer(), Api()
    stage = Stage(api, server)

    async def story(client: MaiaClient) -> None:
        await client.fetch_page(TASK, None, 25)
        server.answers = [httpx.Response(502), httpx.ConnectError("gone")]
        stage.clock.advance(1745)
        for _ in range(5):
            await client.fetch_page(TASK, None, 25)
        stage.clock.advance(11)
        await client.fetch_page(TASK, None, 25)
        stage.clock.advance(11)
        await client.fetch_page(TASK, None, 25)

    stage.run(story)
    assert len(server.asked) == 4
    assert api.tokens == ["access-1"] * 7 + ["access-2"]


def test_a_token_that_comes_due_while_a_429_is_waited_out_is_renewed_meanwhile() -> None:
    server = SignInServer(life=100)
    api = Api(httpx.Response(429, headers={"Retry-After": "200"}))
    stage = Stage(api, server)
    stage.fetch()
    assert stage.clock.slept == [80.0, 120.0]
    assert api.tokens[0] == "access-1"
    assert server.issued == 3  # one meanwhile; that one is over too when the wait is


def test_a_renewal_that_fails_during_a_wait_is_no_failure_of_the_request() -> None:
    server = SignInServer(life=100)
    stage = Stage(Api(httpx.Response(429, headers={"Retry-After": "90"})), server)

    async def story(client: MaiaClient) -> None:
        await client.fetch_page(TASK, None, 25)

    server.answers = [granted("access-0", expires_in=100), httpx.Response(500)]
    stage.run(story)
    assert stage.clock.slept == [80.0, 10.0]


# ---------------------------------------------------------------------------- 401


def test_a_401_renews_the_token_and_repeats_the_request_once() -> None:
    server, api = SignInServer(), Api(good={"access-2"})
    Stage(api, server).fetch()
    assert api.tokens == ["access-1", "access-2"]


def test_a_second_401_ends_it() -> None:
    server, api = SignInServer(), Api(good=set())
    with pytest.raises(CredentialsRefused, match="401"):
        Stage(api, server).fetch()
    assert api.tokens == ["access-1", "access-2"]
    assert len(server.asked) == 2


def test_many_401_at_once_make_one_renewal() -> None:
    server, api = SignInServer(), Api(good={"access-2"})

    async def story(client: MaiaClient) -> None:
        await asyncio.gather(*(client.fetch_page(TASK, None, 25) for _ in range(8)))

    Stage(api, server).run(story)
    assert len(server.asked) == 2
    assert sorted(api.tokens) == ["access-1"] * 8 + ["access-2"] * 8


def test_a_server_that_gives_the_refused_token_again_gets_no_second_request() -> None:
    server = SignInServer(granted("same"), granted("same"))
    api = Api(good=set())
    with pytest.raises(CredentialsRefused):
        Stage(api, server).fetch()
    assert api.tokens == ["same"]


def test_a_static_token_that_is_refused_is_not_sent_again() -> None:
    api = Api(good=set())
    with pytest.raises(CredentialsRefused):
        Stage(api, AuthSettings(token=Secret("given"))).fetch()
    assert api.tokens == ["given"]


def test_a_token_file_is_read_again_on_a_401(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    api = Api(good={"first"})
    stage = Stage(api, AuthSettings(token_file=file))

    async def story(client: MaiaClient) -> None:
        await client.fetch_page(TASK, None, 25)
        file.write_text("second\n")
        await client.fetch_page(TASK, None, 25)
        api.good = {"second"}
        await client.fetch_page(TASK, None, 25)
        api.good = set()
        with pytest.raises(CredentialsRefused):
            await client.fetch_page(TASK, None, 25)

    stage.run(story)
    assert api.tokens == ["first", "first", "first", "second", "second"]


def test_a_token_command_is_run_again_on_a_401(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"echo x >> {count}; wc -l < {count} | tr -d ' ' | sed s/^/token-/"
    api = Api(good={"token-2"})
    Stage(api, AuthSettings(token_command=("sh", "-c", script))).fetch(times=2)
    assert api.tokens == ["token-1", "token-2", "token-2"]


# ---------------------------------------------------------------------------- where tokens come from


def bearer_of(settings: AuthSettings) -> str:
    bearer = asyncio.run(make_auth(settings, clock=ManualClock()).bearer())
    assert bearer is not None
    return bearer.reveal()


def test_the_bearer_comes_from_the_settings_a_file_or_a_command(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert bearer_of(AuthSettings(token=Secret("given"))) == "given"
    assert bearer_of(AuthSettings(token_file=file)) == "from-file"
    assert bearer_of(AuthSettings(token_command=("printf", "printed\\n"))) == "printed"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("false",), "ended with exit code 1"),
        (("printf", "two words"), "printed nothing that can be a bearer token"),
        (("true",), "printed nothing that can be a bearer token"),
        (("no-such-command-anywhere",), "could not be run: No such file or directory"),
        (("sleep", "30"), "was stopped: it took longer than 0.1 seconds"),
    ],
)
def test_a_command_that_gives_no_token_is_a_credential_refused(
    command: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_module, "_COMMAND_SECONDS", 0.1 if command[0] == "sleep" else 60)
    with pytest.raises(CredentialsRefused, match=told) as caught:
        bearer_of(AuthSettings(token_command=command))
    assert "two words" not in str(caught.value)


def test_no_credential_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        make_auth(AuthSettings(), clock=ManualClock())


def test_a_secret_file_is_read_anew_at_each_fetch(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old\n")
    settings = AuthSettings(client_id="me", client_secret_file=file)
    read_credential(settings)
    server = SignInServer()
    auth = make_auth(settings, clock=ManualClock(), transport=httpx.MockTransport(server))

    async def story() -> None:
        await auth.ready()
        file.write_text("new\n")
        assert await auth.replace(Secret("access-1"))
        await auth.aclose()

    asyncio.run(story())
    assert [form["client_secret"] for form in server.forms] == [["old"], ["new"]]
    file.unlink()
    with pytest.raises(ConfigError, match="client_secret_file"):
        read_credential(settings)


# ---------------------------------------------------------------------------- sign-ins that fail


def oauth_error(status: int, error: object) -> httpx.Response:
    quoted = f"the secret {SECRET} is wrong"
    return httpx.Response(status, json={"error": error, "error_description": quoted})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (oauth_error(401, "invalid_client"), "401, invalid_client.*auth.client_secret"),
        (oauth_error(400, "unauthorized_client"), "400, unauthorized_client.*auth.client_secret"),
        (oauth_error(400, "invalid_scope"), "400, invalid_scope.*auth.token_url"),
        (oauth_error(403, SECRET), r"\(403\).*auth.token_url"),
        (oauth_error(400, {"a": SECRET}), r"\(400\).*auth.token_url"),
        (httpx.Response(404, text=SECRET), r"\(404\).*auth.token_url"),
        (httpx.Response(302, headers={"Location": f"https://x/{SECRET}"}), "redirect.*auth.token_url"),
        (granted(f"two {SECRET}"), "nothing that can be a bearer token"),
        (granted(""), "nothing that can be a bearer token"),
        (granted(f"{SECRET}\n"), "nothing that can be a bearer token"),
        (httpx.Response(200, json={"access_token": SECRET, "token_type": "mac"}), "no bearer token"),
    ],
)
def test_p9_a_refused_sign_in_is_one_sentence_without_upstreams_words(
    answer: httpx.Response, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api = Api()
    with pytest.raises(CredentialsRefused, match=told) as caught:
        Stage(api, SignInServer(answer)).fetch()
    assert api.tokens == []
    assert SECRET not in caplog.text + "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("answer", "unconnected"),
    [
        (lambda: httpx.Response(429), False),
        (lambda: httpx.Response(500, text=SECRET), False),
        (lambda: httpx.Response(503), False),
        (lambda: httpx.ConnectError("no"), True),
        (lambda: httpx.ConnectTimeout("no"), True),
        (lambda: httpx.ReadTimeout("slow"), False),
        (lambda: httpx.ReadError("cut"), False),
        (lambda: httpx.Response(200, text=f"<html>{SECRET}"), False),
        (lambda: httpx.Response(200, json=[SECRET]), False),
        (lambda: httpx.Response(200, json={"token": SECRET}), False),
        (lambda: httpx.Response(200, content=b" " * 70_000), False),
        (lambda: httpx.Response(200, content=b'{"access_token":"' + SECRET.encode()), False),
    ],
)
def test_a_sign_in_that_fails_for_now_is_tried_again_like_the_request(
    answer: Callable[[], Answer], unconnected: bool
) -> None:
    server, api = SignInServer(answer(), answer()), Api()
    Stage(api, server).fetch()
    assert (len(server.asked), len(api.tokens)) == (3, 1)
    api = Api()
    with pytest.raises(RetriesExhausted) as caught:
        Stage(api, SignInServer(answer(), answer()), retries=1).fetch()
    cause = caught.value.__cause__
    assert isinstance(cause, SignInFailed)
    assert (cause.unconnected, api.tokens) == (unconnected, [])
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_busy_sign_in_server_is_left_alone_as_long_as_it_asks() -> None:
    server = SignInServer(httpx.Response(429, headers={"Retry-After": "40"}))
    stage = Stage(Api(), server)

    async def story(client: MaiaClient) -> None:
        await asyncio.gather(client.fetch_page(TASK, None, 25), client.fetch_page(TASK, None, 25))

    stage.run(story)
    assert stage.clock.slept[0] == 40
    assert len(server.asked) == 2


def test_a_fetch_that_is_cancelled_lets_the_next_one_fetch() -> None:
    clock = ManualClock()
    begun = 0

    async def fetch() -> AccessToken:
        nonlocal begun
        begun += 1
        if begun == 1:
            await asyncio.Event().wait()
        return AccessToken(secret=Secret("x"))

    async def story() -> None:
        auth = BearerAuth(fetch, clock=clock)
        first = asyncio.create_task(auth.ready())
        second = asyncio.create_task(auth.ready())
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert auth.due_in() is None

    asyncio.run(story())
    assert begun == 2


def test_p9_the_trust_for_a_plain_http_api_is_not_used_for_signing_in() -> None:
    """No trust for http://127.0.0.1 must not leave https:// to the sign-in server unchecked."""
    from maia_sync.maia.connection import open_http

    def trust_for(address: str) -> ssl.SSLContext | None:
        return open_http(address, timeout=1, ca_file=None).server.trust

    assert trust_for("http://127.0.0.1:1/dpc") is None
    trust = trust_for("https://id.core.matillion.com/oauth/dpc/token")
    assert trust is not None
    assert (trust.verify_mode, trust.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_refused_token_has_run_out_if_its_time_is_over_or_another_has_come_since() -> None:
    clock = ManualClock()
    issued = 0

    async def fetch() -> AccessToken:
        nonlocal issued
        issued += 1
        return AccessToken(secret=Secret(f"access-{issued}"), life=2.0)

    async def story() -> None:
        auth = BearerAuth(fetch, clock=clock)
        await auth.ready()
        first = Secret("access-1")
        assert not auth.has_run_out(first)
        clock.advance(2.1)
        assert auth.has_run_out(first)
        assert await auth.replace(first)
        assert auth.has_run_out(first)
        assert not auth.has_run_out(Secret("access-2"))

    asyncio.run(story())
