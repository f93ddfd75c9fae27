"""Which instant does an event's timestamp name? RFC 3339 text to nanoseconds, every digit minded.

A leap second (`:60`) is the next second's instant. Text that names no instant, or one outside
the years 1677 to 2262 that nanoseconds in 64 bits can hold, has no place of its own in the key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from maia_sync.model import NO_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 10**9


class Instant(NamedTuple):
    """One timestamp, read."""

    nanoseconds: int
    """Since the Unix epoch, or NO_TIMESTAMP."""
    occurred_at: str | None
    """`YYYY-MM-DD HH:MM:SS.ffffff` in UTC, or None where no calendar instant can be read."""
    payload_part: bytes
    """What of the text the key does not hold, and so counts as payload; b"" as a rule."""


NOWHERE = Instant(NO_TIMESTAMP, None, b"")


def read_instant(text: str) -> Instant:
    """Read one timestamp: any text without lone surrogates; never raises."""
    minute = _utc_minute(text[:17])
    if minute is not None and 22 <= len(text) <= 30 and text[-1] == "Z" and text[19] == ".":
        seconds, fraction = text[17:19], text[20:-1]
        digits = seconds + fraction
        if digits.isascii() and digits.isdigit() and seconds < "60":
            nanoseconds = minute[0] + int((digits + "000000000")[:11])
            return Instant(nanoseconds, f"{minute[1]}{seconds}.{(fraction + '000000')[:6]}", b"")
    return _read_any(text)


class Instants(NamedTuple):
    """The timestamps of many events, read: columns of Instant's fields."""

    nanoseconds: list[int]
    occurred_at: list[str | None]
    payload_parts: list[bytes] | None
    """None: no text has any."""


def read_instants(texts: Sequence[str]) -> Instants:
    """Read timestamps as `read_instant` does each, for a third of its cost where they are spelt alike."""
    alike = _read_alike(texts) if texts else None
    if alike is not None:
        return alike
    instants = [read_instant(text) for text in texts]
    return Instants(
        [instant.nanoseconds for instant in instants],
        [instant.occurred_at for instant in instants],
        [instant.payload_part for instant in instants],
    )


def _read_alike(texts: Sequence[str]) -> Instants | None:
    """Read texts that are all `YYYY-MM-DDTHH:MM:SS.f...Z`, with one to nine digits of a second; else None."""
    size, together = len(texts[0]), "".join(texts)
    if not 22 <= size <= 30 or {*map(len, texts)} != {size} or not together.isascii():
        return None
    places = (17, 18, *range(20, size - 1))
    digits = "".join([together[place::size] for place in places])
    ends = {*together[19::size]}, {*together[size - 1 :: size]}
    if not digits.isdigit() or ends != ({"."}, {"Z"}) or max(together[17::size]) > "5":
        return None
    prefixes = [text[:17] for text in texts]
    minutes = {prefix: _utc_minute(prefix) for prefix in {*prefixes}}
    starts = {prefix: minute[0] for prefix, minute in minutes.items() if minute is not None}
    if len(starts) < len(minutes):
        return None
    scale, packed = 10 ** (30 - size), together.replace(".", "")
    nanoseconds = [
        starts[prefix] + int(packed[at : at + size - 19]) * scale
        for prefix, at in zip(prefixes, range(17, len(packed), size - 1), strict=True)
    ]
    spaced = together.replace("T", " ").replace("t", " ")
    shown, missing = min(size - 1, 26), "0" * max(27 - size, 0)
    occurred: list[str | None] = [spaced[at : at + shown] + missing for at in range(0, len(together), size)]
    return Instants(nanoseconds, occurred, None)


@lru_cache(maxsize=256)
def _utc_minute(prefix: str) -> tuple[int, str] | None:
    """Read `YYYY-MM-DDTHH:MM:` in UTC: its nanoseconds and its text with a blank for the T.

    The events of one page share a handful of minutes, so the calendar is asked once for each.
    """
    instant = _read_any(f"{prefix}00Z")
    if instant.nanoseconds == NO_TIMESTAMP or instant.occurred_at is None or len(prefix) != 17:
        return None
    # The last minutes that fit are left to the slow way, which sees whether the seconds fit.
    if abs(instant.nanoseconds) > 2**63 - 120 * _SECOND:
        return None
    return instant.nanoseconds, instant.occurred_at[:17]


def _read_any(text: str) -> Instant:
    found = _RFC3339.fullmatch(text)
    unread = Instant(NO_TIMESTAMP, None, msgspec.json.encode(text))
    if found is None:
        return unread
    date, minute, seconds, fraction, sign, hours, minutes = found.groups(default="")
    if int(seconds) > 60 or int(hours or 0) > 23 or int(minutes or 0) > 59:
        return unread
    try:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        start = datetime.fromisoformat(f"{date}T{minute}:00").replace(tzinfo=zone).astimezone(UTC)
        whole = start + timedelta(seconds=int(seconds))
    except (ValueError, OverflowError):
        return unread
    occurred_at = f"{whole.replace(tzinfo=None).isoformat(' ')}.{(fraction + '000000')[:6]}"
    since = whole - _EPOCH
    nanoseconds = (since.days * 86_400 + since.seconds) * _SECOND + int((fraction + "000000000")[:9])
    if not NO_TIMESTAMP < nanoseconds < 2**63:
        return Instant(NO_TIMESTAMP, occurred_at, unread.payload_part)
    return Instant(nanoseconds, occurred_at, fraction[9:].rstrip("0").encode())
