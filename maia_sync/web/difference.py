"""What is different between two payloads? Their raw texts, line against line, one member a line.

Nothing is spelt anew: numbers, escapes and the order of members are compared to the letter; within a line
that has changed, word against word. The work is bounded: where the texts have too little in common, or are
too long, all between a common beginning and a common end counts as changed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from maia_sync.web.payload_text import html_size, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Sign: TypeAlias = Literal["same", "removed", "added", "skipped"]
Block: TypeAlias = tuple[int, int, int, int]
"""Lines old[a:b] have become new[c:d]; between the blocks all lines are the same."""
Part: TypeAlias = tuple[str, bool]
"""A stretch of a line, and whether it has changed."""

LONGEST_LAID_OUT: Final = 100_000
"""Characters of a text up to which it is laid out; of longer ones only the place of the change is shown."""
MOST_LINES: Final = 2_000
"""How many lines, of both texts together, are compared one by one."""
MOST_EDITS: Final = 300
"""How many lines may have come or gone for those to be told that have stayed in between."""
MOST_WORDS: Final = 800
"""How many words, signs and blanks a line may have for them to be compared one by one."""
_MOST_WORDS_IN_ALL: Final = 8_000
"""How many of both texts are compared one by one."""
_MOST_WORDS_CHANGED: Final = 100
_LONGEST_IN_WORDS: Final = 8_000
_WORD: Final = re.compile(r"\w+|[^\w\s]|\s+")
_SAYS_SOMETHING: Final = re.compile(r"\w")
_FRAME: Final = 100
"""Bytes of a line's elements."""
_PART_FRAME: Final = 30
_CONTEXT: Final = 3
_LONGEST: Final = 60_000
_LONGEST_LINE: Final = 4_000
_AROUND: Final = 60


class Line(msgspec.Struct, frozen=True):
    """One line, in its parts."""

    sign: Sign
    parts: tuple[Part, ...] = ()
    count: int = 0
    """Of skipped lines: how many."""

    @property
    def text(self) -> str:
        """The line, without what it is marked with."""
        return "".join(text for text, _ in self.parts)

    @property
    def size(self) -> int:
        """About how many bytes it takes on a page."""
        return _FRAME + sum(_PART_FRAME + html_size(text) for text, _ in self.parts)


class Difference(msgspec.Struct, frozen=True):
    """The lines of a difference."""

    lines: tuple[Line, ...]
    is_whole: bool = True
    """False: there is more, which is left out."""


def compare(old: str | None, new: str | None) -> Difference:
    """Return what is different; None is no payload at all. Of equal texts there are no lines."""
    if old == new:
        return Difference(())
    if max(len(old or ""), len(new or "")) > LONGEST_LAID_OUT:
        return _cut(_of_long_texts(old or "", new or ""))
    before, after = (() if text is None else lay_out(text).lines for text in (old, new))
    if before == after:  # white space between tokens alone
        before, after = (tuple((text or "").split("\n")) for text in (old, new))
    return _cut(_lines(before, after, changed_blocks(before, after)))


def changed_blocks(old: Sequence[str], new: Sequence[str], most_edits: int = MOST_EDITS) -> list[Block]:
    """Return the blocks of lines that have changed, in their order."""
    start = _common(old, new)
    end = _common(old[: start - len(old) - 1 : -1], new[: start - len(new) - 1 : -1])
    a, b, c, d = start, len(old) - end, start, len(new) - end
    if a == b and c == d:
        return []
    kept = _kept(old[a:b], new[c:d], most_edits) if (b - a) + (d - c) <= MOST_LINES else []
    blocks: list[Block] = []
    last_old, last_new = a, c
    for at_old, at_new in (*((a + i, c + j) for i, j in kept), (b, d)):
        if (at_old, at_new) != (last_old, last_new):
            blocks.append((last_old, at_old, last_new, at_new))
        last_old, last_new = at_old + 1, at_new + 1
    return blocks


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many items both begin with."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


def _kept(old: Sequence[str], new: Sequence[str], most_edits: int) -> list[tuple[int, int]]:
    """Return the pairs of lines that stay, by Myers' greedy algorithm; none if it takes too many edits."""
    furthest = {1: 0}
    trail: list[dict[int, int]] = []
    for edits in range(min(len(old) + len(new), most_edits) + 1):
        trail.append(dict(furthest))
        for k in range(-edits, edits + 1, 2):
            goes_down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
            x = furthest[k + 1] if goes_down else furthest[k - 1] + 1
            while x < len(old) and 0 <= x - k < len(new) and old[x] == new[x - k]:
                x += 1
            furthest[k] = x
            if x >= len(old) and x - k >= len(new):
                return _walked_back(trail, len(old), len(new))
    return []


def _walked_back(trail: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    kept = []
    for edits in range(len(trail) - 1, -1, -1):
        furthest, k = trail[edits], x - y
        goes_down = k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])
        from_k = k + 1 if goes_down else k - 1
        from_x = furthest[from_k] if edits else 0
        from_y = from_x - from_k if edits else 0
        while x > from_x and y > from_y:
            x, y = x - 1, y - 1
            kept.append((x, y))
        x, y = from_x, from_y
    return kept[::-1]


