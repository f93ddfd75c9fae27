"""How does a list of things become aligned lines? Plain tables, one line to a row.

On a terminal, columns without content are left out, and one column that may give way is cut so that a row
fits the terminal's width; a file or a pipe gets every column and every cell in full.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import msgspec

from maia_sync.cli.escaping import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_BETWEEN = "  "
_NARROWEST = 8


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Columns and rows of harmless texts."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: tuple[str, ...] = ()
    """Columns that are aligned to the right."""
    yielding: str | None = None
    """The column that gives way where a row is too wide."""


def make_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    yielding: str | None = None,
) -> Table:
    """Return a table of any values; None is an empty cell."""
    cells = [tuple(one_line("" if value is None else str(value)) for value in row) for row in rows]
    return Table(columns=tuple(columns), rows=cells, numbers=tuple(numbers), yielding=yielding)


def print_table(table: Table, *, indent: int = 0) -> None:
    """Print a table to stdout as its reader needs it."""
    if sys.stdout.isatty():
        table = fitted(without_empty_columns(table), shutil.get_terminal_size().columns - indent)
    for line in table_lines(table):
        sys.stdout.write(f"{' ' * indent}{line}\n")


def table_lines(table: Table) -> Iterator[str]:
    """Yield a heading, a rule and one line to each row."""
    widths = _widths(table)
    yield _aligned(table, table.columns, widths)
    yield "─" * (sum(widths) + len(_BETWEEN) * (len(widths) - 1))
    for row in table.rows:
        yield _aligned(table, row, widths)


def without_empty_columns(table: Table) -> Table:
    """Return the table without the columns in which no row has anything."""
    kept = [at for at in range(len(table.columns)) if not table.rows or any(row[at] for row in table.rows)]
    return msgspec.structs.replace(
        table,
        columns=tuple(table.columns[at] for at in kept),
        rows=[tuple(row[at] for at in kept) for row in table.rows],
    )


def fitted(table: Table, width: int) -> Table:
    """Return the table with the column that gives way cut to what the others leave of the width."""
    if table.yielding not in table.columns:
        return table
    at = table.columns.index(table.yielding)
    widths = _widths(table)
    room = width - (sum(widths) - widths[at]) - len(_BETWEEN) * (len(widths) - 1)
    if room >= widths[at]:
        return table
    most = max(room, _NARROWEST)
    rows = [(*row[:at], _cut(row[at], most), *row[at + 1 :]) for row in table.rows]
    return msgspec.structs.replace(table, rows=rows)


def _widths(table: Table) -> list[int]:
    return [
        max([_width(column), *(_width(row[at]) for row in table.rows)])
        for at, column in enumerate(table.columns)
    ]


def _aligned(table: Table, row: Sequence[str], widths: Sequence[int]) -> str:
    aligned = []
    for column, cell, width in zip(table.columns, row, widths, strict=True):
        space = " " * (width - _width(cell))
        aligned.append(space + cell if column in table.numbers else cell + space)
    return _BETWEEN.join(aligned).rstrip()


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
