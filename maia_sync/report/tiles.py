"""Which figures stand at the top of a page? Each beside the same figure of the time before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maia_sync.analytics.filling import row_of
from maia_sync.report.figures import ago, count, duration, money, rate
from maia_sync.report.panel import Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from maia_sync.analytics.filling import Filled
    from maia_sync.store.answer import Cell

_COUNTED: Final = (("events", "Events"), ("turns", "Turns"), ("tool_calls", "Tool calls"))
_LARGE: Final = 10_000_000
_MANY_TOKENS: Final = 10_000


def activity_tiles(figures: Filled, earlier: Filled | None, span: str) -> list[Tile]:
    """Return the tiles of a window; `span` names the one before: `the 7 days before`."""
    told, before = row_of(figures), row_of(earlier)
    if told is None:
        return []
    tiles = [
        Tile(label=label, value=_short(told[name]), note=_compared(told, before, (name,), span))
        for name, label in _COUNTED
    ]
    tiles.append(_error_rate(told, before, span))
    tokens = " / ".join(_tokens(told[name]) for name in ("input_tokens", "output_tokens"))
    note = _compared(told, before, ("input_tokens", "output_tokens"), span)
    tiles.append(Tile(label="Tokens in / out", value=tokens, note=note))
    tiles.append(Tile(label="Cost", value=money(told["cost"]), note=_compared(told, before, ("cost",), span)))
    return tiles


def _error_rate(told: Mapping[str, Cell], before: Mapping[str, Cell] | None, span: str) -> Tile:
    note = (
        ""
        if before is None or before["tool_error_rate"] is None
        else f"{rate(before['tool_error_rate'])} in {span}"
    )
    errors = told["tool_errors"]
    return Tile(
        label="Tool error rate",
        value=rate(told["tool_error_rate"]),
        note=note,
        role="bad" if isinstance(errors, int) and errors > 0 else "plain",
    )


def _tokens(value: Cell) -> str:
    """Return one of two counts that share a tile."""
    if not isinstance(value, int) or value < _MANY_TOKENS:
        return count(value)
    thousands = round(value / 1000)
    return f"{thousands} k" if thousands < 1000 else f"{value / 1_000_000:,.1f} M"


def _short(value: Cell) -> str:
    """Return a count; a large one in millions, as a tile is narrow."""
    is_large = isinstance(value, int) and value >= _LARGE
    return f"{int(value or 0) / 1_000_000:,.1f} M" if is_large else count(value)


def _compared(
    told: Mapping[str, Cell], before: Mapping[str, Cell] | None, names: Sequence[str], span: str
) -> str:
    """Return how the sum of some figures stands to the one before."""
    if before is None:
        return ""
    now, then = (sum(_number(row[name]) for name in names) for row in (told, before))
    if then <= 0:
        return f"none in {span}" if now > 0 else ""
    share = round(100 * (now - then) / then)
    if share == 0:
        return f"as much as in {span}"
    if share >= 1000:
        return f"{now / then:,.0f} times as much as in {span}"
    return f"{abs(share)} % {'more' if share > 0 else 'less'} than in {span}"


def freshness_tiles(freshness: Filled, now: datetime) -> list[Tile]:
    """Return how the copy stands at this moment."""
    told = row_of(freshness)
    if told is None:
        return []
    lag = told["worst_lag_seconds"]
    max_lag = _number(told["max_lag_seconds"])
    is_late = _number(lag) > max_lag or bool(told["stale"])
    is_in_order = lag is not None and not (is_late or told["failing"] or told["never_complete"])
    late = _of(told, "stale", lambda tasks: f"{count(tasks)} {_tasks(tasks)}")
    notes = [f"{count(told['active'])} of them active", _of(told, "never_complete", _never)]
    return [
        Tile(label="Tasks tracked", value=count(told["tasks"]), note=", ".join(filter(None, notes))),
        Tile(
            label="Furthest behind",
            value=duration(lag),
            note=f"{late} more than {duration(max_lag)}" if late else "",
            role="bad" if is_late else "good" if is_in_order else "plain",
        ),
        Tile(
            label="Failing",
            value=count(told["failing"]),
            role="bad" if told["failing"] else "plain",
        ),
        Tile(
            label="Last poll",
            value=ago(told["last_polled_at"], now),
            note=f"last news {ago(told['last_news_at'], now)}",
        ),
    ]


def _number(cell: Cell) -> float:
    return cell if isinstance(cell, int | float) else 0


def _of(told: Mapping[str, Cell], name: str, sentence: Callable[[int], str]) -> str:
    number = told[name]
    return sentence(number) if isinstance(number, int) and number > 0 else ""


def _never(tasks: int) -> str:
    return f"{count(tasks)} never read to the end"


def _tasks(number: int) -> str:
    return "task" if number == 1 else "tasks"
