"""P7, P8: what can a hostile server cost? Bounded memory, time and requests, and only its own task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hostile import MIB, SIGN_IN, TRICKS, HostileServer
from killable import Forge
from logs import events, task_id
from oracle import Copy, assert_to_the_letter

from maia_sync.app import open_app
from maia_sync.config import load_settings
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = [task_id(1), task_id(50), task_id(99)]
BAD = [task_id(number) for number in range(2, 2 + len(TRICKS))]
LENGTH = 60
SECRET = "client-s3cret-77a1"

BOUNDS = {
    "api__page_size": 25,
    "api__concurrency": 4,
    "api__timeout": 1.5,
    "api__page_deadline": 2.5,
    "api__retries": 1,
    "api__max_page_bytes": 4 * MIB,
}
MOST_MEGABYTES = 64
"""What a run may need beyond one that meets good logs only: four pages of max_page_bytes at a time, each
up to four times: in pieces, joined, decoded, on its way to the database."""
MOST_SECONDS = 60.0


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge() as forge:
        yield forge


@pytest.fixture
def attack(
    forge: Forge, environ_for: Callable[..., dict[str, str]], database_url: str
) -> Callable[..., tuple[HostileServer, Copy, list[dict[str, Any]], float]]:
    """Return a function that syncs a good task, and then good ones and those that tricks are played on."""

    def attack(
        names: list[str], **settings: object
    ) -> tuple[HostileServer, Copy, list[dict[str, Any]], float]:
        tricks = {task: TRICKS[name] for task, name in zip(BAD, names, strict=False)}
        logs = dict.fromkeys(GOOD, events(LENGTH))
        with HostileServer(logs, tricks) as server:
            environ = environ_for(server.url, database_url, **{**BOUNDS, **settings})
            with open_app(load_settings(environ=environ)) as app, app.database.transaction() as tx:
                upsert_tasks(tx, [*GOOD, *tricks])
            began = time.monotonic()
            life = forge.start(environ, {"task_ids": GOOD[:1]}, {})
            reports = life.end()
            took = time.monotonic() - began
        assert len(reports) == 2, life.told
        return server, Copy(database_url), reports, took

    return attack


def megabytes(reports: list[dict[str, Any]]) -> float:
    """Return what the last run needed beyond the first one."""
    return (reports[-1]["peak_kb"] - reports[0]["peak_kb"]) / 1024


def assert_only_its_own_task(copy: Copy, report: dict[str, Any], names: list[str]) -> None:
    assert (report["status"], report["failed"]) == ("failed", len(names))
    for task in GOOD:
        assert_to_the_letter(copy, task, events(LENGTH))
        assert copy.task(task)["last_error"] is None
    for task, name in zip(BAD, names, strict=False):
        found = copy.task(task)
        assert found["last_error"], name
        assert found["last_polled_at"] is None, name
        assert found["lease_owner"] is None
        print(f"{name}: {found['last_error']}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("library", ["httpx", "aiohttp"])
def test_p8_all_tricks_at_once_cost_bounded_memory_time_and_requests_and_only_their_own_tasks(
    attack: Callable[..., Any], library: str
) -> None:
    names = list(TRICKS)
    server, copy, reports, took = attack(names, api__transport=library)
    assert_only_its_own_task(copy, reports[-1], names)
    print(f"{took:.1f} s, {megabytes(reports):.1f} MB, {sum(server.requests.values())} requests")
    assert megabytes(reports) < MOST_MEGABYTES
    assert took < MOST_SECONDS
    asked = {name: server.requests[task] for task, name in zip(BAD, names, strict=False)}
    print(asked)
    assert asked.pop("empty_pages") <= 150
    assert asked.pop("same_events") <= 1_100
    assert max(asked.values()) <= 4
    assert server.reached_elsewhere == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "name", ["bomb", "bomb_in_bomb", "bomb_in_a_refusal", "zstd", "white_space", "abyss"]
)
def test_p8_a_body_that_is_too_large_costs_no_more_than_a_page(attack: Callable[..., Any], name: str) -> None:
    server, copy, reports, took = attack([name])
    assert_only_its_own_task(copy, reports[-1], [name])
    print(f"{name}: {took:.1f} s, {megabytes(reports):.1f} MB, {server.requests[BAD[0]]} requests")
    assert megabytes(reports) < MOST_MEGABYTES
    assert server.requests[BAD[0]] <= 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", ["bomb", "white_space"])
def test_p8_what_is_too_large_is_asked_again_with_half_the_limit_down_to_25(
    attack: Callable[..., Any], name: str
) -> None:
    server, copy, reports, _ = attack([name], api__page_size=200)
    assert_only_its_own_task(copy, reports[-1], [name])
    assert server.requests[BAD[0]] <= 4 * 2
    assert megabytes(reports) < MOST_MEGABYTES


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "name", ["bomb", "bomb_in_bomb", "huge_header", "trickle", "redirect", "white_space", "lying_length"]
)
def test_p8_a_hostile_sign_in_costs_bounded_memory_and_time_and_tells_no_other_origin_the_secret(
    forge: Forge, environ_for: Callable[..., dict[str, str]], database_url: str, name: str
) -> None:
    with HostileServer(dict.fromkeys(GOOD, events(LENGTH)), {SIGN_IN: TRICKS[name]}) as server:
        environ = environ_for(
            server.url,
            database_url,
            **BOUNDS,
            auth__client_id="me",
            auth__client_secret=SECRET,
            auth__token_url=f"{server.url}/oauth/dpc/token",
        )
        environ.pop("MAIA_SYNC_AUTH__TOKEN")
        with open_app(load_settings(environ=environ)) as app, app.database.transaction() as tx:
            upsert_tasks(tx, GOOD)
        began = time.monotonic()
        life = forge.start(environ)
        reports = life.end()
        took = time.monotonic() - began
    told = repr(life.told)
    print(f"{name}: {took:.1f} s, {server.requests[SIGN_IN]} requests, {told}")
    assert not reports or reports[0]["status"] == "failed"
    assert SECRET not in told
    assert SECRET not in Copy(database_url).everything()
    assert server.reached_elsewhere == []
    assert sum(server.requests[task] for task in GOOD) == 0
    assert server.requests[SIGN_IN] <= 12
    assert took < MOST_SECONDS
