"""Does any payload, of any kind, give a page that is well-formed, bounded and inert?

Pages are rendered from rows alone; the payloads are those of the wire's own tests, and texts full of what
means something in HTML and Markdown.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from page_check import Checked
from properties.raw_json import deep, values

from maia_sync.report.templates import make_environment
from maia_sync.report.visible import visible
from maia_sync.store.timeline import Call, TimelineRow
from maia_sync.web.conversation import fold, in_turns, make_item
from maia_sync.web.difference import compare
from maia_sync.web.markdown import LONGEST_HTML, render_markdown
from maia_sync.web.payload_text import lay_out
from maia_sync.web.timeline import Ids, NoIds, prepare

MOMENT = datetime(2026, 1, 5, 8, tzinfo=UTC)
MOST_OF_AN_EVENT = 200_000

ALONE: dict[str, Any] = {
    "task_id": "0b5c1c9e-8f5e-4d7a-9a59-2f3f0a1b2c3d",
    "group_id": "g",
    "timestamp": 1,
    "ordinal": 0,
    "extra": None,
    "occurred_at": MOMENT,
    "timestamp_text": None,
    "seq": 1,
    "digest": b"",
    "revision": 0,
    "first_seen_at": MOMENT,
    "last_changed_at": MOMENT,
    "vanished_at": None,
    "run_id": None,
}

_tricks = st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"',
        "'",
        "><",
        "</pre>",
        "</textarea>",
        "<!--",
        "&lt;",
        "&#8238;",
        "\u202e",
        "\x1b[",
        "\0",
        "\ud800",
        "](javascript:x)",
        "[a](",
        "![",
        "](https://e.example)",
        "`",
        "```",
        "**",
        "_",
        "|",
        "\n",
        "> ",
        "# ",
        "- ",
        "<https://",
        ">",
        "\\",
        "{{ 7777*7 }}",
        "{% x %}",
        "on=",
        "\r",
        "\u2028",
        "\U000e0041",
    ]
)
hostile = st.lists(_tricks | st.text(max_size=5), max_size=12).map("".join)
"""Texts in which little is harmless."""


@st.composite
def said(draw: st.DrawFn) -> str:
    """Spell a payload as events have them, with hostile texts."""
    names = st.sampled_from(
        ["text", "message", "content", "steps", "arguments", "result", "error", "title", "userName"]
    )
    inner = (
        hostile | st.lists(hostile, max_size=3) | st.fixed_dictionaries({"text": hostile, "status": hostile})
    )
    return json.dumps(draw(st.dictionaries(names | hostile, inner, max_size=4)))


payloads = st.none() | values | deep().filter(lambda text: len(text) < 8000) | said()
kinds = st.sampled_from(
    [None, "message", "plan", "tool_call", "tool_result", "error", "usage", "status", "odd"]
)
_storable = hostile.map(lambda text: text.encode("utf-8", "replace").decode().replace("\0", "")[:200])
_maybe = st.none() | _storable


@st.composite
def rows(draw: st.DrawFn) -> TimelineRow:
    """Make an event with any payload, whose columns say anything."""
    texts = ("timestamp_text", "event_type", "user_id", "agent_name", "tool_name", "status", "error_type")
    facets: dict[str, Any] = {name: draw(_maybe) for name in texts}
    seq = draw(st.integers(0, 5))
    return TimelineRow(
        task_id="0b5c1c9e-8f5e-4d7a-9a59-2f3f0a1b2c3d",
        group_id=draw(_storable),
        timestamp=draw(st.integers(-(2**63), 2**63 - 1)),
        ordinal=0,
        data=draw(payloads),
        extra=None,
        occurred_at=draw(st.none() | st.just(MOMENT)),
        seq=seq,
        digest=b"",
        revision=draw(st.integers(0, 2)),
        first_seen_at=MOMENT,
        last_changed_at=MOMENT,
        vanished_at=draw(st.none() | st.just(MOMENT)),
        run_id=None,
        event_kind=draw(kinds),
        actor=draw(st.sampled_from([None, "user", "agent", "tool"])),
        tool_call_id=draw(st.none() | st.just("c")),
        outcome=draw(st.sampled_from([None, "ok", "error"])),
        duration_ms=draw(st.none() | st.floats(0, 1e12)),
        input_tokens=draw(st.none() | st.integers(0, 10**12)),
        cost=draw(st.none() | st.floats(0, 1e9)),
        **facets,
    )


_environment = make_environment("maia_sync.web", filters={})
prepare(_environment)


@given(st.lists(rows(), min_size=1, max_size=4), st.booleans())
def test_any_events_give_a_page_that_is_well_formed_bounded_and_inert(
    events: list[TimelineRow], plain: bool
) -> None:
    sections = in_turns(fold([make_item(row, plain=plain) for row in events]), {})
    differences = {row.name: compare(row.data, events[0].data) for row in events}
    html = _environment.get_template("timeline_news.html").render(
        page=SimpleNamespace(sections=sections, differences=differences),
        task=SimpleNamespace(task_id=events[0].task_id),
        mode=None,
        zone=ZoneInfo("UTC"),
        ids=Ids(),
    )
    page = Checked(html)
    assert len(html.encode()) < MOST_OF_AN_EVENT * len(events)
    assert page.classes.count("event") == len(events)
    assert "54439" not in page.text or any("54439" in str(row) for row in events)


@given(rows(), rows())
def test_any_call_with_any_result_is_one_article_without_an_id(
    call: TimelineRow, result: TimelineRow
) -> None:
    pair = {"group_id": "g", "tool_call_id": "c", "vanished_at": None}
    call = msgspec.structs.replace(call, event_kind="tool_call", seq=1, **pair)
    result = msgspec.structs.replace(result, event_kind="tool_result", seq=2, **pair)
    told = Call(group_id="g", tool_call_id="c", duration_ms=1.0, outcome="ok", call_seq=1, result_seq=2)
    items = [make_item(row, plain=True) for row in (call, result)]
    html = _environment.get_template("timeline_answered.html").render(
        page=SimpleNamespace(
            sections=in_turns(fold(items, [told]), {}),
            differences={row.name: compare(row.data, call.data) for row in (call, result)},
        ),
        task=SimpleNamespace(task_id=call.task_id),
        zone=ZoneInfo("UTC"),
        ids=NoIds(),
    )
    page = Checked(html)
    assert (page.classes.count("event"), page.classes.count("result"), page.ids) == (1, 1, [])
    assert len(html.encode()) < MOST_OF_AN_EVENT * 2
    for item in items:
        assert item.shows_all or item.raw is not None or item.is_cut


_told = {"type": "t", "toolName": "n", "toolCallId": "c", "durationMs": 5.0, "status": "failed"}


@given(
    st.dictionaries(
        st.sampled_from([*_told, "rows", "log", "", '"']),
        st.sampled_from([*_told.values(), 5, True, "a\nb", "succeeded"])
        | hostile
        | st.lists(hostile, max_size=2),
    ),
    st.sampled_from(["ok", "error"]),
)
def test_what_is_not_shown_of_a_result_is_what_its_line_tells(data: dict[str, Any], outcome: str) -> None:
    row = TimelineRow(
        **ALONE,
        data=json.dumps(data),
        event_kind="tool_result",
        event_type="t",
        tool_name="n",
        tool_call_id="c",
        duration_ms=5.0,
        status="failed",
        outcome=outcome,
    )
    item = make_item(row, plain=True)
    shown: dict[str, Any] = {}
    for piece in item.pieces:
        if piece.form == "block":
            shown[json.loads(f'"{piece.name}"')] = piece.text
        elif piece.text:
            shown.update(json.loads(piece.text))
    assert all(data[name] == value for name, value in shown.items())
    for name in data.keys() - shown.keys():
        assert data[name] == _told[name]
        assert not isinstance(data[name], bool)
        assert name != "status" or outcome == "error"


@given(hostile)
def test_any_text_as_markdown_is_well_formed_and_inert(text: str) -> None:
    html = render_markdown(text)
    if html is not None:
        assert len(html) <= LONGEST_HTML
        Checked(str(html))
        assert str(html) == visible(str(html))


@given(values | deep().filter(lambda text: len(text) < 8000))
def test_any_json_is_laid_out_to_the_letter(raw: str) -> None:
    laid = lay_out(raw)
    assert laid.is_whole
    assert without_white_space(laid.text) == without_white_space(raw)


def without_white_space(text: str) -> str:
    """Return JSON without what stands between its tokens, by a scanner of the test's own."""
    found = []
    is_string = is_escaped = False
    for letter in text:
        if is_string or letter not in " \t\r\n":
            found.append(letter)
        if letter == '"' and not is_escaped:
            is_string = not is_string
        is_escaped = is_string and letter == "\\" and not is_escaped
    return "".join(found)


@given(values, values)
def test_a_difference_holds_both_texts_and_nothing_else(old: str, new: str) -> None:
    difference = compare(old, new)
    assert (difference.lines == ()) == (old == new)
    if old != new and not any(line.sign == "skipped" or "…" in line.text for line in difference.lines):
        for text, left_out in ((old, "added"), (new, "removed")):
            shown = [line.text for line in difference.lines if line.sign != left_out]
            assert "\n".join(shown) in (lay_out(text).text, text)
