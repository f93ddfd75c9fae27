"""How does an answer become a Parquet file, whose columns have one type each?

What an answer's columns hold is known only when the last row has been read, on SQLite at least. So the rows
go to an unnamed file first, and a note is taken of what each column holds; from there they go into the
Parquet file. Neither the query is asked twice nor are its rows ever all in memory.
"""

from __future__ import annotations

import marshal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from maia_sync.store.answer import Answer, Cell, Column, Row

_CHUNK_ROWS: Final = 50_000
_CHUNK_BYTES: Final = 16_000_000
_LARGEST: Final = 2**63 - 1
_LARGEST_EXACT: Final = 2**53
"""Up to here every whole number is a double as well."""

try:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter
except ModuleNotFoundError:
    pa = None


def require_pyarrow() -> None:
    """Raise UsageError, with the command that helps, unless Parquet can be written."""
    if pa is None:
        raise UsageError("Parquet needs pyarrow: pip install 'maia-sync[parquet]'")


def write_parquet(
    answer: Answer,
    names: Sequence[str],
    sink: IO[bytes],
    *,
    spell: Callable[[Cell], str],
    folder: Path | None,
) -> None:
    """Write an answer under these names of columns; `folder` is where the rows may wait, or the system's.

    `spell` makes a text of a cell where a column holds values of several types.
    """
    notes = [_Note(column) for column in answer.columns]
    with tempfile.TemporaryFile(dir=folder) as waiting:
        for chunk in _chunks(answer.rows):
            columns = [list(cells) for cells in zip(*chunk, strict=True)]
            for note, cells in zip(notes, columns, strict=True):
                note.take(cells)
            marshal.dump(columns, waiting)
        end = waiting.tell()
        waiting.seek(0)
        forms = [note.form(spell) for note in notes]
        schema = pa.schema([(name, form.type) for name, form in zip(names, forms, strict=True)])
        with ParquetWriter(sink, schema, compression="zstd") as writer:
            while waiting.tell() < end:
                columns = marshal.load(waiting)  # noqa: S302 - we wrote it ourselves, a moment ago
                arrays = [form.make(cells) for form, cells in zip(forms, columns, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield rows in lists of so many, or of so many bytes; each becomes one group of the file."""
    chunk: list[Row] = []
    held = 0
    for row in rows:
        chunk.append(row)
        held += sum(len(cell) for cell in row if isinstance(cell, str | bytes))
        if len(chunk) >= _CHUNK_ROWS or held >= _CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


class _Form(msgspec.Struct, frozen=True):
    """A type of Arrow's, and how cells become an array of it."""

    type: Any
    make: Callable[[list[Any]], Any]


class _Note:
    """What one column holds, as far as it has been seen."""

    def __init__(self, column: Column) -> None:
        self._kind = column.kind
        self._types: set[type] = set()
        self._largest = 0
        # SQLite has no type for moments and days: there the names of columns tell, as in all our tables.
        untyped = column.kind == "any"
        self._may_be_moments = column.kind == "moment" or (untyped and column.name.endswith("_at"))
        self._may_be_days = column.kind == "day" or (untyped and column.name == "day")

    def take(self, cells: list[Cell]) -> None:
        """Take note of some cells."""
        types = set(map(type, cells)) - {type(None)}
        self._types |= types
        if int in types:
            self._largest = max(self._largest, *(abs(cell) for cell in cells if type(cell) is int))
        if types - {str}:
            self._may_be_moments = self._may_be_days = False
        elif types:
            self._may_be_moments = self._may_be_moments and _can(_moments, cells)
            self._may_be_days = self._may_be_days and _can(_days, cells)

    def form(self, spell: Callable[[Cell], str]) -> _Form:
        """Return the one type that holds everything that was seen."""
        if self._may_be_moments:
            return _Form(pa.timestamp("us", tz="UTC"), _moments)
        if self._may_be_days:
            return _Form(pa.date32(), _days)
        found = self._plain_type()
        if found is None:
            return _Form(pa.string(), lambda cells: _texts(cells, spell))
        return _Form(found, lambda cells: pa.array(cells, type=found))

    def _plain_type(self) -> Any:
        """Return the type for cells that are no texts, or None."""
        types = self._types or _USUAL.get(self._kind, set())
        if types == {bool}:
            return pa.bool_()
        if types == {bytes}:
            return pa.binary()
        if types == {int} and self._largest <= _LARGEST:
            return pa.int64()
        if types in ({float}, {int, float}) and (int not in types or self._largest <= _LARGEST_EXACT):
            return pa.float64()
        return None


_USUAL: Final[dict[str, set[type]]] = {
    "bool": {bool},
    "integer": {int},
    "number": {float},
    "real": {float},
    "bytes": {bytes},
}
"""What columns hold of which nothing was seen but NULL."""


def _can(make: Callable[[list[Any]], Any], cells: list[Cell]) -> bool:
    with suppress(pa.ArrowInvalid, UnicodeEncodeError):
        make(cells)
        return True
    return False


def _moments(cells: list[Any]) -> Any:
    plain = pa.array(cells, type=pa.string()).cast(pa.timestamp("us"))
    return plain.cast(pa.timestamp("us", tz="UTC"))


def _days(cells: list[Any]) -> Any:
    return pa.array(cells, type=pa.string()).cast(pa.date32())


def _texts(cells: list[Any], spell: Callable[[Cell], str]) -> Any:
    """Return an array of texts; half a surrogate pair, for which UTF-8 has no bytes, becomes its escape."""
    texts = [cell if cell is None or isinstance(cell, str) else spell(cell) for cell in cells]
    try:
        return pa.array(texts, type=pa.string())
    except UnicodeEncodeError:
        texts = [text and text.encode("utf-8", "backslashreplace").decode() for text in texts]
        return pa.array(texts, type=pa.string())
