"""How is a page changed so that it stays nearly JSON? Token by token, where bytes at random break most of it.

Half of the fuzzer's changes are made here: members come, go and repeat, values are exchanged, characters
are escaped. Pure: the same bytes and the same chance make the same change.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},:"]|\s++|[^\s\[\]{},:"]++', re.DOTALL)
_PUNCTUATION = (b"{", b"}", b"[", b"]", b",", b":")
_NAMES = (b'"data"', b'"groupId"', b'"timestamp"', b'"more"', b'"nextCursor"', b'"results"', b'"x"', b'""')
_VALUES = (
    b"null", b"true", b"0", b"-0", b"1.50", b"1e400", b'""', b'"g"', b'"t"', b"[]", b"{}", b"[{}]",
    b'{"a":1,"a":2}', rb'"\u0000"', rb'"\ud800"', rb'"\ud83d\ude00"', b'"\xc3\xa9"', b'"\xff"',
    b'"' + b"g" * 513 + b'"', b'"2026-01-05T08:00:00Z"', b'"2026-01-05t08:00:60.123456789012+01:00"',
    b'"0001-01-01T00:00:00Z"', b'"soon"', b"01", b"nul", rb'"\q"', b"[1,]",
    b"[" * 999 + b"]" * 999, b"[" * 1000 + b"]" * 1000,
)  # fmt: skip
_BLANKS = (b" ", b"\n", b"\t\r", b"         ")


def respell(given: bytes, random: Random) -> bytes:
    """Return the bytes with one to four changes."""
    tokens = _TOKEN.findall(given) or [b"{", b"}"]
    for _ in range(random.randint(1, 4)):
        change = random.choice(_CHANGES)
        change(tokens, random)
        tokens = tokens or [random.choice(_VALUES)]
    return b"".join(tokens)


def _places(tokens: list[bytes], *wanted: bytes) -> list[int]:
    """Return where one of these tokens stands; without any wanted, where a value or a name does."""
    if wanted:
        return [at for at, token in enumerate(tokens) if token in wanted]
    return [at for at, token in enumerate(tokens) if token not in _PUNCTUATION and not token.isspace()]


def _exchange(tokens: list[bytes], random: Random) -> None:
    """Put another value, or another name, in the place of one."""
    places = _places(tokens)
    if places:
        at = random.choice(places)
        is_name = tokens[at + 1 : at + 2] == [b":"] and random.random() < 0.9
        others = [tokens[place] for place in places]
        tokens[at] = random.choice(_NAMES if is_name else random.choice((_VALUES, others)))


def _add_member(tokens: list[bytes], random: Random) -> None:
    places = _places(tokens, b"{")
    if places:
        at = random.choice(places) + 1
        comma = [] if tokens[at : at + 1] == [b"}"] else [b","]
        tokens[at:at] = [random.choice(_NAMES), b":", random.choice(_VALUES), *comma]


def _add_element(tokens: list[bytes], random: Random) -> None:
    places = _places(tokens, b",", b"[")
    if places:
        at = random.choice(places) + 1
        tokens[at:at] = [b"{", random.choice(_NAMES), b":", random.choice(_VALUES), b"}", b","]


def _escape(tokens: list[bytes], random: Random) -> None:
    """Spell one character of a string as an escape."""
    places = [at for at in _places(tokens) if tokens[at].startswith(b'"') and len(tokens[at]) > 2]
    if places:
        at = random.choice(places)
        text, which = tokens[at], random.randrange(1, len(tokens[at]) - 1)
        if text[which : which + 1].isalnum() and b"\\" not in text[max(0, which - 5) : which]:
            tokens[at] = text[:which] + b"\\u%04x" % text[which] + text[which + 1 :]


def _space(tokens: list[bytes], random: Random) -> None:
    tokens.insert(random.randint(0, len(tokens)), random.choice(_BLANKS))


def _repeat(tokens: list[bytes], random: Random) -> None:
    start = random.randrange(len(tokens))
    part = tokens[start : start + random.randint(1, 12)]
    at = random.randint(0, len(tokens))
    tokens[at:at] = part


def _drop(tokens: list[bytes], random: Random) -> None:
    start = random.randrange(len(tokens))
    del tokens[start : start + random.choice((1, 1, 2, 4, 12))]


_CHANGES: tuple[Callable[[list[bytes], Random], None], ...] = (
    _exchange,
    _exchange,
    _add_member,
    _add_element,
    _escape,
    _space,
    _repeat,
    _drop,
)
