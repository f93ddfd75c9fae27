"""How long is that, for a person? Durations and moments, to text and back."""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING

from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?) ?(ms|s|m|h|d)?")
_CALENDAR = re.compile(r"[0-9.]+ ?(y|yr|yrs|years?|M|mo|mon|months?)")
_STEPS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s"))


def parse_duration(text: str, *, option: str) -> float:
    """Return the seconds of "500ms", "30s", "15m", "2h", "7d" or "90". Raises UsageError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None and _CALENDAR.fullmatch(text.strip()):
        raise UsageError(
            f"{option}: expected a duration such as 400d, got {text!r}; there are no months or years: "
            "a year is 365d"
        )
    if match is None:
        raise UsageError(f'{option}: expected a duration such as "30s", "15m" or "2h", got {text!r}')
    return float(match[1]) * _UNITS[match[2] or "s"]


def show_duration(span: timedelta | float) -> str:
    """Return a duration in its two largest units, such as "3m 12s"; a negative one counts as 0."""
    seconds = max(span if isinstance(span, int | float) else span.total_seconds(), 0.0)
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for large, large_name, small, small_name in _STEPS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large}{large_name}" + (f" {rest}{small_name}" if rest else "")
    return f"{whole}s"


def show_moment(moment: datetime | None) -> str:
    """Return a moment in UTC to the second, or a dash."""
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def show_ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was, or "never"."""
    return "never" if moment is None else f"{show_duration(now - moment)} ago"
