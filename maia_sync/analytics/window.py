"""Which stretch of time is asked about? From when, up to when, in whose days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maia_sync.store.answer import Value

_HOURS_UP_TO: Final = timedelta(hours=72)
_INSTANT: Final = timedelta(microseconds=1)
_BEFORE_ALL: Final = "-infinity"
_AFTER_ALL: Final = "infinity"
"""PostgreSQL's own words; to SQLite they are texts before and behind all digits."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` (included) up to `until` (not included), both aware; None: no bound."""

    since: datetime | None
    until: datetime | None
    zone: ZoneInfo
    """The reporting time zone."""
    label: str
    """As in a sentence: `the last 7 days`, `5 to 11 January 2026`."""

    @property
    def is_short(self) -> bool:
        """Tell whether it is told in hours rather than in days."""
        return self.since is not None and self.until is not None and self.until - self.since <= _HOURS_UP_TO

    @property
    def is_open(self) -> bool:
        """Tell whether it has no bound at one end, or at both."""
        return self.since is None or self.until is None

    def values(self) -> Mapping[str, Value]:
        """Return what the parameters since, until, since_day and until_day of a panel stand for.

        None of them is NULL: where there is no bound, they stand before or behind every moment, so that a
        statement compares without asking first, and is led by indexes.
        """
        since, until = self.since, self.until
        return {
            "since": since or _BEFORE_ALL,
            "until": until or _AFTER_ALL,
            "since_day": _BEFORE_ALL if since is None else _day_of(since, self.zone),
            "until_day": _AFTER_ALL if until is None else _day_of(until - _INSTANT, self.zone),
        }

    def before(self, now: datetime) -> Window | None:
        """Return the window of the same length before this one; None where it has an open end.

        What of this one is still to come is left out at the end of the other as well, and its label says so:
        a day that has just begun is not compared with a whole one.
        """
        if self.since is None or self.until is None:
            return None
        # By the clock on the wall of the zone, so that a window of days begins and ends with days.
        try:
            since, until = self.since.astimezone(self.zone), self.until.astimezone(self.zone)
            length = until.replace(tzinfo=None) - since.replace(tzinfo=None)
            passed = min(self.until, max(now, self.since)).astimezone(self.zone)
            earlier = (since - length).astimezone(UTC), (passed - length).astimezone(UTC)
        except OverflowError:
            return None
        span = f"{_span(length)} before"
        label = f"the {span}" if passed >= until else f"the same time {span}"
        return Window(since=earlier[0], until=earlier[1], zone=self.zone, label=label)


def _day_of(moment: datetime, zone: ZoneInfo) -> date:
    """Return the day of a moment in a zone; the calendar's first or last one where the zone's lies beyond."""
    try:
        return moment.astimezone(zone).date()
    except OverflowError:
        return date.min if moment.year == date.min.year else date.max


def _span(length: timedelta) -> str:
    hours = round(length / timedelta(hours=1))
    if hours % 24 == 0 and hours > 24:
        return f"{hours // 24} days"
    return "hour" if hours == 1 else f"{hours} hours"
