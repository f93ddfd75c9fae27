"""How do numbers become SVG? pygal works out where everything stands; what is written of it is ours.

No colours, no styles, no script, no ids: classes say what a series means, a style sheet how that looks.
"""

from __future__ import annotations

import sys
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final
from unicodedata import east_asian_width
from xml.etree import ElementTree as ET

import msgspec
import pygal
from markupsafe import Markup
from pygal.style import Style

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.report.buckets import Number

# pygal leaves a finder of modules there, of a kind that Python has given up: imports that fail would warn.
sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, pygal.PluginImportFixer)]

TEXT_SIZE: Final = 12
"""In units of the view box, in which a narrow drawing's text is as large as a wide one's."""
_WIDTH_OF_CHARACTER: Final = 6.8
_THICKEST_BAR: Final = 40.0
_THINNEST_BAR: Final = 1.0
"""What is not nothing can be seen."""
_STYLE: Final = Style(label_font_size=TEXT_SIZE, font_family="sans-serif")


class Bars(msgspec.Struct, frozen=True, kw_only=True):
    """One series: what it means, and of each bar its length and what is told of it."""

    role: str
    lengths: "Sequence[Number]"
    titles: "Sequence[str]"


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn, in units of the view box: stacked bars along an axis of labels."""

    width: int
    height: int
    labels: tuple[str, ...]
    """Under each bar, or beside it; "" for none."""
    names: tuple[str, ...] = ()
    """The labels in full, where they are cut."""
    lines: tuple[tuple[float, str], ...]
    """The values across the bars, from zero on, and what is written at them."""
    series: tuple[Bars, ...]
    is_horizontal: bool


class _WithoutTooltips:
    """A title on each bar says what pygal's script would show, so what is for that is not made."""

    def _format(self, _serie: Any, _at: int) -> str:
        return ""

    def _tooltip_and_print_values(self, *_: Any) -> None:
        pass

    def _confidence_interval(self, *_: Any) -> None:
        pass


class _Upright(_WithoutTooltips, pygal.StackedBar):  # type: ignore[misc] # pygal is untyped
    pass


class _Lying(_WithoutTooltips, pygal.HorizontalStackedBar):  # type: ignore[misc]
    pass


def width_of(text: str) -> float:
    """Return about how wide a text is."""
    wide = 0 if text.isascii() else sum(east_asian_width(sign) in "FW" for sign in text)
    return (len(text) + 0.8 * wide) * _WIDTH_OF_CHARACTER


def draw_svg(picture: Picture, *, css_class: str, description: str) -> Markup:
    """Return an `<svg>` to stand in a page."""
    root = ET.Element("svg")
    root.set("class", css_class)
    root.set("viewBox", f"0 0 {picture.width} {picture.height}")
    root.set("role", "img")
    root.set("aria-label", description)
    plot = _worked_out(picture)
    shift = plot.get("transform")
    room = picture.width - float(shift.removeprefix("translate(").partition(",")[0])
    into = ET.SubElement(root, "g", {"transform": shift})
    along, across = ("y", "x") if picture.is_horizontal else ("x", "y")
    _draw_lines(into, _child(plot, f"axis {across}"), picture, room)
    _draw_bars(into, plot, picture)
    _draw_labels(into, _child(plot, f"axis {along}"), picture, room)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - it escapes


def _worked_out(picture: Picture) -> Any:
    """Return pygal's plot; its labels are left short, as ours are written instead."""
    texts = [text for _, text in picture.lines] if not picture.is_horizontal else picture.labels
    kind = _Lying if picture.is_horizontal else _Upright
    order = -1 if picture.is_horizontal else 1
    chart = kind(
        width=picture.width,
        height=picture.height,
        margin=0,
        margin_top=0 if picture.is_horizontal else 8,
        margin_right=8,
        margin_bottom=4,
        margin_left=round(max(map(width_of, texts))),
        spacing=4,
        show_legend=False,
        js=(),
        css=(),
        truncate_label=-1,
        style=_STYLE,
        x_labels=["" for _ in picture.labels],
        y_labels=[{"value": value, "label": ""} for value, _ in picture.lines],
        range=(0, picture.lines[-1][0] or 1),
    )
    for bars in picture.series:
        chart.add("", list(bars.lengths)[::order])
    return _child(_child(chart.render_tree(), "graph"), "plot")


