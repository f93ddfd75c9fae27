r"""Where in a payload does a value stand? Paths as a configuration writes them, and back into text.

A path is a singular query of RFC 9535, section 2.3.5.1: names and indexes, which find one value or none. Its
`$`, and the dot behind it, may be left out: `agentName`, `usage.inputTokens`, `content[0].type`,
`attributes['gen_ai.request.model']`. A number's path may end in a factor: `elapsedSeconds * 1000`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = "expected a path such as usage.inputTokens, content[0].type or attributes['gen_ai.request.model']"
_FURTHEST = 2**53 - 1  # RFC 9535, section 2.1: what I-JSON can spell
_BLANKS = " \t\n\r"

_NAME = r"[A-Za-z_\x80-\ud7ff\ue000-\U0010ffff][0-9A-Za-z_\x80-\ud7ff\ue000-\U0010ffff]*+"
_ESCAPE = r"[bfnrt/\\]|u[0-9A-Fa-f]{4}"
_PLAIN = re.compile(_NAME)
_STEP = re.compile(
    rf"[{_BLANKS}]*+(?:"
    rf"\.(?P<name>{_NAME})"
    rf"|\[[{_BLANKS}]*+(?:"
    r"(?P<index>0|-?[1-9][0-9]{0,15}+)"
    rf"|'(?P<single>(?:[^'\\\x00-\x1f\ud800-\udfff]|\\(?:'|{_ESCAPE}))*+)'"
    rf'|"(?P<double>(?:[^"\\\x00-\x1f\ud800-\udfff]|\\(?:"|{_ESCAPE}))*+)"'
    rf")[{_BLANKS}]*+\]"
    r")"
)
_FACTOR = re.compile(
    rf"[{_BLANKS}]*+\*[{_BLANKS}]*+(?P<number>(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
)
_ESCAPED = re.compile(r"\\(?:u(?P<code>[0-9A-Fa-f]{4})|(?P<letter>.))", re.DOTALL)
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SPELT = {character: letter for letter, character in _MEANT.items()}


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """A way into a payload: names and indexes, outermost first; without a step, the payload itself."""

    steps: tuple[str | int, ...]
    factor: float | None = None
    """What a number found there is multiplied by; above 0."""


def parse_path(text: str) -> Path:
    """Return the path that a text spells. Raises ValueError with a sentence of what was expected."""
    rest = text.strip(_BLANKS)
    if not rest:
        raise ValueError(f"{_EXAMPLES}, or $ for the whole payload")
    if rest[0] == "$":
        rest = rest[1:]
    elif rest[0] not in ".[":
        rest = f".{rest}"
    steps: list[str | int] = []
    at = 0
    while (found := _STEP.match(rest, at)) is not None:
        steps.append(_step(found))
        at = found.end()
    factor = None
    if (times := _FACTOR.fullmatch(rest, at)) is not None:
        factor = float(times["number"])
        if not 0 < factor < math.inf:
            raise ValueError("expected a factor above 0, and no infinite one")
    elif at < len(rest):
        raise ValueError(f"{_EXAMPLES}; {_complaint(rest[at:])}")
    return Path(steps=tuple(steps), factor=factor)


def render_path(steps: Sequence[str | int], factor: float | None = None) -> str:
    r"""Return the text that `parse_path` reads as these steps; nothing in it can harm a terminal.

    A name that holds a lone surrogate has no text in RFC 9535: it is shown with its escape, which cannot be
    read back.
    """
    text = "".join(f"[{step}]" if isinstance(step, int) else _rendered_name(step) for step in steps)
    text = text.removeprefix(".") or "$"
    return text if factor is None else f"{text} * {factor:.15g}"


def _step(found: re.Match[str]) -> str | int:
    if found["name"] is not None:
        return found["name"]
    if found["index"] is not None:
        index = int(found["index"])
        if abs(index) > _FURTHEST:
            raise ValueError(f"expected an index between {-_FURTHEST} and {_FURTHEST}")
        return index
    quoted: str = found["double"] if found["single"] is None else found["single"]
    try:
        # UTF-16 and back: two escapes of one pair become one character, a lone half is refused.
        return _ESCAPED.sub(_unescaped, quoted).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise ValueError("expected both halves of a surrogate pair in a name") from error


def _unescaped(found: re.Match[str]) -> str:
    if found["code"] is not None:
        return chr(int(found["code"], 16))
    return _MEANT.get(found["letter"], found["letter"])


def _complaint(rest: str) -> str:
    first = rest.lstrip(_BLANKS)
    if first[:2] in ("..", ".*") or first.startswith(("[*", "[?")):
        return "a path finds one value, so it has no wildcards, filters or descents"
    if first.startswith("*"):
        return "behind * stands one positive number, such as 1000 or 0.001"
    if first.startswith("["):
        return "in brackets stands one index or one name in quotes"
    return "a name with other characters than letters, digits and _ stands in brackets and quotes"


def _rendered_name(name: str) -> str:
    if _PLAIN.fullmatch(name) and name.isprintable():
        return f".{name}"
    return "['" + "".join(map(_rendered, name)) + "']"


def _rendered(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    if character.isprintable():
        return character
    if character in _SPELT:
        return f"\\{_SPELT[character]}"
    raw = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[at : at + 2].hex()}" for at in range(0, len(raw), 2))
