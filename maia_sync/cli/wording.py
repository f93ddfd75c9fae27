"""How is a number of things said?"""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return a number and its noun: "1 task", "1,234 tasks"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
