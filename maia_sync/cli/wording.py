"""How is a number of things said?"""

from __future__ import annotations

_FEW_BYTES = 100_000


def counted(number: int, thing: str) -> str:
    """Return a number and its noun: "1 task", "1,234 tasks", "2 entries"."""
    is_y = thing.endswith("y") and thing[-2:-1] not in "aeiou"
    things = f"{thing[:-1]}ies" if is_y else f"{thing}s"
    return f"{number:,} {thing if number == 1 else things}"


def sized(size: int) -> str:
    """Return how many bytes something has: "33,844 bytes", "1.2 MB"."""
    return counted(size, "byte") if size < _FEW_BYTES else f"{size / 1e6:,.1f} MB"
