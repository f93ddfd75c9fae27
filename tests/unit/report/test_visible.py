from __future__ import annotations

import unicodedata

import pytest

from maia_sync.report.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, größe, 山田, 🚀", "plain text, größe, 山田, 🚀"),
        ("tab\tand\nbreak", "tab\tand\nbreak"),
        ("of\r\nWindows\r", "of\nWindows␍"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\0\x7f\x85", "␀␡⟨U+0085⟩"),
        ("\u202egnp.exe", "⟨U+202E⟩gnp.exe"),
        ("a\u200bb\ufeff\u2066c", "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+2066⟩c"),
        ("half \ud83d", "half ⟨U+D83D⟩"),
        ("hidden \U000e0041", "hidden ⟨U+E0041⟩"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_what_scripts_and_emoji_need_stays() -> None:
    text = "\u0645\u06cc\u200c\u062e\u0648 👩\u200d💻 ❤\ufe0f e\u0301"
    assert visible(text) == text


def test_no_control_format_or_half_character_is_left_but_joiners() -> None:
    every = "".join(map(chr, range(0x110000)))
    left = {each for each in visible(every) if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp")}
    assert left == {"\t", "\n"}
    turning = {
        each
        for each in visible(every)
        if unicodedata.bidirectional(each)
        in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN")
    }
    assert {f"{ord(each):04X}" for each in turning} <= {"200C", "200D"}
