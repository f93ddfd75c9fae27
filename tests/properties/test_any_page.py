"""Does decoding say of any page at all what a second, independent reader says of it? (P1, P4)"""

from __future__ import annotations

from fuzz.judge import said
from hypothesis import example, given
from hypothesis import strategies as st
from properties.raw_json import (
    broken_elements,
    deep,
    elements,
    groups,
    odd_elements,
    pages,
    plain_elements,
    short_elements,
    stamps,
    strings,
    values,
    words,
)
from properties.second_reader import NoPageError, Said, read_page, said_by

from maia_sync.errors import BrokenPage
from maia_sync.maia.wire import decode_page

blanks = st.text(" \t\n\r", max_size=3).map(str.encode)


def decoded(body: bytes) -> Said | None:
    """Decode a body; None if it is no page."""
    try:
        page = decode_page(body)
    except BrokenPage:
        return None
    assert page.size_bytes == len(body)
    assert page.element_count == len(page.events) + len(page.quarantined)
    return said(page)


def twice_read(body: bytes) -> Said | None:
    """Read a body that is JSON by the second reader; None if it is no page."""
    try:
        page = read_page(body)
    except NoPageError:
        return None
    assert page is not None, "the test's own page is no JSON"
    return page


def spaced(parts: list[bytes], blank: bytes) -> bytes:
    return (b"," + blank).join(parts)


@given(pages(), blanks, st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_any_page_is_cut_into_what_its_elements_say_one_by_one(
    page: tuple[list[bytes], bytes, bytes], blank: bytes, mark: bytes
) -> None:
    parts, before, behind = page
    body = mark + blank + b"{" + before + b'"results":[' + spaced(parts, blank) + b"]," + behind
    body += b'"more":"t"' + blank + b"}" + blank
    assert decoded(body) == said_by([part.strip(b" \t\n\r") for part in parts], "t")


@given(st.lists(elements, max_size=5).map(",".join), st.booleans())
@example(r'{},{"group\u0049d":true}', True)
def test_any_page_of_valid_json_is_what_the_second_reader_says(inside: str, plain: bool) -> None:
    body = f'{{"results":[{inside}]}}' if plain else f' {{ "more" : null , "results" : [ {inside} ] }} '
    assert decoded(body.encode()) == twice_read(body.encode())


@given(st.lists(plain_elements(), min_size=1, max_size=5), odd_elements() | values | deep(), st.data())
def test_an_odd_neighbour_changes_nothing_of_the_others(
    usual: list[str], odd: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(usual)))
    alone = decoded(f'{{"results":[{",".join(usual)}]}}'.encode())
    among = decoded(f'{{"results":[{",".join([*usual[:at], odd, *usual[at:]])}]}}'.encode())
    single = decoded(f'{{"results":[{odd}]}}'.encode())
    assert alone is not None
    assert among is not None
    assert single is not None
    inside = [event for event in among.events if event not in single.events]
    assert inside == [event for event in alone.events if event not in single.events]
    assert among.odd == sorted(alone.odd + single.odd, key=among.odd.index)
    assert len(among.events) == len(alone.events) + len(single.events)


@given(st.lists(plain_elements(), max_size=2), broken_elements(), st.booleans())
def test_a_broken_element_costs_only_itself(usual: list[str], broken: bytes, first: bool) -> None:
    others = [element.encode() for element in usual]
    parts = [broken, *others] if first else [*others, broken]
    assert decoded(b'{"results":[' + b",".join(parts) + b"]}") == said_by(parts, None)


@given(
    st.lists(odd_elements() | plain_elements(), min_size=2, max_size=4),
    st.sampled_from(["", " ", ":", ",,", "]["]),
)
def test_elements_that_are_not_parted_by_one_comma_are_a_broken_page(parts: list[str], between: str) -> None:
    assert decoded(f'{{"results":[{between.join(parts)}]}}'.encode()) is None
    assert decoded(f'{{"results":[{",".join(parts)}{between or ","}]}}'.encode()) is None or between == " "


