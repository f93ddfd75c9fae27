"""Does a database come back whatever has happened to its logs? Random worlds, archived and restored.

Logs grow, change, lose events and get them back, are turned round, and hold what is no event. What was
restored is compared table by table, verified, and walked on: nothing may be stored twice.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from archived_entries import make_signer
from memory_place import MemoryPlace
from oracle import Copy
from restored_copy import assert_same
from test_archive_worlds import RestlessWorld
from test_random_worlds import FACETS, ORDERS, TASK, sync

from maia_sync.archive import restoring
from maia_sync.archive.against_database import AgainstDatabase
from maia_sync.archive.create import create
from maia_sync.archive.restore import restore_archive
from maia_sync.archive.verify import verify_archive
from maia_sync.clock import ManualClock
from maia_sync.store.database import Database
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path


class Lived:
    """A copy of a restless log, and its archive."""

    def __init__(self, database: Database, seed: int, order: tuple[str, str]) -> None:
        self.database = database
        self.order = order
        self.rng = random.Random(seed)
        self.world = RestlessWorld(self.rng, order[0])
        self.place, self.signer = MemoryPlace(), make_signer()
        with database.transaction() as tx:
            upsert_tasks(tx, [TASK])

    def live(self, steps: int) -> None:
        rng, clock = self.rng, self.database.clock
        assert isinstance(clock, ManualClock)
        for _ in range(steps):
            if rng.random() < 0.5:
                clock.advance(1)
            self.world.change()
            self.world.fail_after = rng.choice([None, None, 1, 3])
            configured = rng.choice(["oldest-first", "newest-first"]) if rng.random() < 0.1 else self.order[1]
            sync(self.world, self.database, full=rng.random() < 0.5, order=configured)
            self.world.fail_after = None
            if rng.random() < 0.4:
                self.archive()
        for _ in range(3):  # a reconcile that would mark many rows is believed by the second time
            self.walk(self.database)
        self.archive()

    def walk(self, database: Database, *, full: bool = True) -> None:
        assert sync(self.world, database, full=full, order=self.order[1]) is None

    def archive(self, database: Database | None = None) -> dict[str, int]:
        database = database or self.database
        return create(database, self.place, self.signer, worker="one", clock=database.clock).entries

    def restore(self, database: Database) -> None:
        report = restore_archive(self.place, self.signer.verifier, database, facets=FACETS)
        assert report.completed, report.findings


def opened(url: str, cleanup: ExitStack) -> Database:
    database = Database(url=url.replace("postgresql://", "postgresql+psycopg://", 1), clock=ManualClock())
    cleanup.callback(database.close)
    return database


def assert_comes_back(lived: Lived, original: Copy, url: str, cleanup: ExitStack, story: str) -> None:
    database = opened(url, cleanup)
    lived.restore(database)
    restored = Copy(url)
    assert_same(original, restored, story)
    assert_sound(lived, database, story)
    # What an interrupted walk of such a log left out is found by a reconcile alone.
    of_all = "(substr(log_order, 1, 6) = 'newest') <> (reconcile_seq IS NOT NULL)"
    assert restored.one(f"SELECT count(*) FROM checkpoint WHERE {of_all}") == 0, story
    assert lived.archive(database) == {}, story
    restored.watch_writes("task_event", "task_event_revision", "quarantine")
    for full in (False, True, True):
        lived.walk(database, full=full)
        assert restored.writes() == {}, story
    lived.archive(database)
    assert_sound(lived, database, story)


def assert_sound(lived: Lived, database: Database, story: str) -> None:
    key = lived.signer.verifier
    report = verify_archive(lived.place, key, comparison=AgainstDatabase(database, key))
    assert report.findings == (), story


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(2))
def test_a_restless_log_comes_back(
    seed: int,
    order: tuple[str, str],
    sqlite_url: str,
    tmp_path: Path,
    cleanup: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one transaction, or in as many as there are chunks."""
    monkeypatch.setattr(restoring, "_ENOUGH", (5_000, 1)[seed % 2])
    lived = Lived(opened(sqlite_url, cleanup), seed, order)
    lived.live(9)
    url = f"sqlite:///{tmp_path}/restored.db"
    assert_comes_back(lived, Copy(sqlite_url), url, cleanup, f"seed {seed}, {order}")


@pytest.mark.parametrize("order", ORDERS[3:])
def test_a_restless_log_comes_back_to_postgresql(
    order: tuple[str, str],
    sqlite_url: str,
    emptied_postgresql_database: Callable[[], str],
    cleanup: ExitStack,
) -> None:
    lived = Lived(opened(sqlite_url, cleanup), 11, order)
    lived.live(8)
    assert_comes_back(lived, Copy(sqlite_url), emptied_postgresql_database(), cleanup, f"{order}")
