"""Does removing payloads change anything else, whatever a log goes through? Two copies of one log tell.

From one of them payloads are removed again and again. All that the other holds, it holds too: the same rows
in the same places, the same revisions, the same marks.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from oracle import Copy
from taken_out import key_in, take_out
from test_random_worlds import ORDERS, TASK, SmallWorld, sync
from test_summaries import assert_summed_up

from maia_sync.clock import ManualClock
from maia_sync.store.database import Database
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEEDS = 2
ROWS = """SELECT group_id, "timestamp", ordinal, seq, revision, first_seen_at, last_changed_at, vanished_at
    FROM task_event ORDER BY seq, first_seen_at, ordinal, group_id, "timestamp" """
REVISIONS = """SELECT group_id, "timestamp", ordinal, revision, seen_at, superseded_at
    FROM task_event_revision
    ORDER BY 1, 2, 3, 4"""
LEFT = """SELECT group_id, "timestamp", ordinal, data, digest, canonical FROM task_event
    WHERE pruned_at IS NULL ORDER BY 1, 2, 3"""


class SteadyWorld(SmallWorld):
    """Serves one spelling of its payloads at a time, so that two copies are told the same."""

    spelling = 0

    def raw(self, event: tuple[str | None, str | None, str]) -> str:
        group, when, payload = event
        spellings = ('{"n":%s,"t":"x"}', '{ "n" : %s, "t":"x"}', '{"t":"\\u0078","n":%s}')
        fields = [f'"data":{spellings[(self.spelling + int(payload)) % 3] % payload}']
        fields += [f'"groupId":"{group}"'] if group is not None else []
        fields += [f'"timestamp":"{when}"'] if when is not None else []
        return "{" + ",".join(fields) + "}"


@contextmanager
def copied(template: Path, path: Path, key: Path) -> Iterator[Database]:
    path.write_bytes(template.read_bytes())
    database = Database(url=f"sqlite:///{path}", clock=ManualClock(), digest_key_file=key)
    with database.transaction() as tx:
        upsert_tasks(tx, [TASK])
    yield database
    database.close()


def told(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def chance(rng: random.Random, share: float, _: object) -> bool:
    return rng.random() < share


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_p6_a_copy_without_payloads_goes_through_what_the_whole_one_goes_through(
    seed: int, order: tuple[str, str], migrated_sqlite: Path, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    world = SteadyWorld(random.Random(seed), order[0])
    paths = [tmp_path / name for name in ("whole.db", "emptied.db")]
    key = key_in(tmp_path)
    removed = 0
    with copied(migrated_sqlite, paths[0], key) as whole, copied(migrated_sqlite, paths[1], key) as emptied:
        for step in range(9):
            world.change()
            world.spelling += rng.random() < 0.3
            full, refused = rng.random() < 0.4, rng.random() < 0.1
            story = f"seed {seed}, step {step}, full={full}"
            for database in (whole, emptied):
                database.clock.advance(1)  # type: ignore[attr-defined]
                world.refuse_tokens = refused
                failure = sync(world, database, full=full, order=order[1])
                assert failure is None, f"{story}: {failure}"
            for statement in (ROWS, REVISIONS):
                assert told(paths[1], statement) == told(paths[0], statement), story
            left = told(paths[1], LEFT)
            assert set(left) <= set(told(paths[0], LEFT)), story
            chosen = partial(chance, rng, rng.choice((0, 0.3, 1)))
            removed += take_out(emptied, TASK, erased=rng.random() < 0.5, chosen=chosen, batch=5)
        assert_summed_up(Copy(f"sqlite:///{paths[1]}"), "UTC", story)
    assert removed > 10
