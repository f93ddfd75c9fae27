"""Does decoding keep every payload to the letter, and lose nothing that is odd? (P1, P4)"""

from __future__ import annotations

import json
import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.errors import BrokenPage, PageTooLarge
from maia_sync.maia.element import read_element
from maia_sync.maia.wire import decode_page
from maia_sync.model import NO_TIMESTAMP, Event, Page
from maia_sync.sandbox.oddities import STORABLE, UNSTORABLE, nested


def page_of(*elements: bytes, more: bytes = b"") -> Page:
    return decode_page(b'{"results":[' + b",".join(elements) + b"]" + more + b"}")


def only_event(element: bytes) -> Event:
    page = page_of(element)
    assert not page.quarantined
    return page.events[0]


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"1e400",
        b"-0",
        b"1.0E+2",
        b'{"b":1,"a":2,"b":3}',
        b'{ "spaced" :\t[ 1 ,\n2 ] }',
        b'"\\u00e9\\u0000\\ud83d\\ude00"',
        b'"\\ud800"',
        '"é😀"'.encode(),
        b"[]",
        b'""',
    ],
)
def test_p4_data_is_the_very_text_that_came(raw: bytes) -> None:
    for element in (b'{"data":' + raw + b"}", b'{ "x": 1, "data" : ' + raw + b' , "timestamp":null}'):
        assert only_event(element).data == raw.decode()


def test_absent_data_is_none_and_null_is_the_text_null() -> None:
    assert only_event(b"{}").data is None
    assert only_event(b'{"data":null}').data == "null"


def test_unknown_fields_are_kept_as_raw_slices_in_order() -> None:
    event = only_event(b'{"z":1.50,"data":7,"a":{"k" : [ ]},"groupId":"g"}')
    assert event.extra == '{"z":1.50,"a":{"k" : [ ]}}'


def test_of_a_repeated_known_field_the_last_counts_and_the_others_are_kept() -> None:
    event = only_event(b'{"data":1,"groupId":"a","data":2,"groupId":"b"}')
    assert (event.data, event.group_id, event.extra) == ("2", "b", '{"data":1,"groupId":"a"}')


def test_an_unknown_field_as_long_as_blanks_would_be_is_not_overlooked() -> None:
    for name in (b"", b"a", b"ab", b"abc"):
        elements = [b'{"data":1,"groupId":"g","timestamp":"t"}'] * 3
        elements.append(b'{"data":1,"groupId":"g","timestamp":"t","' + name + b'":0}')
        extras = [event.extra for event in page_of(*elements).events]
        assert extras == [None, None, None, '{"' + name.decode() + '":0}']


def test_a_field_name_with_an_escape_is_the_field() -> None:
    assert only_event(b'{"d\\u0061ta":7}').data == "7"


@pytest.mark.parametrize("raw", [b"5", b"[1]", b'"\\u0000"', b'"\\ud800"', b'"' + b"x" * 513 + b'"', b"true"])
def test_a_group_that_cannot_stand_in_a_key_is_hashed_and_kept(raw: bytes) -> None:
    event = only_event(b'{"groupId":' + raw + b',"data":1}')
    assert event.group_id == "sha256:" + sha256(raw).hexdigest()
    assert event.extra == '{"groupId":' + raw.decode() + "}"


def test_absent_null_and_empty_group_are_one_group() -> None:
    groups = {only_event(b"{" + part + b"}").group_id for part in (b"", b'"groupId":null', b'"groupId":""')}
    assert groups == {""}
    assert only_event(b'{"groupId":""}').extra is None


def test_the_digest_can_be_recomputed_by_anyone() -> None:
    event = only_event(b'{"data":{"a":1},"timestamp":"2026-01-01T00:00:00Z"}')
    assert event.digest == sha256(b'{"a":1}').digest()


def test_digests_differ_by_data_extra_and_what_of_the_timestamp_the_key_lacks() -> None:
    elements = [
        b"{}",
        b'{"data":null}',
        b'{"data":1}',
        b'{"data":1,"x":1}',
        b'{"timestamp":"soon"}',
        b'{"timestamp":""}',
        b'{"timestamp":"2026-01-01T00:00:00.0000000001Z"}',
        b'{"timestamp":"2026-01-01T00:00:00.0000000002Z"}',
        b'{"timestamp":5}',
    ]
    assert len({only_event(element).digest for element in elements}) == len(elements)


