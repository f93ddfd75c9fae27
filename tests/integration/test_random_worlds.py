"""Do the promises hold in worlds that nobody thought of? Small random logs, full of equal keys.

The oracle keeps what was served, as raw text, and knows nothing of identity but DESIGN's definition:
one event is one (group, timestamp, payload).
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import update

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.clock import ManualClock
from maia_sync.config import load_settings
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.auth import AccessToken, BearerAuth
from maia_sync.maia.client import MaiaClient
from maia_sync.service.polling import AdaptivePolling
from maia_sync.settings import Secret
from maia_sync.store.database import Database
from maia_sync.store.schema import task
from maia_sync.store.tasks import upsert_tasks
from maia_sync.sync.due import DueTasks, Turn
from maia_sync.sync.handover import InlineHandover
from maia_sync.sync.heartbeat import Heartbeat
from maia_sync.sync.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FACETS = FacetReader(FacetsSettings())


TASK = "11111111-2222-4333-8444-555555555555"
SEEDS = 8


class SmallWorld:
    """One log behind a transport; remembers what it served."""

    def __init__(self, rng: random.Random, order: str = "oldest-first") -> None:
        self.rng = rng
        self.order = order
        self.fail_after: int | None = None
        """So many requests are answered before one fails."""
        self.log: list[tuple[str | None, str | None, str]] = []
        self.served: set[tuple[str | None, str | None, str]] = set()
        self.served_ever: set[tuple[str | None, str | None, str]] = set()
        self.requests = 0
        self.page_size = rng.choice([1, 2, 3, 5, 8])
        self.overlap = rng.random() < 0.2
        self.refuse_tokens = False
        self.clock = 0
        self.payloads = 0

    def event(self) -> tuple[str | None, str | None, str]:
        rng = self.rng
        if rng.random() < 0.7:
            self.clock += 1
        when = None if rng.random() < 0.1 else f"2026-01-01T00:{self.clock // 60:02}:{self.clock % 60:02}Z"
        group = rng.choice([None, "g", "h"])
        self.payloads += 1
        return group, when, str(self.payloads)

    def grow(self, lengths: list[int]) -> None:
        """Append events, but not many more pages of one event each than of eight: it is pages that cost."""
        length = min(self.rng.choice(lengths), 5 * self.page_size)
        self.log += [self.event() for _ in range(length)]

    def handler(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        token = request.url.params.get("paginationToken")
        if token is not None and self.refuse_tokens:
            self.refuse_tokens = False
            return httpx.Response(400, json={"detail": "token expired"})
        if self.fail_after is not None:
            self.fail_after -= 1
            if self.fail_after < 0:
                self.fail_after = None
                return httpx.Response(500)
        start = 0 if token is None else int(token)
        end = start + int(request.url.params["limit"])
        log = self.log if self.order == "oldest-first" else self.log[::-1]
        shown = log[max(0, start - (1 if self.overlap else 0)) : end]
        self.served.update(shown)
        self.served_ever.update(shown)
        results = ",".join(self.raw(each) for each in shown)
        more = f',"more":"{end}"' if end < len(self.log) else ""
        return httpx.Response(200, content=f'{{"results":[{results}]{more}}}')

    def raw(self, event: tuple[str | None, str | None, str]) -> str:
        group, when, payload = event
        spelling = self.rng.choice(['{"n":%s,"t":"x"}', '{ "n" : %s, "t":"x"}', '{"t":"\\u0078","n":%s}'])
        fields = [f'"data":{spelling % payload}']
        if group is not None:
            fields.append(f'"groupId":"{group}"')
        if when is not None:
            fields.append(f'"timestamp":"{when}"')
        return "{" + ",".join(fields) + "}"

    def change(self) -> None:
        rng = self.rng
        for _ in range(rng.randint(1, 5)):
            kind = rng.choice(["append"] * 6 + ["insert", "edit", "remove", "respell", "front"])
            at = rng.randrange(len(self.log)) if self.log else 0
            if kind == "append" or not self.log:
                self.grow([1, 1, 2, 7])
            elif kind == "insert":
                self.log[at:at] = [self.event() for _ in range(rng.choice([1, 3]))]
            elif kind == "front":
                self.log[:0] = [self.event()]
            elif kind == "edit":
                self.payloads += 1
                self.log[at] = (*self.log[at][:2], str(self.payloads))
            elif kind == "remove":
                del self.log[at]


ORDERS = [
    ("oldest-first", "oldest-first"),
    ("newest-first", "newest-first"),
    ("oldest-first", "auto"),
    ("newest-first", "auto"),
]
"""How the log is served, and how the configuration says that it is."""


async def bearer() -> AccessToken:
    """Give a token at once: to read it in a thread, as a real one is, would take longer than many a run."""
    return AccessToken(secret=Secret("x"))


def sync(
    world: SmallWorld, database: Database, *, full: bool = False, order: str, turn_pages: int | None = None
) -> str | None:
    """Make a run; with `turn_pages` as the daemon does: what is due, so many pages at a time."""
    settings = load_settings(
        environ={
            "MAIA_SYNC_API__ORDER": order,
            "MAIA_SYNC_API__RETRIES": "0",
            "MAIA_SYNC_API__PAGE_SIZE": str(world.page_size),
            "MAIA_SYNC_API__CONCURRENCY": "1",
        }
    )

    async def once() -> str | None:
        client = MaiaClient(
            settings.api,
            BearerAuth(bearer, clock=database.clock),
            clock=database.clock,
            random=world.rng,
            transport=httpx.MockTransport(world.handler),
        )
        handover = InlineHandover()
        planner = AdaptivePolling(min_interval=10, max_interval=900, reconcile=7e5, random=world.rng)
        heartbeat = Heartbeat(database=database, handover=handover, clock=database.clock, lease_seconds=60)
        due = None
        if turn_pages is not None:
            make_due(database)
            due = DueTasks(
                kind="reconcile" if full else "poll",
                database=database,
                handover=handover,
                clock=database.clock,
                heartbeat=heartbeat,
                worker="one",
                lease_seconds=60,
                most=1,
                turn=Turn(pages=turn_pages),
            )
        async with client:
            run = Run(
                settings=settings,
                client=client,
                database=database,
                handover=handover,
                worker="one",
                task_ids=[],
                full=full,
                planner=planner,
                facets=FACETS,
                heartbeat=heartbeat,
                observers=[],
                due=due,
            )
            report = await run.run(asyncio.get_running_loop().create_future())
            assert report.tasks > 0
            return report.error

    return asyncio.run(once())


def make_due(database: Database) -> None:
    with database.transaction() as tx:
        tx.connection.execute(update(task).values(next_poll_at=tx.now, next_reconcile_at=tx.now))


def rows_of(path: Path) -> list[tuple[str | None, str | None, str, bool]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute(
            "SELECT group_id, timestamp_text, data, vanished_at IS NOT NULL FROM task_event"
            " ORDER BY seq, first_seen_at, ordinal"
        ).fetchall()
    connection.close()
    return [
        (group or None, when, str(json.loads(data)["n"]), bool(gone)) for group, when, data, gone in found
    ]


@pytest.fixture
def path(migrated_sqlite: Path, tmp_path: Path) -> Path:
    """Return a migrated database file."""
    return shutil.copyfile(migrated_sqlite, tmp_path / "copy.db")


@contextmanager
def copied(path: Path) -> Iterator[Database]:
    """Yield a database that tracks TASK."""
    database = Database(url=f"sqlite:///{path}", clock=ManualClock())
    with database.transaction() as tx:
        upsert_tasks(tx, [TASK])
    yield database
    database.close()


def order_of(path: Path) -> str | None:
    with closing(sqlite3.connect(path)) as connection:
        found: str | None = connection.execute("SELECT log_order FROM checkpoint").fetchone()[0]
    return found


def shared_seqs(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        statement = "SELECT count(*) - count(DISTINCT seq) FROM task_event"
        return int(connection.execute(statement).fetchone()[0])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_p1_p2_p3_hold_in_random_worlds(seed: int, order: tuple[str, str], path: Path) -> None:
    rng = random.Random(seed)
    world = SmallWorld(rng, order[0])
    with copied(path) as database:
        live_through(world, rng, database, path, f"seed {seed}", order[1])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(6))
def test_p1_p2_p3_hold_in_random_worlds_though_walks_give_way(
    seed: int, order: tuple[str, str], path: Path
) -> None:
    rng = random.Random(seed + 7000)
    world = SmallWorld(rng, order[0])
    story, pages = f"seed {seed}", 1 + seed % 3
    with copied(path) as database:
        live_through(world, rng, database, path, story, order[1], turn_pages=pages)


def live_through(
    world: SmallWorld,
    rng: random.Random,
    database: Database,
    path: Path,
    seed: str,
    order: str,
    turn_pages: int | None = None,
) -> None:
    sync_now = partial(sync, world, database, order=order, turn_pages=turn_pages)
    clock = database.clock
    assert isinstance(clock, ManualClock)
    for step in range(25):
        clock.advance(1)
        world.change()
        world.served.clear()
        full = rng.random() < 0.3
        world.refuse_tokens = rng.random() < 0.1
        story = f"{seed}, step {step}, full={full}"
        failure = sync_now(full=full)
        assert failure is None, f"{story}: {failure}"
        rows = rows_of(path)
        names = [row[:3] for row in rows]
        assert len(names) == len(set(names)), f"{story}: a row twice"
        assert world.served <= set(names), f"{story}: served but not stored"
        assert set(names) <= world.served_ever, f"{story}: stored but never served"
        if full:
            if any(not row[3] and row[:3] not in world.served for row in rows):
                world.served.clear()  # more than a tenth would vanish: a second reconcile must agree
                assert sync_now(full=True) is None, story
                rows = rows_of(path)
            current = [row[:3] for row in rows if not row[3]]
            assert set(current) == set(world.log), f"{story}: not what was served"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_reading_order_is_the_logs_order_whatever_is_inserted_where(
    seed: int, order: tuple[str, str], path: Path
) -> None:
    rng = random.Random(seed)
    world = SmallWorld(rng, order[0])
    world.overlap = False
    with copied(path) as database:
        for step in range(8):
            at = rng.randrange(len(world.log) + 1)
            world.log[at:at] = [world.event() for _ in range(rng.choice([1, 2, 5]))]
            assert sync(world, database, full=True, order=order[1]) is None
            current = [row[:3] for row in rows_of(path) if not row[3]]
            # Timestamps in no order at all tell nothing of the log's; rows without room for more
            # between them share a number, and what comes between these in a newest-first log is behind.
            if order[1] == "oldest-first" or (order[1] == "newest-first" and not shared_seqs(path)):
                assert current == world.log, f"seed {seed}, step {step}"
            assert sorted(current, key=str) == sorted(world.log, key=str), f"seed {seed}, step {step}"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_p1_a_log_that_only_grows_is_complete_and_in_order_after_each_poll_that_reached_its_end(
    seed: int, order: tuple[str, str], path: Path
) -> None:
    """Polls are interrupted again and again, tokens are refused, and no reconcile comes to help."""
    rng = random.Random(seed)
    world = SmallWorld(rng, order[0])
    ended = 0
    with copied(path) as database:
        for step in range(40):
            world.grow([0, 0, 1, 3, 10, 25])
            world.fail_after = rng.choice([None, None, 0, 1, 2, 4, 8])
            world.refuse_tokens = rng.random() < 0.1
            failure = sync(world, database, order=order[1])
            world.fail_after = None
            if failure is not None:
                assert "500" in failure, failure
                continue
            ended += 1
            rows = rows_of(path)
            story = f"seed {seed}, step {step}"
            assert sorted((row[:3] for row in rows), key=str) == sorted(world.log, key=str), story
            assert not any(row[3] for row in rows)
            if order[0] == "oldest-first" or order_of(path) is not None:
                assert [row[:3] for row in rows] == world.log, story
            assert step < 20 or order_of(path) == order[0]
    assert ended > 3
