r"""How is foreign text shown without a terminal obeying it? Control characters as visible escapes.

Payloads, labels and error texts come from elsewhere. A terminal would act on an escape sequence in
them, and a bidirectional override would show other words than are stored. Each such character is
shown as `\uXXXX`, which is also how JSON spells it, so that JSON text stays the same value.
"""

from __future__ import annotations

import re

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_BREAKS = "\u2028\u2029"  # some terminals begin a new line here
_NEVER = f"\x7f-\x9f{_BIDI}{_BREAKS}\ud800-\udfff"
_ON_ONE_LINE = re.compile(f"[\\x00-\\x1f{_NEVER}]")
_ON_LINES = re.compile(f"[\\x00-\\x08\\x0b-\\x1f{_NEVER}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str) -> str:
    r"""Return the text as one harmless line; line breaks and tabs are shown as \n and \t."""
    return _ON_ONE_LINE.sub(_escape, text)


def lines(text: str) -> str:
    """Return the text harmless, its line breaks and tabs as they are."""
    return _ON_LINES.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _SHORT.get(character) or f"\\u{ord(character):04x}"