def _lines(old: Sequence[str], new: Sequence[str], blocks: Sequence[Block]) -> Iterator[Line]:
    """Yield all lines of a difference, unchanged stretches but for their ends left out."""
    at = 0
    words = _Words()
    for number, (a, b, c, d) in enumerate(blocks):
        yield from _unchanged(old[at:a], is_first=number == 0)
        yield from _replaced(old[a:b], new[c:d], words)
        at = b
    yield from _unchanged(old[at:], is_last=True)


def _unchanged(lines: Sequence[str], *, is_first: bool = False, is_last: bool = False) -> Iterator[Line]:
    head = 0 if is_first else _CONTEXT
    tail = 0 if is_last else _CONTEXT
    left_out = len(lines) - head - tail
    if left_out <= 1:
        yield from (_line("same", line) for line in lines)
        return
    yield from (_line("same", line) for line in lines[:head])
    yield Line("skipped", count=left_out)
    yield from (_line("same", line) for line in lines[len(lines) - tail :])


def _replaced(old: Sequence[str], new: Sequence[str], words: _Words) -> Iterator[Line]:
    """Yield lines that have gone and come; where they are as many, what changed within each."""
    if len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            yield from _by_words(before, after, words) or _narrowed(before, after)
        return
    yield from (_line("removed", line) for line in old)
    yield from (_line("added", line) for line in new)


class _Words:
    """How many words of a difference are still to be compared one by one."""

    def __init__(self) -> None:
        self._left = _MOST_WORDS_IN_ALL

    def of(self, old: str, new: str) -> tuple[list[str], list[str]] | None:
        """Return the words of two lines; None if they have too many."""
        if max(len(old), len(new)) > _LONGEST_IN_WORDS:
            return None
        found = _WORD.findall(old), _WORD.findall(new)
        number = sum(map(len, found))
        if max(map(len, found)) > MOST_WORDS or number > self._left:
            return None
        self._left -= number
        return found


def _by_words(old: str, new: str, words: _Words) -> tuple[Line, ...]:
    """Return two lines in which the words that changed are marked; none if those stand in one place."""
    found = words.of(old, new)
    if found is None:
        return ()
    before, after = found
    stretches: list[tuple[bool, str, str]] = []
    at = 0
    for a, b, c, d in [*changed_blocks(before, after, _MOST_WORDS_CHANGED), (len(before), len(before), 0, 0)]:
        same = "".join(before[at:a])
        is_block = b > a or d > c
        if same and stretches and is_block and not _SAYS_SOMETHING.search(same):  # blanks between words
            _, gone, come = stretches.pop()
            stretches.append((True, gone + same + "".join(before[a:b]), come + same + "".join(after[c:d])))
        else:
            stretches += [(False, same, same)] if same else []
            stretches += [(True, "".join(before[a:b]), "".join(after[c:d]))] if is_block else []
        at = b
    if sum(is_changed for is_changed, _, _ in stretches) < 2:
        return ()
    last = len(stretches) - 1
    removed: list[Part] = []
    added: list[Part] = []
    for number, (is_changed, gone, come) in enumerate(stretches):
        for parts, text in ((removed, gone), (added, come)):
            if text:
                shown = text if is_changed else _around(text, is_first=not number, is_last=number == last)
                parts.append((shown, is_changed))
    return Line("removed", tuple(removed)), Line("added", tuple(added))


def _around(text: str, *, is_first: bool = False, is_last: bool = False) -> str:
    """Return what has not changed beside what has; of a long text, its ends there."""
    head = "" if is_first else text[:_AROUND]
    tail = "" if is_last else text[-_AROUND:]
    if len(text) <= 2 * _AROUND * (1 if is_first or is_last else 2):
        return text
    indent = text[: len(text) - len(text.lstrip(" "))] if is_first else ""
    return f"{indent}{head}…{tail}"


def _narrowed(old: str, new: str) -> Iterator[Line]:
    start = _common_length(old, new)
    end = _common_length(old[start:][::-1], new[start:][::-1])
    before = _around(old[:start], is_first=True)
    behind = _around(old[len(old) - end :], is_last=True)
    for sign, changed in _signed(old[start : len(old) - end], new[start : len(new) - end]):
        parts = ((before, False), (_short(changed), True), (behind, False))
        yield Line(sign, tuple(part for part in parts if part[0]))


def _signed(removed: str, added: str) -> tuple[tuple[Sign, str], tuple[Sign, str]]:
    return ("removed", removed), ("added", added)


def _of_long_texts(old: str, new: str) -> Iterator[Line]:
    start = _common_length(old, new)
    if start:
        yield Line("skipped")
    yield from _narrowed(old[max(start - _AROUND, 0) :], new[max(start - _AROUND, 0) :])


def _common_length(one: str, other: str) -> int:
    """Return how many characters both begin with; halves are compared, not single characters."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _line(sign: Sign, text: str) -> Line:
    return Line(sign, ((_short(text), sign != "same"),))


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


def _cut(lines: Iterator[Line]) -> Difference:
    found: list[Line] = []
    left = _LONGEST
    for line in lines:
        left -= line.size
        if left < 0:
            return Difference(tuple(found), is_whole=False)
        found.append(line)
    return Difference(tuple(found))
