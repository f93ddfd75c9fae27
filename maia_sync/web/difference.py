"""What is different between two payloads? Their raw texts, line against line, one member a line.

Nothing is spelt anew: numbers, escapes and the order of members are compared to the letter. The work is
bounded: where the texts have too little in common, or are too long, all between a common beginning and a
common end counts as changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from maia_sync.web.payload_text import html_size, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Sign: TypeAlias = Literal["same", "removed", "added", "skipped"]
Block: TypeAlias = tuple[int, int, int, int]
"""Lines old[a:b] have become new[c:d]; between the blocks all lines are the same."""

LONGEST_LAID_OUT: Final = 100_000
"""Characters of a text up to which it is laid out; of longer ones only the place of the change is shown."""
MOST_LINES: Final = 2_000
"""How many lines, of both texts together, are compared one by one."""
MOST_EDITS: Final = 300
"""How many lines may have come or gone for those to be told that have stayed in between."""
_FRAME: Final = 100
"""Bytes of a line's elements."""
_CONTEXT: Final = 3
_LONGEST: Final = 60_000
_LONGEST_LINE: Final = 4_000
_AROUND: Final = 60


class Line(msgspec.Struct, frozen=True):
    """One line: what stays before, what has changed, and what stays behind."""

    sign: Sign
    before: str
    changed: str = ""
    behind: str = ""
    count: int = 0
    """Of skipped lines: how many."""

    @property
    def size(self) -> int:
        """About how many bytes it takes on a page."""
        return _FRAME + html_size(self.before) + html_size(self.changed) + html_size(self.behind)


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


def changed_blocks(old: Sequence[str], new: Sequence[str]) -> list[Block]:
    """Return the blocks of lines that have changed, in their order."""
    start = _common(old, new)
    end = _common(old[: start - len(old) - 1 : -1], new[: start - len(new) - 1 : -1])
    a, b, c, d = start, len(old) - end, start, len(new) - end
    if a == b and c == d:
        return []
    kept = _kept(old[a:b], new[c:d]) if (b - a) + (d - c) <= MOST_LINES else []
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


def _kept(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of lines that stay, by Myers' greedy algorithm; none if it takes too many edits."""
    furthest = {1: 0}
    trail: list[dict[int, int]] = []
    for edits in range(min(len(old) + len(new), MOST_EDITS) + 1):
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
    for number, (a, b, c, d) in enumerate(blocks):
        yield from _unchanged(old[at:a], is_first=number == 0)
        yield from _replaced(old[a:b], new[c:d])
        at = b
    yield from _unchanged(old[at:], is_last=True)


def _unchanged(lines: Sequence[str], *, is_first: bool = False, is_last: bool = False) -> Iterator[Line]:
    head = 0 if is_first else _CONTEXT
    tail = 0 if is_last else _CONTEXT
    left_out = len(lines) - head - tail
    if left_out <= 1:
        yield from (Line("same", _short(line)) for line in lines)
        return
    yield from (Line("same", _short(line)) for line in lines[:head])
    yield Line("skipped", "", count=left_out)
    yield from (Line("same", _short(line)) for line in lines[len(lines) - tail :])


def _replaced(old: Sequence[str], new: Sequence[str]) -> Iterator[Line]:
    """Yield lines that have gone and come; where they are as many, what changed within each."""
    if len(old) == len(new):
        for before, after in zip(old, new, strict=True):
            yield from _narrowed(before, after)
        return
    yield from (Line("removed", "", _short(line)) for line in old)
    yield from (Line("added", "", _short(line)) for line in new)


def _narrowed(old: str, new: str) -> Iterator[Line]:
    start = _common_length(old, new)
    end = _common_length(old[start:][::-1], new[start:][::-1])
    before, behind = old[:start], old[len(old) - end :]
    if start > 2 * _AROUND:
        indent = before[: len(before) - len(before.lstrip(" "))]
        before = f"{indent}…{before[-_AROUND:]}"
    if end > 2 * _AROUND:
        behind = f"{behind[:_AROUND]}…"
    yield Line("removed", before, _short(old[start : len(old) - end]), behind)
    yield Line("added", before, _short(new[start : len(new) - end]), behind)


def _of_long_texts(old: str, new: str) -> Iterator[Line]:
    start = _common_length(old, new)
    if start:
        yield Line("skipped", "", count=0)
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
