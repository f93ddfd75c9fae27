"""Is a chart honest, can it be read by everybody, and does it hold nothing that a page must not hold?"""

from __future__ import annotations

import random
import re
import time
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from filled_panels import BERLIN, NOW, UTC_ZONE, chart, filled, window
from pygal.etree import etree as pygal_etree

from maia_sync.report.buckets import MOST, axis_of
from maia_sync.report.charts import Drawing, draw
from maia_sync.report.drawing import width_of
from maia_sync.report.figures import DASH

if TYPE_CHECKING:
    from maia_sync.analytics.filling import Filled
    from maia_sync.analytics.window import Window

FOUR = chart("days", "day", user_messages="user", agent_messages="agent", tool_calls="tool", other="other")
FOUR_COLUMNS = ("day", "user_messages", "agent_messages", "tool_calls", "other")
ONE = chart("days", "day", events="plain")
HOURS = chart("hours", "hour_at", calls="good", failed="bad")
RANKED = chart("ranked", "tool_name", calls="good", failed="bad")


def days(number: int, seed: int = 1) -> Filled:
    dice = random.Random(seed)
    today = NOW.date()
    rows = [
        (str(today - timedelta(days=back)), *(dice.randrange(1, 900) for _ in range(4)))
        for back in range(number)
    ]
    return filled(FOUR_COLUMNS, rows, FOUR)


def drawn(answer: Filled, over: Window) -> Drawing:
    found = draw(answer, over, NOW)
    assert found is not None
    return found


def svg(drawing: Drawing, size: str = "wide") -> ET.Element:
    return ET.fromstring(str(getattr(drawing, size)))


def bars(root: ET.Element, role: str | None = None) -> list[tuple[dict[str, float], str]]:
    """Return where each bar stands, and its title."""
    wanted = "bars" if role is None else f"bars role-{role}"
    return [
        ({name: float(bar.attrib[name]) for name in ("x", "y", "width", "height")}, bar[0].text or "")
        for group in root.iter("g")
        if group.get("class", "").startswith(wanted)
        for bar in group
    ]


def texts(root: ET.Element, anchor: str) -> list[tuple[float, str]]:
    return [
        (float(text.attrib["x"]), text.text or "")
        for text in root.iter("text")
        if text.get("text-anchor") == anchor
    ]


def test_a_month_has_a_bar_for_each_day_and_each_bar_says_what_it_is() -> None:
    answer = filled(("day", "events"), [("2026-01-05", 1234), ("2026-01-31", 1)], ONE)
    drawing = drawn(answer, window(30))
    for size in ("wide", "narrow"):
        root = svg(drawing, size)
        assert [title for _, title in bars(root)] == ["5 Jan 2026: 1,234 events", "31 Jan 2026: 1 events"]
        # 2 January to 1 February, the empty ones too: the bars stand where their days are.
        (first, _), (last, _) = bars(root)
        labels = {text: x for x, text in texts(root, "middle")}
        step = (last["x"] - first["x"]) / 26
        assert labels["2 Jan"] == pytest.approx(first["x"] + first["width"] / 2 - 3 * step, abs=1)
    assert drawing.caption == (
        "2 Jan 2026 to 1 Feb 2026 (UTC); each bar is a day. The first one is from 2 Jan 2026, 08:30 on. "
        "The last one is up to now."
    )


@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_bars_stand_on_zero_and_are_as_long_as_they_count(size: str) -> None:
    root = svg(drawn(days(31), window(30)), size)
    zero = next(line for line in root.iter("path") if line.get("class") == "grid zero")
    ground = float(re.match(r"M0 ([0-9.]+)h", zero.attrib["d"])[1])  # type: ignore[index]
    lowest = bars(root, "user")
    heights = []
    for place, title in lowest:
        assert place["y"] + place["height"] == pytest.approx(ground, abs=0.15)
        heights.append(place["height"] / int(title.split(": ")[1].split()[0].replace(",", "")))
    tall = [height for height, (place, _) in zip(heights, lowest, strict=True) if place["height"] > 20]
    assert max(tall) == pytest.approx(min(tall), rel=0.02)


