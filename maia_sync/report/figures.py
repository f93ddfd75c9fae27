"""How is a figure written? Moments, durations, counts, rates and money, for a page and for plain text.

What a cell is follows from its column's name: `called_at` is a moment, `duration_ms` a duration, `error_rate`
a rate. NULL is an en dash. A function that returns text serves everywhere; Markup is for a page.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from markupsafe import Markup, escape

from maia_sync.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from zoneinfo import ZoneInfo

    from maia_sync.store.answer import Cell

FigureKind: TypeAlias = Literal[
    "moment", "hour_at", "day", "hour", "milliseconds", "seconds", "rate", "money", "identity", "other"
]

DASH: Final = "–"  # noqa: RUF001 - an en dash is meant
NOT_TOLD: Final = Markup('<span class="muted" title="not told">{}</span>').format(DASH)
LONGEST_TEXT: Final = 200
"""How many characters of a text are shown."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS = ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s"))
_LONGEST_IDENTITY = 12
_MANY = 10_000_000
_SMALLEST_COST = 0.0001
_WHOLE_NAMES: Final[Mapping[str, FigureKind]] = {
    "hour_at": "hour_at",
    "hour": "hour",
    "revision": "identity",
    "ordinal": "identity",
    "seq": "identity",
}
_LAST_WORDS: Final[Mapping[str, FigureKind]] = {
    "at": "moment",
    "day": "day",
    "ms": "milliseconds",
    "seconds": "seconds",
    "rate": "rate",
    "share": "rate",
    "cost": "money",
    "id": "identity",
}
_UNSAID = ("at", "id", "ms", "seconds")
"""How a column's name may end without its heading saying so: the cells do."""
_NUMBERS = ("hour", "milliseconds", "seconds", "rate", "money")


# ------------------------------------------------------------------ what is it


def kind_of(column: str) -> FigureKind:
    """Return what the cells of a column of this name are."""
    name = column.lower()
    return _WHOLE_NAMES.get(name) or _LAST_WORDS.get(name.rpartition("_")[2], "other")


def is_number(column: str, cells: list[Cell]) -> bool:
    """Tell whether a column is aligned to the right: its name or its cells say that it holds numbers."""
    kind = kind_of(column)
    if kind in _NUMBERS:
        return True
    told = {type(cell) for cell in cells} - {type(None)}
    return kind in ("other", "identity") and bool(told) and told <= {int, float}


def read_moment(value: object) -> datetime | None:
    """Return the moment of a cell, or an aware datetime as it is; None for what is none."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def read_day(value: object) -> date | None:
    """Return the day of a cell, or a date as it is; None for what is none."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


# ------------------------------------------------------------------ as text


def day(value: object) -> str:
    """Return `5 Jan 2026`."""
    if value is None:
        return DASH
    found = read_day(value)
    return str(value) if found is None else f"{found.day} {_MONTHS[found.month - 1]} {found.year}"


def moment_text(value: object, zone: ZoneInfo, *, minutes: bool = False) -> str:
    """Return `5 Jan 2026, 08:00:00` in a zone; to the minute on demand."""
    if value is None:
        return DASH
    found = read_moment(value)
    if found is None:
        return str(value)
    there = _in_zone(found, zone)
    return f"{day(there.date())}, {there:%H:%M}" + ("" if minutes else f":{there:%S}")


