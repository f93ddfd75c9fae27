"""Which position of which log does a page token stand for, and is it still honoured?

A token is opaque to its reader: base64url of its generation, the order of the log, a position, a mark of
the task and an optional salt. The same position gives the same token (unless salted), the page size is part
of it only where the world wants that, and a token outlives a restart of the server unless tokens are given
a life. What a position counts is the world's business (events, or whole pages).
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from maia_sync.clock import Clock

Order = Literal["oldest-first", "newest-first"]
TokenStyle = Literal["position", "page-number", "offset"]
FixedLimit = Literal["free", "refused", "embedded"]

_FIELDS = 5
_LIMIT = "@"


class PageTokens:
    """Makes page tokens and reads them back."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._generation = 0
        self._given_out: dict[str, float] = {}

    def make(
        self, task_id: str, order: Order, position: int, *, salt: str = "", limit: int | None = None
    ) -> str:
        """Return the token of a position; `salt` makes a different token of the same position.

        `limit` is noted in the token: `limit_of` reads it.
        """
        place = str(position) if limit is None else f"{position}{_LIMIT}{limit}"
        fields = (str(self._generation), order[0], place, _mark(task_id), salt)
        token = base64.urlsafe_b64encode(":".join(fields).encode()).decode().rstrip("=")
        self._given_out[token] = self._clock.monotonic()
        return token

    def position(self, task_id: str, order: Order, token: str, *, life: float | None = None) -> int | None:
        """Return the position that the token names, or None where the token is refused.

        `life` is in seconds of the clock, counted from the last time that the token was given out.
        """
        fields = _fields(token)
        if fields is None or self._has_expired(token, life):
            return None
        generation, letter, place, mark, _ = fields
        if (generation, letter, mark) != (str(self._generation), order[0], _mark(task_id)):
            return None
        return _number(place.partition(_LIMIT)[0])

    @staticmethod
    def limit_of(token: str) -> int | None:
        """Return the limit that was noted in a token, or None."""
        fields = _fields(token)
        return None if fields is None else _number(fields[2].partition(_LIMIT)[2])

    def revoke(self) -> None:
        """Refuse every token made so far; tokens made from now on read differently."""
        self._generation += 1
        self._given_out.clear()

    def _has_expired(self, token: str, life: float | None) -> bool:
        if life is None:
            return False
        given_out = self._given_out.get(token)
        return given_out is None or self._clock.monotonic() - given_out > life


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _mark(task_id: str) -> str:
    return f"{zlib.crc32(task_id.encode()):08x}"


def _fields(token: str) -> list[str] | None:
    try:
        plain = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    fields = plain.split(":", _FIELDS - 1)
    return fields if len(fields) == _FIELDS else None
