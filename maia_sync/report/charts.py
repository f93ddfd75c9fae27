"""How is an answer drawn? As bars from zero on, twice: for wide and for narrow pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from markupsafe import Markup

from maia_sync.report.buckets import Axis, Bucket, Number, Spread, number, range_name, spread
from maia_sync.report.drawing import Bars, Picture, draw_svg, width_of
from maia_sync.report.figures import heading, moment_text, plain
from maia_sync.report.scale import MOST_LINES, line_label, lines
from maia_sync.report.visible import visible

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from maia_sync.analytics.filling import Filled
    from maia_sync.analytics.panels import Chart
    from maia_sync.analytics.window import Window

MOST_RANKED: Final = 20
_SIZES: Final = {"wide": (880, 240), "narrow": (360, 220)}
_ROW_HEIGHT: Final = 24
_AXIS_HEIGHT: Final = 28
_SHARE_OF_LABELS: Final = {"wide": 0.3, "narrow": 0.38}
_SPACE_BETWEEN: Final = 20.0
_MOST_LABELS: Final = 12
_ROOM_OF_AXIS: Final = 60.0
_EVERY: Final = {"hour": (1, 2, 3, 6, 12, 24), "month": (1, 2, 3, 6, 12)}
"""Of which buckets there is a label; of others every first, second, ..."""


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """A chart: twice, for wide and for narrow pages, with what stands under it."""

    wide: Markup
    narrow: Markup
    caption: str
    legend: tuple[tuple[str, str], ...]
    """Of each series its label and its role."""
    is_ranked: bool


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn, whatever the size."""

    names: tuple[str, ...]
    series: tuple[tuple[Number, ...], ...]
    spread: Spread | None
    """None where names are ranked."""


def draw(filled: Filled, window: Window, now: datetime, axis: Axis | None = None) -> Drawing | None:
    """Return the chart of an answer; None if it has none, or nothing that can be drawn.

    `axis` is that of all charts of the page, where the window is open.
    """
    chart, zone = filled.panel.chart, window.zone
    if chart is None or not filled.rows:
        return None
    if chart.kind == "ranked":
        told, notes = _ranked(filled, chart, zone)
    else:
        found = spread(filled, chart, window, now, axis)
        if found is None:
            return None
        names = tuple(bucket.name for bucket in found.buckets)
        told, notes = _Told(names=names, series=found.series, spread=found), _notes(found, zone)
    if not any(map(any, told.series)):
        notes.append("There is nothing in it")
    drawn = {
        size: draw_svg(
            _picture(chart, told, size, zone),
            css_class=size,
            description=f"{filled.panel.title}. {_gist(chart, told, zone)}",
        )
        for size in _SIZES
    }
    return Drawing(
        wide=drawn["wide"],
        narrow=drawn["narrow"],
        caption=" ".join(f"{note}." for note in notes),
        legend=tuple((heading(series.column), series.role) for series in chart.series),
        is_ranked=told.spread is None,
    )


def _ranked(filled: Filled, chart: Chart, zone: ZoneInfo) -> tuple[_Told, list[str]]:
    """Return what is drawn of rows that have names: the longest bar first."""
    along = filled.column(chart.along)
    drawn = [filled.column(series.column) for series in chart.series]
    longest_first = sorted(filled.rows, key=lambda row: -sum(number(row[at]) for at in drawn))
    rows = longest_first[:MOST_RANKED]
    names = tuple(_one_line(plain(chart.along, row[along], zone)) for row in rows)
    series = tuple(tuple(number(row[at]) for row in rows) for at in drawn)
    left_out = len(filled.rows) - len(rows)
    notes = [f"The first {MOST_RANKED}; {left_out:,} more are in the table"] if left_out else []
    return _Told(names=names, series=series, spread=None), notes


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()) or "(blank)")


