from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from maia_sync.sandbox.oddities import STORABLE
from maia_sync.store.timeline import Call, TimelineRow
from maia_sync.web.conversation import Item, fold, in_turns, make_item

MOMENT = datetime(2026, 1, 5, 8, tzinfo=UTC)


def row(number: int, data: object = None, **facets: Any) -> TimelineRow:
    text = data if isinstance(data, str) or data is None else json.dumps(data)
    given: dict[str, Any] = {
        "task_id": "0b5c1c9e-8f5e-4d7a-9a59-2f3f0a1b2c3d",
        "group_id": "g",
        "timestamp": number,
        "ordinal": 0,
        "data": text,
        "extra": None,
        "occurred_at": MOMENT,
        "timestamp_text": "2026",
        "seq": number,
        "digest": b"",
        "revision": 0,
        "first_seen_at": MOMENT,
        "last_changed_at": MOMENT,
        "vanished_at": None,
        "run_id": None,
    }
    return TimelineRow(**{**given, **facets})


def item(number: int, data: object = None, *, plain: bool = True, **facets: Any) -> Item:
    return make_item(row(number, data, **facets), plain=plain)


def call(number: int, name: str | None = "c", **others: Any) -> Item:
    return item(number, {"arguments": {"n": number}}, event_kind="tool_call", tool_call_id=name, **others)


def result(number: int, name: str | None = "c", **others: Any) -> Item:
    return item(number, {"result": f"r{number}"}, event_kind="tool_result", tool_call_id=name, **others)


def told(seq: int, result_seq: int | None, name: str | None = "c", outcome: str | None = "ok") -> Call:
    return Call(
        group_id="g", tool_call_id=name, duration_ms=5.0, outcome=outcome, call_seq=seq, result_seq=result_seq
    )


def texts(of: Item) -> list[tuple[str, str, str]]:
    return [(piece.label, piece.form, piece.text) for piece in of.pieces]


# ------------------------------------------------------------------ items


@pytest.mark.parametrize(
    ("data", "facets", "style", "who", "pieces"),
    [
        ({"text": "hi"}, {"event_kind": "message", "actor": "user"}, "user", "User", [("", "text", "hi")]),
        ({"text": "hi"}, {"event_kind": "message", "actor": "agent"}, "agent", "Agent", [("", "text", "hi")]),
        ({"text": "hi"}, {"event_kind": "message"}, "other", "Message", [("", "text", "hi")]),
        ({"message": "no"}, {"event_kind": "error"}, "error", "Error", [("", "text", "no")]),
        ({"error": {"message": "no"}}, {"event_kind": "error"}, "error", "Error", [("", "text", "no")]),
        ({"thought": "so"}, {"event_kind": "plan"}, "plan", "Plan", [("", "text", "so")]),
        ({"status": "done"}, {"event_kind": "status", "status": "done"}, "other", "Status", []),
        ({"a": 1}, {"event_kind": "usage", "input_tokens": 0}, "other", "Usage", []),
        ({"a": 1.50}, {"event_kind": "usage"}, "other", "Usage", [("", "raw", '{\n  "a": 1.5\n}')]),
        ({"text": "hi"}, {}, "other", "", [("", "text", "hi")]),
        ("17", {}, "other", "", [("", "raw", "17")]),
        ('{"a":1.50}', {"event_kind": "message"}, "other", "Message", [("", "raw", '{\n  "a": 1.50\n}')]),
        (None, {"event_kind": "tool_call"}, "tool", "Tool call", [("No data", "text", "")]),
        (
            '{"arguments":"{\\"a\\": 1}"}',
            {"event_kind": "tool_call"},
            "tool",
            "Tool call",
            [("Arguments", "text", '{"a": 1}')],
        ),
        (
            {"error": {"code": 1}, "result": None},
            {"event_kind": "tool_result"},
            "tool",
            "Tool result",
            [("Error", "raw", '{\n  "code": 1\n}')],
        ),
        ("[1]", {"event_kind": "tool_result"}, "tool", "Tool result", [("", "raw", "[\n  1\n]")]),
    ],
)
def test_each_kind_shows_what_it_says(
    data: object, facets: dict[str, Any], style: str, who: str, pieces: list[tuple[str, str, str]]
) -> None:
    found = item(1, data, **facets)
    assert (found.style, found.who, texts(found)) == (style, who, pieces)


SAID = {"type": "toolResult", "toolCallId": "c", "toolName": "t", "durationMs": 5}
FACETS: dict[str, Any] = {
    "event_kind": "tool_result",
    "event_type": "toolResult",
    "tool_call_id": "c",
    "tool_name": "t",
    "duration_ms": 5.0,
    "outcome": "ok",
}
NOTHING = [("Nothing but what the line above tells", "text", "")]


