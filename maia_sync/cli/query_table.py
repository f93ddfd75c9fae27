"""How does an answer become aligned lines, however many rows there are?

Rows are aligned within blocks of bounded size. In a file or a pipe a later block may need more room, and its
columns are wider then; on a terminal widths stay what the first block made them, and wide cells are cut.
"""

from __future__ import annotations

import shutil
from itertools import islice
from typing import TYPE_CHECKING, Final

from maia_sync.cli.escaping import one_line
from maia_sync.cli.screen import note
from maia_sync.report.cells import spelt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from maia_sync.cli.query_output import Write
    from maia_sync.store.answer import Answer, Column, Row

_SHOWN_ON_TERMINAL: Final = 1000
_BLOCK_ROWS: Final = 1000
_BLOCK_CHARACTERS: Final = 4_000_000
_NARROWEST: Final = 8
_BETWEEN: Final = "  "


def print_rows(answer: Answer, write: Write, *, limit: int | None, on_terminal: bool) -> None:
    """Print aligned lines: all rows, or so many, and then say that there are more.

    A terminal gets a thousand unless it is told otherwise, and cells that fit its width.
    """
    most = _SHOWN_ON_TERMINAL if limit is None and on_terminal else limit
    lines = Lines(answer.columns, shutil.get_terminal_size().columns if on_terminal else None)
    printed = 0
    for block in _blocks(answer.rows if most is None else islice(answer.rows, most)):
        write("".join(f"{line}\n" for line in lines.of(block)))
        printed += len(block)
    if not printed:
        write("".join(f"{line}\n" for line in lines.of([])))
        note("No rows.")
    elif printed == most and next(answer.rows, None) is not None:
        note(f"There are more rows than these {printed:,}: --limit N prints N of them.")


def _blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    block: list[Row] = []
    size = 0
    for row in rows:
        block.append(row)
        size += sum(len(cell) for cell in row if isinstance(cell, str | bytes))
        if len(block) >= _BLOCK_ROWS or size >= _BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


class Lines:
    """Makes lines of blocks of rows; `room` is the width of a terminal, None where nothing is cut."""

    def __init__(self, columns: Sequence[Column], room: int | None) -> None:
        self._titles = [one_line(column.name) for column in columns]
        self._room = room
        self._widths: list[int] = []
        self._numeric: list[bool] = []

    def of(self, block: list[Row]) -> Iterator[str]:
        """Yield the lines of a block of rows; the first block's begin with a heading and a rule."""
        texts = [[one_line(spelt(cell)) for cell in row] for row in block]
        wanted = [max(map(_width, cells)) for cells in zip(self._titles, *texts, strict=True)]
        is_first = not self._widths
        if is_first:
            self._widths = wanted if self._room is None else fitted(wanted, self._room)
            self._numeric = [_is_numeric(cells) for cells in zip(*block, strict=True)] or [False] * len(
                wanted
            )
            yield self._line(self._titles)
            yield "─" * (sum(self._widths) + len(_BETWEEN) * (len(wanted) - 1))
        elif self._room is None:
            self._widths = [max(pair) for pair in zip(self._widths, wanted, strict=True)]
        yield from map(self._line, texts)

    def _line(self, texts: Sequence[str]) -> str:
        cells = []
        for text, width, is_numeric in zip(texts, self._widths, self._numeric, strict=True):
            cell = _cut(text, width)
            space = " " * (width - _width(cell))
            cells.append(space + cell if is_numeric else cell + space)
        return _BETWEEN.join(cells).rstrip()


def fitted(wanted: Sequence[int], room: int) -> list[int]:
    """Return widths that fit a terminal, if they can: the widest columns give way first."""
    room -= len(_BETWEEN) * (len(wanted) - 1)
    most = max(wanted)
    while most > _NARROWEST and sum(min(width, most) for width in wanted) > room:
        most -= 1
    return [min(width, most) for width in wanted]


def _is_numeric(cells: Iterable[object]) -> bool:
    kinds = set(map(type, cells)) - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: a wide character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _cut(text: str, most: int) -> str:
    if _width(text) <= most:
        return text
    from rich.cells import set_cell_size

    return set_cell_size(text, most - 1).rstrip() + "…"
