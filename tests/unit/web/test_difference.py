from __future__ import annotations

import json
import random
import time

import pytest

from maia_sync.web.difference import MOST_EDITS, Difference, changed_blocks, compare
from maia_sync.web.payload_text import find_member, lay_out, members_of


def told(difference: Difference) -> list[str]:
    signs = {"same": " ", "removed": "-", "added": "+", "skipped": "~"}
    return [
        signs[line.sign] + "".join(f"<{text}>" if is_changed else text for text, is_changed in line.parts)
        for line in difference.lines
    ]


def changed_in(difference: Difference) -> list[str]:
    return [text for line in difference.lines for text, is_changed in line.parts if is_changed]


# ------------------------------------------------------------------ laying out


def test_raw_json_is_laid_out_to_the_letter() -> None:
    raw = r'{"b":1.50,"a":[],"b":{"x":[1e5 , -0],"\u0041":"a\"\u00e9,{"} , "c":null}'
    assert lay_out(raw).lines == (
        "{",
        '  "b": 1.50,',
        '  "a": [],',
        '  "b": {',
        '    "x": [',
        "      1e5,",
        "      -0",
        "    ],",
        r'    "\u0041": "a\"\u00e9,{"',
        "  },",
        '  "c": null',
        "}",
    )


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1,2", "]", "1,2", "1 2", '{"a":[}', "[1]]", "no\njson", '"open']
)
def test_what_is_no_json_stays_as_it_is(text: str) -> None:
    assert lay_out(text).text == text


def test_depth_and_length_are_bounded() -> None:
    deep = lay_out("[" * 1000 + "]" * 1000)
    assert max(map(len, deep.lines)) <= 83
    cut = lay_out('["' + "x" * 1_000_000 + '",1]', most=1000)
    assert not cut.is_whole
    assert len(cut.text) <= 1010
    assert lay_out("[1]", most=100).is_whole


def test_a_member_is_found_without_reading_all_of_it() -> None:
    raw = '{"x":{"args":0},"args":[1.0],"y":' + "[1," * 500 + "1" + "]" * 500 + "}"
    start = find_member(raw, ("arguments", "args"))
    assert start is not None
    assert lay_out(raw, start=start).lines == ("[", "  1.0", "]")
    assert find_member('["args"]', ("args",)) is None
    assert find_member('{"x":"args"}', ("args",)) is None
    assert find_member("{" + '"a":1,' * 10_000 + '"args":1}', ("args",)) is None


def test_members_are_found_to_the_letter() -> None:
    raw = r' {"a" : 1.50 ,"":{"x":[1,{"y":2}]},"\u0041":"a\"}","a":null} '
    found = [(raw[each.start : each.value], raw[each.value : each.end]) for each in members_of(raw)]
    assert found == [
        ('"a" :', " 1.50 "),
        ('"":', '{"x":[1,{"y":2}]}'),
        (r'"\u0041":', r'"a\"}"'),
        ('"a":', "null"),
    ]
    assert [each.name for each in members_of(raw)] == ["a", "", r"\u0041", "a"]
    assert [each.name for each in members_of('[{"b":1},2]', 1)] == ["b"]
    assert members_of("{}") == members_of("[1]") == members_of("") == members_of('"x"') == ()
    assert [each.end for each in members_of('{"a":[1,2,3],"b":1}', most_tokens=6)] == [19]


# ------------------------------------------------------------------ differences


def test_what_changed_is_narrowed_and_what_did_not_is_left_out() -> None:
    old = '{"a":1,"b":"hello world","c":[1,2,3,4,5,6,7,8,9]}'
    new = '{"a":1.0,"b":"hello, world","c":[1,2,3,4,5,6,7,8,9]}'
    assert told(compare(old, new)) == [
        " {",
        '-  "a": 1,',
        '+  "a": 1<.0>,',
        '-  "b": "hello world",',
        '+  "b": "hello<,> world",',
        '   "c": [',
        "     1,",
        "     2,",
        "~",
    ]
    assert compare(old, new).lines[-1].count == 9


def test_equal_texts_have_no_difference_and_white_space_alone_has_one() -> None:
    assert compare("[1]", "[1]") == Difference(())
    assert compare(None, None) == Difference(())
    assert told(compare("[1]", "[1 ]")) == ["-[1]", "+[1< >]"]
    assert told(compare(None, "1")) == ["+<1>"]
    assert told(compare("1", None)) == ["-<1>"]