@pytest.mark.parametrize(
    ("data", "facets", "pieces"),
    [
        ({**SAID, "rows": 3}, {}, [("", "raw", '{\n  "rows": 3\n}')]),
        ({**SAID, "status": "succeeded"}, {"status": "succeeded"}, NOTHING),
        ({**SAID, "status": "skipped"}, {"status": "skipped"}, [("", "raw", '{\n  "status": "skipped"\n}')]),
        ({**SAID, "toolName": "u"}, {}, [("", "raw", '{\n  "toolName": "u"\n}')]),
        ('{"durationMs":5.00,"type":"toolResult","n":1.50}', {}, [("", "raw", '{\n  "n": 1.50\n}')]),
        (
            '{"durationMs":true,"x":1}',
            {"duration_ms": 1.0},
            [("", "raw", '{\n  "durationMs": true,\n  "x": 1\n}')],
        ),
        (
            '{"type":{"type":"toolResult"}}',
            {},
            [("", "raw", '{\n  "type": {\n    "type": "toolResult"\n  }\n}')],
        ),
    ],
)
def test_a_result_leaves_out_only_what_its_line_tells_exactly(
    data: object, facets: dict[str, Any], pieces: list[tuple[str, str, str]]
) -> None:
    found = item(1, data, **{**FACETS, **facets})
    assert texts(found) == pieces
    assert found.raw is not None or found.shows_all


def test_texts_of_several_lines_stand_by_themselves_and_the_rest_as_json() -> None:
    arguments = {"limit": 5, "sql": "SELECT\n  1", "path": "a\tb", "deep": {"a": "x\ny"}, "notes": "a\r\nb"}
    found = item(1, {"arguments": arguments}, event_kind="tool_call")
    assert [(piece.label, piece.name, piece.form) for piece in found.pieces] == [
        ("Arguments", "sql", "block"),
        ("", "notes", "block"),
        ("", "", "raw"),
    ]
    assert [piece.text for piece in found.pieces[:2]] == ["SELECT\n  1", "a\r\nb"]
    assert json.loads(found.pieces[2].text) == {name: arguments[name] for name in ("limit", "path", "deep")}
    failed = item(1, {"error": {"code": 1, "message": "a\nb"}}, event_kind="tool_result")
    assert [(piece.label, piece.name, piece.text) for piece in failed.pieces] == [
        ("Error", "message", "a\nb"),
        ("", "", '{\n  "code": 1\n}'),
    ]


def test_texts_of_several_lines_are_cut_and_few() -> None:
    many = item(1, {"arguments": {f"n{n}": "x\n" * 500 for n in range(100)}}, event_kind="tool_call")
    assert many.is_cut
    assert sum(len(piece.text) + len(piece.name) for piece in many.pieces) < 5000
    long = item(1, json.dumps({"arguments": {"a": [1] * 5000, "b": "x\ny"}}), event_kind="tool_call")
    assert long.is_cut
    assert long.pieces[0].form == "raw"


@pytest.mark.parametrize(
    ("data", "preview"),
    [
        ({"arguments": {"n": 1, "sql": "  SELECT\n\t1 "}}, "SELECT 1"),
        ({"input": {"list": ["", " ", {"x": "deep"}]}}, "deep"),
        ({"arguments": "x" * 200}, "x" * 79 + "…"),
        ({"arguments": {"n": 1}}, ""),
        ({"text": "no argument"}, ""),
        ("[1]", ""),
        (None, ""),
    ],
)
def test_a_preview_is_the_beginning_of_the_first_text(data: object, preview: str) -> None:
    assert item(1, data, event_kind="tool_call").preview == preview


@pytest.mark.parametrize("element", STORABLE.values(), ids=STORABLE)
@pytest.mark.parametrize(
    "kind", [None, "message", "plan", "tool_call", "tool_result", "error", "usage", "status"]
)
def test_any_payload_can_be_of_any_kind(element: bytes, kind: str | None) -> None:
    raw = element.strip()[8:-1].decode() if element.startswith(b'{"data":') else "{}"
    for data in (raw, element.decode(), None, '"\\ud800"', "[" * 900 + "]" * 900, "1e999", "9" * 5000):
        found = item(1, data, event_kind=kind, plain=False)
        assert 0 < found.weight < 100_000


def test_markdown_is_read_unless_plain_text_is_wanted() -> None:
    assert str(item(1, {"text": "**a**"}, plain=False).pieces[0].html) == "<p><strong>a</strong></p>\n"
    assert item(1, {"text": "**a**"}).pieces[0].form == "text"
    assert item(1, {"text": "[" * 1000}, plain=False).pieces[0].form == "text"


def test_long_texts_are_cut_and_heavy_ones_weigh() -> None:
    long = item(1, {"text": "x" * 100_000})
    assert long.is_cut
    assert len(long.pieces[0].text) == 8192
    assert item(1, {"text": "&" * 8000}).weight > 8000 * 5
    assert item(1, "[" + "1," * 100_000 + "1]").weight > 50_000


def test_a_plans_steps_are_a_list() -> None:
    plan = item(1, {"title": "T", "steps": [{"title": "a", "status": "done"}, "b"]}, event_kind="plan")
    assert plan.pieces[-1].steps == (("a", "done"), ("b", ""))
    assert plan.pieces[0].text == "T"