def test_an_unstorable_timestamp_is_kept_in_extra() -> None:
    event = only_event(b'{"timestamp":"\\u0000"}')
    assert (event.timestamp, event.timestamp_text) == (NO_TIMESTAMP, None)
    assert event.extra == '{"timestamp":"\\u0000"}'


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"7", "it is not a JSON object"),
        (b"[{}]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b'{"data":"\xff"}', "it is not valid UTF-8"),
        (b'{"data":"\xed\xa0\x80"}', "it is not valid UTF-8"),
        (b'{"data":"\x01"}', "it is not valid JSON"),
        (b'{"data":01}', "it is not valid JSON"),
        (b'{"data":' + b"[" * 1000 + b"]" * 1000 + b"}", "it is nested deeper than 1,000 levels"),
    ],
)
def test_what_cannot_be_an_event_is_quarantined_byte_for_byte_beside_its_neighbours(
    raw: bytes, reason: str
) -> None:
    page = page_of(b'{"data":1}', raw, b'{"data":2}')
    assert [event.data for event in page.events] == ["1", "2"]
    assert [(element.raw, element.reason) for element in page.quarantined] == [(raw, reason)]


def test_a_thousand_levels_are_stored_on_any_call_stack() -> None:
    raw = b'{"data":' + b"[" * 999 + b"]" * 999 + b"}"
    assert only_event(raw).data == raw[8:-1].decode()
    assert page_of(nested(999)).events
    assert page_of(nested(1000)).quarantined


@pytest.mark.parametrize("name", sorted(STORABLE))
def test_storable_oddities_become_events(name: str) -> None:
    assert len(page_of(STORABLE[name]).events) == 1


@pytest.mark.parametrize("name", sorted(UNSTORABLE))
def test_unstorable_oddities_are_quarantined(name: str) -> None:
    assert [element.raw for element in page_of(UNSTORABLE[name]).quarantined] == [UNSTORABLE[name]]


@pytest.mark.parametrize(
    ("more", "token"),
    [
        (b"", None),
        (b',"more":null', None),
        (b',"more":""', None),
        (b',"nextCursor":null,"more":""', None),
        (b',"more":"t"', "t"),
        (b',"nextCursor":"t"', "t"),
        (b',"more":"","nextCursor":"t"', "t"),
        (b',"more":"t","nextCursor":"u"', "t"),
        (b',"total":7,"more":"t\\u0041"', "tA"),
    ],
)
def test_absent_null_and_empty_tokens_all_mean_the_end(more: bytes, token: str | None) -> None:
    assert page_of(more=more).next_token == token
    assert page_of(b'{"data":"\\ud800"}', more=more).next_token == token


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>oops</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"results":null}',
        b'{"results":{}}',
        b'{"items":[]}',
        b'{"results":[{"data":1}',
        b'{"results":[{"data":1},]}',
        b'{"results":[1 2]}',
        b'{"results":[],"more":5}',
        b'{"results":[],"more":"\\ud800"}',
        b'{"results":[]} trailing',
        b"\xff\xfe",
    ],
)
def test_a_body_that_is_no_page_is_never_taken_for_the_end_of_a_log(body: bytes) -> None:
    with pytest.raises(BrokenPage):
        decode_page(body)


def test_every_cut_of_a_page_is_a_broken_page() -> None:
    body = b'{"results":[{"data":{"a":"\\ud800"}},{"data":[1,2]}],"more":"t"}'
    for end in range(len(body)):
        with pytest.raises(BrokenPage):
            decode_page(body[:end])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["data", "groupId", "timestamp", "x", ""]), json_values),
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
)
def test_the_fast_way_and_the_strict_way_agree(
    elements: list[dict[str, object]], spaced: bool, plain: bool
) -> None:
    separators = (", ", ": ") if spaced else (",", ":")
    raws = [
        json.dumps(element, separators=separators, ensure_ascii=plain).encode("utf-8", "replace")
        for element in elements
    ]
    page = page_of(*raws)
    strict = [read_element(raw) for raw in raws]
    assert page.events == [element for element in strict if isinstance(element, Event)]
    assert page.quarantined == [element for element in strict if not isinstance(element, Event)]


ALIKE = st.lists(
    st.fixed_dictionaries(
        {
            "data": st.one_of(json_values, st.just([[]] * 600)),
            "groupId": st.one_of(st.text(max_size=6), st.just("g" * 200)),
            "timestamp": st.sampled_from(
                [
                    "2026-01-01T00:00:59.999999Z",
                    "2026-01-01t00:01:00.000001Z",
                    "2026-01-01 23:59:00.5Z",
                    "2026-01-01T00:00:00.123456789Z",
                    "2026-13-01T00:00:00.000000Z",
                    "2262-04-11T23:47:17.000000Z",
                    "2016-12-31T23:59:60.000000Z",
                    "soon",
                    "\u0662026-01-01T00:00:00.0Z",
                ]
            ),
        }
    ),
    max_size=6,
)
"""Elements that hold each of the known fields, as nearly all do."""


