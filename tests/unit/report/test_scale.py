"""Are an axis' lines few and round, from zero on, and are they named as people would?"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.report.scale import MOST_LINES, line_label, lines


@pytest.mark.parametrize(
    ("column", "longest", "labels"),
    [
        ("events", 0, ["0"]),
        ("events", 1, ["0", "1"]),
        ("events", 3, ["0", "1", "2", "3"]),
        ("events", 973, ["0", "500", "1,000"]),
        ("input_tokens", 30_000_000, ["0", "10 M", "20 M", "30 M"]),
        ("events", 1_900_000, ["0", "500 k", "1 M", "1.5 M", "2 M"]),
        ("events", 17_000, ["0", "5 k", "10 k", "15 k", "20 k"]),
        ("events", 9_000, ["0", "5 k", "10 k"]),
        ("cost", 0.0194, ["0", "0.005", "0.01", "0.015", "0.02"]),
        ("error_rate", 0.07, ["0", "2 %", "4 %", "6 %", "8 %"]),
        ("duration_ms", 850, ["0", "500 ms", "1 s"]),
        ("duration_ms", 93_000, ["0", "30 s", "1 min", "1.5 min", "2 min"]),
        ("lag_seconds", 200_000, ["0", "1 d", "2 d", "3 d"]),
    ],
)
def test_lines_are_few_and_round(column: str, longest: float, labels: list[str]) -> None:
    found = lines(column, longest)
    assert [line_label(column, value, found[-1]) for value in found] == labels


@given(
    column=st.sampled_from(["events", "cost", "duration_ms", "gap_seconds", "error_rate"]),
    longest=st.floats(min_value=1e-9, max_value=1e15) | st.integers(min_value=1, max_value=10**15),
    most=st.integers(min_value=2, max_value=MOST_LINES),
)
def test_lines_begin_at_zero_reach_the_longest_and_are_even(column: str, longest: float, most: int) -> None:
    found = lines(column, longest, most)
    assert found[0] == 0
    assert 2 <= len(found) <= most
    assert found[-1] >= longest * (1 - 1e-6)
    steps = [later - earlier for earlier, later in pairwise(found)]
    assert max(steps) == pytest.approx(min(steps))
    assert len({line_label(column, value, found[-1]) for value in found}) == len(found)
    if column == "events":
        assert all(float(value).is_integer() for value in found)
