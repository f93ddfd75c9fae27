"""Where in a data segment does a row stand? Found by the file's own statistics, without reading it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from maia_sync.archive.chunk import Rows
from maia_sync.archive.entry import payload_of
from maia_sync.archive.segment import TEXTS_REPEATED, opened
from maia_sync.errors import ArchiveDiffers
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


def read_payload(content: bytes, entry: int) -> tuple[bytes | None, bytes] | None:
    """Return the salt and the payload of an entry's row; None if there is none.

    The salt is None where the payload was erased.
    """
    for table in _groups(content, {"entry": entry}, Rows._fields):
        for at in _places(table, {"entry": entry}):
            held = table.column("data")[at].as_buffer()  # it may be large: no text is made of it
            data = None if held is None else held.to_pybytes()
            [row] = table.drop_columns(["data"]).slice(at, 1).to_pylist()
            salt = row.pop("salt")
            row.pop("entry")
            rest = payload_of(Record(**row, data=None if data is None else ""))
            return salt, data + rest if data and rest else data or rest
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
        with opened(content) as (file, groups, _):
            for at, group in enumerate(groups):
                if all(_may_hold(group.bounds(name), value) for name, value in sought.items()):
                    table = file.read_row_group(at, columns=list(names), use_threads=False)
                    for name in TEXTS_REPEATED.intersection(names):
                        table.column(name).validate(full=True)
                    yield table
    except ValueError as error:
        raise ArchiveDiffers(
            f"a data segment cannot be read: {error}; `maia-sync archive verify` tells more"
        ) from error


def _may_hold(bounds: tuple[bytes, bytes] | None, value: str | int) -> bool:
    if bounds is None:
        return True
    if isinstance(value, str):
        return bounds[0] <= value.encode("utf-8", "surrogatepass") <= bounds[1]
    least, greatest = (int.from_bytes(each, "little", signed=True) for each in bounds)
    return least <= value <= greatest
