"""Do task_turn and task_activity say what a slow query over task_event says, whatever the logs go through?

The slow queries know nothing of how the summaries are kept; on PostgreSQL it is also PostgreSQL that tells
which day and hour a moment has in the reporting time zone.
"""

from __future__ import annotations

import json
import math
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from logs import task_id

from maia_sync.errors import MaiaSyncError
from maia_sync.sandbox.world import Log, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oracle import Copy

    Staging = Callable[..., Any]

COUNTS = """
    count(*) FILTER (WHERE vanished_at IS NULL),
    count(*) FILTER (WHERE vanished_at IS NULL AND event_kind = 'message' AND actor = 'user'),
    count(*) FILTER (WHERE vanished_at IS NULL AND event_kind = 'message' AND actor = 'agent'),
    count(*) FILTER (WHERE vanished_at IS NULL AND event_kind = 'tool_call'),
    count(*) FILTER (
      WHERE vanished_at IS NULL AND outcome = 'error' AND event_kind IN ('tool_call', 'tool_result')),
    count(*) FILTER (WHERE vanished_at IS NULL AND outcome = 'error'),
    coalesce(sum(input_tokens) FILTER (WHERE vanished_at IS NULL), 0),
    coalesce(sum(output_tokens) FILTER (WHERE vanished_at IS NULL), 0),
    coalesce(sum(cost) FILTER (WHERE vanished_at IS NULL), 0.0),
    count(*) FILTER (WHERE vanished_at IS NOT NULL)"""
COUNTED = (
    "events, user_messages, agent_messages, tool_calls, tool_errors, errors, input_tokens, output_tokens, "
    "cost, vanished_events"
)
ASKED = "min(occurred_at) FILTER (WHERE vanished_at IS NULL AND event_kind = 'message' AND actor = 'user')"
FIRST = "min(occurred_at) FILTER (WHERE vanished_at IS NULL)"


def earliest(what: str, named: str, collation: str) -> str:
    """Return `what` of the earliest event of a group that has a name."""
    return f"""(SELECT n.{what} FROM task_event n
      WHERE n.task_id = e.task_id AND n.group_id = e.group_id AND n.vanished_at IS NULL
        AND n.{named} IS NOT NULL
      ORDER BY n.occurred_at IS NULL, n.occurred_at, n.{named}{collation} LIMIT 1)"""


def slow_turns(copy: Copy, zone: str) -> str:
    started = f"coalesce({ASKED}, {FIRST})"
    collation = ' COLLATE "C"' if copy.is_postgresql else ""
    day, hour_at, _ = labels(copy, started, zone)
    return f"""SELECT task_id, group_id, {day}, {hour_at}, {started}, {FIRST},
      max(occurred_at) FILTER (WHERE vanished_at IS NULL), {ASKED},
      max(occurred_at) FILTER (WHERE vanished_at IS NULL AND event_kind = 'message' AND actor = 'agent'),
      {earliest("user_id", "user_id", collation)}, {earliest("occurred_at", "user_id", collation)},
      {earliest("agent_name", "agent_name", collation)}, {earliest("occurred_at", "agent_name", collation)},
      count(*) FILTER (WHERE vanished_at IS NULL AND actor = 'agent'), {COUNTS}
    FROM task_event e GROUP BY task_id, group_id"""


KEPT_TURNS = f"""SELECT task_id, group_id, day, hour_at, started_at, first_at, last_at, asked_at, answered_at,
    user_id, user_at, agent_name, agent_at, steps, {COUNTED} FROM task_turn"""


def slow_activity(copy: Copy, zone: str) -> str:
    slot_at = slot(copy, "occurred_at")
    day, hour_at, hour = labels(copy, slot_at, zone)
    return f"""SELECT task_id, {slot_at}, {day}, {hour_at}, {hour}, {COUNTS}
    FROM task_event WHERE occurred_at IS NOT NULL GROUP BY task_id, 2, 3, 4, 5"""


KEPT_ACTIVITY = f"SELECT task_id, slot_at, day, hour_at, hour, {COUNTED} FROM task_activity"


def slot(copy: Copy, moment: str) -> str:
    if copy.is_postgresql:
        return f"date_bin('15 minutes', {moment}, TIMESTAMPTZ '2000-01-01 00:00:00+00')"
    quarter = f"CAST(substr({moment}, 15, 2) AS INTEGER) / 15 * 15"
    return f"substr({moment}, 1, 14) || substr('00' || ({quarter}), -2) || ':00.000000'"


