"""P5: is nothing lost on a disk that fills up, and is a copy whole that is made while a sync writes?"""

from __future__ import annotations

import os
from random import SystemRandom

import pytest

from tests.simulation.disk_copy import WAYS, survive_copies
from tests.simulation.disk_full import small_disk, survive_full_disk


@pytest.fixture
def seed() -> int:
    number = int(os.environ.get("MAIA_SYNC_TEST_SEED") or SystemRandom().randrange(10**9))
    print(f"seed {number}")
    return number


def test_p5_a_full_disk_loses_nothing_that_is_stored_and_the_sync_goes_on_when_there_is_room(
    seed: int,
) -> None:
    rounds = 2
    survived = survive_full_disk(rounds, seed)
    print(survived)
    assert survived.is_well
    assert survived.limits == rounds
    with small_disk() as folder:
        assert survived.disks == (0 if folder is None else rounds)


def test_a_copy_that_is_made_while_a_sync_writes_is_whole_and_a_sync_completes_it(seed: int) -> None:
    made = survive_copies(len(WAYS), seed)
    print(made)
    assert made.is_well
    assert made.copies == dict.fromkeys(WAYS, 1)
