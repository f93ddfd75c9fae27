"""Where in a data segment does a row stand? Found by the file's own statistics, without reading it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from maia_sync.archive.chunk import Rows
from maia_sync.errors import ArchiveDiffers, ArchiveError
from maia_sync.store.archived import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    Sought: TypeAlias = Mapping[str, str | int]
    """Columns, and the values that a row has in them."""

_FOUND: Final = ("entry", "revision")


def find_rows(content: bytes, sought: Sought) -> list[tuple[int, int | None]]:
    """Return entry and revision of each row with these values. Raises ArchiveDiffers for no readable file."""
    found: list[tuple[int, int | None]] = []
    for table in _groups(content, sought, (*sought, *_FOUND)):
        for at in _places(table, sought):
            entry, revision = (table.column(name)[at].as_py() for name in _FOUND)
            found.append((entry, revision))
    return found


def read_row(content: bytes, entry: int) -> tuple[Record, bytes] | None:
    """Return an entry's row, as the record that it tells of, and its salt; None if there is none."""
    for table in _groups(content, {"entry": entry}, Rows._fields):
        for at in _places(table, {"entry": entry}):
            row = table.slice(at, 1).to_pylist()[0]
            salt = row.pop("salt")
            row.pop("entry")
            return Record(**row), salt
    return None


def _places(table: Any, sought: Sought) -> Iterator[int]:
    """Yield where rows with these values stand, comparing one column after another."""
    places = range(table.num_rows)
    left: list[int] | range = places
    for name in sorted(sought, key=lambda name: isinstance(sought[name], str)):  # numbers are quicker
        if not left:
            break
        if len(left) == table.num_rows:
            left = [at for at, value in enumerate(table.column(name).to_pylist()) if value == sought[name]]
        else:
            column = table.column(name)
            left = [at for at in left if column[at].as_py() == sought[name]]
    yield from left


def _groups(content: bytes, sought: Sought, names: tuple[str, ...]) -> Iterator[Any]:
    """Yield those groups of rows that may hold the values, with these columns."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ArchiveError("the archive needs more packages: pip install 'maia-sync[archive]'") from error
    try:
        file = ParquetFile(pa.BufferReader(content))
        numbers = {file.schema_arrow.names[at]: at for at in range(len(file.schema_arrow.names))}
        for at in range(file.num_row_groups):
            group = file.metadata.row_group(at)
            if all(_may_hold(group.column(numbers[name]), value) for name, value in sought.items()):
                yield file.read_row_group(at, columns=list(names), use_threads=False)
    except (pa.ArrowException, OSError, KeyError, OverflowError) as error:
        raise ArchiveDiffers(
            f"a data segment cannot be read ({type(error).__name__}): `maia-sync archive verify` tells more"
        ) from error


def _may_hold(column: Any, value: str | int) -> bool:
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return True
    try:
        return bool(statistics.min <= value <= statistics.max)
    except TypeError:
        return True