def labels(copy: Copy, moment: str, zone: str) -> tuple[str, str, str]:
    """Return day, hour_at and hour; SQLite knows no time zones."""
    if copy.is_postgresql:
        slot_at = slot(copy, moment)
        there = f"({slot_at}) AT TIME ZONE '{zone}'"
        hour = f"CAST(extract(hour FROM {there}) AS integer)"
        return f"CAST({there} AS date)", f"date_trunc('hour', {slot_at}, '{zone}')", hour
    assert zone == "UTC"
    hour = f"CAST(substr({moment}, 12, 2) AS INTEGER)"
    return f"substr({moment}, 1, 10)", f"substr({moment}, 1, 14) || '00:00.000000'", hour


def _key(row: tuple[Any, ...]) -> list[str]:
    return [str(each) for each in row[:2]]


def assert_summed_up(copy: Copy, zone: str, story: str) -> None:
    for kept, slow in ((KEPT_TURNS, slow_turns(copy, zone)), (KEPT_ACTIVITY, slow_activity(copy, zone))):
        said, true = (sorted(copy.ask(query), key=_key) for query in (kept, slow))
        assert [row[:-2] for row in said] == [row[:-2] for row in true], story
        assert [row[-1] for row in said] == [row[-1] for row in true], story
        for one, other in zip(said, true, strict=True):
            assert math.isclose(one[-2], other[-2], rel_tol=1e-9, abs_tol=1e-12), f"{story}: {one} {other}"


# ------------------------------------------------------------------ logs that go through everything

UNREADABLE = (None, "soon", "0003-01-01T00:00:00Z", "1500-06-01T10:20:00Z", "1500-06-01T10:20:00.0Z")
KINDS = ("userMessage", "agentMessage", "plan", "toolCall", "toolResult", "usage", "error", "note")