@given(ALIKE, st.booleans())
def test_elements_that_are_read_column_by_column_are_read_as_strictly(
    elements: list[dict[str, object]], plain: bool
) -> None:
    raws = [
        json.dumps(element, separators=(",", ":"), ensure_ascii=plain).encode("utf-8", "replace")
        for element in elements
    ]
    strict = [read_element(raw) for raw in raws]
    assert page_of(*raws).events == [element for element in strict if isinstance(element, Event)]


@pytest.mark.parametrize(
    ("body", "data", "token"),
    [
        (b'{"results":[{"data":1}],"more":"a]"}', ["1"], "a]"),
        (b'{"results":[{"data":1}],"more":"a],b"}', ["1"], "a],b"),
        (b'{"results":[{"data":1}],"more":null,"nextCursor":"n"}', ["1"], "n"),
        (b'{"results":[{"data":1}],"total":[1,{"results":[]}]}', ["1"], None),
        (b'{"results":[{"data":1}],"total":[1],"more":"m"}', ["1"], "m"),
        (b'{"results":[{"data":1}],"results":[{"data":2}]}', ["2"], None),
        (b'{"results":[{"data":1}],"results":[{"data":2}],"more":"m"}', ["2"], "m"),
        (b'{"more":"m","results":[{"data":"]"}]}', ['"]"'], "m"),
        (b'{"results":[{"data":"]"}]}', ['"]"'], None),
        (b'{"results":[],"more":"m"}', [], "m"),
        (b'{"results":[]}', [], None),
        (b'{"results":[{"data":1}],"links":[]}', ["1"], None),
        (b'{"results":[{"data":1}],"more":"m","links":[{"x":[]}]}', ["1"], "m"),
        (b'{"results":[{"data":1}] ,"more":"m"}', ["1"], "m"),
        (b'\xef\xbb\xbf{"results":[{"data":1}],"more":"m"}', ["1"], "m"),
    ],
)
def test_p1_where_the_results_end_is_never_mistaken(body: bytes, data: list[str], token: str | None) -> None:
    page = decode_page(body)
    assert ([event.data for event in page.events], page.next_token) == (data, token)


@pytest.mark.parametrize(
    "body",
    [
        b'{"results":[{"data":1}]',
        b'{"results":[{"data":1}]}}',
        b'{"results":[{"data":1}].5}',
        b'{"results":[]e5,"more":"m"}',
        b'{"results":[{"data":1}],,"more":"m"}',
        b'{"results":[{"data":1}],}',
        b'{"results":[],}',
        b'{"results":[{"data":1}],"more":"m",}',
        b'{"results":[{"data":1}]],"more":"m"}',
        b'{"results":[{"data":1},"more":"m"}',
        b'{"results":[{"data":1}],"more":["m"]}',
        b'{"results":[{"data":1}],"results":1}',
        b'{"results":[{"data":1}],"more":"m"',
    ],
)
def test_p1_a_page_whose_end_is_broken_is_broken(body: bytes) -> None:
    with pytest.raises(BrokenPage):
        decode_page(body)


@given(st.binary(max_size=60))
def test_no_bytes_at_all_bring_decoding_down(noise: bytes) -> None:
    for body in (noise, b'{"results":[' + noise + b"]}", b'{"results":[{"data":' + noise + b"}]}"):
        try:
            page = decode_page(body)
        except BrokenPage:
            continue
        assert page.element_count >= 0


@pytest.mark.parametrize("element", [b"{}", b"1", b'{"data":[]}', b'"x"', b"[1,2]"])
def test_p8_a_page_of_very_many_elements_is_given_up_before_it_fills_the_memory(element: bytes) -> None:
    body = b'{"results":[' + b",".join([element] * 1_100_000) + b"]}"
    tracemalloc.start()
    with pytest.raises(PageTooLarge, match="100,000"):
        decode_page(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * len(body)


def test_numbers_in_payloads_are_not_counted_as_elements() -> None:
    vector = b"[" + b",".join([b"0.125"] * 300_000) + b"]"
    page = decode_page(b'{"results":[' + b",".join([b'{"data":' + vector + b"}"] * 4) + b"]}")
    assert len(page.events) == 4
    page = decode_page(b'{"results":[' + b",".join([b'{"data":' + vector + b"}"] * 4) + b",1]}")
    assert (len(page.events), len(page.quarantined)) == (4, 1)


def test_a_token_that_could_never_be_asked_for_is_a_broken_page() -> None:
    with pytest.raises(BrokenPage, match="token"):
        decode_page(b'{"results":[],"more":"' + b"t" * 1_100_000 + b'"}')