def test_the_payload_is_kept_only_where_it_is_short_and_not_shown_anyway() -> None:
    assert item(1, {"text": "x"}).raw is not None
    assert item(1, {"text": "x" * 3000}).raw is None
    assert item(1, {"n": 1}).raw is None
    assert item(1, {"text": "x"}).row.data is None


# ------------------------------------------------------------------ folding


def test_a_result_is_folded_into_its_call() -> None:
    entries = fold([call(1), item(2, {"text": "x"}), result(3)], [told(1, 3)])
    assert [entry.item.row.seq for entry in entries] == [1, 2]
    assert entries[0].result is not None
    assert entries[0].result.row.seq == 3
    assert (entries[0].duration_ms, entries[0].outcome) == (5.0, "ok")


def test_bare_calls_are_paired_as_the_view_tells() -> None:
    items = [call(1, None), call(2, None), result(3, None), result(4, None)]
    entries = fold(items, [told(1, 3, None), told(2, 4, None)])
    assert [(entry.item.row.seq, entry.result and entry.result.row.seq) for entry in entries] == [
        (1, 3),
        (2, 4),
    ]


def test_what_stands_elsewhere_is_pointed_to() -> None:
    entries = fold([call(5), result(6, "d"), result(7, None)], [told(5, 99), told(1, 7, None)], {"d": 2})
    assert [entry.elsewhere for entry in entries] == [99, 2, 1]
    alone = fold([call(5), result(6, "d")], [told(5, None, outcome=None)])
    assert [(entry.elsewhere, entry.result) for entry in alone] == [(None, None), (None, None)]


def test_a_vanished_call_is_pointed_to_unless_another_has_its_id() -> None:
    assert [
        (entry.elsewhere, entry.call_has_vanished) for entry in fold([result(2)], vanished_places={"c": 1})
    ] == [(1, True)]
    both = fold([result(3)], call_places={"c": 2}, vanished_places={"c": 1})
    assert [(entry.elsewhere, entry.call_has_vanished) for entry in both] == [(2, False)]


def test_a_call_is_slim_as_long_as_its_line_says_all() -> None:
    def is_slim(*items: Item, outcome: str | None = "ok", result_seq: int | None = 2) -> bool:
        return fold(items, [told(1, result_seq, outcome=outcome)])[0].is_slim

    assert is_slim(call(1), result(2))
    assert is_slim(call(1), outcome=None, result_seq=None)
    assert not is_slim(call(1), result_seq=99)
    assert not is_slim(call(1, revision=1), result(2))
    assert not is_slim(call(1), result(2, revision=1))
    assert not is_slim(call(1, vanished_at=MOMENT))
    assert not is_slim(call(1, occurred_at=None), result(2))
    assert not fold([result(2)])[0].is_slim


def test_one_result_is_folded_once_and_vanished_ones_never() -> None:
    twice = fold([call(1), call(2), result(3)], [told(1, 3), told(2, 3)])
    assert [(entry.result is not None, entry.elsewhere) for entry in twice] == [(True, None), (False, 3)]
    vanished = fold([call(1), result(2, vanished_at=MOMENT)], [told(1, None)])
    assert len(vanished) == 2
    assert len(fold([call(1, vanished_at=MOMENT), result(2)])) == 2


def test_a_result_of_another_turn_stays_in_its_turn() -> None:
    entries = fold([call(1), result(2, group_id="h")], [told(1, 2)])
    assert [entry.result for entry in entries] == [None, None]
    assert entries[0].elsewhere == 2


# ------------------------------------------------------------------ turns


def test_events_of_a_group_that_follow_each_other_are_a_turn() -> None:
    items = [item(n, group_id=group) for n, group in enumerate(("a", "a", "", "b", "a"))]
    sections = in_turns(fold(items), {}, group_before="a", group_behind="a")
    assert [(each.group_id, len(each.entries)) for each in sections] == [
        ("a", 2),
        ("", 1),
        ("b", 1),
        ("a", 1),
    ]
    assert [each.is_continued for each in sections] == [True, False, False, False]
    assert [each.goes_on for each in sections] == [False, False, False, True]
    assert not in_turns(fold([item(1, group_id="")]), {}, group_before="")[0].is_continued
    assert in_turns([], {}) == []


def test_names_and_groups_weigh_what_they_take_when_they_are_written_out() -> None:
    """A page that forgot them could be five times as large as it may be."""
    plain = item(1, {"text": "hi"}, group_id="").weight
    group = "\u202e" * 160  # nine bytes each in an address, and a turn and its events have five of these
    assert item(1, {"text": "hi"}, group_id=group).weight >= plain + 5 * 9 * 160
    odd = "\U000e0001" * 64  # thirteen bytes each, spelt out
    for name in ("event_type", "user_id", "agent_name", "tool_name", "status", "error_type"):
        assert item(1, {"text": "hi"}, **{name: odd}).weight >= plain + 2 * 13 * 64, name
