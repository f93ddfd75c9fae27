"""Do statuses and reconciles follow their rhythms through the daemon's own turns?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK, events, world_of, world_of_many
from oracle import assert_to_the_letter

from maia_sync.clock import ManualClock
from maia_sync.maia.auth import make_auth
from maia_sync.sandbox.faults import Fault
from maia_sync.sync.handover import ThreadHandover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maia_sync.app import App
    from maia_sync.sync.ticks import Ticks

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def with_workers(apps: list[App], script: Callable[..., Awaitable[None]]) -> None:
    """Run a script of turns of several workers' loops."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            workers = []
            for app in apps:
                auth = make_auth(app.settings.auth, clock=app.clock, api=app.settings.api)
                client = await stack.enter_async_context(app.open_client(auth))
                handover = stack.enter_context(ThreadHandover(app.threads()))
                workers.append(
                    app.make_ticks(
                        client, handover, observers=[], stop=asyncio.get_running_loop().create_future()
                    )
                )
            await script(*workers)

    asyncio.run(main())


@sqlite_only
def test_404s_are_asked_daily_403s_hourly_and_a_success_makes_the_task_active(stage_for: Any) -> None:
    clock = ManualClock()
    world = world_of(events(20))
    stage = stage_for(world, clock=clock, schedule__poll="0 0 1 1 *")
    seen: list[tuple[str, float]] = []

    async def turn(ticks: Ticks) -> None:
        assert await ticks.poll() is not None
        (due,) = stage.copy.ask("SELECT next_poll_at FROM task")[0]
        status = stage.copy.one("SELECT status FROM task")
        moment = type(clock.now()).fromisoformat(due).replace(tzinfo=clock.now().tzinfo)
        wait = (moment - clock.now()).total_seconds()
        seen.append((status, wait))
        clock.advance(wait - 1)
        assert await ticks.poll() is None, "it is not due yet"
        clock.advance(2)

    async def script(ticks: Ticks) -> None:
        for status, times in ((404, 4), (200, 1), (403, 2), (200, 1)):
            if status != 200:
                world.faults.add(Fault(kind="status", status=status, count=times))
            for _ in range(times):
                await turn(ticks)

    with_workers([stage.app], script)
    print(seen)
    statuses = [status for status, _ in seen]
    assert statuses == [
        "active",
        "active",
        "missing",
        "missing",
        "active",
        "forbidden",
        "forbidden",
        "active",
    ]
    for status, wait in seen:
        if status == "missing":
            assert 0.9 * 86_400 <= wait <= 86_400
        elif status == "forbidden":
            assert 0.9 * 3_600 <= wait <= 3_600
        else:
            assert wait <= 900
    assert_to_the_letter(stage.copy, TASK, events(20))


def test_by_cron_two_workers_reconcile_each_task_once_for_each_point_in_time(stage_for: Any) -> None:
    world = world_of_many(8, 30)
    cron = {"schedule__reconcile": "0 3 * * sun", "schedule__poll": "0 0 1 1 *"}
    stage = stage_for(world, api__page_size=10, api__concurrency=2, **cron)
    other = stage.open_another(schedule__worker="other")

    async def script(one: Ticks, two: Ticks) -> None:
        await one.poll()
        for _ in range(2):
            point = stage.app.clock.now()  # all was reconciled before it
            world.reset_counters()
            reports = await asyncio.gather(one.reconcile(point), two.reconcile(point))
            kept = [each for each in reports if each is not None]
            print([each.tasks for each in kept])
            assert sum(each.tasks for each in kept) == 8
            assert all(each.status == "succeeded" for each in kept)
            assert set(world.tally.by_task.values()) == {3}
            world.reset_counters()
            again = await asyncio.gather(one.reconcile(point), two.reconcile(point))
            assert list(again) == [None, None]
            assert world.tally.requests == 0
        past = point - timedelta(days=1)
        assert await one.reconcile(past) is None

    with_workers([stage.app, other], script)
    assert stage.copy.free_leases() == 0
    for task, log in world.logs.items():
        assert_to_the_letter(stage.copy, task, log.events)
