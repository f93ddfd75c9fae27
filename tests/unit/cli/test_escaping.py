from __future__ import annotations

import json
import unicodedata

import pytest

from maia_sync.cli.escaping import lines, one_line

DANGEROUS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))] + list(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029\ud800\udfff"
)


@pytest.mark.parametrize("character", DANGEROUS, ids=lambda character: f"{ord(character):04x}")
def test_what_a_terminal_would_obey_is_shown_instead(character: str) -> None:
    shown = one_line(f"a{character}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(f'"{shown}"') == f"a{character}b"


def test_line_breaks_and_tabs_stay_where_lines_are_wanted() -> None:
    assert lines("a\n\tb\x1b[2J") == "a\n\tb\\u001b[2J"
    assert one_line("a\n\tb\r") == "a\\n\\tb\\r"


def test_ordinary_text_of_any_language_is_left_alone() -> None:
    text = "Größe 山田 🎉 é שלום ﷺ"
    assert one_line(text) == text


def test_no_other_control_or_format_character_reverses_text() -> None:
    left = {chr(code) for code in range(0x110000) if one_line(chr(code)) == chr(code)}
    assert not {each for each in left if unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"}}
    assert not {
        each for each in left if unicodedata.bidirectional(each) in {"RLO", "LRO", "RLE", "LRE", "RLI", "LRI"}
    }
