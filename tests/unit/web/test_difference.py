from __future__ import annotations

import json
import random

import pytest

from maia_sync.web.difference import MOST_EDITS, Difference, changed_blocks, compare
from maia_sync.web.payload_text import find_member, lay_out


def told(difference: Difference) -> list[str]:
    signs = {"same": " ", "removed": "-", "added": "+", "skipped": "~"}
    return [
        f"{signs[line.sign]}{line.before}" + (f"<{line.changed}>" if line.changed else "") + line.behind
        for line in difference.lines
    ]


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
    assert [line.changed for line in difference.lines if line.changed] == ["old", "new"]
    whole = compare(json.dumps(list(range(15_000))), json.dumps(list(range(15_000, 0, -1))))
    assert not whole.is_whole
    assert sum(line.size for line in whole.lines) <= 60_000


def test_a_changed_word_in_a_long_string_is_shown_with_what_is_around_it() -> None:
    old = json.dumps({"text": "a" * 5000 + "OLD" + "b" * 5000})
    lines = told(compare(old, old.replace("OLD", "NEW")))
    assert lines[1] == "-  …" + "a" * 60 + "<OLD>" + "b" * 60 + "…"
