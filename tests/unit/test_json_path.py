"""Does a path mean what RFC 9535 says, and does every path survive being written down?"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia_sync.json_path import Path, parse_path, render_path

READ = (
    ("agentName", ("agentName",)),
    ("$.agentName", ("agentName",)),
    (".agentName", ("agentName",)),
    ("  agentName\n", ("agentName",)),
    ("usage.inputTokens", ("usage", "inputTokens")),
    ("content[0].type", ("content", 0, "type")),
    ("$[0][12]", (0, 12)),
    ("[0]", (0,)),
    ("items[-1]", ("items", -1)),
    ("a[9007199254740991]", ("a", 9007199254740991)),
    ("$", ()),
    ("attributes['gen_ai.request.model']", ("attributes", "gen_ai.request.model")),
    ('attributes["gen_ai.request.model"]', ("attributes", "gen_ai.request.model")),
    ("['a']['b'].c", ("a", "b", "c")),
    ("$['']", ("",)),
    ("""['it\\'s "so"']""", ("""it's "so\"""",)),
    ("""["it's \\"so\\""]""", ("""it's "so\"""",)),
    (r"['\b\f\n\r\t\/\\']", ("\b\f\n\r\t/\\",)),
    (r"['\u00e9\u00E9']", ("éé",)),
    (r"['\ud83d\ude00']", ("😀",)),
    ("größe.名前", ("größe", "名前")),
    ("_0.a1", ("_0", "a1")),
    ("a .b [ 0 ] [ 'c' ]", ("a", "b", 0, "c")),
    ("['a]b*2']", ("a]b*2",)),
)


@pytest.mark.parametrize(("text", "steps"), READ)
def test_a_path_is_read_as_rfc_9535_says(text: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(text) == Path(steps=steps)


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("elapsedSeconds * 1000", 1000.0),
        ("elapsedSeconds*1000", 1000.0),
        ("elapsedSeconds\t*\t0.001", 0.001),
        ("elapsedSeconds * 1e-6 ", 1e-6),
        ("elapsedSeconds * 2.5E+3", 2500.0),
    ],
)
def test_a_number_can_be_multiplied(text: str, factor: float) -> None:
    assert parse_path(text) == Path(steps=("elapsedSeconds",), factor=factor)
    assert parse_path("$ * 60") == Path(steps=(), factor=60.0)
    assert parse_path("a['x * 2'] * 3") == Path(steps=("a", "x * 2"), factor=3.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "whole payload"),
        (" \t", "whole payload"),
        ("a..b", "finds one value"),
        ("a.*", "finds one value"),
        ("a[*]", "finds one value"),
        ("$..a", "finds one value"),
        ("a[?@.b]", "finds one value"),
        ("a[0:2]", "one index or one name"),
        ("a[0,1]", "one index or one name"),
        ("a['b','c']", "one index or one name"),
        ("a[b]", "one index or one name"),
        ("a[01]", "one index or one name"),
        ("a[-0]", "one index or one name"),
        ("a[+1]", "one index or one name"),
        ("a[]", "one index or one name"),
        ("a['b]", "one index or one name"),
        ("a['b\n']", "one index or one name"),
        (r"a['\x41']", "one index or one name"),
        (r"""a['\"']""", "one index or one name"),
        (r"""a["\'"]""", "one index or one name"),
        ("a['\ud800']", "one index or one name"),
        (r"a['\ud800']", "both halves"),
        (r"a['\udc00\ud800']", "both halves"),
        ("a[9007199254740992]", "expected an index"),
        ("a[" + "9" * 5000 + "]", "one index or one name"),
        ("agent-name", "brackets and quotes"),
        ("agent name", "brackets and quotes"),
        ("$agent", "brackets and quotes"),
        ("a.", "brackets and quotes"),
        ("a.0", "brackets and quotes"),
        ("0", "brackets and quotes"),
        ("a * ", "positive number"),
        ("a * -1", "positive number"),
        ("a * b", "positive number"),
        ("a * 2 * 3", "positive number"),
        ("a * 007", "positive number"),
        ("a * 0", "above 0"),
        ("a * 1e999", "above 0"),
    ],
)
def test_what_is_no_path_is_refused_with_what_was_expected(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        parse_path(text)
    message = str(caught.value)
    assert message.startswith("expected")
    assert message.isprintable()


def test_paths_are_written_as_a_person_would() -> None:
    assert render_path(("usage", "inputTokens")) == "usage.inputTokens"
    assert render_path(("content", 0, "type")) == "content[0].type"
    assert render_path(("attributes", "gen_ai.request.model")) == "attributes['gen_ai.request.model']"
    assert render_path(("gen_ai.request.model",)) == "['gen_ai.request.model']"
    assert render_path((0,)) == "[0]"
    assert render_path(()) == "$"
    assert render_path(("it's",)) == r"['it\'s']"
    assert render_path(("größe",)) == "größe"
    assert render_path(("elapsed",), 1000.0) == "elapsed * 1000"
    assert render_path(("nanos",), 1e-6) == "nanos * 1e-06"


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\u2028", "\ud800", "\U000e0001"]
)
def test_no_character_of_a_name_reaches_a_terminal_raw(character: str) -> None:
    assert render_path((f"a{character}b",)).isascii()


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
STEPS = st.lists(NAMES | st.integers(-(2**53) + 1, 2**53 - 1), max_size=8).map(tuple)
FACTORS = st.none() | st.floats(1e-12, 1e12).map(lambda number: float(f"{number:.15g}"))


@given(STEPS, FACTORS)
def test_every_path_survives_being_written_down(steps: tuple[str | int, ...], factor: float | None) -> None:
    text = render_path(steps, factor)
    assert text.isprintable()
    assert parse_path(text) == parse_path(f" {text} ") == Path(steps=steps, factor=factor)


@given(st.text() | st.text("$.['\"]\\*0a -u1e", max_size=30))
def test_any_text_is_a_path_or_is_refused_with_a_sentence(text: str) -> None:
    try:
        path = parse_path(text)
    except ValueError as error:
        assert str(error).startswith("expected")  # noqa: PT017 - both are fine
    else:
        assert parse_path(render_path(path.steps)).steps == path.steps