page_members = st.lists(
    st.tuples(
        st.sampled_from(
            ['"results"', '"more"', '"nextCursor"', r'"m\u006fre"', r'"re\u0073ults"', '"x"', '"data"']
        ),
        st.one_of(
            values,
            strings,
            words,
            deep(),
            st.lists(elements, max_size=2).map(lambda items: f"[{','.join(items)}]"),
        ),
    ),
    max_size=5,
)


@given(page_members)
@example([('"results"', "[]"), ('"more"', "5"), ('"more"', '"t"')])
@example([('"results"', "7"), ('"results"', "[1]"), ('"nextCursor"', r'"\ud800"'), ('"more"', '"t"')])
@example([('"more"', '"a"'), ('"more"', "null"), ('"results"', "[]")])
def test_any_value_in_any_place_of_a_page_makes_it_a_page_or_a_broken_one(
    parts: list[tuple[str, str]],
) -> None:
    body = "{" + ",".join(f"{name}:{value}" for name, value in parts) + "}"
    assert decoded(body.encode()) == twice_read(body.encode())


tokens = st.one_of(strings, st.sampled_from(['"t"', '"u"', '""', "null"]), st.just(None))


@given(st.permutations(["more", "nextCursor", "results"]), tokens, tokens, st.sampled_from(["", r'"\ud800"']))
def test_whatever_two_tokens_say_the_first_that_says_something_counts(
    order: list[str], more: str | None, cursor: str | None, element: str
) -> None:
    given = {"more": more, "nextCursor": cursor, "results": f"[{element}]"}
    body = "{" + ",".join(f'"{name}":{given[name]}' for name in order if given[name] is not None) + "}"
    assert decoded(body.encode()) == twice_read(body.encode())


@given(short_elements(), st.booleans())
@example('{"x":1,"x":2,"timestamp":"t"}', True)
@example(r'{"timest\u0061mp":5}', True)
def test_no_member_of_a_short_element_is_overlooked(element: str, alone: bool) -> None:
    body = f'{{"results":[{element}{"" if alone else ",7"}]}}'.encode()
    assert decoded(body) == twice_read(body)


@given(values | deep())
def test_any_value_in_the_place_of_a_page_is_a_broken_page_unless_it_is_one(value: str) -> None:
    assert decoded(value.encode()) == twice_read(value.encode())


places = st.sampled_from(
    ['{"data":%s}', '{"groupId":%s,"data":1}', '{"timestamp":%s}', '{"x":%s}', '{"data":1,"data":%s}', "%s"]
)


@given(values | stamps | groups | deep(), places, st.sampled_from(["", ',{"data":1,"groupId":"g"}']))
def test_any_value_in_any_place_of_an_element(value: str, place: str, more: str) -> None:
    body = f'{{"results":[{place % value}{more}]}}'.encode()
    assert decoded(body) == twice_read(body)


@given(st.lists(elements, max_size=4).map(",".join), strings, st.data())
def test_no_page_that_was_cut_short_is_taken_for_a_whole_one(
    inside: str, token: str, data: st.DataObject
) -> None:
    body = f'{{"results":[{inside}],"x":{token},"more":"t"}}'.encode()
    end = data.draw(st.integers(0, len(body) - 1) | st.integers(max(0, len(body) - 30), len(body) - 1))
    assert decoded(body[:end]) is None
    assert decoded(body + b"}") is None
    assert decoded(body + body) is None


@given(st.lists(elements, min_size=1, max_size=3).map(",".join), st.data())
def test_a_page_with_one_wrong_byte_never_loses_an_element_in_silence(
    inside: str, data: st.DataObject
) -> None:
    """It is a broken page, or what of it is no JSON is in quarantine, or it still is JSON and says so."""
    body = bytearray(f'{{"results":[{inside}]}}'.encode())
    at = data.draw(st.integers(12, len(body) - 1))
    body[at] = data.draw(st.sampled_from(b'"\\{}[]:,\0\xff e0') | st.integers(0, 255))
    got = decoded(bytes(body))
    try:
        expected = read_page(bytes(body))
    except NoPageError:
        expected = None
        assert got is None
    if expected is not None:
        assert got == expected
    elif got is not None:
        assert got.odd