def _in_zone(moment: datetime, zone: ZoneInfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:  # the first and the last day of the calendar
        return moment


def count(value: object) -> str:
    """Return `12,345`; of a number that is not whole, two decimals."""
    if value is None:
        return DASH
    if isinstance(value, float):
        if not math.isfinite(value):
            return _not_finite(value)
        return f"{value:,.0f}" if value.is_integer() else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def duration(value: object) -> str:
    """Return seconds, or a timedelta, as `850 ms`, `2.4 s`, `3 min 5 s`, `2 h 10 min` or `3 d 4 h`."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    seconds = _number(value)
    if seconds is None:
        return DASH if value is None else str(value)
    if not math.isfinite(seconds):
        return _not_finite(seconds)
    return f"−{_span(-seconds)}" if seconds < 0 else _span(seconds)  # noqa: RUF001 - a minus sign


def milliseconds(value: object) -> str:
    """Return milliseconds like `duration` does."""
    number = _number(value)
    return duration(value if number is None else number / 1000)


def _span(seconds: float) -> str:
    if seconds < 0.01 and seconds:
        return f"{seconds * 1000:.1f} ms"
    if round(seconds * 1000) < 1000:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, large_name, small, small_name in _STEPS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large:,} {large_name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def rate(value: object) -> str:
    """Return a share of 1 as `3.4 %`; what is not quite none or all is not rounded to that."""
    share = _number(value)
    if share is None:
        return DASH if value is None else str(value)
    if not math.isfinite(share):
        return _not_finite(share)
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{share * 100:,.1f} %"


def money(value: object) -> str:
    """Return a cost with four decimals, in whatever currency it is: `0.0123`."""
    cost = _number(value)
    if cost is None:
        return DASH if value is None else str(value)
    if not math.isfinite(cost):
        return _not_finite(cost)
    return f"< {_SMALLEST_COST}" if 0 < cost < _SMALLEST_COST else f"{cost:,.4f}"


def ago(value: object, now: datetime) -> str:
    """Return how long before now a moment was: `3 min 5 s ago`, `in 2.0 s`, `never` for none."""
    found = read_moment(value)
    if found is None:
        return "never" if value is None else str(value)
    seconds = (now - found).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    return f"{_span(seconds)} ago" if seconds > 0 else f"in {_span(-seconds)}"


def cut(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return the text, or its beginning with an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _not_finite(value: float) -> str:
    return "not a number" if math.isnan(value) else "infinite"


def plain(column: str, cell: Cell, zone: ZoneInfo) -> str:
    """Return a cell as text; a long one is cut."""
    if cell is None:
        return DASH
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    kind = kind_of(column)
    if kind in ("moment", "hour_at"):
        text = moment_text(cell, zone, minutes=kind == "hour_at")
    elif kind == "hour" and isinstance(cell, int):
        text = f"{cell:02}:00"
    elif isinstance(cell, bytes):
        text = cell[:LONGEST_TEXT].hex()
    else:
        text = _WRITERS.get(kind, count)(cell)
    return cut(text)


def short(column: str, cell: Cell, zone: ZoneInfo) -> str:
    """Return a cell for where there is little room: ten million and more in millions, `452.8 M`."""
    if kind_of(column) == "other" and isinstance(cell, int) and cell >= _MANY:
        return f"{cell / 1_000_000:,.1f} M"
    return plain(column, cell, zone)


_WRITERS: Final[Mapping[FigureKind, Callable[[object], str]]] = {
    "day": day,
    "milliseconds": milliseconds,
    "seconds": duration,
    "rate": rate,
    "money": money,
    "identity": str,
}


# ------------------------------------------------------------------ on a page


def moment(value: object, zone: ZoneInfo, *, minutes: bool = False) -> Markup:
    """Return a `<time>` that is read in a zone; the text of a cell that is no moment."""
    found = read_moment(value)
    if found is None:
        return shown(None if value is None else str(value))
    exact = f"{found.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    text = moment_text(found, zone, minutes=minutes)
    return Markup('<time datetime="{}">{}</time>').format(exact, text)


def day_told(value: object) -> Markup:
    """Return a `<time>` of a day."""
    found = read_day(value)
    if found is None:
        return shown(None if value is None else str(value))
    return Markup('<time datetime="{}">{}</time>').format(found.isoformat(), day(found))


def figure(column: str, cell: Cell, zone: ZoneInfo) -> Markup:
    """Return a cell for a page."""
    kind = kind_of(column)
    if kind in ("moment", "hour_at"):
        return moment(cell, zone, minutes=kind == "hour_at")
    if kind == "day":
        return day_told(cell)
    if kind == "identity" and isinstance(cell, str) and len(cell) > _LONGEST_IDENTITY:
        return identity(cell)
    return NOT_TOLD if cell is None else shown(plain(column, cell, zone))


def identity(text: str) -> Markup:
    """Return the beginning of a long id, which on its own is mostly enough to tell it from others."""
    short = cut(text, _LONGEST_IDENTITY - 3)
    return Markup('<span title="{}">{}</span>').format(visible(cut(text)), visible(short))


def shown(text: str | None, longest: int = LONGEST_TEXT) -> Markup:
    """Return a foreign text for a page: cut, visible, escaped."""
    return NOT_TOLD if text is None else escape(visible(cut(text, longest)))


def coded(text: str) -> Markup:
    """Return a sentence of our own, in which what stands between backticks is code."""
    pieces = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if at % 2 else escape(piece)
        for at, piece in enumerate(pieces)
    )


def heading(column: str) -> str:
    """Return what is written over a column: `tool calls` over `tool_calls`, `p95` over `p95_ms`."""
    words = column.split("_")
    if len(words) > 1 and words[-1] in _UNSAID:
        del words[-1]
    return " ".join(words)


def _dashed(write: Callable[[object], str]) -> Callable[[object], Markup | str]:
    def written(value: object) -> Markup | str:
        return NOT_TOLD if value is None else write(value)

    return written


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "ago": ago,
    "coded": coded,
    "count": _dashed(count),
    "cut": cut,
    "day": day_told,
    "duration": _dashed(duration),
    "figure": lambda cell, column, zone: figure(column, cell, zone),
    "heading": heading,
    "milliseconds": _dashed(milliseconds),
    "moment": moment,
    "money": _dashed(money),
    "rate": _dashed(rate),
    "shown": shown,
}
"""For templates: `{{ at|moment(zone) }}`, `{{ at|ago(now) }}`, `{{ seconds|duration }}`, ..."""
