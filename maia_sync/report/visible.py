"""How is a text of somebody else's shown so that what it holds is seen and does nothing?

Control characters (ANSI codes begin with one), direction overrides, what takes no room and half surrogate
pairs become visible signs; everything else stays as it is. It is still to be escaped.
"""

from __future__ import annotations

import re
from typing import Final

_CONTROLS: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f"
_DIRECTIONS: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSEEN: Final = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\u3164"
    "\ufeff\uffa0\U0001bca0-\U0001bca3\ufff9-\ufffb\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Not the joiners U+200C and U+200D, nor variation selectors up to U+FE0F: scripts and emoji need them."""
_HALVES: Final = "\ud800-\udfff"
_ODD: Final = re.compile(f"[{_CONTROLS}{_DIRECTIONS}{_UNSEEN}{_HALVES}]")


def visible(text: str) -> str:
    """Return the text with what cannot be seen, or turns the writing around, spelt out.

    Tabs and line breaks stay; the break of Windows becomes a plain one.
    """
    return _ODD.sub(_sign, text.replace("\r\n", "\n"))


def _sign(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨U+{code:04X}⟩"
