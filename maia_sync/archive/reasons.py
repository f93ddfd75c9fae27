"""What may stand as a reason? A text that somebody has typed, that both databases and the log can keep."""

from __future__ import annotations

from typing import Final

from maia_sync.errors import UsageError

MOST_CHARACTERS: Final = 2_000


def require_told(text: str, option: str) -> str:
    """Return what was given with an option, without the blanks around it. Raises UsageError."""
    told = text.strip()
    if not told:
        raise UsageError(f"{option}: expected some words, not an empty text")
    if len(told) > MOST_CHARACTERS:
        raise UsageError(f"{option}: expected {MOST_CHARACTERS:,} characters at most, not {len(told):,}")
    try:
        told.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{option}: expected readable text (UTF-8)") from None
    if "\0" in told:
        raise UsageError(f"{option}: holds a NUL character, which no database keeps")
    return told