def _child(parent: Any, name: str) -> Any:
    """Return the first child whose class begins so."""
    return next(each for each in parent if str(each.get("class", "")).startswith(name))


def _draw_lines(into: ET.Element, axis: Any, picture: Picture, room: float) -> None:
    for guides, (value, label) in zip(_all(axis, "g"), picture.lines, strict=True):
        path = next(_all(guides, "path"))
        line = ET.SubElement(into, "path", {"class": "grid" if value else "grid zero"})
        line.set("d", _rounded_path(path.get("d")))
        anchor = "middle" if picture.is_horizontal else "end"
        _write(into, next(_all(guides, "text")), label, anchor, room)


def _draw_bars(into: ET.Element, plot: Any, picture: Picture) -> None:
    order = -1 if picture.is_horizontal else 1
    drawn = [each for each in plot if str(each.get("class", "")).startswith("series")]
    for series, bars in zip(drawn, picture.series, strict=True):
        group = ET.SubElement(into, "g", {"class": f"bars role-{bars.role}"})
        rectangles = list(series.iter("rect"))[::order]
        for rectangle, length, title in zip(rectangles, bars.lengths, bars.titles, strict=True):
            if length:
                bar = ET.SubElement(group, "rect", _place(rectangle, is_horizontal=picture.is_horizontal))
                ET.SubElement(bar, "title").text = title


def _place(rectangle: Any, *, is_horizontal: bool) -> dict[str, str]:
    """Return where a bar stands: neither too thick nor, however short, too short to be seen."""
    x, y, width, height = (float(rectangle.get(name)) for name in ("x", "y", "width", "height"))
    if is_horizontal:
        thick = min(height, _THICKEST_BAR)
        y, height = y + (height - thick) / 2, thick
        width = max(width, _THINNEST_BAR)
    else:
        thick = min(width, _THICKEST_BAR)
        x, width = x + (width - thick) / 2, thick
        y, height = y + min(height - _THINNEST_BAR, 0), max(height, _THINNEST_BAR)
    return {"x": _short(x), "y": _short(y), "width": _short(width), "height": _short(height)}


def _draw_labels(into: ET.Element, axis: Any, picture: Picture, room: float) -> None:
    order = -1 if picture.is_horizontal else 1
    anchor = "end" if picture.is_horizontal else "middle"
    guides = list(_all(axis, "g"))[::order]
    for guide, label, name in zip_longest(guides, picture.labels, picture.names, fillvalue=""):
        if label:
            text = _write(into, next(_all(guide, "text")), label, anchor, room)
            if name and name != label:
                ET.SubElement(text, "title").text = name


def _write(into: ET.Element, where: Any, label: str, anchor: str, room: float) -> ET.Element:
    """Write a label where pygal has one, but not beyond the right end of so much room."""
    x, y = float(where.get("x")), float(where.get("y"))
    if anchor == "middle":
        x = min(x, room - width_of(label) / 2)
    text = ET.SubElement(into, "text", {"x": _short(x), "y": _short(y), "text-anchor": anchor})
    text.text = label
    return text


def _all(parent: Any, tag: str) -> Iterator[Any]:
    return (each for each in parent if each.tag == tag)


def _rounded_path(text: str) -> str:
    """Return `M0 52.5h800` for pygal's `M0.000000 52.500000 h800.000000`."""
    words = text.replace("M", "M ").replace("h", "h ").replace("v", "v ").split()
    return _joined(word if word.isalpha() else _short(float(word)) for word in words)


def _joined(words: Iterable[str]) -> str:
    text = " ".join(words)
    return text.replace("M ", "M").replace(" h ", "h").replace(" v ", "v")


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