def _notes(found: Spread, zone: ZoneInfo) -> list[str]:
    """Return what is to be known of a chart over time, each a sentence without its full stop."""
    notes = [range_name(found, zone)]
    if found.begins_at is not None:
        notes.append(f"The first one is from {moment_text(found.begins_at, zone, minutes=True)} on")
    if found.is_unfinished:
        notes.append("The last one is up to now")
    if found.ends_at is not None:
        notes.append(f"The last one is up to {moment_text(found.ends_at, zone, minutes=True)}")
    if found.is_cut:
        notes.append("Earlier ones are in the table")
    if found.far_away:
        rows = "1 row with a time" if found.far_away == 1 else f"{found.far_away:,} rows with times"
        notes.append(f"{rows} far away {'is' if found.far_away == 1 else 'are'} in the table")
    if found.timeless:
        notes.append(f"Rows without a time are not drawn: {found.timeless:,}")
    return notes


def _gist(chart: Chart, told: _Told, zone: ZoneInfo) -> str:
    """Return in one sentence what there is to be seen: how many bars, and which is the longest."""
    totals = [sum(values) for values in zip(*told.series, strict=True)]
    first, last = told.names[0], told.names[-1]
    bars = "1 bar" if len(totals) == 1 else f"{len(totals)} bars"
    stretch = f", {first} to {last}" if told.spread is not None and first != last else ""
    longest = max(totals)
    if not longest:
        return f"{bars}{stretch}, all of them zero."
    name = told.names[totals.index(longest)]
    column = chart.series[0].column
    what = heading(column) if len(chart.series) == 1 else "in all"
    return f"{bars}{stretch}. Most: {plain(column, longest, zone)} {what}, {name}."


def _picture(chart: Chart, told: _Told, size: str, zone: ZoneInfo) -> Picture:
    width, height = _SIZES[size]
    is_ranked = told.spread is None
    if told.spread is None:
        height = _ROW_HEIGHT * len(told.names) + _AXIS_HEIGHT
        labels = tuple(_cut_to(name, width * _SHARE_OF_LABELS[size]) for name in told.names)
    else:
        labels = _thinned(told.spread, width - _ROOM_OF_AXIS)
    column = chart.series[0].column
    longest = max(map(sum, zip(*told.series, strict=True)))
    steps = lines(column, longest, 3 if is_ranked and size == "narrow" else MOST_LINES)
    return Picture(
        width=width,
        height=height,
        labels=labels,
        names=told.names if is_ranked else (),
        lines=tuple((line, line_label(column, line, steps[-1])) for line in steps),
        series=tuple(
            Bars(
                role=series.role,
                lengths=lengths,
                titles=[
                    f"{name}: {plain(series.column, length, zone)} {heading(series.column)}" if length else ""
                    for name, length in zip(told.names, lengths, strict=True)
                ],
            )
            for series, lengths in zip(chart.series, told.series, strict=True)
        ),
        is_horizontal=is_ranked,
    )


def _thinned(found: Spread, room: float) -> tuple[str, ...]:
    """Return the buckets' labels, so few that they stand apart; "" for the others."""
    buckets = found.buckets
    widest = max(width_of(bucket.label) for bucket in buckets) + _SPACE_BETWEEN
    fit = max(min(int(room / widest), _MOST_LABELS), 1)
    every = next(
        (every for every in _EVERY.get(found.unit, ()) if len(buckets) / every <= fit),
        -(-len(buckets) // fit),
    )
    return tuple(each.label if _is_labelled(each, at, every) else "" for at, each in enumerate(buckets))


def _is_labelled(bucket: Bucket, at: int, every: int) -> bool:
    """Tell whether a bucket has a label: hours and months by the clock and the calendar, others by turns."""
    begins = bucket.begins
    if bucket.unit == "hour":
        # Where a clock is put back, an hour is there twice.
        return begins.hour % every == 0 and not begins.fold
    if bucket.unit == "month":
        months = every if every <= 12 else -(-every // 12) * 12
        return (begins.year * 12 + begins.month - 1) % months == 0
    return at % every == 0


def _cut_to(text: str, room: float) -> str:
    """Return the text, or its beginning with an ellipsis, within so much room."""
    if width_of(text) <= room:
        return text
    kept = text[: int(room / width_of("m"))]
    while kept and width_of(f"{kept}…") > room:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"
