"""Does the exploration count what is there, show no values, and survive any payload?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.analytics.explore import MOST_LISTED, MOST_PATHS, MOST_STEPS, _Tally, explore
from maia_sync.json_path import parse_path, render_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maia_sync.analytics.explore import ListedPath, Report


def look(*payloads: str | None, at: tuple[str, ...] = ("type",)) -> Report:
    return explore(payloads, at)


def told(paths: Iterable[ListedPath]) -> dict[str, tuple[int, dict[Any, int]]]:
    return {render_path(path.steps): (path.payloads, path.types) for path in paths}


def words(report: Report) -> dict[str, dict[str, int]]:
    return {render_path(each.steps): each.words for each in report.words}


def test_every_path_is_counted_once_a_payload_with_its_types() -> None:
    report = look(
        '{"type":"a","n":1,"deep":{"list":[{"x":true},{"y":1}]}}',
        '{"type":"a","n":1.5,"deep":null}',
        '{"type":"b","n":"1"}',
        '"text"',
    )
    assert told(report.paths) == {
        "$": (4, {"object": 3, "string": 1}),
        "n": (3, {"integer": 1, "number": 1, "string": 1}),
        "type": (3, {"string": 3}),
        "deep": (2, {"object": 1, "null": 1}),
        "deep.list": (1, {"array": 1}),
        "deep.list[0]": (1, {"object": 1}),
        "deep.list[0].x": (1, {"boolean": 1}),
    }
    assert [(each.word, each.payloads) for each in report.event_types] == [("a", 2), ("b", 1), (None, 1)]
    assert told(report.event_types[1].paths) == {
        "$": (1, {"object": 1}),
        "n": (1, {"string": 1}),
        "type": (1, {"string": 1}),
    }
    counts = [path.payloads for path in report.paths]
    assert counts == sorted(counts, reverse=True)


def test_numbers_without_fraction_and_exponent_are_integers() -> None:
    payloads = ["1", "-0", "1" * 25, "1" * 5000, "1.0", "1e2", "1e400", "-1E-9999"]
    assert look(*payloads).paths[0].types == {"integer": 4, "number": 4}


def test_events_without_data_and_texts_that_are_no_json_are_counted_apart() -> None:
    report = look(None, None, "", "{", "[", "nul", '{"a":1}x', '{"a"}', '{"a":1,}', "{a:1}", "null")
    assert (report.absent, report.payloads) == (2, 1)
    assert report.unreadable == 8
    assert look() == look()
    assert look().event_types == []


ODD = (
    (r'{"type":"t","half":"\ud800"}', "half"),
    (r'{"type":"t","nul":"\u0000"}', "nul"),
    ('{"type":"t","huge":1e400}', "huge"),
    ('{"type":"t","twice":1,"twice":{"within":2}}', "twice.within"),
    (r'{"type":"t","twice":1e400,"twice":{"within":2}}', "twice.within"),
    ('{"type":"t","deep":' + "[" * 990 + "]" * 990 + "}", "deep[0]"),
    ('{"type":"t","deep":' + '{"a":' * 998 + "1" + "}" * 998 + "}", "deep.a.a"),
    ('{"type":"t","array":[' + "1," * 100_000 + "1]}", "array[0]"),
    (r'{"type":"t","array":["\ud800"' + ",1" * 100_000 + "]}", "array[0]"),
    (r'{"type":"t","a.b":{"c\"d":1}}', """['a.b']['c"d']"""),
    (r'{"type":"t","\u001b[31m":1}', r"['\u001b[31m']"),
    (r"""{"type":"t","it's\u202e":[{"x y":0}]}""", r"['it\'s\u202e'][0]['x y']"),
    ('{"type":"t","":{"":1}}', "['']['']"),
)


@pytest.mark.parametrize(("payload", "path"), ODD, ids=[path for _, path in ODD])
def test_odd_payloads_are_explored_like_others(payload: str, path: str) -> None:
    report = look(payload)
    listed = {render_path(each.steps) for each in report.paths}
    assert path in listed
    assert parse_path(path).steps in {each.steps for each in report.paths}
    assert all(text.isprintable() for text in listed)
    assert [each.word for each in report.event_types] == ["t"]
    assert (report.payloads, report.unreadable) == (1, 0)


def test_no_path_has_more_than_six_steps() -> None:
    report = look('{"a":' * 50 + "1" + "}" * 50, "[" * 1000 + "]" * 1000)
    assert max(len(path.steps) for path in report.paths) == MOST_STEPS


def test_a_name_with_half_a_surrogate_pair_is_listed_by_its_escape() -> None:
    assert r"['\ud800']" in told(look(r'{"\ud800":1}').paths)


def test_names_that_are_ids_do_not_hide_what_is_frequent() -> None:
    tally = _Tally([("type",)])
    for number in range(200):
        ids = {f"id-{number}-{at}": {"type": "x"} for at in range(200)}
        tally.add(json.dumps({**ids, "type": "call", "tool": {"name": "n"}}))
        assert len(tally._paths) <= 2 * MOST_PATHS
        assert len(tally._words) <= 1000
    report = tally.report()
    assert told(report.paths) == {
        "$": (200, {"object": 200}),
        "tool": (200, {"object": 200}),
        "tool.name": (200, {"string": 200}),
        "type": (200, {"string": 200}),
    }
    assert report.paths_left_out == 200 * 200 * 2
    assert words(report) == {"type": {"call": 200}}


def test_one_payload_of_very_many_names_is_looked_at_in_part() -> None:
    report = look(json.dumps({str(number): {"x": number} for number in range(100_000)}))
    assert report.cut == 1
    assert len(report.paths) == MOST_LISTED
    assert report.paths_left_out > 0
    assert look('{"type":"x"}').cut == 0


def test_very_long_names_are_passed_over() -> None:
    assert set(told(look(json.dumps({"n" * 100_000: 1, "type": "x"})).paths)) == {"$", "type"}


def test_the_event_type_is_what_the_first_path_with_a_text_leads_to() -> None:
    payloads = ('{"kind":"b","type":7}', '{"type":"a","kind":"b"}', '[{"t":"c"}]', "3")
    report = look(*payloads, at=("type", "kind", "$[0].t"))
    assert {each.word: each.payloads for each in report.event_types} == {"b": 1, "a": 1, "c": 1, None: 1}
    with pytest.raises(ValueError, match="expected a path"):
        look(at=("a..b",))


SECRET = ("top secret", "päss", "a" * 41, "0123456789", "3f2a7c1e-aaaa-bbbb", "a@b.c", "", "x\x1b[1m")


def test_words_are_shown_only_where_types_roles_and_statuses_stand() -> None:
    report = look('{"type":"call","status":"failed","role":"user","name":"Ana","colour":"red","id":"x7"}')
    assert words(report) == {"type": {"call": 1}, "status": {"failed": 1}, "role": {"user": 1}}


@pytest.mark.parametrize("secret", SECRET)
def test_what_looks_like_no_identifier_is_never_shown(secret: str) -> None:
    for few in (1, 20):
        plain = ['{"type":"call","status":"done"}'] * few
        report = look(*plain, json.dumps({"type": secret, "status": secret, "role": secret}))
        shown = [
            *(each.word for each in report.event_types),
            *(word for one in words(report).values() for word in one),
        ]
        assert secret not in shown
        assert ("call" in shown) == (few == 20)


def test_too_many_words_are_no_types() -> None:
    def some(number: int) -> Report:
        return explore(
            [f'{{"type":"w{chr(97 + at // 26)}{chr(97 + at % 26)}"}}' for at in range(number)], ["type"]
        )

    assert len(words(some(50))["type"]) == len(some(50).event_types) == 50
    assert words(some(51)) == {}
    assert [(each.word, each.payloads) for each in some(51).event_types] == [(None, 51)]
    assert told(some(51).event_types[0].paths) == told(some(51).paths)


def test_names_of_people_where_a_role_might_stand_are_not_shown() -> None:
    people = ['{"author":"ana"}', '{"author":"priya"}', '{"author":"assistant"}']
    assert words(look(*people)) == {}
    assert words(look('{"author":"ana"}', '{"author":"user"}', '{"author":"assistant"}')) != {}


def test_what_a_tool_was_told_is_no_word_of_the_event() -> None:
    assert words(look('{"arguments":{"type":"secret","status":"x"},"attachments":[{"type":"pdf"}]}')) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner),
    max_leaves=20,
)


@given(st.lists(JSON.map(json.dumps) | st.text(max_size=20), max_size=8))
def test_any_payload_is_explored_or_counted_as_unreadable(payloads: list[str]) -> None:
    report = look(*payloads)
    assert report.payloads + report.unreadable == len(payloads)
    assert sum(each.payloads for each in report.event_types) == report.payloads
    for path in report.paths:
        assert sum(path.types.values()) == path.payloads <= report.payloads
        assert render_path(path.steps).isprintable()


@given(JSON)
def test_msgspec_and_the_slices_see_the_same(value: Any) -> None:
    text = json.dumps(value).replace("NaN", "1.5").replace("-Infinity", "1.5").replace("Infinity", "1.5")
    plain, odd = look(text), look(f"[{text},1e400]")
    within = {path.steps[1:]: path.types for path in odd.paths if path.steps}
    assert within == {path.steps: path.types for path in plain.paths if len(path.steps) < MOST_STEPS}
