"""How is raw JSON laid out for reading without spelling it anew? One member a line, to the letter.

Only the white space between tokens is ours. Every function takes linear time and stops where it is told to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from markupsafe import escape

from maia_sync.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN: Final = re.compile(
    r"""
    [ \t\r\n]*+
    (?: (?P<string> "(?:[^"\\]++|\\.)*+(?:"|\\?\Z) )
      | (?P<sign> [{}\[\],:] )
      | (?P<word> [^ \t\r\n{}\[\],:"]++ ) )
    """,
    re.VERBOSE | re.DOTALL,
)
"""A string may lack its end, so that a text is never read twice."""
_ENDS: Final = {"{": "}", "[": "]"}
_MOST_INDENTED: Final = 40
"""Levels beyond are not set in further: a thousand of them would make megabytes of blanks."""
_INDENT: Final = "  "
_BREAK: Final = re.compile(r"\r\n|\r|\n")


class _NoJsonError(Exception):
    """The text is no JSON value."""


class Layout(msgspec.Struct, frozen=True):
    """A text in lines."""

    lines: tuple[str, ...]
    is_whole: bool = True
    """False: the rest was left out."""

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)


def lay_out(text: str, *, start: int = 0, most: int | None = None) -> Layout:
    """Return the JSON value that begins at `start`, one member a line; what is no JSON, as it stands.

    Of more than `most` characters the beginning, its last line cut if need be.
    """
    try:
        return _gathered(_lines_of(text, start, to_the_end=start == 0), most)
    except _NoJsonError:
        window = text[start:] if most is None else text[start : start + most + 1]
        return _gathered(iter(_BREAK.split(window)), most)


def html_size(text: str) -> int:
    """Return how many bytes a foreign text takes on a page."""
    return len(escape(visible(text)).encode())


def find_member(text: str, names: Sequence[str], *, most_tokens: int = 2000) -> int | None:
    """Return where the value of an object's member begins: of the first of these names that it has.

    Looks no further than `most_tokens`; None if the text is no object or has no such member.
    """
    found: dict[str, int] = {}
    depth = 0
    name, is_next = "", False
    for number, match in enumerate(_TOKEN.finditer(text)):
        piece = match[match.lastgroup or 0]
        if (number == 0 and piece != "{") or number > most_tokens:
            break
        if is_next:
            found[name], is_next = match.start(match.lastgroup or 0), False
        if piece in _ENDS:
            depth += 1
        elif piece in ("}", "]"):
            depth -= 1
        elif depth == 1 and piece == ":":
            is_next = name in names
        elif depth == 1 and match.lastgroup == "string":
            name = piece[1:-1]
    return next((found[each] for each in names if each in found), None)


class Member(msgspec.Struct, frozen=True):
    """A member of an object, by where it stands in the text."""

    name: str
    """As it is spelt, without its quotes."""
    start: int
    value: int
    """Where its value begins."""
    end: int


def members_of(text: str, start: int = 0, *, most_tokens: int = 2000) -> tuple[Member, ...]:
    """Return the members of the object that begins at `start`, each to the letter; of no object, none.

    Behind so many tokens everything to the text's end counts as of the last member: it is long in any case.
    """
    found: list[Member] = []
    depth = at = value = 0
    name = ""
    for number, match in enumerate(_TOKEN.finditer(text, start)):
        group = match.lastgroup or 0
        piece = match[group]
        if number == 0 and piece != "{":
            return ()
        if number > most_tokens:
            return (*found, Member(name, at, value or len(text), len(text))) if at else tuple(found)
        if depth == 1 and not value and piece == ":":
            value = match.end()
        elif depth == 1 and not value and match.lastgroup == "string":
            name, at = piece[1:-1], match.start(group)
        elif depth == 1 and piece in (",", "}"):
            if value:
                found.append(Member(name, at, value, match.start(group)))
            name, at, value = "", 0, 0
        depth += (piece in _ENDS) - (piece in ("}", "]"))
        if depth == 0:
            break
    return tuple(found)


def _gathered(lines: Iterator[str], most: int | None) -> Layout:
    found: list[str] = []
    left = most
    for line in lines:
        if left is not None:
            if len(line) > left:
                found.append(line[:left])
                return Layout(tuple(found), is_whole=False)
            left -= len(line) + 1
            if left < 0:
                return Layout((*found, line), is_whole=False)
        found.append(line)
    return Layout(tuple(found))


def _lines_of(text: str, start: int, *, to_the_end: bool) -> Iterator[str]:
    """Yield a value's lines. Raises _NoJsonError for brackets that do not match, and for what is behind."""
    ends: list[str] = []
    line: list[str] = []
    end = start
    for match in _TOKEN.finditer(text, start):
        if match.start() != end or (line and not ends):
            raise _NoJsonError
        end = match.end()
        yield from _put(match[match.lastgroup or 0], line, ends)
        if not ends and not to_the_end:
            break
    if ends or not line or (to_the_end and text[end:].strip(" \t\r\n")):
        raise _NoJsonError
    yield "".join(line)


def _put(piece: str, line: list[str], ends: list[str]) -> Iterator[str]:
    """Add a piece to the line, or to the next one; yield the line that has come to its end."""
    is_closing = piece in ("}", "]")
    if is_closing and (not ends or ends.pop() != piece):
        raise _NoJsonError
    if line and (line[-1] in _ENDS) != is_closing:  # but for {} and [] a bracket has its own line
        yield "".join(line)
        line[:] = [_indent(ends)]
    line.append(": " if piece == ":" else piece)
    if piece in _ENDS:
        ends.append(_ENDS[piece])
    elif piece == ",":
        if not ends:
            raise _NoJsonError
        yield "".join(line)
        line[:] = [_indent(ends)]


def _indent(ends: list[str]) -> str:
    return _INDENT * min(len(ends), _MOST_INDENTED)
