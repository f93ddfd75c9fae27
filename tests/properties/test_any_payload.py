"""Are two payloads equal exactly where they mean the same, as an independent canonical form has it?

The payloads are small and made of few parts, so that many pairs are equal and the others differ by little.
"""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st
from properties.raw_json import members
from properties.second_reader import meaning, place_of, read_moment

from maia_sync.sync.canonical import canonical_of_payload

atoms = st.sampled_from(
    [
        "1",
        "1.0",
        "10e-1",
        "-0",
        "0",
        "null",
        "true",
        '"1"',
        '"n1"',
        '"s"',
        '"null"',
        '""',
        '"A"',
        r'"\u0041"',
        r'"\ud800"',
        r'"\uD800"',
    ]
)
names = st.sampled_from(['"a"', r'"\u0061"', '"b"', '""'])


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    return members(draw, draw(st.lists(st.tuples(names, inner), max_size=3)))


small = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]") | objects(inner),
    max_leaves=4,
)


@st.composite
def relatives(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a payload and what one small change or none makes of it."""
    text = draw(small)
    places = [found.span() for found in re.finditer(r'"[^"]*"|[\w.+-]+', text)]
    if not places:
        return text, text
    start, end = draw(st.sampled_from(places))
    return text, text[:start] + draw(names if text[end:].lstrip().startswith(":") else atoms) + text[end:]


@given(st.tuples(small, small) | relatives())
@example(('"n1"', "1"))
@example(('{"a":1,"a":2}', '{"a":2,"a":1}'))
@example(('{"b":1,"a":{}}', '{"a":{},"b":1}'))
@example(('["a","b"]', '{"a":"b"}'))
@example(('["a","b"]', '["asb"]'))
def test_payloads_are_equal_exactly_where_they_mean_the_same(pair: tuple[str, str]) -> None:
    one, other = pair
    same = repr(meaning(one)) == repr(meaning(other))
    assert (canonical_of_payload(one, None, None) == canonical_of_payload(other, None, None)) == same
    extras = [f'{{"x":{text}}}' for text in pair]
    assert (
        canonical_of_payload(None, extras[0], None) == canonical_of_payload(None, extras[1], None)
    ) == same


parts = st.sampled_from([None, "1", '"1"', "{}", "null"])
extras = st.sampled_from([None, '{"x":1}', '{"x":{}}'])
stamps = st.sampled_from(
    [
        None,
        "soon",
        "2026-01-05T08:00:00Z",
        "2026-01-05T08:00:00.0000000001Z",
        "2026-01-05T09:00:00.00000000010+01:00",
    ]
)


@given(st.tuples(parts, extras, stamps), st.tuples(parts, extras, stamps))
def test_every_part_of_a_payload_counts_and_of_a_timestamp_what_the_key_lacks(
    one: tuple[str | None, ...], other: tuple[str | None, ...]
) -> None:
    def meant(payload: tuple[str | None, ...]) -> tuple[object, ...]:
        said = [None if text is None else repr(meaning(text)) for text in payload[:2]]
        return *said, place_of(read_moment(payload[2]), payload[2])[1]

    assert (canonical_of_payload(*one) == canonical_of_payload(*other)) == (meant(one) == meant(other))
