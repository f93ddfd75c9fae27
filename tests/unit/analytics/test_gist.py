from __future__ import annotations

from typing import Any

import pytest

from maia_sync.analytics.gist import UNREAD, decode, first_text_of, steps_of, text_of, words_of


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"text": "hello"}, "hello"),
        ({"type": "x", "message": "hello", "title": "no"}, "hello"),
        ({"message": {"role": "user", "content": "hello"}}, "hello"),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "image"}, "b", {"text": {"value": "c"}}]},
            "a\nb\nc",
        ),
        ({"text": "", "summary": "hello"}, "hello"),
        ({"data": {"payload": {"text": "hello"}}}, "hello"),
        ("hello", "hello"),
        (["a", "b"], "a\nb"),
        ({"text": 5, "n": 1}, None),
        ({"content": []}, None),
        ({}, None),
        (None, None),
        (UNREAD, None),
        (5.0, None),
    ],
)
def test_what_a_payload_says_is_found(value: Any, said: str | None) -> None:
    assert text_of(value) == said


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        ({"steps": [{"title": "a", "status": "done"}, "b"]}, [("a", "done"), ("b", "")]),
        ({"plan": {"steps": ["a"]}}, [("a", "")]),
        ({"data": {"todos": [{"content": "a", "state": 5}]}}, [("a", "")]),
        ({"steps": [1, 2]}, []),
        ({"steps": {"plan": {"steps": {"plan": {"steps": {"plan": {"steps": ["deep"]}}}}}}}, []),
        ([], []),
    ],
)
def test_a_plans_steps_are_found(value: Any, steps: list[tuple[str, str]]) -> None:
    assert steps_of(value) == steps


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ([1, {"n": None, "x": [" ", {"y": "b"}]}, "c"], "b"),
        ({"a": "\n\t", "b": 5}, ""),
        ([[[[[[["too deep"]]]]]]], ""),
        ([0] * 5000 + ["too far"], ""),
        (None, ""),
    ],
)
def test_the_first_text_that_says_something_is_found(value: Any, text: str) -> None:
    assert first_text_of(value) == text


@pytest.mark.parametrize("data", [None, "nul", "[" * 5000 + "]" * 5000, '"' + "x" * 50 + '"'])
def test_what_cannot_or_should_not_be_read_is_unread(data: str | None) -> None:
    assert decode(data, 20) is UNREAD


def test_whatever_json_allows_is_read() -> None:
    assert decode(r'{"a":1e999,"text":"\ud800"}') == {"a": float("inf"), "text": "\ud800"}
    assert text_of(decode('{"n":%s,"text":"x"}' % ("9" * 5000))) == "x"


def test_one_line_tells_each_member_that_says_something() -> None:
    value = {
        "type": "x",
        "toolName": "run",
        "status": "failed",
        "error": {"message": "no"},
        "result": {"a": 1},
    }
    assert words_of(value) == ["run", "failed", "no"]
    assert words_of({"content": [{"type": "text", "text": "a"}]}) == ["a"]