def test_lines_that_moved_or_came_are_told_apart_from_those_that_stay() -> None:
    difference = told(compare("[1,2,3,4]", "[1,3,9,9,4]"))
    assert [line.strip("<>") for line in difference if line[0] in "+-"] == [
        "-<  2,",
        "+<  9,",
        "+<  9,",
    ]


@pytest.mark.parametrize("seed", range(200))
def test_the_blocks_are_what_makes_the_new_lines_of_the_old(seed: int) -> None:
    dice = random.Random(seed)
    old, new = (dice.choices("abc", k=dice.randrange(12)) for _ in range(2))
    made: list[str] = []
    at = 0
    for a, b, c, d in changed_blocks(old, new):
        made += old[at:a] + new[c:d]
        at = b
    assert made + old[at:] == new


class Counted(str):
    """A line that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_the_work_is_bounded_however_different_the_lines_are() -> None:
    dice = random.Random(7)
    for number in (500, 1000, 5000):
        old, new = ([Counted(dice.choice("ab")) for _ in range(number)] for _ in range(2))
        Counted.compared = 0
        changed_blocks(old, new)
        assert Counted.compared <= (MOST_EDITS + 2) * 4 * number


def test_long_texts_are_shown_where_they_differ_and_the_rest_is_cut() -> None:
    old = json.dumps({"text": "x" * 3_000_000 + "old" + "y" * 3_000_000})
    difference = compare(old, old.replace("old", "new"))
    assert sum(line.size for line in difference.lines) < 1000
    assert changed_in(difference) == ["old", "new"]
    whole = compare(json.dumps(list(range(15_000))), json.dumps(list(range(15_000, 0, -1))))
    assert not whole.is_whole
    assert sum(line.size for line in whole.lines) <= 60_000


def test_a_changed_word_in_a_long_string_is_shown_with_what_is_around_it() -> None:
    old = json.dumps({"text": "a" * 5000 + "OLD" + "b" * 5000})
    lines = told(compare(old, old.replace("OLD", "NEW")))
    assert lines[1] == "-  …" + "a" * 60 + "<OLD>" + "b" * 60 + "…"


# ------------------------------------------------------------------ word by word


def test_two_small_changes_do_not_mark_the_paragraph_between_them() -> None:
    old = json.dumps({"text": "The load took nine minutes, and then it was read by all of the reports."})
    new = old.replace("nine", "ten").replace("all of the", "most")
    assert told(compare(old, new)) == [
        " {",
        '-  "text": "The load took <nine> minutes, and then it was read by <all of the> reports."',
        '+  "text": "The load took <ten> minutes, and then it was read by <most> reports."',
        " }",
    ]
    moved = compare('"load the big table, then stop"', '"please load the table, then stop"')
    assert changed_in(moved) == [" big", "please "]


def test_a_long_stretch_between_two_changes_is_left_out() -> None:
    words = " ".join(f"w{number}" for number in range(300))
    line = told(compare(json.dumps(f"one {words} two"), json.dumps(f"un {words} deux")))
    assert line[0].startswith('-"<one> w0 w1')
    assert line[0].endswith(' w299 <two>"')
    assert "…" in line[0]
    assert len(line[0]) < 200


@pytest.mark.parametrize("seed", range(200))
def test_word_by_word_both_lines_are_told_to_the_letter(seed: int) -> None:
    dice = random.Random(seed)
    words = ["a", "bc", " ", "  ", ",", ".", "é", "-"]
    old, new = ("".join(dice.choices(words, k=dice.randrange(1, 15))) for _ in range(2))
    shown = {line.sign: line.text for line in compare(json.dumps(old), json.dumps(new)).lines}
    if old != new:
        assert shown == {"removed": json.dumps(old), "added": json.dumps(new)}


def test_lines_of_too_many_words_or_with_too_little_in_common_are_narrowed() -> None:
    many = ["x"] * 500
    for old, new in (
        (["one", *many, "two"], ["un", *many, "deux"]),
        ([f"a{n}" for n in range(100)], [f"b{n}" for n in range(100)]),
    ):
        difference = compare(json.dumps(" ".join(old)), json.dumps(" ".join(new)))
        assert [len(line.parts) for line in difference.lines] == [3, 3]


def test_the_words_of_a_difference_are_bounded_in_all() -> None:
    dice = random.Random(3)
    texts = [json.dumps([" ".join(dice.choices("abcdefgh", k=150)) for _ in range(90)]) for _ in range(2)]
    start = time.process_time()
    difference = compare(*texts)
    assert time.process_time() - start < 2
    assert any(len(line.parts) == 3 for line in difference.lines)
