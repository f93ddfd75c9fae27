"""Which bars does a chart over time have? One for each day or hour of the window, the empty ones too.

More than fit become weeks, months or years, where what they hold can be added up.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from maia_sync.report.figures import day, kind_of, read_day, read_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from zoneinfo import ZoneInfo

    from maia_sync.analytics.filling import Filled
    from maia_sync.analytics.panels import Chart
    from maia_sync.analytics.window import Window
    from maia_sync.store.answer import Cell, Row

Unit: TypeAlias = Literal["hour", "day", "week", "month", "year"]
Number: TypeAlias = int | float

MOST: Final = 120
"""How many bars there are at most."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LENGTHS: Final[Mapping[Unit, float]] = {"hour": 1 / 24, "day": 1, "week": 7, "month": 30, "year": 365}
_COARSER: Final[Mapping[Unit, Unit]] = {"hour": "day", "day": "week", "week": "month", "month": "year"}
_ONE: Final[Mapping[Unit, str]] = {
    "hour": "an hour",
    "day": "a day",
    "week": "a week",
    "month": "a month",
    "year": "a year",
}
_WEEK: Final = "week of "
_FEW_EVENTS: Final = 3
_FEW: Final = 0.001
"""So many, or such a share of all, may lie far away from the rest without being drawn."""
_FAR: Final = timedelta(days=30)
_AHEAD: Final = timedelta(days=1)
"""What is dated later than this from now has a wrong date."""
_NOT_ADDED: Final = ("users", "tasks")
"""Whoever was there on two days is not two."""


class Bucket(msgspec.Struct, frozen=True):
    """One bar's stretch of time: its beginning, in the reporting time zone."""

    begins: datetime
    unit: Unit

    @property
    def name(self) -> str:
        """In full: `5 Jan 2026, 08:00`, `5 Jan 2026`, `week of 5 Jan 2026`, `Jan 2026`, `2026`."""
        begins = self.begins
        match self.unit:
            case "hour":
                return f"{day(begins.date())}, {begins:%H:%M}"
            case "month":
                return f"{_MONTHS[begins.month - 1]} {begins.year}"
            case "year":
                return str(begins.year)
            case _:
                return (_WEEK if self.unit == "week" else "") + day(begins.date())

    @property
    def label(self) -> str:
        """As short as an axis needs it: `08:00`, `5 Jan`, `Feb`; where a day or a year begins, which one."""
        begins = self.begins
        month = _MONTHS[begins.month - 1]
        match self.unit:
            case "hour" if begins.hour:
                return f"{begins:%H:%M}"
            case "month":
                return month if begins.month > 1 else str(begins.year)
            case "year":
                return str(begins.year)
            case _:
                return f"{begins.day} {month}"


class Axis(msgspec.Struct, frozen=True):
    """From when to when charts are drawn whose window is open: where nearly all of it happened."""

    first: datetime
    last: datetime


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """An answer over its buckets."""

    unit: Unit
    buckets: tuple[Bucket, ...]
    series: tuple[tuple[Number, ...], ...]
    """Of each series a number for each bucket."""
    timeless: int
    """How many rows have no time."""
    far_away: int
    """How many rows lie so far away from all others that they are not drawn."""
    is_cut: bool
    """There were earlier buckets than are shown."""
    begins_at: datetime | None
    """When the window begins, where the first bucket has begun before."""
    ends_at: datetime | None
    """When the window ended, where the last bucket went on."""
    is_unfinished: bool
    """The last bucket is not over yet."""


def axis_of(filled: Filled | None, window: Window, now: datetime) -> Axis | None:
    """Return the axis of a page by what there is most of; None for a window that has both its ends."""
    if filled is None or filled.panel.chart is None or not filled.rows or not window.is_open:
        return None
    chart = filled.panel.chart
    timed = _timed(filled, chart, window.zone)
    return _axis_of(_weighed(filled, chart, timed), window, now) if timed else None


def spread(
    filled: Filled, chart: Chart, window: Window, now: datetime, axis: Axis | None = None
) -> Spread | None:
    """Return an answer over the buckets of its window; None where no row has a time.

    Where the window is open, `axis` says from when to when is drawn; None: what the answer itself needs.
    """
    zone = window.zone
    base: Unit = "hour" if chart.kind == "hours" else "day"
    timed = _timed(filled, chart, zone)
    if not timed:
        return None
    if window.is_open:
        axis = axis or _axis_of(_weighed(filled, chart, timed), window, now)
        first, last = axis.first, axis.last
    else:
        first, last = _bounds(window, [moment for moment, _ in timed], now)
    unit = base
    if all(_can_be_added(series.column) for series in chart.series):
        while unit in _COARSER and (last - first) / timedelta(days=1) > MOST * _LENGTHS[unit]:
            unit = _COARSER[unit]
    buckets = tuple(Bucket(begins, unit) for begins in _beginnings(first, last, unit, zone))
    places = {bucket.begins.timestamp(): at for at, bucket in enumerate(buckets)}
    columns = [filled.column(series.column) for series in chart.series]
    sums: list[list[Number]] = [[0] * len(buckets) for _ in columns]
    for moment, row in timed:
        at = places.get(_floor(moment, unit, zone).timestamp())
        if at is not None:
            for values, column in zip(sums, columns, strict=True):
                values[at] += number(row[column])
    ends, begun = window.until, buckets[-1].begins
    is_ended_within = (
        ends is not None and begun < ends < now and _floor(_there(ends, zone), unit, zone) == begun
    )
    return Spread(
        unit=unit,
        buckets=buckets,
        series=tuple(map(tuple, sums)),
        timeless=len(filled.rows) - len(timed),
        far_away=sum(not first <= moment <= last for moment, _ in timed) if window.is_open else 0,
        is_cut=_floor(first, unit, zone).timestamp() < buckets[0].begins.timestamp(),
        begins_at=first if window.since is not None and first > buckets[0].begins else None,
        ends_at=ends if is_ended_within else None,
        is_unfinished=not is_ended_within and _floor(now.astimezone(zone), unit, zone) == begun,
    )


