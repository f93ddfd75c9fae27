"""Does the daemon's loop do what it promises, one turn at a time? On a manual clock, with a real server."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, events, task_id, world_of, world_of_many
from oracle import assert_to_the_letter

from maia_sync.clock import ManualClock
from maia_sync.errors import DatabaseTooNew
from maia_sync.maia.auth import make_auth
from maia_sync.model import PageApplied
from maia_sync.service.daemon import trigger_of
from maia_sync.store.tasks import heat
from maia_sync.sync import due, page_group
from maia_sync.sync.handover import ThreadHandover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maia_sync.app import App
    from maia_sync.model import Observation
    from maia_sync.sync.ticks import Ticks

    Staging = Callable[..., Any]

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HOUR = 3600.0


def turning(
    app: App, script: Callable[[Ticks], Awaitable[None]], observers: list[Callable[[Observation], None]]
) -> None:
    """Run a script of turns of an App's loop."""

    async def main() -> None:
        auth = make_auth(app.settings.auth, clock=app.clock, api=app.settings.api)
        async with app.open_client(auth) as client:
            with ThreadHandover(app.threads()) as handover:
                stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
                await script(app.make_ticks(client, handover, observers=observers, stop=stop))

    asyncio.run(main())


@sqlite_only
def test_in_24_simulated_hours_each_task_is_polled_as_often_as_its_news_ask_for(stage_for: Staging) -> None:
    clock = ManualClock()
    world = world_of_many(6, 5)
    stage = stage_for(world, clock=clock, schedule__poll="30s")
    start, dice = clock.now(), random.Random(24)
    busy = task_id(1)
    trigger = trigger_of(30.0, start)
    polls: dict[str, list[float]] = {task: [] for task in world.logs}
    grown: list[int] = []
    turns = missed = 0

    async def day(ticks: Ticks) -> None:
        nonlocal turns, missed
        fire = trigger.get_next_fire_time(None, start)
        before: Counter[str] = Counter()
        while fire is not None and fire < start + timedelta(hours=24):
            wait = (fire - clock.now()).total_seconds()
            missed += wait < 0
            clock.advance(max(wait, 0.0))
            hours = (clock.now() - start).total_seconds() / HOUR
            if 8 <= hours < 9 and dice.random() < 0.5:  # one task is busy for an hour
                log = world.logs[busy]
                log.extend(events(1, len(log.events)))
            await ticks.poll()
            turns += 1
            for task in world.logs:
                made = world.tally.by_task[task] - before[task]
                polls[task] += [hours] * made
                before[task] = world.tally.by_task[task]
            if turns == 12 * 120:  # for six hours only: turns that are traced take twice as long
                tracemalloc.start()
            if 12 * 120 < turns <= 18 * 120 and turns % 240 == 0:
                grown.append(tracemalloc.get_traced_memory()[0])
            if turns == 18 * 120:
                tracemalloc.stop()
            fire = trigger.get_next_fire_time(fire, fire)

    turning(stage.app, day, [])
    quiet = [len(each) for task, each in polls.items() if task != busy]
    print(f"{turns} turns, {missed} late; polls of quiet tasks {quiet}, of the busy one {len(polls[busy])}")
    print(f"more memory than after twelve hours, two, four and six hours later: {grown}")
    assert (turns, missed) == (2879, 0)
    for number in quiet:  # every 15 minutes, a tenth sooner at most, and some 21 times until it is cold
        assert 100 <= number <= 140
    at_work = [hour for hour in polls[busy] if 8 <= hour < 9]
    assert len(at_work) >= 150  # at least every 30 seconds while there is news every minute
    for task, log in world.logs.items():
        assert_to_the_letter(stage.copy, task, log.events)
    assert len(grown) == 3
    assert grown[-1] < 1_000_000


@sqlite_only
def test_a_long_backfill_gives_way_so_that_hot_tasks_stay_fresh(stage_for: Staging) -> None:
    world = world_of_many(5, 10)
    world.logs[task_id(1)].extend(events(1_990, 10))
    clock = ManualClock()
    stage = stage_for(
        world, clock=clock, api__page_size=10, api__concurrency=1, schedule__turn_pages=20,
        schedule__min_interval="500ms", schedule__max_interval="500ms", schedule__poll="0 0 1 1 *",
    )  # fmt: skip

    def pass_time(seen: Observation) -> None:
        if isinstance(seen, PageApplied):
            clock.advance(0.03)

    async def script(ticks: Ticks) -> None:
        await ticks.poll()

    turning(stage.app, script, [pass_time])
    asked = [seen.task_id for seen in world.tally.journal]
    pages_in_a_row = longest(asked, task_id(1))
    print(f"{len(asked)} requests; at most {pages_in_a_row} pages of the long task in a row")
    assert pages_in_a_row <= 21
    assert world.tally.by_task[task_id(1)] <= 200 + 22
    for task, log in world.logs.items():
        assert_to_the_letter(stage.copy, task, log.events)


