"""P1, P2, P5: do real processes survive real kills, on both databases, alone and beside one another?

`python -m tests.simulation` kills 200 times on each.
"""

from __future__ import annotations

import os
from random import SystemRandom
from typing import Literal

import pytest

from tests.simulation.kills import survive_kills

ROUNDS = 15


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_p5_kills_at_random_moments_lose_nothing_double_nothing_and_cost_two_pages_a_task_at_most(
    database: Literal["sqlite", "postgresql"],
) -> None:
    seed = int(os.environ.get("MAIA_SYNC_TEST_SEED") or SystemRandom().randrange(10**9))
    print(f"seed {seed}")
    survived = survive_kills(ROUNDS, seed, database)
    print(survived)
    assert survived.is_well
    assert survived.rounds == ROUNDS
    assert survived.kills >= ROUNDS
    assert survived.fetched_again <= 2
