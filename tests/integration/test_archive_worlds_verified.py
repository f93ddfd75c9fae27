"""Does verify report nothing of random worlds, whatever happens between creates and while it waits?"""

from __future__ import annotations

import random
import secrets
from typing import TYPE_CHECKING

import pytest
from memory_place import MemoryPlace
from test_archive_worlds import RestlessWorld
from test_random_worlds import ORDERS, TASK, sync

from maia_sync.archive.against_database import AgainstDatabase
from maia_sync.archive.create import create
from maia_sync.archive.keys import load_signer, make_key
from maia_sync.archive.verify import verify_archive
from maia_sync.clock import ManualClock
from maia_sync.store.database import Database
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path


@pytest.mark.parametrize("order", ORDERS)
def test_a_random_world_has_no_findings(
    order: tuple[str, str], database_url: str, tmp_path: Path, cleanup: ExitStack
) -> None:
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    clock = ManualClock()
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url=url, clock=clock)
    cleanup.callback(database.close)
    make_key(tmp_path / "archive.key", "tests.example/maia-sync")
    signer = load_signer(tmp_path / "archive.key")
    place = MemoryPlace()
    world = RestlessWorld(rng, order[0])
    with database.transaction() as tx:
        upsert_tasks(tx, [TASK])
    for step in range(10):
        if rng.random() < 0.5:
            clock.advance(1)
        world.change()
        world.fail_after = rng.choice([None, None, 1, 3])
        configured = rng.choice(["oldest-first", "newest-first"]) if rng.random() < 0.3 else order[1]
        sync(world, database, full=rng.random() < 0.5, order=configured)
        if rng.random() < 0.5:
            create(database, place, signer, worker="test", clock=clock)
        if place.files:
            report = verify_archive(
                place, signer.verifier, comparison=AgainstDatabase(database, signer.verifier)
            )
            assert report.findings == (), f"step {step}"
