"""P5: does a backfill survive a PostgreSQL that ends as in a crash, and is started again?"""

from __future__ import annotations

import os
from random import SystemRandom

from tests.simulation.outages import survive_stops

STOPS = 3


def test_p5_a_backfill_survives_a_server_that_ends_as_in_a_crash() -> None:
    seed = int(os.environ.get("MAIA_SYNC_TEST_SEED") or SystemRandom().randrange(10**9))
    print(f"seed {seed}")
    survived = survive_stops(STOPS, seed)
    print(survived)
    assert survived.is_well
    assert survived.stops == STOPS
    assert (survived.went_on, survived.gave_up, survived.killed) == (1, 1, 1)
