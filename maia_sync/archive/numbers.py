"""Which of very many row numbers have been met, and with what? In pages that are made where one is met."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_BITS: Final = 1 << 15
_OF_PAGE: Final = 16


class Numbers:
    """A set of numbers that only grows, mostly of numbers that stand close together."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> None:
        """Take a number in."""
        page, bit = divmod(number, _BITS)
        held = self._pages.get(page)
        if held is None:
            held = self._pages[page] = bytearray(_BITS // 8)
        held[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, number: int) -> bool:
        page, bit = divmod(number, _BITS)
        held = self._pages.get(page)
        return held is not None and bool(held[bit >> 3] & (1 << (bit & 7)))


class Figures:
    """Some figures of 64 bits for each of very many numbers, about 12 bytes more than they take.

    Numbers that stand far from all others take half a kilobyte each.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self._pages: dict[int, array[int]] = {}

    def get(self, number: int) -> Sequence[int] | None:
        """Return a number's figures; None if it has none yet."""
        page, at = divmod(number, _OF_PAGE)
        held = self._pages.get(page)
        if held is None:
            return None
        found = held[at * self._each : (at + 1) * self._each]
        return found if found[0] else None

    def put(self, number: int, *figures: int) -> None:
        """Keep a number's figures, of which the first is not 0."""
        page, at = divmod(number, _OF_PAGE)
        held = self._pages.get(page)
        if held is None:
            held = self._pages[page] = array("q", bytes(8 * _OF_PAGE * self._each))
        held[at * self._each : (at + 1) * self._each] = array("q", figures)
