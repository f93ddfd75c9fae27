"""Does the archive hold just what the database holds, whatever happens to random logs between two creates?

Logs grow, change, lose events and get them back, are turned round; creates come at any moment, are cut off,
and go on while the tasks are walked. Each record has to make sense behind those before it, and all together
have to come to the database's rows: see archive_replay.py.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import httpx
import pytest
from archive_replay import Replay, archive, assert_archived, enrol
from oracle import Copy
from test_random_worlds import ORDERS, TASK, SmallWorld, sync

from maia_sync.clock import ManualClock
from maia_sync.store.database import Database
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack


class RestlessWorld(SmallWorld):
    """A log that also gets events back, holds what is no event, and may be turned round all at once."""

    def __init__(self, rng: random.Random, order: str) -> None:
        super().__init__(rng, order)
        self.taken: list[tuple[str | None, str | None, str]] = []
        self.odd = 0

    def change(self) -> None:
        rng = self.rng
        before = list(self.log)
        super().change()
        self.taken += [each for each in before if each not in self.log]
        if self.taken and rng.random() < 0.4:
            self.log.insert(rng.randrange(len(self.log) + 1), self.taken.pop(rng.randrange(len(self.taken))))
        if rng.random() < 0.2 and len(self.log) > 4:
            at = rng.randrange(len(self.log) - 3)
            self.taken += self.log[at : at + 3]
            del self.log[at : at + 3]
        if self.log and rng.random() < 0.5:
            at = rng.choice([0, -1])
            self.payloads += 1
            self.log[at] = (*self.log[at][:2], str(self.payloads))
        if rng.random() < 0.05:
            self.order = "newest-first" if self.order == "oldest-first" else "oldest-first"
        self.odd += rng.random() < 0.1

    def handler(self, request: httpx.Request) -> httpx.Response:
        response = super().handler(request)
        if response.status_code != 200 or not self.odd:
            return response
        results = response.text.replace('{"results":[', f'{{"results":["odd {self.odd}",')
        return httpx.Response(200, content=results.replace(",]", "]"))


def live_through(database: Database, copy: Copy, order: tuple[str, str], seed: int, steps: int) -> Replay:
    rng = random.Random(seed)
    world = RestlessWorld(rng, order[0])
    replay = Replay()
    begins = rng.randrange(steps // 2)
    with database.transaction() as tx:
        upsert_tasks(tx, [TASK])

    def walk() -> None:
        clock = database.clock
        assert isinstance(clock, ManualClock)
        if rng.random() < 0.5:  # two pages may be written in one moment
            clock.advance(1)
        world.change()
        world.fail_after = rng.choice([None, None, 1, 3])
        configured = rng.choice(["oldest-first", "newest-first"]) if rng.random() < 0.15 else order[1]
        sync(world, database, full=rng.random() < 0.5, order=configured)
        world.fail_after = None

    for step in range(steps):
        walk()
        if step < begins or rng.random() < 0.4:
            continue
        if rng.random() < 0.3:
            enrol(database)  # and no more: the create is killed
            continue
        archive(
            database,
            replay,
            most=rng.choice([5, 40, 500_000]),
            meanwhile=walk if rng.random() < 0.1 else lambda: None,
            cut_off=rng.choice(["", "", "", "before", "after"]),
        )
        if rng.random() < 0.5:
            archive(database, replay)
            assert_archived(replay, copy, f"seed {seed}, step {step}")
    archive(database, replay)
    assert_archived(replay, copy, f"seed {seed}, at the end")
    assert archive(database, replay) == 0
    return replay


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(3))
def test_the_archive_comes_to_what_the_database_holds(
    seed: int, order: tuple[str, str], sqlite_url: str, cleanup: ExitStack
) -> None:
    database = Database(url=sqlite_url, clock=ManualClock())
    cleanup.callback(database.close)
    live_through(database, Copy(sqlite_url), order, seed, steps=20)


@pytest.mark.parametrize("order", ORDERS[::3])
def test_the_archive_comes_to_what_postgresql_holds(
    order: tuple[str, str], emptied_postgresql_database: Callable[[], str], cleanup: ExitStack
) -> None:
    url = emptied_postgresql_database()
    database = Database(url=url.replace("postgresql://", "postgresql+psycopg://", 1), clock=ManualClock())
    cleanup.callback(database.close)
    live_through(database, Copy(url), order, seed=2, steps=12)
