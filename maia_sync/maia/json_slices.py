"""Where in a JSON text does each value begin and end? A tokenizer without recursion.

msgspec and the standard json module refuse a whole page for one lone surrogate or one value
nested about a thousand deep. What they refuse is cut here instead: first leniently into the
elements of `results`, then each element strictly on its own, so that one odd element costs
only itself. Grammar: RFC 8259.
"""

from __future__ import annotations

import re

MAX_DEPTH = 1000
"""An element nested deeper than this is quarantined; the element's own braces are level 1."""

_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRICT = re.compile(
    rb'(?P<string>"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")'
    rb"|(?P<punctuation>[\[\]{},:])"
    rb"|(?P<scalar>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null)"
)
# Lenient: only as much as it takes to find where a value ends. Control characters and odd
# escapes within strings pass here, and are found by `fault_of` in their own element.
_LENIENT = re.compile(
    rb'(?P<string>"(?:[^"\\]++|\\.)*+")|(?P<punctuation>[\[\]{},:])|[^\s\[\]{},:"]++', re.DOTALL
)

_VALUE, _VALUE_OR_CLOSE, _NAME, _NAME_OR_CLOSE, _COLON, _COMMA_OR_CLOSE, _END = range(7)


class MalformedJson(ValueError):
    """The bytes do not even have the outline of a JSON value."""


class TooDeep(ValueError):
    """The value is nested deeper than MAX_DEPTH."""


class TooMany(ValueError):
    """A container has more parts than were asked for."""


def skip_space(raw: bytes, at: int) -> int:
    """Return the position of the first byte at or after `at` that is no JSON white space."""
    found = _SPACE.match(raw, at)
    return found.end() if found else at


def end_of_value(raw: bytes, at: int) -> int:
    """Return the position just behind the value that begins at `at`, leniently."""
    depth = 0
    while True:
        token = _LENIENT.match(raw, skip_space(raw, at))
        if token is None:
            raise MalformedJson("the text ends within a value")
        at = token.end()
        byte = raw[token.start()]
        if byte in b"[{":
            depth += 1
        elif byte in b"]}":
            depth -= 1
        elif byte in b",:" and depth == 0:
            raise MalformedJson("a value is missing")
        if depth < 0:
            raise MalformedJson("a bracket closes that was never opened")
        if depth == 0:
            return at


def items_of(raw: bytes, *, most: int | None = None) -> list[bytes]:
    """Cut an array into the raw slices of its items. Raises TooMany if there are more than `most`."""
    items: list[bytes] = []
    for start, end in _parts(raw, b"[", b"]", most=most):
        items.append(raw[start:end])
    return items


def members_of(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Cut an object into (raw name with its quotes, raw value), in order, repeats included."""
    members: list[tuple[bytes, bytes]] = []
    for start, end in _parts(raw, b"{", b"}"):
        name_end = end_of_value(raw, start)
        colon = skip_space(raw, name_end)
        if raw[start] not in b'"' or raw[colon : colon + 1] != b":":
            raise MalformedJson("a member's name is missing")
        value_start = skip_space(raw, colon + 1)
        members.append((raw[start:name_end], raw[value_start:end]))
    return members


def _parts(raw: bytes, opening: bytes, closing: bytes, *, most: int | None = None) -> list[tuple[int, int]]:
    """Return where each comma-separated part of one container begins and ends."""
    at = skip_space(raw, 0)
    if raw[at : at + 1] != opening:
        raise MalformedJson("another kind of value was expected")
    at = skip_space(raw, at + 1)
    parts: list[tuple[int, int]] = []
    if raw[at : at + 1] == closing:
        _expect_end(raw, at + 1)
        return parts
    while True:
        end = end_of_value(raw, at)
        if opening == b"{":
            colon = skip_space(raw, end)
            if raw[colon : colon + 1] != b":":
                raise MalformedJson("a colon is missing")
            end = end_of_value(raw, skip_space(raw, colon + 1))
        parts.append((at, end))
        if most is not None and len(parts) > most:
            raise TooMany
        at = skip_space(raw, end)
        if raw[at : at + 1] == closing:
            _expect_end(raw, at + 1)
            return parts
        if raw[at : at + 1] != b",":
            raise MalformedJson("a comma is missing")
        at = skip_space(raw, at + 1)


def _expect_end(raw: bytes, at: int) -> None:
    if skip_space(raw, at) != len(raw):
        raise MalformedJson("something stands behind the value")


def tokens_of(raw: bytes) -> list[tuple[int, int]]:
    """Return the (start, end) of every token of one strictly valid value of bounded depth.

    Raises MalformedJson where RFC 8259 is broken and TooDeep beyond MAX_DEPTH.
    """
    tokens: list[tuple[int, int]] = []
    stack: list[int] = []
    state = _VALUE
    at = skip_space(raw, 0)
    while at < len(raw):
        token = _STRICT.match(raw, at)
        if token is None or state == _END:
            raise MalformedJson("it is not valid JSON")
        state = _next_state(state, raw[at], stack)
        if len(stack) > MAX_DEPTH:
            raise TooDeep(f"it is nested deeper than {MAX_DEPTH:,} levels")
        tokens.append(token.span())
        at = skip_space(raw, token.end())
    if state != _END:
        raise MalformedJson("it is not valid JSON")
    return tokens


def _next_state(state: int, byte: int, stack: list[int]) -> int:  # noqa: C901 - the grammar has that many turns
    """Move the grammar by the token that begins with `byte`, or raise MalformedJson."""
    if byte in b"[{" and state in (_VALUE, _VALUE_OR_CLOSE):
        stack.append(byte)
        return _VALUE_OR_CLOSE if byte in b"[" else _NAME_OR_CLOSE
    if byte in b"]}":
        closes = {_VALUE_OR_CLOSE: b"]", _NAME_OR_CLOSE: b"}"}.get(state)
        if state == _COMMA_OR_CLOSE and stack:
            closes = b"]" if stack[-1] in b"[" else b"}"
        if closes is None or byte not in closes:
            raise MalformedJson("it is not valid JSON")
        stack.pop()
        return _COMMA_OR_CLOSE if stack else _END
    if byte in b",":
        if state == _COMMA_OR_CLOSE:
            return _VALUE if stack[-1] in b"[" else _NAME
    elif byte in b":":
        if state == _COLON:
            return _VALUE
    elif state in (_NAME, _NAME_OR_CLOSE):
        if byte in b'"':
            return _COLON
    elif state in (_VALUE, _VALUE_OR_CLOSE):
        return _COMMA_OR_CLOSE if stack else _END
    raise MalformedJson("it is not valid JSON")
