"""Are numbers of things, and sizes, said as people say them?"""

from __future__ import annotations

import pytest

from maia_sync.cli.wording import counted, sized


@pytest.mark.parametrize(
    ("number", "thing", "said"),
    [
        (1, "task", "1 task"),
        (1234, "task", "1,234 tasks"),
        (1, "entry", "1 entry"),
        (0, "entry", "0 entries"),
        (2, "day", "2 days"),
    ],
)
def test_a_number_has_its_noun(number: int, thing: str, said: str) -> None:
    assert counted(number, thing) == said


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (1, "1 byte"), (33_844, "33,844 bytes"), (100_000, "0.1 MB"), (12_345_678, "12.3 MB")],
)
def test_a_size_is_never_rounded_to_nothing(size: int, said: str) -> None:
    assert sized(size) == said
