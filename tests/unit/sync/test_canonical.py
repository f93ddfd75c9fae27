"""Are payloads equal exactly where only their JSON spelling differs?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.sync.canonical import canonical_of_payload


def canonical(data: str | None, extra: str | None = None, text: str | None = None) -> bytes:
    return canonical_of_payload(data, extra, text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":2}', '{ "b" : 2, "a" : 1 }'),
        ('"A\\/é"', '"\\u0041/\\u00e9"'),
        ('"\\ud83d\\ude00"', '"😀"'),
        ('{"x":[1,{"c":3,"d":4}]}', '{"x":[ 1 , {"d":4,"c":3} ]}'),
        ('"\\ud800"', '"\\uD800"'),
    ],
)
def test_spelling_does_not_count(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1e2", "100"),
        ('"1"', "1"),
        ("[1,2]", "[2,1]"),
        ("[[1],2]", "[1,[2]]"),
        ('{"a":1,"a":2}', '{"a":2,"a":1}'),
        ('{"a":1,"a":1}', '{"a":1}'),
        ("{}", "[]"),
        ('["a","b"]', '["ab",""]'),
        ('{"a":"b"}', '["a","b"]'),
        ("null", '"null"'),
        ("null", None),
    ],
)
def test_everything_else_counts(one: str, other: str | None) -> None:
    assert canonical(one) != canonical(other)


def test_extra_and_what_the_key_lacks_of_the_timestamp_count() -> None:
    digests = {
        canonical("1"),
        canonical("1", '{"x":1}'),
        canonical("1", None, "soon"),
        canonical("1", None, "2026-01-01T00:00:00.0000000001Z"),
    }
    assert len(digests) == 4
    assert canonical("1", None, "2026-01-01T00:00:00Z") == canonical("1")


def test_a_thousand_levels_around_a_large_value_stay_cheap() -> None:
    text = "[" * 999 + '"' + "x" * 1_000_000 + '"' + "]" * 999
    assert canonical(text) != canonical(text.replace("x", "y", 1))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_respelling_by_pythons_json_is_equal(value: object) -> None:
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    assert canonical(compact) == canonical(json.dumps(value, indent=1))
