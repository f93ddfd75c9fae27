"""What is said of events without a payload?"""

from __future__ import annotations

import pytest

from maia_sync.report.removed import Removed, sentence

COUNT_AS = "count as events, and not as messages, calls, errors, tokens or cost."


@pytest.mark.parametrize(
    ("removed", "told"),
    [
        (Removed(pruned=200, erased=261), f"Of 615 events, 200 were pruned and 261 erased: they {COUNT_AS}"),
        (Removed(pruned=0, erased=1), f"Of 615 events, 1 was erased: they {COUNT_AS}"),
        (
            Removed(pruned=50_000, erased=0, is_at_least=True),
            f"Of 615 events, at least 50,000 were pruned: they {COUNT_AS}",
        ),
        (
            Removed(pruned=0, erased=0, is_at_least=True),
            f"Events were pruned or erased; how many of this time was not counted. They {COUNT_AS}",
        ),
        (Removed(pruned=0, erased=0, undated_erased=1), "1 of no known time was pruned or erased."),
        (
            Removed(pruned=2, erased=0, undated_pruned=3),
            f"Of 615 events, 2 were pruned: they {COUNT_AS} 3 of no known time were pruned or erased.",
        ),
    ],
)
def test_the_sentence(removed: Removed, told: str) -> None:
    assert sentence(removed, "615 events") == told


def test_where_time_is_of_no_account_all_are_told() -> None:
    assert Removed(pruned=1, erased=2, undated_pruned=3, undated_erased=4).whenever() == Removed(
        pruned=4, erased=6
    )
