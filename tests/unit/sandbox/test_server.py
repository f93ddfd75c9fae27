"""Does the sandbox's server act its faults out on the wire, and can it be steered?"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from maia_sync.clock import SystemClock
from maia_sync.errors import UsageError
from maia_sync.sandbox.faults import OAUTH, Fault
from maia_sync.sandbox.oddities import STORABLE, UNSTORABLE
from maia_sync.sandbox.server import SandboxServer, serve_forever
from maia_sync.sandbox.story import make_world, task_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator

TASK = task_uuid(1, 0)
MESSAGES = f"/dpc/v1/ai/agents/tasks/{TASK}/messages"
CREDENTIALS = {
    "grant_type": "client_credentials",
    "client_id": "me",
    "client_secret": "secret",
    "audience": "https://api.matillion.com",
}


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with SandboxServer(make_world(seed=1, tasks=2, events_per_task=60)) as running:
        yield running


@pytest.fixture
def client(server: SandboxServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Authorization": "Bearer x"}, timeout=5) as asking:
        yield asking


def test_the_messages_are_served_below_both_prefixes(server: SandboxServer, client: httpx.Client) -> None:
    with_prefix, without = client.get(MESSAGES), client.get(MESSAGES.removeprefix("/dpc"))
    assert with_prefix.content == without.content
    assert len(with_prefix.json()["results"]) == 25
    assert server.world.counters()["by_status"] == {"200": 2}


def test_a_cut_page_announces_its_length_and_brings_half(server: SandboxServer, client: httpx.Client) -> None:
    server.world.faults.add(Fault(kind="cut"))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        client.get(MESSAGES)
    assert client.get(MESSAGES).status_code == 200
    assert server.world.counters()["pages"] == {TASK: {"": 1}}


def test_a_reset_connection_brings_no_answer(
    server: SandboxServer, client: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    server.world.faults.add(Fault(kind="reset"))
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        client.get(MESSAGES)
    assert server.world.counters()["by_status"] == {"none": 1}
    assert capfd.readouterr().err == ""


def test_a_stalled_page_never_comes_or_late(server: SandboxServer, client: httpx.Client) -> None:
    server.world.faults.add(Fault(kind="stall"), Fault(kind="stall", seconds=0.05))
    with pytest.raises(httpx.ReadTimeout):
        client.get(MESSAGES, timeout=0.1)
    assert client.get(MESSAGES).json()["results"]
    assert server.world.counters()["pages"] == {TASK: {"": 1}}


def test_a_trickled_page_comes_whole_but_slowly(server: SandboxServer, client: httpx.Client) -> None:
    expected = client.get(MESSAGES).content
    server.world.faults.add(Fault(kind="trickle", seconds=0.001, size=1000))
    assert client.get(MESSAGES).content == expected


def test_a_flood_goes_on_and_ends_where_the_reader_leaves(
    server: SandboxServer, client: httpx.Client
) -> None:
    server.world.faults.add(Fault(kind="flood"))
    with client.stream("GET", MESSAGES) as answer:
        assert "content-length" not in answer.headers
        assert len(next(answer.iter_bytes(1_000_000))) == 1_000_000


@pytest.mark.parametrize("kind", ["garbage", "html", "not_a_page"])
def test_a_200_can_be_no_page_at_all(server: SandboxServer, client: httpx.Client, kind: Any) -> None:
    server.world.faults.add(Fault(kind=kind), Fault(kind=kind, body=b"{", headers=(("X-From", "proxy"),)))
    answer = client.get(MESSAGES)
    assert (answer.status_code, b'"results":[]' in answer.content) == (200, False)
    scripted = client.get(MESSAGES)
    assert (scripted.content, scripted.headers["x-from"]) == (b"{", "proxy")


def test_empty_pages_go_on_from_the_same_place(server: SandboxServer, client: httpx.Client) -> None:
    server.world.faults.add(Fault(kind="empty_pages", count=2))
    token, sizes = None, []
    for _ in range(3):
        page = client.get(MESSAGES, params={"paginationToken": token} if token else {}).json()
        token = page["more"]
        sizes.append(len(page["results"]))
    assert sizes == [0, 0, 25]
    assert token == server.world.token_at(TASK, 25)


def test_a_page_that_is_too_large_for_the_server_is_answered_with_504_or_never(
    server: SandboxServer, client: httpx.Client
) -> None:
    server.world.slow_above = 10
    assert client.get(MESSAGES).status_code == 504
    assert client.get(MESSAGES, params={"limit": 10}).status_code == 200
    assert client.post(MESSAGES, json={"message": "hello"}).status_code == 202
    server.world.slow_how = "stall"
    with pytest.raises(httpx.ReadTimeout):
        client.get(MESSAGES, timeout=0.1)
    assert server.world.counters()["by_status"] == {"504": 1, "200": 1, "202": 1, "none": 1}


def test_the_journal_tells_moments_and_how_many_requests_were_on_their_way(
    server: SandboxServer, client: httpx.Client
) -> None:
    client.get(MESSAGES)
    server.world.faults.add(Fault(kind="stall", seconds=0.1))
    stalled = threading.Thread(target=client.get, args=(MESSAGES,))
    stalled.start()
    while len(server.world.tally.journal) < 2:
        pass
    client.get(MESSAGES)
    stalled.join()
    client.get(MESSAGES)
    seen = [each for each in server.world.tally.journal if each.arrival and each.answered_at]
    assert [each.arrival.in_flight for each in seen] == [1, 1, 2, 1]
    moments = [moment for each in seen for moment in (each.arrival.at, each.answered_at)]
    assert moments == sorted(moments)
    assert server.world.tally.most_in_flight == 2
    server.world.reset_counters()
    client.get(MESSAGES)
    assert server.world.tally.most_in_flight == 1


def test_what_is_told_of_an_access_tokens_life_need_not_be_true(
    server: SandboxServer, client: httpx.Client
) -> None:
    server.world.bearers.told_life = 7
    assert client.post("/oauth/dpc/token", data=CREDENTIALS).json()["expires_in"] == 7


@pytest.mark.parametrize("applied", [False, True])
def test_a_message_can_be_taken_in_though_its_answer_is_lost(
    server: SandboxServer,
    client: httpx.Client,
    applied: bool,
) -> None:
    server.world.faults.add(Fault(kind="reset", method="POST", applied=applied))
    with pytest.raises(httpx.ReadError):
        client.post(MESSAGES, json={"message": "hello"})
    assert len(server.world.sent) == applied
    assert client.post(MESSAGES, json={"message": "again"}).json() == {"taskId": TASK}


def test_access_tokens_are_issued_and_expire_by_revocation(
    server: SandboxServer, client: httpx.Client
) -> None:
    server.world.bearers.fixed = set()
    assert client.get(MESSAGES).status_code == 401
    issued = client.post("/oauth/dpc/token", data=CREDENTIALS).json()
    assert (issued["token_type"], issued["expires_in"]) == ("Bearer", 1800)
    bearer = {"Authorization": f"Bearer {issued['access_token']}"}
    assert client.get(MESSAGES, headers=bearer).status_code == 200
    assert client.post("/_sandbox/bearers/revoke").status_code == 204
    assert client.get(MESSAGES, headers=bearer).status_code == 401
    assert server.world.counters()["oauth_requests"] == 1


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"audience": ""}, 400, "invalid_request"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
    ],
)
def test_bad_credentials_get_no_access_token(
    server: SandboxServer, client: httpx.Client, change: dict[str, str], status: int, error: str
) -> None:
    server.world.bearers.clients = {"me": "secret"}
    answer = client.post("/oauth/dpc/token", data={**CREDENTIALS, **change})
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_the_token_endpoint_can_fail_too(server: SandboxServer, client: httpx.Client) -> None:
    server.world.faults.add(Fault(kind="status", status=503), task_id=OAUTH)
    assert client.post("/oauth/dpc/token", data=CREDENTIALS).status_code == 503
    assert client.post("/oauth/dpc/token", data=CREDENTIALS).status_code == 200


def test_the_world_is_steered_from_another_process(server: SandboxServer, client: httpx.Client) -> None:
    log = server.world.logs[TASK]
    assert client.get("/_sandbox/tasks").json() == list(server.world.logs)
    assert client.post("/_sandbox/events", json={"n": 3}).json() == dict.fromkeys(server.world.logs, 63)
    assert client.post("/_sandbox/events", json={"n": 1, "task": TASK}).json() == {TASK: 64}
    assert client.post(f"/_sandbox/log/{TASK}?do=replace&at=0", content=b'{"odd":1.0}').json() == {
        "events": 64
    }
    assert client.post(f"/_sandbox/log/{TASK}?do=insert&at=0", content=b"7").json() == {"events": 65}
    assert client.post(f"/_sandbox/log/{TASK}?do=remove").json() == {"events": 64}
    assert client.get(f"/_sandbox/log/{TASK}").content == log.as_json()
    assert log.events[:2] == [b"7", b'{"odd":1.0}']


def test_faults_and_counters_are_steered_from_another_process(client: httpx.Client) -> None:
    scripted = [{"kind": "status", "status": 429, "retry_after": 2, "task": TASK}, {"kind": "html"}]
    assert client.post("/_sandbox/faults", json=scripted).json() == {"queued": 2}
    assert client.get(MESSAGES).headers["retry-after"] == "2"
    assert client.delete("/_sandbox/faults").status_code == 204
    assert client.get(MESSAGES).status_code == 200
    assert client.get("/_sandbox/counters").json()["by_status"] == {"429": 1, "200": 1}
    assert client.post("/_sandbox/counters/reset").status_code == 204
    assert client.get("/_sandbox/counters").json()["requests"] == 0


@pytest.mark.parametrize(
    "body", [b"{", b"[17]", b"7", b'[{"kind":"rain"}]', b'[{"kind":"cut","count":1,"x":2}]']
)
def test_a_mistake_in_steering_is_answered_with_400(client: httpx.Client, body: bytes) -> None:
    assert client.post("/_sandbox/faults", content=body).status_code == 400


def test_page_tokens_are_revoked_from_another_process(server: SandboxServer, client: httpx.Client) -> None:
    token = client.get(MESSAGES).json()["more"]
    client.post("/_sandbox/tokens/revoke")
    assert client.get(MESSAGES, params={"paginationToken": token}).status_code == 400
    assert server.world.tally.journal[-1].token == token


def test_gzip_is_sent_only_where_it_is_switched_on(client: httpx.Client) -> None:
    assert "content-encoding" not in client.get(MESSAGES).headers
    world = make_world(seed=1, tasks=1, events_per_task=60)
    with SandboxServer(world, compress=True) as server:
        answer = httpx.get(server.url + MESSAGES, headers={"Authorization": "Bearer x"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == client.get(MESSAGES).content


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_only_loopback_is_served(host: str) -> None:
    with pytest.raises(UsageError, match="loopback only"):
        SandboxServer(make_world(), host=host).start()


def test_a_taken_port_is_one_clear_sentence(server: SandboxServer) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(UsageError, match="cannot listen"):
        serve_forever(make_world(), port=port)


class SignallingClock(SystemClock):
    """Says when somebody has begun to sleep."""

    def __init__(self) -> None:
        self.asleep = threading.Event()

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await super().sleep(seconds)


def test_the_server_stops_though_a_request_is_stalled_and_starts_again_on_its_port() -> None:
    clock = SignallingClock()
    world = make_world(seed=1, tasks=1, events_per_task=5, clock=clock)
    world.faults.add(Fault(kind="stall", seconds=60))
    failures: list[BaseException] = []

    def hang() -> None:
        try:
            httpx.get(url + MESSAGES, headers={"Authorization": "Bearer x"}, timeout=60)
        except httpx.TransportError as error:
            failures.append(error)

    with SandboxServer(world) as server:
        url = server.url
        hanging = threading.Thread(target=hang)
        hanging.start()
        assert clock.asleep.wait(10)
    hanging.join(10)
    assert len(failures) == 1
    with server:
        assert server.url == url
        assert httpx.get(url + MESSAGES, headers={"Authorization": "Bearer x"}).status_code == 200


def test_storable_oddities_are_json_objects_and_the_others_are_not() -> None:
    assert all(isinstance(json.loads(event), dict) for event in STORABLE.values())
    for event in UNSTORABLE.values():
        try:
            value = json.loads(event.decode())
        except (ValueError, RecursionError):
            continue
        assert not isinstance(value, dict)