def test_series_are_stacked_in_one_order_without_gaps() -> None:
    root = svg(drawn(days(31), window(30)))
    groups = [group.get("class") for group in root.iter("g") if "bars" in group.get("class", "")]
    assert groups == [f"bars role-{role}" for role in ("user", "agent", "tool", "other")]
    for lower, upper in pairwise(["user", "agent", "tool", "other"]):
        for (below, _), (above, _) in zip(bars(root, lower), bars(root, upper), strict=True):
            assert above["x"] == below["x"]
            if above["height"] > 1:  # what is hardly anything is drawn a little larger
                assert above["y"] + above["height"] == pytest.approx(below["y"], abs=1)


@pytest.mark.parametrize("count", [1, 2, 8, 31, 53, 90, 120, 400, 900, 2000, 3600, 6000])
@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_labels_never_overlap_and_stay_inside(count: int, size: str) -> None:
    root = svg(drawn(days(count), window(count - 1 or 0.1)), size)
    width = float(root.attrib["viewBox"].split()[2])
    left = float(re.search(r"translate\(([0-9.]+)", next(root.iter("g")).attrib["transform"])[1])  # type: ignore[index]
    labels = texts(root, "middle")
    assert labels
    for (x, text), (next_x, next_text) in pairwise(labels):
        assert x + width_of(text) / 2 < next_x - width_of(next_text) / 2
    assert labels[-1][0] + left + width_of(labels[-1][1]) / 2 <= width + 0.5
    ticks = texts(root, "end")
    assert 2 <= len(ticks) <= 5
    assert all(left + x - width_of(text) >= -1 for x, text in ticks)


@pytest.mark.parametrize(
    ("number", "span", "unit"),
    [(120, 119, "day"), (365, 364, "week"), (2000, 1999, "month"), (6000, 5999, "year")],
)
def test_many_days_become_weeks_months_or_years_that_add_up(number: int, span: int, unit: str) -> None:
    answer = days(number)
    drawing = drawn(answer, window(span))
    assert f"; each bar is a {unit}" in drawing.caption
    root = svg(drawing)
    assert len(bars(root, "user")) <= MOST
    told = sum(int(title.split(": ")[1].split()[0].replace(",", "")) for _, title in bars(root, "user"))
    assert told == sum(row[1] for row in answer.rows)  # type: ignore[misc]


def test_what_cannot_be_added_up_is_not_and_says_that_it_is_cut() -> None:
    rows = [(str(NOW.date() - timedelta(days=back)), 0.25) for back in range(400)]
    answer = filled(("day", "error_rate"), rows, chart("days", "day", error_rate="bad"))
    drawing = drawn(answer, window(399))
    assert drawing.caption.endswith(
        "each bar is a day. The last one is up to now. Earlier ones are in the table."
    )
    titles = [title for _, title in bars(svg(drawing))]
    assert len(titles) == MOST
    assert titles[-1] == "1 Feb 2026: 25.0 % error rate"


def test_everything_is_drawn_from_the_first_row_to_the_last() -> None:
    answer = filled(("day", "events"), [("2025-12-30", 3), ("2026-01-02", 4), (None, 5)], ONE)
    drawing = drawn(answer, window(None))
    assert drawing.caption == (
        "30 Dec 2025 to 2 Jan 2026 (UTC); each bar is a day. Rows without a time are not drawn: 1."
    )


def test_a_window_that_is_over_is_not_up_to_now_and_shows_its_empty_end() -> None:
    over = window(30)
    earlier = type(over)(
        since=over.since - timedelta(days=60),
        until=over.since,
        zone=UTC_ZONE,
        label="a month",  # type: ignore[operator]
    )
    drawing = drawn(filled(("day", "events"), [("2025-12-05", 3)], ONE), earlier)
    assert drawing.caption == (
        "3 Nov 2025 to 2 Jan 2026 (UTC); each bar is a day. The first one is from 3 Nov 2025, 08:30 on. "
        "The last one is up to 2 Jan 2026, 08:30."
    )


