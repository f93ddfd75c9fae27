"""Which stretch of time does an address ask for? `?window=7d`, or `?since=2026-01-05&until=2026-01-12`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from maia_sync.analytics.window import Window
from maia_sync.errors import UsageError
from maia_sync.report.figures import day as day_text

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS: Final = {"7d": 7, "30d": 30}
LABELS: Final = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "all": "all time"}
"""What can be chosen by one link each, and what the link says."""
DEFAULT: Final = "7d"
EVER: Final = Window(since=None, until=None, zone=ZoneInfo("UTC"), label="all time")
"""Without bounds; in whose days is of no account."""
AHEAD: Final = timedelta(days=1)
"""An event dated later than this from now has a wrong date, and moves no window."""
_LONGEST_SHOWN: Final = 40


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The window that a page is of."""

    window: Window
    key: str
    """Names it as long as it means the same, though it may move on with the time."""
    query: Mapping[str, str]
    """How to ask for it again."""
    name: str | None = None
    """Which of LABELS it is."""
    notice: str | None = None
    """What the reader must know about it: a sentence."""
    first_day: date | None = None
    last_day: date | None = None


def choose_window(
    query: Mapping[str, str], *, now: datetime, zone: ZoneInfo, newest: datetime | None = None
) -> Choice:
    """Return the window of an address; `newest` is when the newest event was. Raises UsageError.

    Without a choice it is the last 7 days; if nothing happened in them, the 7 days up to the newest event.
    Windows begin and end with hours or days of the zone, as the charts do.
    """
    name = query.get("window") or None
    since, until = _day(query, "since"), _day(query, "until")
    if name is not None and (since or until):
        raise UsageError("the address asks for a window and for dates: choose one of them")
    if since or until:
        return _of_days(since, until, now.astimezone(zone).date(), zone)
    if name is not None:
        return _named(name, now, zone)
    usual = _named(DEFAULT, now, zone)
    if newest is None or usual.window.since is None or newest >= usual.window.since:
        return usual
    days = _DAYS[DEFAULT]
    try:
        last = newest.astimezone(zone).date()
        chosen = _of_days(last - timedelta(days=days - 1), last, last, zone)
    except (OverflowError, UsageError):  # of the calendar's first week: such a date is none
        return usual
    notice = f"The newest event is of {day_text(last)}; these are the {days} days up to it."
    return msgspec.structs.replace(chosen, notice=notice)


def _named(name: str, now: datetime, zone: ZoneInfo) -> Choice:
    if name == "all":
        window = Window(since=None, until=None, zone=zone, label="all time")
        return Choice(window=window, key=name, query={"window": name}, name=name)
    if name == "24h":
        # The hour of the zone that has begun, and the 23 before it.
        begun = now.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
        since, until = begun - timedelta(hours=23), begun + timedelta(hours=1)
    elif name in _DAYS:
        today = now.astimezone(zone).date()
        since = _midnight(today - timedelta(days=_DAYS[name] - 1), zone)
        until = _midnight(today + timedelta(days=1), zone)
    else:
        *others, last = LABELS
        raise UsageError(f"window: expected {', '.join(others)} or {last}, got {name[:_LONGEST_SHOWN]!r}")
    window = Window(since=since, until=until, zone=zone, label=f"the last {LABELS[name]}")
    return Choice(window=window, key=name, query={"window": name}, name=name)


def _of_days(since: date | None, until: date | None, today: date, zone: ZoneInfo) -> Choice:
    """Return the window of days, both included; without a last one, up to today."""
    if since is not None and until is not None and since > until:
        raise UsageError(f"since {since} comes after until {until}")
    last = until if until is not None else max(today, since or today)
    told = {"since": since, "until": until}
    try:
        begins = None if since is None else _midnight(since, zone)
        ends = _midnight(last + timedelta(days=1), zone)
    except OverflowError as error:
        raise UsageError("the dates lie too near the end of the calendar") from error
    label = f"up to {day_text(last)}" if since is None else _days_text(since, last)
    return Choice(
        window=Window(since=begins, until=ends, zone=zone, label=label),
        key=f"{since}/{until}",
        query={key: day.isoformat() for key, day in told.items() if day is not None},
        first_day=since,
        last_day=last,
    )


def _days_text(first: date, last: date) -> str:
    return day_text(first) if first == last else f"{day_text(first)} to {day_text(last)}"


def _day(query: Mapping[str, str], name: str) -> date | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageError(f"{name}: expected a date such as 2026-01-05, got {text[:_LONGEST_SHOWN]!r}")


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)
