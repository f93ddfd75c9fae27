"""Which instant does an event's timestamp name? RFC 3339 text to nanoseconds, every digit minded.

A leap second (`:60`) is the next second's instant. Text that names no instant, or one outside
the years 1677 to 2262 that nanoseconds in 64 bits can hold, has no place of its own in the key.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple

import msgspec

from maia_sync.model import NO_TIMESTAMP

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
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