def number(cell: Cell) -> Number:
    """Return what a bar is as long as: nothing for what is no number, and nothing below nothing."""
    if isinstance(cell, bool) or not isinstance(cell, int | float) or not 0 < cell < float("inf"):
        return 0
    return cell


def _can_be_added(column: str) -> bool:
    return column not in _NOT_ADDED and kind_of(column) in ("other", "money")


def _timed(filled: Filled, chart: Chart, zone: ZoneInfo) -> list[tuple[datetime, Row]]:
    base: Unit = "hour" if chart.kind == "hours" else "day"
    along = filled.column(chart.along)
    return [(moment, row) for row in filled.rows if (moment := _moment_of(row[along], base, zone))]


def _weighed(
    filled: Filled, chart: Chart, timed: list[tuple[datetime, Row]]
) -> list[tuple[datetime, Number]]:
    """Return how much there is at each moment, from the first on."""
    columns = [filled.column(series.column) for series in chart.series]
    weighed = [(moment, sum(number(row[column]) for column in columns)) for moment, row in timed]
    return sorted(weighed, key=lambda each: each[0].timestamp())


def _axis_of(weighed: list[tuple[datetime, Number]], window: Window, now: datetime) -> Axis:
    """Return from when to when nearly all of it is, whatever single odd dates there are."""
    allowed = max(_FEW_EVENTS, _FEW * sum(weight for _, weight in weighed))
    end = len(weighed)
    if window.until is None:
        end -= _few_from(weighed[::-1], allowed, is_far=lambda at, _: at > now + _AHEAD)
    rest = weighed[:end]
    begin = 0
    if window.since is None:
        last = rest[-1][0]
        begin = _few_from(rest, allowed, is_far=lambda at, then: then - at > max(_FAR, last - then))
    first, last = _bounds(window, [moment for moment, _ in rest[begin:]], now)
    return Axis(first, last)


def _few_from(
    weighed: list[tuple[datetime, Number]],
    allowed: float,
    *,
    is_far: Callable[[datetime, datetime], bool],
) -> int:
    """Return how many of the first are far away from the next, and few; never all of them."""
    found, weight, rest = 0, 0.0, float(sum(each for _, each in weighed))
    for at, ((moment, each), (following, _)) in enumerate(pairwise(weighed), 1):
        weight += each
        if weight > min(allowed, rest - weight):
            break
        if is_far(moment, following):
            found = at
    return found


def _moment_of(cell: Cell, base: Unit, zone: ZoneInfo) -> datetime | None:
    if base == "hour":
        moment = read_moment(cell)
        return None if moment is None else _there(moment, zone)
    told = read_day(cell)
    return None if told is None else _midnight(told, zone)


def _bounds(window: Window, moments: list[datetime], now: datetime) -> tuple[datetime, datetime]:
    """Return the first and the last moment that is drawn: of the window, but nothing empty after now."""
    first, last = min(moments), max(moments)
    if window.since is not None:
        first = _there(window.since, window.zone)
    if window.until is not None:
        last = max(last, _there(min(window.until - timedelta(microseconds=1), now), window.zone))
    return min(first, last), last


def _beginnings(first: datetime, last: datetime, unit: Unit, zone: ZoneInfo) -> list[datetime]:
    """Return where buckets begin, at most so many of the latest."""
    found = []
    for begins in _backwards(_floor(last, unit, zone), unit, zone):
        found.append(begins)
        if begins.timestamp() <= first.timestamp() or len(found) == MOST:
            break
    return found[::-1]


def _backwards(begins: datetime, unit: Unit, zone: ZoneInfo) -> Iterator[datetime]:
    step: Callable[[datetime], datetime] = {
        "hour": lambda at: _there(at.astimezone(UTC) - timedelta(seconds=1), zone),
        "day": lambda at: _midnight(at.date() - timedelta(days=1), zone),
        "week": lambda at: _midnight(at.date() - timedelta(days=7), zone),
        "month": lambda at: _midnight(at.date() - timedelta(days=1), zone),
        "year": lambda at: _midnight(at.date() - timedelta(days=1), zone),
    }[unit]
    while True:
        yield begins
        try:
            begins = _floor(step(begins), unit, zone)
        except OverflowError:  # before the first year
            return


def _floor(moment: datetime, unit: Unit, zone: ZoneInfo) -> datetime:
    """Return when the bucket began in which a moment of the zone lies."""
    if unit == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    here = moment.date()
    if unit == "week":
        here -= timedelta(days=min(here.weekday(), here.toordinal() - 1))
    elif unit == "month":
        here = here.replace(day=1)
    elif unit == "year":
        here = here.replace(month=1, day=1)
    return _midnight(here, zone)


def _midnight(here: date, zone: ZoneInfo) -> datetime:
    return datetime(here.year, here.month, here.day, tzinfo=zone)


def _there(moment: datetime, zone: ZoneInfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.replace(tzinfo=zone)


def range_name(found: Spread, zone: ZoneInfo) -> str:
    """Return from when to when, and what a bar is."""
    first, last = (each.name.removeprefix(_WEEK) for each in (found.buckets[0], found.buckets[-1]))
    stretch = first if first == last else f"{first} to {last}"
    from_monday = " from Monday on" if found.unit == "week" else ""
    return f"{stretch} ({zone.key}); each bar is {_ONE[found.unit]}{from_monday}"
