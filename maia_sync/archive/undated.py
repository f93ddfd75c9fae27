"""When did an event happen whose timestamp the key cannot hold? Its text may tell, where it is no nanosecond.

The key holds the years 1677 to 2262. Text that names a moment out of them has `occurred_at` in the database
all the same (see maia/timestamp.py, from which this floor must not borrow).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_MOMENT: Final = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<minute>\d\d:\d\d):(?P<second>[0-5]\d|60)(?:\.(?P<fraction>\d+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>[01]\d|2[0-3]):(?P<minutes>[0-5]\d))",
    re.ASCII,
)


def moment_told_by(text: str | None) -> str | None:
    """Return what `occurred_at` is where a timestamp is this text: UTC, or None if it names no moment."""
    found = None if text is None else _MOMENT.fullmatch(text)
    if found is None:
        return None
    ahead = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
    try:
        zone = timezone(-ahead if found["sign"] == "-" else ahead)
        minute = datetime.fromisoformat(f"{found['date']}T{found['minute']}:00").replace(tzinfo=zone)
        second = minute.astimezone(UTC) + timedelta(seconds=int(found["second"]))
    except (ValueError, OverflowError):
        return None
    return f"{second.replace(tzinfo=None).isoformat(' ')}.{((found['fraction'] or '') + '000000')[:6]}"
