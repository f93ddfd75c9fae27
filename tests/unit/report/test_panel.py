"""Does a panel show an answer, or say why there is none, in HTML that every reader can use?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from filled_panels import NOW, chart, filled, showing
from html_elements import Elements

from maia_sync.report.panel import SHOWN_ROWS, Tile, render_panel, render_tiles

TASK = "0f0e0d0c-0000-4000-8000-000000000000"
DAYS = chart("days", "day", events="plain")


def rendered(answer: Any, **over: Any) -> Elements:
    return Elements(str(render_panel(answer, showing(**over))))


def test_a_drawn_panel_has_its_chart_its_table_its_sql_and_its_download() -> None:
    elements = rendered(filled(("day", "events"), [("2026-01-05", 1234), ("2026-01-06", 2)], DAYS))
    assert elements.of("section", id="panel-tool-calls", class_="panel drawn")
    assert elements.of("h2", id="title-tool-calls")
    assert [found["class"] for found in elements.of("svg")] == ["wide", "narrow"]
    assert len(elements.of("details")) == 2
    assert "Table, 2 rows" in "".join(elements.texts)
    (region,) = elements.of("div", role="region")
    assert region["tabindex"] == "0"
    assert region["aria-label"] == "Table: Tool calls"
    assert [found["scope"] for found in elements.of("th")] == ["col", "col"]
    assert [found.get("class") for found in elements.of("td")] == [None, "number"] * 2
    (download,) = elements.of("a")
    assert download == {"href": "/panels/tool-calls.csv?a=1&b", "download": "tool-calls.csv"}
    assert "SELECT day, '<b>' FROM v_daily" in "".join(elements.texts)
    assert not elements.of("b")


def test_a_panel_without_a_chart_shows_its_table_at_once() -> None:
    elements = rendered(filled(("tool_name", "calls"), [("bash", 3)]))
    assert not elements.of("figure")
    assert [found["class"] for found in elements.of("details")] == ["sql"]
    assert elements.of("table")


def test_one_series_needs_no_legend_and_several_have_one() -> None:
    rows = [("2026-01-05", 3, 1)]
    one = rendered(filled(("day", "events", "errors"), rows, DAYS))
    two = rendered(
        filled(("day", "events", "errors"), rows, chart("days", "day", events="good", errors="bad"))
    )
    assert not one.of("ul", class_="legend")
    assert two.of("ul", class_="legend")
    assert two.of("span", class_="swatch role-bad")


def test_an_empty_answer_says_what_to_do_next() -> None:
    elements = rendered(filled(("day", "events"), [], DAYS))
    assert elements.of("p", class_="empty")
    assert "No tool was called. Choose a longer time." in elements.texts
    assert not elements.of("table")
    assert not elements.of("svg")


def test_trouble_is_told_and_escaped() -> None:
    answer = filled((), (), DAYS, trouble="the database says <script>alert(1)</script>\x1b[31m")
    elements = rendered(answer)
    assert elements.of("p", class_="trouble")
    assert not elements.of("script")
    assert "\x1b" not in "".join(elements.texts)
    assert not elements.of("a", download="tool-calls.csv")


def test_an_answer_that_is_pending_says_where_to_ask_again() -> None:
    elements = rendered(filled((), (), DAYS, is_pending=True))
    (section,) = elements.of("section")
    assert section["data-fragment"] == "/panels/tool-calls?a=1&b"
    assert elements.of("p", class_="pending")
    assert elements.of("a", href="")  # the same page again, for those without script
    assert not elements.of("a", download="tool-calls.csv")
    assert "data-fragment" not in rendered(filled(("day", "events"), [], DAYS)).of("section")[0]


@pytest.mark.parametrize(("age", "is_told"), [(0, False), (5, False), (6, True), (3600, True)])
def test_an_older_answer_says_from_when_it_is(age: float, is_told: bool) -> None:
    answer = filled(("day", "events"), [("2026-01-05", 3)], DAYS, asked_at=NOW - timedelta(seconds=age))
    assert bool(rendered(answer).of("p", class_="as-of muted")) == is_told


def test_of_many_rows_the_first_are_shown_and_the_rest_is_for_the_download() -> None:
    rows = [(f"tool {at}", at) for at in range(1234)]
    elements = rendered(filled(("tool_name", "calls"), rows))
    assert len(elements.of("tr")) == 1 + SHOWN_ROWS
    assert "and 1,034 more: " in elements.texts
    assert len(elements.of("a", download="tool-calls.csv")) == 2


def test_tasks_turns_and_events_lead_to_where_they_are_shown() -> None:
    columns = ("called_at", "task_id", "group_id", "tool_name", "seq")
    row = ("2026-01-05 08:00:00.000000", TASK, "g&1", "bash", 1048576)
    elements = rendered(filled(columns, [row, (None, None, "g", None, 5), (None, TASK, "", None, None)]))
    links = [found["href"] for found in elements.of("a") if "download" not in found]
    assert links == [
        f"/tasks/{TASK}?seq=1048576",
        f"/tasks/{TASK}?a=1&b",
        f"/tasks/{TASK}?group=g&1",
        f"/tasks/{TASK}?a=1&b",
    ]
    assert "1048576" not in elements.texts


def test_a_task_is_named_by_its_label_with_its_short_id_behind_it() -> None:
    columns = ("started_at", "task_id", "label", "agent_name")
    rows = [(None, TASK, "load <orders> " + "x" * 100, "helper"), (None, TASK, " ", None)]
    html = str(render_panel(filled(columns, rows), showing()))
    elements = Elements(html)
    assert [found.get("class") for found in elements.of("th")] == [None, "nowrap"]
    assert "label" not in elements.texts
    assert "task" in elements.texts
    address = f"/tasks/{TASK}?a=1&amp;b"
    short = f'<span title="{TASK}">{TASK[:8]}…</span>'
    label = f"load &lt;orders&gt; {'x' * 65}…"
    assert f'<a href="{address}"><bdi>{label}</bdi></a> <span class="muted nowrap">{short}</span>' in html
    assert f'<td><a href="{address}">{short}</a></td>' in html


def test_what_ended_is_told_as_how_long_it_took() -> None:
    columns = ("started_at", "ended_at", "status")
    began = "2026-01-05 08:00:00.000000"
    rows = [(began, "2026-01-05 08:01:30.500000", "succeeded"), (began, None, "running")]
    elements = rendered(filled(columns, rows))
    assert [text for text in elements.texts if text.strip()][2:5] == ["started", "took", "status"]
    assert "1 min 30 s" in elements.texts
    assert len(elements.of("time")) == 2


def test_what_is_in_quarantine_leads_there() -> None:
    rows = [("not an object", 3, TASK), ("other", 0, TASK), ("other", 1, None)]
    elements = rendered(filled(("reason", "quarantined", "task_id"), rows))
    links = [found["href"] for found in elements.of("a") if "quarantine" in str(found["href"])]
    assert links == [f"/tasks/{TASK}/quarantine"]


def test_commands_in_an_empty_state_are_code() -> None:
    answer = filled(("day", "events"), [], DAYS)
    panel = msgspec.structs.replace(answer.panel, empty="Nothing <yet>. Track a task: `maia-sync track ID`.")
    html = str(render_panel(msgspec.structs.replace(answer, panel=panel), showing()))
    assert "Nothing &lt;yet&gt;. Track a task: <code>maia-sync track ID</code>." in html


def test_columns_in_which_nothing_is_told_are_left_out() -> None:
    elements = rendered(filled(("tool_name", "label", "calls"), [("bash", None, 3), (None, None, None)]))
    assert len(elements.of("th")) == 2
    assert elements.of("span", title="not told")


def test_hostile_cells_of_any_length_are_shown_and_do_nothing() -> None:
    hostile = [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>" + "x" * 3_000_000, "\x1b[2J\x00\u202e",
        "'\" onmouseover=alert(1)", "</td></table></section><script>", "{{ 7 * 7 }}", "javascript:alert(1)",
        "\ud800", "&lt;script&gt;",
    ]  # fmt: skip
    columns = ("tool_name", "group_id", "user_id", "called_at", "day", "duration_ms", "cost")
    html = str(render_panel(filled(columns, [(text,) * 7 for text in hostile]), showing()))
    elements = Elements(html)
    assert {name for name, _ in elements.found} <= {
        "section", "header", "h2", "p", "div", "table", "thead", "tbody", "tr", "th", "td", "a", "span",
        "details", "summary", "pre", "code",
    }  # fmt: skip
    names = {name for _, found in elements.found for name in found}
    assert names <= {
        "class", "id", "aria-labelledby", "aria-label", "role", "tabindex", "scope", "href", "title",
        "download",
    }  # fmt: skip
    assert not any(sign in html for sign in "\x1b\x00\u202e\ud800")
    assert all(len(text) <= 250 for text in elements.texts)
    assert all(len(found.get("title") or "") <= 250 for _, found in elements.found)


def test_headings_stand_at_the_level_of_their_page() -> None:
    answer = filled(("day", "events"), [("2026-01-05", 3)], DAYS)
    third = msgspec.structs.replace(showing(), level=3)
    assert Elements(str(render_panel(answer, third))).of("h3", id="title-tool-calls")


def test_key_figures_are_a_list_of_terms() -> None:
    tiles = [Tile(label="Events", value="12", note="was <9>"), Tile(label="Stale", value="3", role="bad")]
    elements = Elements(str(render_tiles(tiles)))
    assert [found["class"] for found in elements.of("div")] == ["tile", "tile bad"]
    assert len(elements.of("dt", class_="label")) == len(elements.of("dd", class_="value")) == 2
    assert len(elements.of("dd", class_="note")) == 1
    assert "was <9>" in elements.texts