def test_a_window_of_whole_days_needs_no_such_words() -> None:
    midnight = NOW.replace(day=10, month=1, hour=0, minute=0)
    whole = type(window())(since=midnight, until=midnight + timedelta(days=7), zone=UTC_ZONE, label="a week")
    drawing = drawn(filled(("day", "events"), [("2026-01-12", 3)], ONE), whole)
    assert drawing.caption == "10 Jan 2026 to 16 Jan 2026 (UTC); each bar is a day."


@pytest.mark.parametrize("zone", [UTC_ZONE, BERLIN])
def test_hours_are_those_of_the_zone(zone: Any) -> None:
    rows = [("2026-01-31 22:00:00.000000", 5, 1), ("2026-02-01 08:00:00.000000", 2, 0)]
    drawing = drawn(filled(("hour_at", "calls", "failed"), rows, HOURS), window(1, zone))
    first = "31 Jan 2026, 22:00" if zone is UTC_ZONE else "31 Jan 2026, 23:00"
    titles = [title for _, title in bars(svg(drawing))]
    last = "1 Feb 2026, 08:00" if zone is UTC_ZONE else "1 Feb 2026, 09:00"
    assert titles == [f"{first}: 5 calls", f"{last}: 2 calls", f"{first}: 1 failed"]
    labels = [text for _, text in texts(svg(drawing), "middle")]
    assert "1 Feb" in labels
    assert labels[-1] in ("06:00", "09:00")


def test_the_hour_that_a_clock_goes_back_over_is_there_twice() -> None:
    autumn = type(window())(
        since=NOW.replace(year=2025, month=10, day=25, hour=22, minute=0),
        until=NOW.replace(year=2025, month=10, day=26, hour=4, minute=0),
        zone=BERLIN, label="a night",
    )  # fmt: skip
    rows = [(f"2025-10-26 0{hour}:00:00.000000", 1, 0) for hour in range(4)]
    drawing = drawn(filled(("hour_at", "calls", "failed"), rows, HOURS), autumn)
    assert [title[13:18] for _, title in bars(svg(drawing))] == ["02:00", "02:00", "03:00", "04:00"]
    assert [text for _, text in texts(svg(drawing), "middle")] == [
        *("26 Oct", "01:00", "02:00", "03:00", "04:00"),
    ]


def test_names_are_ranked_by_what_is_drawn_of_them_whatever_their_order() -> None:
    rows = [("bash", 900, 0.01), ("read", 30, 0.5), ("grep", 3, None)]
    rate = chart("ranked", "tool_name", error_rate="bad")
    root = svg(drawn(filled(("tool_name", "calls", "error_rate"), rows, rate), window()))
    assert [text for _, text in texts(root, "end")] == ["read", "bash", "grep"]
    assert [title.split(":")[0] for _, title in bars(root)] == ["read", "bash"]


def test_names_are_ranked_with_the_longest_first() -> None:
    rows = [("bash", 900, 12), ("read", 30, 0), (None, 3, 0)]
    drawing = drawn(filled(("tool_name", "calls", "failed"), rows, RANKED), window())
    assert drawing.is_ranked
    assert drawing.caption == ""
    assert drawing.legend == (("calls", "good"), ("failed", "bad"))
    root = svg(drawing)
    assert [text for _, text in texts(root, "end")] == ["bash", "read", DASH]
    good = bars(root, "good")
    assert [title for _, title in good] == ["bash: 900 calls", "read: 30 calls", f"{DASH}: 3 calls"]
    assert [place["y"] for place, _ in good] == sorted(place["y"] for place, _ in good)
    assert root.attrib["aria-label"] == "Tool calls. 3 bars. Most: 912 in all, bash."


def test_of_many_names_twenty_are_drawn_and_the_rest_is_told() -> None:
    rows = [(f"tool {at}", 100 - at, 0) for at in range(33)]
    drawing = drawn(filled(("tool_name", "calls", "failed"), rows, RANKED), window())
    assert len(bars(svg(drawing))) == 20
    assert drawing.caption == "The first 20; 13 more are in the table."


HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</title></svg><script>alert(1)</script>",
    "\x1b[31mred\x00", "\u202egnp.exe", "a\ud800b", "x" * 3_000_000, "漢" * 90, "]]>", "&lt;b&gt;", " \n ",
    "", "javascript:alert(1)", "{{ 7 * 7 }}", "\ufffe\uffff", "style=\"background:url('//evil')\"",
]  # fmt: skip


def test_hostile_names_are_shown_and_do_nothing() -> None:
    rows = [(name, 100 - at, 1) for at, name in enumerate(HOSTILE)]
    drawing = drawn(filled(("tool_name", "calls", "failed"), rows, RANKED), window())
    for size in ("wide", "narrow"):
        text = str(getattr(drawing, size))
        require_inert(text)
        assert len(text) < 20_000
        assert not re.search("[\x00-\x08\x0e-\x1f\u202e\ud800-\udfff]", text)


@pytest.mark.parametrize("seed", range(3))
def test_a_drawing_holds_shapes_texts_and_classes_and_nothing_else(seed: int) -> None:
    drawing = drawn(days(31, seed), window(30))
    for size in ("wide", "narrow"):
        require_inert(str(getattr(drawing, size)))


def require_inert(text: str) -> None:
    """Nothing but known elements and attributes: no style, script, id, link or colour."""
    root = ET.fromstring(re.sub("[\ufffe\uffff]", "", text))
    assert {each.tag for each in root.iter()} <= {"svg", "g", "path", "rect", "text", "title"}
    attributes = {name for each in root.iter() for name in each.attrib}
    assert attributes <= {
        "class", "viewBox", "role", "aria-label", "transform", "d", "x", "y", "width", "height",
        "text-anchor",
    }  # fmt: skip
    for each in root.iter():
        for name in ("d", "x", "y", "width", "height", "transform"):
            assert re.fullmatch(r"[-0-9.,() Mhvtranslate]*", each.get(name, ""))


def test_a_drawing_tells_its_gist_to_who_cannot_see_it() -> None:
    answer = filled(("day", "events"), [("2026-01-05", 1234), ("2026-01-31", 1)], ONE)
    root = svg(drawn(answer, window(30)))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == (
        "Tool calls. 31 bars, 2 Jan 2026 to 1 Feb 2026. Most: 1,234 events, 5 Jan 2026."
    )


def test_nothing_at_all_is_drawn_as_nothing() -> None:
    drawing = drawn(filled(("day", "events"), [("2026-01-05", 0)], ONE), window(30))
    assert drawing.caption.endswith("There is nothing in it.")
    root = svg(drawing)
    assert bars(root) == []
    assert [text for _, text in texts(root, "end")] == ["0"]
    assert root.attrib["aria-label"].endswith("all of them zero.")


@pytest.mark.parametrize("cell", [None, "many", -5, float("nan"), float("inf"), True, b"x"])
def test_what_is_no_number_has_no_bar(cell: object) -> None:
    answer = filled(("day", "events"), [("2026-01-05", cell), ("2026-01-06", 2)], ONE)
    assert [title for _, title in bars(svg(drawn(answer, window(30))))] == ["6 Jan 2026: 2 events"]


def test_the_least_that_is_not_nothing_can_be_seen() -> None:
    answer = filled(("day", "events"), [("2026-01-05", 1), ("2026-01-06", 10**9)], ONE)
    (small, _), _ = bars(svg(drawn(answer, window(30))))
    assert small["height"] == 1


def test_without_rows_or_without_times_there_is_no_chart() -> None:
    assert draw(filled(("day", "events"), [], ONE), window(30), NOW) is None
    assert draw(filled(("day", "events"), [(None, 3), ("soon", 3)], ONE), window(30), NOW) is None
    assert draw(filled(("day", "events"), [("2026-01-05", 3)]), window(30), NOW) is None