class Teller:
    """Writes random events; a moment is told now and then a second time, and some tell none."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0
        self.told = 0
        self.last = (-1, "")

    def payload(self) -> str:
        rng = self.rng
        self.told += 1
        said: dict[str, Any] = {"n": self.told, "type": rng.choice(KINDS)}
        for name, values in (
            ("role", ("user", "assistant", "tool")),
            ("userId", ("u1", "u2", "U3", "ü", "\ue000", "🚀")),
            ("agentName", ("a1", "a2", "B", "\t\\N")),
            ("status", ("failed", "ok")),
            ("inputTokens", (0, 1, 10**12, "x")),
            ("outputTokens", (7, 2.0, 2.5)),
            ("costUsd", (0.1, 1e-9, 3, 10**9)),
        ):
            if rng.random() < 0.4:
                said[name] = rng.choice(values)
        return json.dumps(said)

    def element(self, *, now: int | None = None) -> bytes:
        rng = self.rng
        if now is None:
            self.now += rng.choice((0, 1, 40, 400))
            now = self.now
        if now != self.last[0] or rng.random() < 0.3:
            groups = ("", "g1", "g2", "g3", f"h{now // 3000}", '"', "\\", "7\t")
            self.last = (now, rng.choice(groups))
        group = self.last[1]
        stamp = (
            f"2026-01-05T{now // 3600 % 24:02d}:{now // 60 % 60:02d}:{now % 60:02d}.{rng.choice((0, 0, 5))}Z"
        )
        if rng.random() < 0.15:
            return self._spelt(self.payload(), group, rng.choice(UNREADABLE))
        return self._spelt(self.payload(), group, stamp)

    def _spelt(self, data: str, group: str, stamp: str | None) -> bytes:
        return f'{{"data":{data},"groupId":{json.dumps(group)},"timestamp":{json.dumps(stamp)}}}'.encode()

    def edited(self, element: bytes) -> bytes:
        """Return an event with the same key and another payload, or another unreadable timestamp.

        Often it comes to the same sums, or to one that is different.
        """
        said, another = json.loads(element), json.loads(self.payload())
        if self.rng.random() < 0.7:
            name = self.rng.choice(list(another))
            another = {**said["data"], "n": another["n"], name: another[name]}
        stamp = self.rng.choice(UNREADABLE) if said["timestamp"] in UNREADABLE else said["timestamp"]
        return self._spelt(json.dumps(another), said["groupId"], stamp)


class Life:
    """What a world goes through."""

    def __init__(self, rng: random.Random, world: World) -> None:
        self.rng = rng
        self.world = world
        self.teller = Teller(rng)
        self.gone: list[tuple[Log, int, bytes]] = []

    def step(self) -> str:
        """Let something happen to a log, and return what."""
        rng = self.rng
        log = rng.choice(list(self.world.logs.values()))
        deed = rng.choice(("append", "edit", "edit", "remove", "remove", "return", "insert", "front"))
        at = rng.randrange(len(log) + 1)
        if deed == "append":
            log.extend(self.teller.element() for _ in range(rng.choice((1, 3, 20))))
        elif deed == "edit":
            for place in rng.sample(range(len(log)), min(len(log), 4)):
                log.replace(place, self.teller.edited(log.events[place]))
        elif deed == "remove" and len(log) > 0:
            for _ in range(min(len(log), rng.choice((1, 2, 2, len(log) // 5)))):
                place = rng.randrange(len(log))
                self.gone += [(log, place, raw) for raw in log.remove(place)]
        elif deed == "return" and self.gone:
            for back, place, raw in [self.gone.pop() for _ in range(min(3, len(self.gone)))]:
                back.insert(min(place, len(back)), raw if rng.random() < 0.5 else self.teller.edited(raw))
        elif deed in ("insert", "front"):
            now = rng.randrange(self.teller.now + 1)
            log.insert(
                0 if deed == "front" else at, self.teller.element(now=now), self.teller.element(now=now)
            )
        return f"{deed} {log.task_id[:8]}"


CONFIGURATIONS: tuple[dict[str, str], ...] = (
    *[{}] * 6,
    {"facets__cost": '["costUsd * 0.5"]', "facets__failed_words": '["ok"]'},
    {"facets__event_type": "nowhere", "facets__user_id": "n, userId", "facets__is_error": "agentName"},
)
"""Facets of stored events stay as they are until they are rebuilt: the summaries count on what is stored."""


def broken(copy: Copy, most: int) -> Iterator[None]:
    """Have the database refuse each checkpoint once so many events are stored, and then no longer."""
    if copy.is_postgresql:
        copy.ask(
            "CREATE OR REPLACE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
            f"IF (SELECT count(*) FROM task_event) >= {most} THEN RAISE EXCEPTION 'broken'; END IF; "
            "RETURN NEW; END$$"
        )
        copy.ask(
            "CREATE TRIGGER broken BEFORE INSERT OR UPDATE ON checkpoint "
            "FOR EACH ROW EXECUTE FUNCTION note_write()"
        )
    else:
        for deed in ("INSERT", "UPDATE"):
            copy.ask(
                f"CREATE TRIGGER broken_{deed} BEFORE {deed} ON checkpoint "
                f"WHEN (SELECT count(*) FROM task_event) >= {most} BEGIN SELECT RAISE(ABORT, 'broken'); END"
            )
    yield
    if copy.is_postgresql:
        copy.ask("DROP FUNCTION note_write CASCADE")
    else:
        copy.ask("DROP TRIGGER broken_INSERT")
        copy.ask("DROP TRIGGER broken_UPDATE")


@pytest.mark.parametrize("seed", range(3))
def test_the_summaries_equal_the_slow_query_whatever_happens(stage_for: Staging, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    world = World()
    life = Life(rng, world)
    for number in range(1, 4):
        world.add(Log(task_id(number), [life.teller.element() for _ in range(rng.choice((0, 60, 150)))]))
        world.orders[task_id(number)] = rng.choice(("oldest-first", "newest-first"))
    stage = stage_for(world, api__page_size=rng.choice((7, 25)))
    copy, zone = stage.copy, "UTC"
    for step in range(16):
        deeds = [life.step() for _ in range(rng.choice((1, 2, 4)))] if step else ["backfill"]
        how = rng.choice(("poll", "full", "full", "full", "two", "broken", "zone"))
        story = f"seed {seed}, step {step}: {', '.join(deeds)}; {how}"
        if how == "zone" and copy.is_postgresql:
            zone = rng.choice(("Asia/Kolkata", "Europe/Berlin", "UTC", "America/New_York"))
        settings = {"facets__time_zone": zone, **rng.choice(CONFIGURATIONS)}
        if how == "broken":
            stored = copy.one("SELECT count(*) FROM task_event")
            for _ in broken(copy, stored + rng.choice((0, 1, 10))):
                with suppress(MaiaSyncError):
                    stage.open_another(**settings).sync(full=rng.random() < 0.5)
            copy.free_leases()
            assert_summed_up(copy, zone, story)
        elif how == "two":
            apps = [stage.open_another(**settings) for _ in range(2)]
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(lambda app: app.sync(), apps))
        else:
            report = stage.open_another(**settings).sync(full=how == "full")
            assert report.status == "succeeded", f"{story}: {report.error}"
        assert_summed_up(copy, zone, story)
    for _ in range(2):
        assert stage.open_another(facets__time_zone=zone).sync(full=True).status == "succeeded"
        assert_summed_up(copy, zone, f"seed {seed}, at the end")
    assert copy.one("SELECT count(*) FROM task_event") > 0
