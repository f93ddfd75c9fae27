"""Where are the lines of an axis? Few, round, from zero on; whole where things are counted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from maia_sync.report.figures import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LINES: Final = 5
_ROUND_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200)
_DAY = 86_400
_THOUSANDS_FROM: Final = 10_000


def lines(column: str, longest: float, most: int = MOST_LINES) -> list[float]:
    """Return a few values from zero to where the longest bar ends or beyond."""
    if longest <= 0:
        return [0]
    step = next(step for step in _steps(column) if step * (most - 1) >= longest)
    return [step * at for at in range(max(math.ceil(longest / step - 1e-9), 1) + 1)]


def line_label(column: str, value: float, last: float = 0) -> str:
    """Return how an axis names a value; `last` is its last one, so that all are told in one way."""
    kind = kind_of(column)
    if not value:
        return "0"
    if kind in ("milliseconds", "seconds"):
        return _span(value / 1000 if kind == "milliseconds" else value)
    if kind == "rate":
        return f"{value * 100:,.10g} %"
    if max(value, last) >= _THOUSANDS_FROM and value >= 1000:
        size, name = (1_000_000, "M") if value >= 1_000_000 else (1000, "k")
        return f"{value / size:,.10g} {name}"
    return f"{round(value):,}" if float(value).is_integer() else f"{value:.4g}"


def _steps(column: str) -> Iterator[float]:
    kind = kind_of(column)
    if kind in ("milliseconds", "seconds"):
        factor = 1000 if kind == "milliseconds" else 1
        yield from (step * factor for step in _decimal(-3) if step < 1)
        yield from (step * factor for step in _ROUND_SECONDS)
        yield from (step * factor * _DAY for step in _decimal(0))
    else:
        yield from _decimal(-12 if kind in ("rate", "money") else 0)


def _decimal(lowest: int) -> Iterator[float]:
    """Yield 1, 2, 5, 10, ... from a power of ten on."""
    for power in range(lowest, 308):
        for factor in (1, 2, 5):
            yield factor * 10**power if power >= 0 else factor / 10**-power
        if power == -1 and lowest == -3:
            return


def _span(seconds: float) -> str:
    for length, name in ((_DAY, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= length:
            return f"{seconds / length:,.4g} {name}"
    return f"{seconds * 1000:.4g} ms"