@pytest.mark.parametrize("moment", ["0001-01-01", "9999-12-31"])
def test_days_at_the_ends_of_the_calendar_are_drawn_if_much_is_there(moment: str) -> None:
    answer = filled(("day", "events"), [(moment, 30), ("2026-01-05", 40)], ONE)
    drawing = drawn(answer, window(None))
    assert len(bars(svg(drawing))) in (1, 2)
    assert "Earlier ones are in the table" in drawing.caption
    assert drawn(filled(("day", "events"), [(moment, 3)], ONE), window(None, BERLIN)).caption


@pytest.mark.parametrize("zone", [UTC_ZONE, BERLIN])
def test_single_odd_dates_do_not_stretch_the_axis_of_an_open_window(zone: Any) -> None:
    bulk = days(20).rows
    odd = [("0001-01-01", 1, 0, 0, 0), ("1970-01-01", 0, 1, 0, 0), ("2999-12-31", 0, 0, 1, 0)]
    drawing = drawn(filled(FOUR_COLUMNS, [*odd, *bulk], FOUR), window(None, zone))
    assert drawing.caption == (
        f"13 Jan 2026 to 1 Feb 2026 ({zone.key}); each bar is a day. The last one is up to now. "
        "3 rows with times far away are in the table."
    )
    assert len(bars(svg(drawing), "user")) == 20
    one = drawn(filled(FOUR_COLUMNS, [odd[0], *bulk], FOUR), window(None, zone))
    assert one.caption.endswith(" 1 row with a time far away is in the table.")


def test_a_quiet_beginning_and_a_share_that_is_not_small_are_drawn() -> None:
    bulk = days(20).rows
    quiet = [("2026-01-12", 1, 0, 0, 0), ("2025-12-20", 1, 0, 0, 0)]
    assert drawn(filled(FOUR_COLUMNS, [*bulk, *quiet], FOUR), window(None)).caption.startswith(
        "20 Dec 2025 to"
    )
    total = sum(sum(row[1:]) for row in bulk)  # type: ignore[arg-type]
    much = [("1970-01-01", total // 500, 0, 0, 0)]
    assert "each bar is a year" in drawn(filled(FOUR_COLUMNS, [*bulk, *much], FOUR), window(None)).caption


def test_a_window_with_both_ends_is_drawn_as_it_was_asked_for() -> None:
    over = window(30)
    answer = filled(("day", "events"), [("2026-01-05", 1), ("2026-01-31", 4000)], ONE)
    assert drawn(answer, over).caption.startswith("2 Jan 2026 to 1 Feb 2026")
    assert axis_of(answer, over, NOW) is None


def test_all_charts_of_an_open_window_can_have_one_axis() -> None:
    most, few = days(20), filled(("day", "events"), [("2026-01-30", 3), ("0001-01-01", 900)], ONE)
    axis = axis_of(most, window(None), NOW)
    drawing = draw(few, window(None), NOW, axis)
    assert drawing is not None
    assert drawing.caption == (
        "13 Jan 2026 to 1 Feb 2026 (UTC); each bar is a day. The last one is up to now. "
        "1 row with a time far away is in the table."
    )
    assert axis_of(filled(("day", "events"), [], ONE), window(None), NOW) is None
    assert axis_of(None, window(None), NOW) is None


def test_a_month_of_four_series_is_small_and_quick() -> None:
    answer = days(31)
    drawn(answer, window(30))
    begun = time.process_time()
    for _ in range(5):
        drawing = drawn(answer, window(30))
    seconds = (time.process_time() - begun) / 5
    assert len(drawing.wide) + len(drawing.narrow) < 40_000
    print(f"two drawings of 31 days and 4 series: {seconds * 1000:.1f} ms of CPU")
    assert date(2026, 2, 1) == NOW.date()


def test_drawings_are_the_same_with_lxml_and_without() -> None:
    pytest.importorskip("lxml", reason="lxml is not installed: pygal takes it where it is")
    answer = days(31)
    try:
        pygal_etree.to_lxml()
        with_lxml = drawn(answer, window(30))
        pygal_etree.to_etree()
        assert drawn(answer, window(30)) == with_lxml
    finally:
        pygal_etree.to_lxml()
