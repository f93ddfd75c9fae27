"""P1, P2: is the copy complete, and nothing twice, whatever becomes of tokens, answers and page limits?"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, after_pages, events, world_of, world_of_many

from maia_sync.errors import UpstreamUnreachable
from maia_sync.maia.auth import make_auth
from maia_sync.sandbox.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from oracle import Copy

    from maia_sync.maia.client import MaiaClient
    from maia_sync.sandbox.world import World

    Staging = Callable[..., Any]


def assert_complete(copy: Copy, world: World) -> None:
    """Every log to the letter and in order, nothing else, nothing twice; one query, for the logs are long."""
    text = "::text" if copy.is_postgresql else ""
    stored: defaultdict[str, list[bytes]] = defaultdict(list)
    for task, data, group, stamp in copy.ask(
        f"SELECT task_id{text}, data{text}, group_id, timestamp_text FROM task_event"
        " ORDER BY task_id, seq, first_seen_at, ordinal"
    ):
        stored[task].append(f'{{"data":{data},"groupId":"{group}","timestamp":"{stamp}"}}'.encode())
    wrong = {task: len(stored[task]) for task, log in world.logs.items() if stored[task] != log.events}
    assert wrong == {}
    assert stored.keys() == world.logs.keys()
    assert copy.one("SELECT count(*) FROM task_event WHERE vanished_at IS NOT NULL OR revision > 0") == 0


# ------------------------------------------------------------------ tokens

TASKS, LENGTH, SIZE, PAGES = 30, 1_200, 40, 900


def test_a_backfill_outlives_page_tokens_that_live_2_s_and_the_revocation_of_all(stage_for: Staging) -> None:
    world = world_of_many(TASKS, LENGTH, token_life=2.0)
    stage = stage_for(world, api__page_size=SIZE)
    # What is asked for next is three seconds old by then.
    world.faults.add(Fault(kind="status", status=429, retry_after=3, after=200))
    after_pages(world, 600, world.revoke_tokens)
    stage.sync_well()
    assert_complete(stage.copy, world)
    refused = world.tally.by_status["400"]
    print(f"{stage.requests} requests, {refused} page tokens refused")
    assert refused >= 2
    # Each of the eight walks in hand begins again, both times.
    assert stage.requests <= PAGES + 2 * 8 * (LENGTH // SIZE + 2) + 1


def test_a_backfill_outlives_access_tokens_that_live_2_s_and_the_revocation_of_all(
    signing_in: Staging,
) -> None:
    world = world_of_many(TASKS, LENGTH, latency=0.02)
    world.bearers.life = 2.0
    stage = signing_in(world, api__page_size=SIZE)
    after_pages(world, 450, world.bearers.revoke)
    report = stage.sync_well()
    assert_complete(stage.copy, world)
    seconds = (report.ended_at - report.started_at).total_seconds()
    issued, asked, refused = world.bearers.issued, world.tally.oauth_requests, world.tally.by_status["401"]
    print(f"{seconds:.1f} s, {asked} sign-ins, {issued} access tokens, {refused} times 401")
    assert seconds > 2
    assert 2 <= issued == asked <= 2 * seconds + 2
    assert 1 <= refused <= 8 * issued
    assert stage.requests <= PAGES + refused


def test_access_tokens_that_die_sooner_than_was_told_are_renewed_on_a_401(signing_in: Staging) -> None:
    world = world_of_many(10, 1_000, latency=0.02)
    world.bearers.life, world.bearers.told_life = 0.3, 1800
    stage = signing_in(world, api__page_size=50)
    stage.sync_well()
    assert_complete(stage.copy, world)
    assert 2 <= world.bearers.issued == world.tally.oauth_requests < 50


# ------------------------------------------------------------------ a very bad day

EACH = 52
BAD_DAY = {
    "429": {"kind": "status", "status": 429, "retry_after": 0},
    "502": {"kind": "status", "status": 502},
    "504": {"kind": "status", "status": 504},
    "cut": {"kind": "cut"},
    "reset": {"kind": "reset"},
    "stall": {"kind": "stall"},
    "garbage": {"kind": "garbage"},
    "html": {"kind": "html"},
}


def test_30000_events_come_through_50_faults_of_every_kind_complete_and_none_twice(
    stage_for: Staging,
) -> None:
    world = world_of_many(10, 3_000)
    stage = stage_for(world, api__page_size=100, api__timeout=0.2)
    dice = random.Random(3_50)
    faults = [fault for fault in BAD_DAY.values() for _ in range(EACH)]
    dice.shuffle(faults)
    faults = [{**fault, "retry_after": 1} if at % 200 == 0 else fault for at, fault in enumerate(faults)]
    for at, fault in enumerate(faults):
        # Two faults in a row, then a good page.
        task = list(world.logs)[at % 10]
        world.faults.add(Fault(**fault, after=at // 10 % 2), task_id=task)
    outcomes = []
    for _ in range(2):
        with suppress(UpstreamUnreachable):
            report = stage.app.sync()
            outcomes.append((report.status, report.error))
            if report.status == "succeeded":
                break
    met = Counter(world.tally.faults)
    statuses = {name: world.tally.by_status[name] for name in ("429", "502", "504")}
    print(f"{outcomes}; {world.tally.requests} requests; faults {dict(met)}, of them {statuses}")
    assert outcomes[-1:] == [("succeeded", None)]
    assert_complete(stage.copy, world)
    assert min(met[kind] for kind in ("cut", "reset", "stall", "garbage", "html")) >= 50
    assert min(statuses.values()) >= 50


# ------------------------------------------------------------------ page limits


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("when", ["from the start", "in mid-run"])
@pytest.mark.parametrize(
    ("order", "style", "fixed", "how"),
    [
        (order, style, fixed, ("504", "stall")[at % 2])
        for at, (order, style, fixed) in enumerate(
            product(
                ("oldest-first", "newest-first"),
                ("position", "page-number", "offset"),
                ("free", "refused", "embedded"),
            )
        )
    ],
)
def test_a_page_that_times_out_is_asked_for_in_smaller_ones_whatever_tokens_mean(
    stage_for: Staging, order: str, style: str, fixed: str, how: str, when: str
) -> None:
    world = world_of(events(600), order=order, token_style=style, fixed_limit=fixed, slow_how=how)
    timeout = 0.25 if how == "stall" else 30
    stage = stage_for(world, api__page_size=200, api__timeout=timeout, api__retries=2)
    if when == "from the start":
        world.slow_above = 30
    else:
        after_pages(world, 2, lambda: setattr(world, "slow_above", 30))
    stage.sync_well()
    print(f"{stage.requests} requests, statuses {dict(world.tally.by_status)}")
    assert_complete(stage.copy, world)
    assert stage.requests <= 120
    world.slow_above = None
    world.logs[TASK].extend(events(70, 600))
    stage.sync_well()
    assert_complete(stage.copy, world)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_limit_grows_back_when_upstream_has_recovered(stage_for: Staging) -> None:
    world = world_of(events(6_000), slow_above=30)
    stage = stage_for(world, api__page_size=200)
    after_pages(world, 20, lambda: setattr(world, "slow_above", None))
    stage.sync_well()
    assert_complete(stage.copy, world)
    limits = [int(seen.limit or 0) for seen in world.tally.journal]
    print(f"{stage.requests} requests, with limits {limits}")
    assert min(limits) == 25
    assert max(limits[-10:]) == 200
    assert stage.requests < 100


@pytest.mark.parametrize("library", ["httpx", "aiohttp"])
def test_p7_a_fetch_that_is_cancelled_at_any_step_costs_no_later_fetch_its_connection(
    stage_for: Staging, library: str
) -> None:
    alone = {"api__concurrency": 1, "api__retries": 0, "api__timeout": 5}
    stage = stage_for(world_of(events(3)), api__transport=library, **alone)

    async def cancel_at_many_steps(client: MaiaClient) -> list[bool]:
        cancelled = []
        for steps in [*range(60), *range(60), *range(60)]:
            fetch = asyncio.create_task(client.fetch_page(TASK, None))
            for _ in range(steps):
                await asyncio.sleep(0)
            fetch.cancel()
            await asyncio.wait([fetch])
            cancelled.append(fetch.cancelled())
            assert len((await client.fetch_page(TASK, None)).events) == 3
        return cancelled

    async def main() -> list[bool]:
        async with stage.app.open_client(make_auth(stage.app.settings.auth, clock=stage.app.clock)) as client:
            return await cancel_at_many_steps(client)

    assert any(asyncio.run(main()))  # at how many of the steps depends on how fast the answers come
