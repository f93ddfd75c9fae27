"""Is a log's order told only where it is certain?"""

from __future__ import annotations

import random

import pytest

from maia_sync.model import NO_TIMESTAMP
from maia_sync.sync.direction import Direction, Drift

SURE_NEWEST = Direction(order="newest-first", sure=True)
SURE_OLDEST = Direction(order="oldest-first", sure=True)


def direction(*pages: list[int]) -> Direction | None:
    drift = Drift()
    for page in pages:
        drift.add(page)
    return drift.direction()


def test_two_timestamps_that_differ_are_a_hint_and_six_that_agree_are_sure() -> None:
    assert direction([2, 1]) == Direction(order="newest-first", sure=False)
    assert direction([1, 2]) == Direction(order="oldest-first", sure=False)
    assert direction([6, 5, 4, 3, 2, 1]) == SURE_NEWEST
    assert direction([1, 2, 3, 4, 5, 6]) == SURE_OLDEST


@pytest.mark.parametrize(
    "page", [[], [5], [5] * 1000, [NO_TIMESTAMP] * 1000, [NO_TIMESTAMP, 5, NO_TIMESTAMP]]
)
def test_without_two_timestamps_that_differ_nothing_is_told(page: list[int]) -> None:
    assert direction(page) is None


def test_it_is_told_over_several_pages_of_one_event_each() -> None:
    assert direction(*([number] for number in range(10, 0, -1))) == SURE_NEWEST


def test_clocks_that_differ_a_little_and_late_events_do_not_confuse() -> None:
    dice = random.Random(1)
    jittered = [number * 10 + dice.randrange(-9, 9) for number in range(200)]
    jittered[50:50] = [3, 7, 11]
    assert direction(jittered) == SURE_OLDEST
    assert direction(jittered[::-1]) == SURE_NEWEST


@pytest.mark.parametrize(
    "page",
    [
        [*range(100, 110), *range(50)],  # a log's past behind its present: one step back
        [*range(50, 0, -1), *range(100, 50, -1)],
        [group * 100 + at for group in range(20, 0, -1) for at in range(5)],  # old to new within each group
    ],
)
def test_where_steps_and_the_whole_disagree_it_is_not_sure(page: list[int]) -> None:
    told = direction(page)
    assert told is None or not told.sure


def test_the_sample_is_bounded() -> None:
    drift = Drift()
    for page in range(1000):
        drift.add(list(range(page * 1000, (page + 1) * 1000)))
    assert len(drift._times) < 1000
    assert drift.direction() == SURE_OLDEST
