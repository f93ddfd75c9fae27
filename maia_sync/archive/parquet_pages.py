"""How large does a Parquet file become in memory? Told by its pages, before anything of it is decoded.

A few kilobytes can become gigabytes: by compression, or by a value that stands once in a dictionary and is
repeated in each row. So only what `segment.py` writes is let through: plain values, and dictionaries in those
columns that have them. The pages' own headers are read, as a footer can lie; and the footer as well, as the
library ends the process at some that are malformed. Both are in Thrift's compact protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_WRITER: Final = b"parquet-cpp-arrow "
_END: Final = b"PAR1"
_DATA, _DICTIONARY = 0, 2
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8
_MOST_GROUPS: Final = 1_024
_DEEPEST: Final = 8
_Struct: TypeAlias = dict[int, Any]


class _Long(int):
    """An integer that was written as one of 64 bits."""


class Group(NamedTuple):
    """What a footer tells of a group of rows."""

    rows: int
    columns: dict[str, _Struct]
    """By their names."""

    def bounds(self, column: str) -> tuple[bytes, bytes] | None:
        """Return the least and the greatest value of a column, encoded; None if they are not told."""
        told = self.columns[column].get(12) or {}
        least, greatest = told.get(6), told.get(5)
        return (least, greatest) if isinstance(least, bytes) and isinstance(greatest, bytes) else None


def read_footer(content: bytes, *, most_rows: int) -> list[Group]:
    """Return a file's groups. Raises ValueError for none of ours, and for groups of more rows."""
    length = int.from_bytes(content[-8:-4], "little")
    if content[-4:] != _END or not 0 < length <= len(content) - 8:
        raise _foreign()
    footer, end = _read_struct(content, len(content) - 8 - length, 0)
    groups = footer.get(4)
    if end > len(content) - 8 or not isinstance(groups, list) or len(groups) > _MOST_GROUPS:
        raise _foreign()
    writer = footer.get(6)
    if not isinstance(writer, bytes) or not writer.startswith(_WRITER):
        raise _foreign()
    return [_group(each, most_rows) for each in groups]


def _group(told: _Struct, most_rows: int) -> Group:
    columns: dict[str, _Struct] = {}
    try:
        rows = told[3]
        for chunk in told[1]:
            column = chunk[3]
            [name] = column[3]
            columns[name.decode()] = column
            if 1 in chunk or not all(type(column[number]) is _Long for number in (7, 9)):
                raise _foreign()
        is_ours = type(rows) is _Long and 0 <= rows <= most_rows and len(columns) == len(told[1])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _foreign() from error
    if not is_ours:
        raise _foreign()
    return Group(rows, columns)


def decoded_bytes(content: bytes, groups: list[Group], repeated: Collection[str]) -> int:
    """Return how many bytes all pages of a file have once they are decompressed; values then have no more.

    Except in the `repeated` columns, where they may stand in dictionaries. Raises ValueError for a file that
    is not written as data segments are.
    """
    size = 0
    for group in groups:
        for name, column in group.columns.items():
            for header in _pages(content, column, group.rows + 1):
                if not _is_ours(header, has_dictionary=name in repeated):
                    raise _foreign()
                size += header[2]
    return size


def _pages(content: bytes, column: _Struct, most: int) -> Iterator[_Struct]:
    """Yield the header of each page of a column in a group of rows, as the library will find them."""
    at, dictionary = column[9], column.get(11)
    if dictionary is not None:
        if type(dictionary) is not _Long:
            raise _foreign()
        at = dictionary if 0 < dictionary < at else at
    end = at + column[7]
    if not 0 < at <= end <= len(content):
        raise _foreign()
    pages = 0
    while at < end:
        header, at = _read_struct(content, at, 0)
        uncompressed, compressed = header.get(2), header.get(3)
        pages += 1
        if type(uncompressed) is not int or type(compressed) is not int or pages > most:
            raise _foreign()
        if uncompressed < 0 or not 0 <= compressed <= end - at:
            raise _foreign()
        yield header
        at += compressed


def _is_ours(header: _Struct, *, has_dictionary: bool) -> bool:
    kind = header.get(1)
    told = header.get(5 if kind == _DATA else 7)
    encoding = told.get(2) if isinstance(told, dict) else None
    if kind == _DATA:
        return encoding == _PLAIN or (has_dictionary and encoding in (_PLAIN_DICTIONARY, _RLE_DICTIONARY))
    return kind == _DICTIONARY and has_dictionary and encoding in (_PLAIN, _PLAIN_DICTIONARY)


def _foreign() -> ValueError:
    return ValueError("it is no Parquet file that maia-sync has written")


def _read_struct(content: bytes, at: int, depth: int) -> tuple[_Struct, int]:
    """Return the fields of a structure by their numbers, and where it ends."""
    fields: _Struct = {}
    number = 0
    try:
        while kind := content[at]:
            step, kind = kind >> 4, kind & 15
            at += 1
            if step:
                number += step
            else:
                number, at = _read_number(content, at)
            if number in fields:
                raise _foreign()
            if kind in (1, 2):
                fields[number] = kind == 1
            else:
                fields[number], at = _read_value(content, at, kind, depth + 1)
    except IndexError as error:
        raise _foreign() from error
    return fields, at + 1


def _read_value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > _DEEPEST:
        raise _foreign()
    if kind in (4, 5):
        return _read_number(content, at)
    if kind == 6:
        number, at = _read_number(content, at)
        return _Long(number), at
    if kind == 8:
        length, at = _read_varint(content, at)
        return content[at : at + length], at + length
    if kind == 9:
        return _read_list(content, at, depth)
    if kind == 12:
        return _read_struct(content, at, depth)
    if kind in (1, 2, 3):  # in a list, a byte each
        return content[at], at + 1
    raise _foreign()


def _read_list(content: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    length, kind = content[at] >> 4, content[at] & 15
    at += 1
    if length == 15:
        length, at = _read_varint(content, at)
    if length > len(content) - at:
        raise _foreign()
    values = []
    for _ in range(length):
        value, at = _read_value(content, at, kind, depth + 1)
        values.append(value)
    return values, at


def _read_number(content: bytes, at: int) -> tuple[int, int]:
    value, at = _read_varint(content, at)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _foreign()
