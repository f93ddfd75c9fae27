"""Which way does a log run in time? Told from the timestamps that a walk has met so far.

A wrong answer would be silent loss: polls would read the end at which nothing comes. Agents' clocks
differ a little, late events stand behind newer ones, and an import can hold a log's past behind its
present. So two things are looked at, the steps from one timestamp to the next and the pairs half the
sample apart, and only where nearly all of both agree is the answer sure. As long as it is not, polls
read both ends.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from maia_sync.model import NO_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FROM_A_PAGE = 64
_FROM_A_WALK = 512
_FEWEST_AGREEING = 3
_DISSENT = 4
"""Sure: at least four that say one thing for each that says the other."""


class Direction(msgspec.Struct, frozen=True, kw_only=True):
    """Which way a log runs, and whether enough was seen of it to rely on that."""

    order: Literal["oldest-first", "newest-first"]
    sure: bool


class Drift:
    """Collects timestamps along one walk: a sample of each page, bounded in all."""

    def __init__(self) -> None:
        self._times: list[int] = []

    def add(self, timestamps: Sequence[int]) -> None:
        """Take a page's timestamps in, in the order in which it serves them."""
        if len(self._times) < _FROM_A_WALK:
            step = max(1, len(timestamps) // _FROM_A_PAGE)
            self._times += [each for each in timestamps[::step] if each != NO_TIMESTAMP]

    def direction(self) -> Direction | None:
        """Tell which way the log runs; None if no two timestamps differ, or half of them disagree."""
        half = (len(self._times) + 1) // 2
        far = _compared(zip(self._times, self._times[half:], strict=False))
        if far.forward == far.back:
            return None
        near = _compared(pairwise(self._times))
        if far.back > far.forward:
            sure = all(_outweigh(one.back, one.forward) for one in (far, near))
            return Direction(order="newest-first", sure=sure)
        return Direction(
            order="oldest-first", sure=all(_outweigh(one.forward, one.back) for one in (far, near))
        )


class _Compared(NamedTuple):
    forward: int
    back: int


def _compared(pairs: Iterable[tuple[int, int]]) -> _Compared:
    listed = list(pairs)
    return _Compared(
        forward=sum(1 for earlier, later in listed if later > earlier),
        back=sum(1 for earlier, later in listed if later < earlier),
    )


def _outweigh(agreeing: int, others: int) -> bool:
    return agreeing >= _FEWEST_AGREEING and others * _DISSENT <= agreeing
