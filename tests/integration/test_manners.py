"""How does one process behave towards a busy, broken or vanished API, and what does it keep to itself?"""

from __future__ import annotations

import json
import logging
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, after_pages, events, task_id, world_of, world_of_many
from oracle import assert_to_the_letter

from maia_sync.errors import MaiaSyncError, UpstreamUnreachable
from maia_sync.sandbox.faults import OAUTH, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from maia_sync.sandbox.tally import Seen
    from maia_sync.sandbox.world import World

    Staging = Callable[..., Any]

ACCESS = "sandbox-access-"
"""With what every access token of the sandbox begins."""

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


# ------------------------------------------------------------------ one access token for all


@sqlite_only
def test_thirty_tasks_at_once_share_one_access_token_and_one_more_after_a_revocation(
    signing_in: Staging,
) -> None:
    world = world_of_many(30, 60, latency=0.02)
    stage = signing_in(world, api__page_size=10, api__concurrency=30)
    stage.sync_well()
    assert (world.tally.oauth_requests, world.bearers.issued) == (1, 1)
    assert world.tally.most_in_flight > 5
    assert world.tally.by_status.keys() == {"200"}

    world.logs[TASK].extend(events(1, 60))
    stage = signing_in(world, api__page_size=10, api__concurrency=30)
    after_pages(world, 10, world.bearers.revoke)
    report = stage.sync(full=True)
    assert (report.status, world.tally.oauth_requests) == ("succeeded", 2)
    assert 1 <= world.tally.by_status["401"] <= 30
    for task, log in world.logs.items():
        assert_to_the_letter(stage.copy, task, log.events)


@sqlite_only
def test_an_access_token_that_ran_out_while_a_429_was_waited_out_costs_no_401(signing_in: Staging) -> None:
    world = world_of_many(8, 100, latency=0.01)
    world.bearers.life = 1.0
    stage = signing_in(world, api__page_size=10)
    world.faults.add(Fault(kind="status", status=429, retry_after=2, after=20))
    stage.sync_well()
    assert world.tally.by_status["401"] == 0
    assert world.bearers.issued >= 2


# ------------------------------------------------------------------ one pace for all


def since(world: World, status: int) -> list[tuple[float, Seen]]:
    """Return each request with the seconds from the only answer of this status to its arrival."""
    journal = list(world.tally.journal)
    (busy,) = [seen.answered_at for seen in journal if seen.status == status]
    assert busy is not None
    return sorted(
        ((seen.arrival.at - busy, seen) for seen in journal if seen.arrival), key=lambda pair: pair[0]
    )


@sqlite_only
def test_everything_waits_when_one_task_is_answered_429(stage_for: Staging) -> None:
    world = world_of_many(8, 400, latency=0.01)
    stage = stage_for(world, api__page_size=20)
    world.faults.add(Fault(kind="status", status=429, retry_after=1, after=40))
    stage.sync_well()
    waited = sorted(seconds for seconds, _ in since(world, 429))
    print([round(seconds, 3) for seconds in waited if -0.05 < seconds < 2])
    assert [seconds for seconds in waited if 0.1 < seconds < 0.95] == []
    assert 0.95 <= min(seconds for seconds in waited if seconds > 0.1) < 2.5


@sqlite_only
@pytest.mark.parametrize("status", [429, 503, 504])
def test_fewer_requests_are_on_their_way_after_a_busy_answer_and_then_more_again(
    stage_for: Staging, status: int
) -> None:
    world = world_of_many(8, 1_200, latency=0.02)
    stage = stage_for(world, api__page_size=20)
    world.faults.add(Fault(kind="status", status=status, after=60))
    stage.sync_well()
    on_their_way = [
        (seconds, seen.arrival.in_flight) for seconds, seen in since(world, status) if seen.arrival
    ]
    before = [number for seconds, number in on_their_way if seconds < 0]
    after = [number for seconds, number in on_their_way if seconds > 0.01]
    print(before, after)
    assert max(before) == 8
    assert max(after[:4]) <= 6
    assert max(after) >= 7


@sqlite_only
def test_requests_per_second_is_kept_by_all_tasks_together(stage_for: Staging) -> None:
    world = world_of_many(8, 40)
    stage = stage_for(world, api__page_size=10, api__requests_per_second=20)
    stage.sync_well()
    arrivals = sorted(seen.arrival.at for seen in world.tally.journal if seen.arrival)
    assert len(arrivals) == 32
    rate = 31 / (arrivals[-1] - arrivals[0])
    print(f"{rate:.1f} requests a second")
    assert 10 < rate < 30


# ------------------------------------------------------------------ upstream is down


