"""Which of very many row numbers have been met? A bit for each, in pages that are made where one is met."""

from __future__ import annotations

from typing import Final

_BITS: Final = 1 << 15


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
