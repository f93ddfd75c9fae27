"""Is a report whole and inert in each of its formats?"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from filled_panels import BERLIN, NOW, chart, filled, window
from html_elements import Elements

from maia_sync.report.formats import FORMATS, format_of, render
from maia_sync.report.making import Report, Section, last_seconds, told
from maia_sync.report.markdown_text import inert

HOSTILE = [
    "<script>alert(1)</script>", "</style><script>alert(1)</script>", "[x](javascript:alert(1))",
    "![x](https://evil.example/x.png)", "https://evil.example", "www.evil.example", "a@evil.example",
    "| cell\nand | line", "`code` *bold* _under_ ~~gone~~", "# heading", "<!-- comment -->", "&lt;b&gt;",
    "\x1b[31m\u202e\ud800\x00", "=1+1", "$math$", "\\[", "<https://evil.example>", "x" * 100_000,
]  # fmt: skip
RANKED = chart("ranked", "tool_name", calls="good")


def report(rows: list[tuple[Any, ...]] | None = None, **changes: Any) -> Report:
    answer = filled(("tool_name", "calls", "cost"), rows or [("bash", 3, None), ("read", 1234, 0.5)], RANKED)
    given: dict[str, Any] = {
        "title": "What the agents did",
        "window": window(30),
        "task_id": None,
        "made_at": NOW,
        "database": "postgresql+psycopg://maia:***@db/maia",
        "version": "1.2.3",
        "sections": (Section(title="Tools", panels=(answer,)),),
    }
    return Report(**(given | changes))


def failing() -> Report:
    answer = filled((), (), RANKED, trouble="the query took longer than 5 seconds")
    return report(sections=(Section(title="Tools", panels=(answer,)),))


def test_a_files_name_says_its_format() -> None:
    assert [format_of(name) for name in ("a.html", "A.HTM", "b.md", "c.csv", "d/e.json")] == [
        "html", "html", "md", "csv", "json",
    ]  # fmt: skip
    assert format_of("report") is format_of("report.pdf") is format_of("html") is None


def test_html_is_one_file_that_asks_for_nothing() -> None:
    text = render(report(), "html")
    elements = Elements(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & {
        tag for tag, _ in elements.found
    }
    addresses = [
        found[name] for _, found in elements.found for name in ("href", "src", "xlink:href") if name in found
    ]
    assert addresses
    assert all(str(address).startswith("data:text/csv") for address in addresses)
    assert not any("style" in found for _, found in elements.found)
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = elements.of("meta", **{"http-equiv": "Content-Security-Policy"})
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["content"].startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")


def test_html_tells_what_it_is_of_and_from_where() -> None:
    words = " ".join("".join(Elements(render(report(), "html")).texts).split())
    assert "The last 30 days: 2 Jan 2026, 08:30 to 1 Feb 2026, 08:30 (UTC)" in words
    assert (
        "Made 1 Feb 2026, 08:30:00 (UTC) by maia-sync 1.2.3 from postgresql+psycopg://maia:***@db/maia"
        in words
    )


def test_the_download_in_the_file_is_the_whole_answer() -> None:
    (link,) = Elements(render(report(), "html")).of("a")
    text = unquote(link["href"].split(",", 1)[1])
    assert text == "tool_name,calls,cost\nbash,3,\nread,1234,0.5\n"
    huge = report([("x" * 200_000, at, None) for at in range(3)])
    assert not Elements(render(huge, "html")).of("a")


def test_ids_are_unique_and_headings_are_in_order() -> None:
    elements = Elements(render(report(), "html"))
    ids = [found["id"] for _, found in elements.found if "id" in found]
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in elements.found if re.fullmatch("h[1-6]", tag)] == ["h1", "h2", "h3"]
    assert elements.of("html", lang="en")
    assert elements.of("title")


@pytest.mark.parametrize("form", FORMATS)
def test_a_panel_that_failed_says_so_in_every_format(form: Any) -> None:
    assert "the query took longer than 5 seconds" in render(failing(), form)


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_texts_are_only_texts(form: Any) -> None:
    text = render(report([(name, 1, None) for name in HOSTILE], title="<script>alert(1)</script>"), form)
    if form in ("html", "md"):
        assert "<script" not in text
        assert "<img" not in text
        assert not any(sign in text for sign in "\x1b\x00\u202e\ud800")
    if form == "html":
        assert len(text) < 700_000
        Elements(text)


def test_markdown_has_a_table_for_each_panel() -> None:
    text = render(report(), "md")
    lines = text.splitlines()
    at = lines.index("| tool name | calls | cost |")
    assert lines[at : at + 4] == [
        "| tool name | calls | cost |",
        "| --- | ---: | ---: |",
        "| bash | 3 | – |",  # noqa: RUF001 - an en dash
        "| read | 1,234 | 0.5000 |",
    ]
    assert lines[0] == "# What the agents did"
    assert "## Tools" in lines
    assert "### Tool calls" in lines


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_cells_stay_in_their_cell(text: str) -> None:
    cell = inert(text)
    assert "\n" not in cell
    assert not re.search(r"(?<!\\)[|`*_\[\]!~@$]", cell)
    assert "<" not in cell
    assert ">" not in cell
    assert not re.search(r"https?://|www\.|(?<!\\)\\(?![\\`*_{}\[\]#!|~@$^:.])", cell, re.IGNORECASE)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("5 Jan 2026, 08:19:00", "5 Jan 2026, 08:19:00"),
        ("http://a", r"http\://a"),
        (":100:", r"\:100:"),
        (":smile:", r"\:smile:"),
        ("a:1", r"a\:1"),
        ("1:a", r"1\:a"),
    ],
)
def test_the_colons_of_a_clock_stay_as_they_are(text: str, shown: str) -> None:
    assert inert(text) == shown


def test_commands_in_an_empty_state_are_code_in_markdown_too() -> None:
    answer = filled(("tool_name", "calls"), [], RANKED)
    panel = msgspec.structs.replace(answer.panel, empty="Track a task: `maia-sync track ID`.")
    empty = msgspec.structs.replace(answer, panel=panel)
    text = render(report(sections=(Section(title="Tools", panels=(empty,)),)), "md")
    assert "\nTrack a task: `maia-sync track ID`.\n" in text


def test_csv_has_a_line_for_each_cell() -> None:
    rows = list(csv.reader(io.StringIO(render(report([('a,"b"\nc', 1, None)]), "csv"))))
    assert rows[0] == ["panel", "row", "column", "value"]
    assert ["report", "1", "title", "What the agents did"] in rows
    assert rows[-3:] == [
        ["tool-calls", "1", "tool_name", 'a,"b"\nc'],
        ["tool-calls", "1", "calls", "1"],
        ["tool-calls", "1", "cost", ""],
    ]


def test_json_is_one_document() -> None:
    rows = [('a\ud800\n"', 1, None), ("b", float("nan"), b"\x00")]
    text = render(report(rows), "json").encode("utf-8", "backslashreplace")
    document = json.loads(text)
    assert {name: document[name] for name in ("title", "since", "until", "time_zone", "generated_at")} == {
        "title": "What the agents did",
        "since": "2026-01-02T08:30:00.000000Z",
        "until": "2026-02-01T08:30:00.000000Z",
        "time_zone": "UTC",
        "generated_at": "2026-02-01T08:30:00.000000Z",
    }
    assert document["version"] == "1.2.3"
    assert document["database"] == "postgresql+psycopg://maia:***@db/maia"
    (panel,) = document["panels"]
    assert (panel["name"], panel["columns"]) == ("tool-calls", ["tool_name", "calls", "cost"])
    assert panel["rows"] == [['a\ud800\n"', 1, None], ["b", None, "00"]]
    assert "SELECT day" in panel["sql"]


@pytest.mark.parametrize(
    ("seconds", "label"),
    [
        (86_400 * 30, "the last 30 days"), (86_400, "the last 24 hours"), (3600, "the last hour"),
        (7200, "the last 2 hours"), (90, "the last 1 min 30 s"),
    ],
)  # fmt: skip
def test_a_window_that_ends_now_is_told_by_its_length(seconds: float, label: str) -> None:
    found = last_seconds(seconds, NOW, BERLIN)
    assert found.label == label
    assert (found.since, found.until) == (NOW - timedelta(seconds=seconds), NOW)


def test_a_window_without_bounds_is_told_too() -> None:
    assert told(window(None)) == "Everything: whenever it was (UTC)"
    until = msgspec.structs.replace(window(None, BERLIN), until=NOW)
    assert told(until) == "Everything: up to 1 Feb 2026, 09:30 (Europe/Berlin)"
    since = msgspec.structs.replace(window(None), since=NOW)
    assert told(since) == "Everything: from 1 Feb 2026, 08:30 on (UTC)"
