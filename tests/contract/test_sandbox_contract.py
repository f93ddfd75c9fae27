"""Do the sandbox's answers, and what it takes and refuses, agree with the contract in openapi.yaml?"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from maia_sync.sandbox.faults import Fault
from maia_sync.sandbox.oddities import STORABLE
from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world, task_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.sandbox.world import World

CONTRACT = yaml.safe_load((Path(__file__).parent / "openapi.yaml").read_text(encoding="utf-8"))
STATUSES = ("400", "401", "403", "404", "429", "500", "502", "503", "504")
TASK, UNKNOWN = task_uuid(1, 0), "00000000-0000-4000-8000-000000000000"
BEARER = {"Authorization": "Bearer contract-test"}


@dataclass(frozen=True)
class Stage:
    world: World
    client: httpx.Client
    contract: OpenAPI

    def ask(self, method: str = "GET", task: str = TASK, **request: Any) -> tuple[httpx.Response, bool]:
        """Return the answer, which must be one of the contract's, and whether the request was."""
        headers = request.pop("headers", BEARER)
        path = f"/dpc/v1/ai/agents/tasks/{task}/messages"
        answer = self.client.request(method, path, headers=headers, **request)
        mirrored = MockRequest(
            host_url="https://eu1.api.matillion.com",
            method=method.lower(),
            path=path,
            args=request.get("params"),
            headers=headers,
            data=request.get("content"),
            content_type="application/json",
        )
        self.contract.validate_response(mirrored, as_openapi(answer))
        return answer, is_allowed(self.contract, mirrored)


def as_openapi(answer: httpx.Response) -> MockResponse:
    media_type = answer.headers["content-type"]
    return MockResponse(answer.content, answer.status_code, dict(answer.headers), media_type)


def is_allowed(contract: OpenAPI, request: MockRequest) -> bool:
    try:
        contract.validate_request(request)
    except OpenAPIError:
        return False
    return True


@pytest.fixture(scope="module")
def contract() -> OpenAPI:
    return OpenAPI.from_dict(
        CONTRACT, config=Config(extra_media_type_deserializers={"application/problem+json": json.loads})
    )


@pytest.fixture
def stage(contract: OpenAPI) -> Iterator[Stage]:
    world = make_world(seed=1, tasks=1, events_per_task=120)
    with SandboxServer(world) as server, httpx.Client(base_url=server.url) as client:
        yield Stage(world=world, client=client, contract=contract)


def test_the_contract_knows_every_status_that_is_used_at_both_endpoints() -> None:
    item = CONTRACT["paths"]["/v1/ai/agents/tasks/{taskId}/messages"]
    assert set(item["get"]["responses"]) == {"200", *STATUSES}
    assert set(item["post"]["responses"]) == {"202", *STATUSES}


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
@pytest.mark.parametrize("token_field", ["more", "nextCursor", "both"])
def test_every_page_of_a_walk_is_a_page_of_the_contract(stage: Stage, order: Any, token_field: Any) -> None:
    stage.world.order, stage.world.token_field = order, token_field
    events, params = [], {"limit": "50"}
    while True:
        answer, allowed = stage.ask(params=params)
        assert (answer.status_code, allowed) == (200, True)
        page = answer.json()
        events += page["results"]
        token = page.get("more") or page.get("nextCursor")
        if not token:
            break
        params["paginationToken"] = token
    told = json.loads(stage.world.logs[TASK].as_json())
    assert events == (told if order == "oldest-first" else told[::-1])


@pytest.mark.parametrize(
    "limit", ["1", "25", "1000", "0", "-1", "1001", "99999999999", "x", "", "1.5", "null"]
)
def test_a_limit_is_taken_exactly_where_the_contract_allows_it(stage: Stage, limit: str) -> None:
    answer, allowed = stage.ask(params={"limit": limit})
    assert answer.status_code == (200 if allowed else 400)
    assert allowed or answer.json()["violations"]