def longest(asked: list[str], task: str) -> int:
    best = run = 0
    for each in asked:
        run = run + 1 if each == task else 0
        best = max(best, run)
    return best


def test_a_reconcile_comes_when_it_is_due_for_each_task_once(stage_for: Staging) -> None:
    world = world_of_many(4, 30)
    stage = stage_for(world, api__page_size=10, schedule__reconcile="7d", schedule__poll="0 0 1 1 *")
    reports: list[Any] = []

    async def script(ticks: Ticks) -> None:
        await ticks.poll()
        assert await ticks.reconcile() is None
        stage.copy.ask("UPDATE task SET next_reconcile_at = last_polled_at")
        reports.append(await ticks.reconcile())
        assert await ticks.reconcile() is None

    turning(stage.app, script, [])
    (report,) = reports
    assert (report.kind, report.tasks, report.pages) == ("reconcile", 4, 12)
    assert stage.copy.one("SELECT count(*) FROM checkpoint WHERE reconciled_at IS NOT NULL") == 4
    assert stage.copy.one("SELECT count(*) FROM task WHERE next_reconcile_at > last_polled_at") == 4


def test_a_running_worker_goes_on_when_the_next_version_migrates_and_a_new_one_does_not_start(
    stage_for: Staging,
) -> None:
    world = world_of(events(30))
    stage = stage_for(world, api__page_size=10, schedule__poll="0 0 1 1 *")
    logs = ("task_event", "task_event_revision", "checkpoint", "quarantine")
    tables = ("task", "task_source", "sync_run", *logs)

    async def script(ticks: Ticks) -> None:
        await ticks.poll()
        for table in tables:
            stage.copy.ask(f"ALTER TABLE {table} ADD COLUMN note TEXT")
            stage.copy.ask(f"ALTER TABLE {table} ADD COLUMN number INTEGER NOT NULL DEFAULT 7")
        stage.copy.ask("UPDATE alembic_version SET version_num = '9999'")
        world.logs[TASK].extend(events(30, 30))
        stage.copy.ask("UPDATE task SET next_poll_at = last_polled_at, next_reconcile_at = last_polled_at")
        report = await ticks.poll()
        assert report is not None
        assert (report.status, report.new) == ("succeeded", 30)
        assert (await ticks.reconcile()) is not None

    turning(stage.app, script, [])
    assert_to_the_letter(stage.copy, TASK, events(60))
    with pytest.raises(DatabaseTooNew):
        stage.app.sync()


@sqlite_only
def test_a_turn_that_waits_for_a_task_sees_what_others_make_due_meanwhile(stage_for: Staging) -> None:
    world = world_of_many(2, 5)
    clock = ManualClock()
    stage = stage_for(world, clock=clock, schedule__poll="30s")
    early, late = world.logs
    seen: list[tuple[float, str]] = []

    def note(observation: Observation) -> None:
        if isinstance(observation, PageApplied):
            seen.append((clock.monotonic(), observation.task_id))

    async def script(ticks: Ticks) -> None:
        at = (clock.now() + timedelta(seconds=20)).strftime("%Y-%m-%d %H:%M:%S.%f")
        stage.copy.ask("UPDATE task SET next_poll_at = ?", at)
        turn = asyncio.ensure_future(ticks.poll())
        await clock.idle(5)
        with stage.app.database.transaction() as tx:
            heat(tx, [late])
        await turn

    turning(stage.app, script, [note])
    assert seen[0][1] == late
    assert 5 <= seen[0][0] < 20
    assert {task for _, task in seen} == {early, late}


@sqlite_only
def test_a_turn_is_over_soon_after_its_walks(stage_for: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for work while the last pages are written does not sleep for long behind them."""
    stage = stage_for(world_of_many(8, 3), schedule__poll="0 0 1 1 *")
    slept: list[float] = []
    clock = stage.app.database.clock
    really = clock.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await really(seconds)

    monkeypatch.setattr(clock, "sleep", sleep, raising=False)

    async def script(ticks: Ticks) -> None:
        for _ in range(4):
            stage.copy.ask("UPDATE task SET next_poll_at = '2026-01-01 00:00:00.000000'")
            slept.clear()
            report = await ticks.poll()
            assert report is not None
            assert report.tasks == 8
            looked = [seconds for seconds in slept if seconds != page_group._PATIENCE]
            assert looked == [due._SHORTEST_WAIT * 2**number for number in range(len(looked))]

    turning(stage.app, script, [])
