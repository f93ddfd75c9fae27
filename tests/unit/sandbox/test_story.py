"""Are the sandbox's logs believable, and the same for the same seed?"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime
from itertools import pairwise

from maia_sync.sandbox.story import make_world, more_events
from maia_sync.sandbox.world import SentMessage, World

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z")


def all_bytes(world: World) -> list[bytes]:
    return [log.as_json() for log in world.logs.values()]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    assert all_bytes(make_world(3, 2, 100)) == all_bytes(make_world(3, 2, 100))
    assert all_bytes(make_world(3, 2, 100)) != all_bytes(make_world(4, 2, 100))


def test_a_log_that_grows_in_steps_equals_one_that_was_made_at_once() -> None:
    steps = make_world(5, 1, 100)
    (log,) = steps.logs.values()
    for count in (1, 2, 37, 60):
        assert len(more_events(log, count, seed=5)) == count
    assert all_bytes(steps) == all_bytes(make_world(5, 1, 200))


def test_events_are_of_many_kinds_with_durations_failures_and_costs() -> None:
    (log,) = make_world(1, 1, 2000).logs.values()
    told = [json.loads(event) for event in log.events]
    payloads = [event["data"] for event in told]
    types = Counter(payload["type"] for payload in payloads)
    assert set(types) == {
        "userMessage",
        "plan",
        "agentMessage",
        "toolCall",
        "toolResult",
        "error",
        "usage",
        "taskStatus",
    }
    results = [payload for payload in payloads if payload["type"] == "toolResult"]
    assert {result["status"] for result in results} == {"succeeded", "failed"}
    assert all(result["durationMs"] > 0 for result in results)
    assert all("error" in result for result in results if result["status"] == "failed")
    assert all(payload["costUsd"] > 0 for payload in payloads if payload["type"] == "usage")
    assert 330 < sum(map(len, log.events)) / len(log) < 470


def test_timestamps_run_strictly_forward_with_three_to_nine_digits() -> None:
    (log,) = make_world(1, 1, 2000).logs.values()
    stamps = [json.loads(event)["timestamp"] for event in log.events]
    assert all(STAMP.fullmatch(stamp) for stamp in stamps)
    assert {len(stamp) - 21 for stamp in stamps} == {3, 4, 5, 6, 7, 8, 9}
    padded = [stamp[:-1].ljust(29, "0") for stamp in stamps]
    assert all(earlier < later for earlier, later in pairwise(padded))
    assert datetime.fromisoformat(stamps[-1]).year == 2026


def test_a_message_breaks_the_turn_off_and_time_still_runs_forward() -> None:
    world = make_world(1, 1, 7)
    (log,) = world.logs.values()
    world.send(SentMessage(task_id=log.task_id, message="stop\n\ud800"))
    more_events(log, 20)
    told = [json.loads(event) for event in log.events]
    assert told[7]["data"]["text"] == "stop\n\ud800"
    stamps = [event["timestamp"][:-1].ljust(29, "0") for event in told]
    assert stamps == sorted(stamps)


def test_the_world_and_its_story_need_no_web_server() -> None:
    code = (
        "import sys, maia_sync.sandbox.world, maia_sync.sandbox.story, maia_sync.sandbox.oddities;"
        "assert not {'starlette', 'uvicorn', 'httpx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