@pytest.mark.parametrize("how", ["502", "503", "reset", "stopped"])
def test_a_run_ends_early_when_upstream_is_plainly_down_and_the_next_one_completes(
    stage_for: Staging, how: str
) -> None:
    world = world_of_many(120, 20)
    stage = stage_for(world, api__page_size=10, api__retries=3)
    if how == "stopped":
        after_pages(world, 100, lambda: threading.Thread(target=stage.server.stop).start())
    elif how == "reset":
        world.faults.add(Fault(kind="reset", count=None, after=100))
    else:
        world.faults.add(Fault(kind="status", status=int(how), count=None, after=100))
    with pytest.raises(UpstreamUnreachable) as caught:
        stage.sync()
    requests, status, error = stage.copy.ask("SELECT requests, status, error FROM sync_run")[0]
    stored = stage.copy.one("SELECT count(*) FROM task_event")
    print(f"{requests} requests, {stored} events stored: {caught.value}")
    assert (status, error) == ("failed", str(caught.value))
    assert requests <= 100 + 100
    assert 500 <= stored < 120 * 20
    assert stage.copy.free_leases() == 0

    world.faults.clear()
    world.scripted_tokens.clear()
    if how == "stopped":
        stage.server.start()
    stage.sync_well()
    for task in (task_id(1), task_id(60), task_id(120)):
        assert_to_the_letter(stage.copy, task, events(20))
    assert stage.copy.one("SELECT count(*) FROM task_event") == 120 * 20


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("how", ["502", "504", "reset", "stall"])
@sqlite_only
def test_a_task_that_always_fails_does_not_stop_the_others(
    stage_for: Staging, how: str, concurrency: int
) -> None:
    world = world_of_many(30, 20)
    timeout = 0.3 if how == "stall" else 30
    stage = stage_for(world, api__page_size=10, api__timeout=timeout, api__concurrency=concurrency)
    fault = {"kind": "status", "status": int(how)} if how.isdigit() else {"kind": how}
    bad = task_id(15)
    world.faults.add(Fault(**fault, count=None), task_id=bad)
    report = stage.sync()
    assert (report.status, report.failed, report.tasks) == ("failed", 1, 30)
    assert stage.copy.one("SELECT count(*) FROM task_event") == 29 * 20
    assert world.tally.by_task[bad] <= 12


# ------------------------------------------------------------------ nothing is told


SECRET = "client-s3cret-5b02"
QUOTED = {"error": "invalid_client", "error_description": f"no such secret: {SECRET}, nor {ACCESS}000001"}
SIGN_INS: dict[str, dict[str, Any]] = {
    "refused": {"kind": "status", "status": 401, "body": json.dumps(QUOTED).encode()},
    "bad request": {"kind": "status", "status": 400, "body": json.dumps(QUOTED).encode()},
    "broken": {"kind": "status", "status": 500, "body": SECRET.encode()},
    "busy": {"kind": "status", "status": 429, "retry_after": 0, "body": SECRET.encode()},
    "no JSON": {"kind": "garbage", "body": f'{{"access_token":"{ACCESS}77", {SECRET}'.encode()},
    "no token": {"kind": "not_a_page", "body": f'{{"token":"{SECRET}"}}'.encode()},
    "an odd token": {"kind": "not_a_page", "body": f'{{"access_token":"{ACCESS} \\n{SECRET}"}}'.encode()},
    "a list": {"kind": "not_a_page", "body": f'["{SECRET}"]'.encode()},
    "HTML": {"kind": "html", "body": f"<html>{SECRET}</html>".encode()},
    "reset": {"kind": "reset"},
    "stalled": {"kind": "stall"},
}


def told_by(stage: Any) -> list[str]:
    """Make a run and return all that it says."""
    told: list[str] = []
    try:
        told.append(repr(stage.sync(observers=[lambda observation: told.append(repr(observation))])))
    except MaiaSyncError as error:
        told += [repr(error), *traceback.format_exception(error)]
    return told


@sqlite_only
@pytest.mark.parametrize("name", SIGN_INS)
def test_p9_a_failing_sign_in_tells_no_secret_and_stores_nothing(
    signing_in: Staging, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    caplog.set_level(logging.DEBUG)
    world = world_of_many(3, 20)
    timeout = 0.5 if name == "stalled" else 30
    stage = signing_in(world, api__timeout=timeout, api__retries=1, auth__client_secret=SECRET)
    world.faults.add(Fault(**SIGN_INS[name], count=None), task_id=OAUTH)
    told = "\n".join([*told_by(stage), caplog.text, *capfd.readouterr(), stage.copy.everything()])
    assert world.tally.requests == 0
    assert 1 <= world.tally.oauth_requests <= 12
    assert SECRET not in told
    assert ACCESS not in told
    assert stage.copy.ask("SELECT status FROM sync_run") == [("failed",)]
    assert stage.copy.free_leases() == 0
    world.faults.clear()
    stage.sync_well()
    assert_to_the_letter(stage.copy, TASK, events(20))


@pytest.mark.parametrize("status", [401, 403, 500, 200])
def test_p9_no_secret_of_a_signed_in_run_is_told_though_the_answers_quote_them(
    signing_in: Staging,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    status: int,
) -> None:
    caplog.set_level(logging.DEBUG)
    world = world_of(events(25))
    stage = signing_in(world, api__page_size=10, api__retries=1, auth__client_secret=SECRET)
    tokens = [world.token_at(TASK, position) for position in (10, 20)]
    if status != 200:
        quoted = f"{SECRET} {ACCESS}000001 {ACCESS}000002 {tokens[0]}"
        world.faults.add(
            Fault(kind="status", status=status, count=None, after=1, detail=quoted), task_id=TASK
        )
    told = "\n".join([*told_by(stage), caplog.text, *capfd.readouterr()])
    rows = stage.copy.everything(but=["checkpoint"])
    for secret in (SECRET, ACCESS, *tokens):
        assert secret not in told
        assert secret not in rows
    assert SECRET not in repr(stage.copy.checkpoint(TASK))
    assert ACCESS not in repr(stage.copy.checkpoint(TASK))
    assert SECRET not in repr(stage.app.settings)