@pytest.mark.parametrize(
    ("task", "status"),
    [(TASK, 200), (TASK.upper(), 200), (UNKNOWN, 404), ("not-a-uuid", 400), (TASK.replace("-", ""), 400)],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_task_ids_are_told_apart(stage: Stage, method: str, task: str, status: int) -> None:
    content = {"content": b'{"message":"hello"}'} if method == "POST" else {}
    answer, allowed = stage.ask(method, task, **content)
    assert answer.status_code == (202 if (method, status) == ("POST", 200) else status)
    assert allowed == (status != 400)


@pytest.mark.parametrize("token", ["", "garbled", "AAAA", "MDpvOjA6MDAwMDAwMDA6", "é"])
def test_a_garbled_page_token_is_refused_with_400(stage: Stage, token: str) -> None:
    answer, _ = stage.ask(params={"paginationToken": token})
    assert answer.status_code == 400
    assert answer.json()["violations"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic eDp5"}])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_bearer_token_the_answer_is_401(stage: Stage, method: str, headers: dict[str, str]) -> None:
    answer, _ = stage.ask(method, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("status", [int(status) for status in STATUSES])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_scripted_status_is_an_answer_of_the_contract(stage: Stage, method: str, status: int) -> None:
    stage.world.faults.add(Fault(kind="status", status=status, retry_after=1))
    answer, _ = stage.ask(method, content=b'{"message":"hello"}')
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.headers["retry-after"] == "1"


MESSAGES = [
    {"message": "go on"},
    {"message": "go on", "agentConfig": {"name": "data-engineer"}},
    {"message": "go on", "agentConfig": {"name": "data-engineer", "mode": "PLAN", "targetBranchName": None}},
    {"message": "go on", "agentConfig": {"name": "a", "mode": "ACT", "targetBranchName": "main", "new": 1}},
    {"message": "go on", "grantedPermissions": None},
    {"message": "go on", "grantedPermissions": []},
    {"message": "go on", "grantedPermissions": [{"toolName": "execute_sql"}]},
    {"message": "go on", "unknown": {"a": 1}},
    {},
    [],
    None,
    "go on",
    {"message": ""},
    {"message": None},
    {"message": 7},
    {"message": "go on", "agentConfig": None},
    {"message": "go on", "agentConfig": {}},
    {"message": "go on", "agentConfig": "data-engineer"},
    {"message": "go on", "agentConfig": {"name": ""}},
    {"message": "go on", "agentConfig": {"mode": "PLAN"}},
    {"message": "go on", "agentConfig": {"name": "data-engineer", "mode": "plan"}},
    {"message": "go on", "agentConfig": {"name": "data-engineer", "mode": None}},
    {"message": "go on", "agentConfig": {"name": "data-engineer", "targetBranchName": 1}},
    {"message": "go on", "grantedPermissions": {}},
    {"message": "go on", "grantedPermissions": [{}]},
    {"message": "go on", "grantedPermissions": [None]},
    {"message": "go on", "grantedPermissions": [{"toolName": ""}]},
    {"message": "go on", "grantedPermissions": [{"toolName": "execute_sql"}, {"toolName": 1}]},
]


@pytest.mark.parametrize("message", MESSAGES, ids=json.dumps)
def test_a_message_is_taken_exactly_where_the_contract_allows_it(stage: Stage, message: Any) -> None:
    answer, allowed = stage.ask("POST", content=json.dumps(message).encode())
    assert answer.status_code == (202 if allowed else 400)
    assert len(stage.world.sent) == (1 if allowed else 0)
    assert answer.json()["taskId"] == TASK if allowed else answer.json()["violations"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"message":NaN}', b'{"message":"\xff"}', b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused_with_400(stage: Stage, content: bytes) -> None:
    answer = stage.client.post(f"/v1/ai/agents/tasks/{TASK}/messages", headers=BEARER, content=content)
    assert answer.status_code == 400


@pytest.mark.parametrize("fault", ["garbage", "html", "not_a_page"])
def test_a_fault_that_pretends_to_be_a_page_breaks_the_contract_or_has_no_results(
    stage: Stage, fault: Any
) -> None:
    stage.world.faults.add(Fault(kind=fault))
    if fault == "not_a_page":  # no field of a page is required, so only a reader's care can tell
        answer, _ = stage.ask()
        assert "results" not in answer.json()
    else:
        with pytest.raises(OpenAPIError):
            stage.ask()


def test_odd_events_pass_through_the_server_to_the_letter(stage: Stage) -> None:
    log = stage.world.logs[TASK]
    log.events[:] = STORABLE.values()
    answer = stage.client.get(f"/dpc/v1/ai/agents/tasks/{TASK}/messages?limit=1000", headers=BEARER)
    assert answer.content == b'{"results":[' + b",".join(STORABLE.values()) + b"]}"


def test_the_published_agent_config_could_be_met_by_no_value_and_ours_can(stage: Stage) -> None:
    published = copy.deepcopy(CONTRACT)
    published["components"]["schemas"]["AgentConfigOverride"]["type"] = "null"
    body = json.dumps({"message": "go on", "agentConfig": {"name": "data-engineer"}}).encode()
    request = MockRequest(
        "https://eu1.api.matillion.com",
        "post",
        f"/dpc/v1/ai/agents/tasks/{TASK}/messages",
        headers=BEARER,
        data=body,
    )
    assert not is_allowed(OpenAPI.from_dict(published), request)
    assert is_allowed(stage.contract, request)


# ---------------------------------------------------------------- schemathesis


def narrowed_contract() -> dict[str, Any]:
    """Return the contract, its free texts narrowed to what the test's world knows, so that 200s are met."""
    narrowed = copy.deepcopy(CONTRACT)
    world = make_world(seed=1, tasks=1, events_per_task=120)
    item = narrowed["paths"]["/v1/ai/agents/tasks/{taskId}/messages"]
    item["parameters"][0]["schema"]["enum"] = [TASK, UNKNOWN]
    token = next(param for param in item["get"]["parameters"] if param["name"] == "paginationToken")
    token["schema"]["enum"] = [world.token_at(TASK, position) for position in (0, 25, 119, 120)]
    return narrowed


schema = schemathesis.openapi.from_dict(narrowed_contract())
# The API ignores query parameters that it does not know, and the bearer token is the test's to send.
schema.config.generation.update(
    allow_extra_parameters=False, with_security_parameters=False, deterministic=True
)


@pytest.fixture(scope="module")
def served() -> Iterator[SandboxServer]:
    world = make_world(seed=1, tasks=1, events_per_task=120)
    world.bearers.fixed = {"contract-test"}  # schemathesis tries other tokens too
    with SandboxServer(world) as server:
        yield server


@schema.parametrize()
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_schemathesis_finds_no_answer_outside_the_contract(case: Any, served: SandboxServer) -> None:
    case.call_and_validate(base_url=served.url + "/dpc", headers=BEARER)
