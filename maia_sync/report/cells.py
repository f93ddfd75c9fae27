"""How is a cell written for other programs? As CSV, or as JSON."""

from __future__ import annotations

import math
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from maia_sync.store.answer import Cell

_NEED_QUOTES: Final = ('"', ",", "\n", "\r")


def spelt(cell: Cell) -> str:
    """Return a cell as text: NULL as nothing, bytes as hexadecimal digits."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, bytes):
        return cell.hex()
    if isinstance(cell, float) and not math.isfinite(cell):
        return "NaN" if math.isnan(cell) else "Infinity" if cell > 0 else "-Infinity"
    return repr(cell)


def json_cell(cell: Cell) -> str:
    """Return a cell as JSON; what JSON has no number for is null."""
    if isinstance(cell, str):
        return encode_basestring(cell)
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "null"
    return f'"{cell.hex()}"' if isinstance(cell, bytes) else spelt(cell)


def csv_line(row: Sequence[Cell]) -> str:
    """Return a line as RFC 4180 has it, but for its plain newline; NULL is nothing, an empty text is ""."""
    # A line without anything on it would be none for most readers.
    return (",".join("" if cell is None else _quoted(spelt(cell)) for cell in row) or '""') + "\n"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a whole answer: the names of its columns, then its rows."""
    return csv_line(columns) + "".join(map(csv_line, rows))


def _quoted(text: str) -> str:
    is_plain = text.strip() == text and text and not any(sign in text for sign in _NEED_QUOTES)
    return text if is_plain else '"' + text.replace('"', '""') + '"'
