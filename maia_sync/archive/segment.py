"""How do payloads lie in the archive? Parquet files by date, which every warehouse can read.

Only this module knows pyarrow; it is imported at first need, as it takes a tenth of a second.
"""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from maia_sync.archive.chunk import Rows
from maia_sync.archive.entry import SALT_BYTES, SegmentFacts
from maia_sync.archive.parquet_pages import decoded_bytes, read_footer
from maia_sync.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.archive.chunk import Chunk
    from maia_sync.archive.parquet_pages import Group

FOLDER: Final = "data/"
UNDATED: Final = "__HIVE_DEFAULT_PARTITION__"
"""What Hive, and all who learnt from it, call the folder of rows whose date is NULL."""
_GROUP_ROWS: Final = 8_192
_REPEATED: Final = ("type", "task_id", "group_id", "run_id", "received_at")
"""Columns whose values come again and again: they are kept once, and numbers in their place."""
TEXTS_REPEATED: Final = frozenset(("type", "task_id", "group_id"))
_LARGE: Final = 64 << 20
_FEW_ROWS: Final = 64
"""That are read at a time where rows are large."""
_MOST_DECODED: Final = 512 << 20
"""Bytes that a segment has in memory, at most: those of a chunk, and of a payload as large as a page ..."""
_MOST_TIMES: Final = 64
_MOST_EVER: Final = 3 << 29
"""... or, where api.max_page_bytes is larger, so many times those of the file, up to these."""
_SOUGHT: Final = ("entry", "type", "task_id", "group_id", "timestamp", "ordinal", "revision", "occurred_at")
"""Columns of which the file tells the least and the greatest value, so that readers can skip parts of it."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENTS: Final = frozenset(("occurred_at", "received_at"))
_IN_BYTES: Final = frozenset(("data",))
"""Texts that are bytes here."""
_PATH: Final = re.compile(
    rf"{FOLDER}date=([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{UNDATED})/([0-9]{{12}})-([0-9]{{12}})(?:-([0-9]{{12}}))?\.parquet"
)


class Segment(NamedTuple):
    """One file that is to be written."""

    path: str
    content: bytes
    facts: SegmentFacts


class SegmentPath(NamedTuple):
    """What a segment's path tells."""

    day: date | None
    first: int
    end: int
    redacted: int | None
    """The index of the entry that tells of it, if payloads were erased from it."""


def require_pyarrow() -> None:
    """Raise ArchiveError, with the command that helps, unless segments can be written and read."""
    _pyarrow()


def segment_path(day: date | None, first: int, end: int, redacted: int | None = None) -> str:
    """Return where the rows of a date lie whose entries are from `first` up to `end`.

    `redacted`: the index of the entry that tells of it, if payloads were erased from it.
    """
    name = f"{first:012}-{end:012}" if redacted is None else f"{first:012}-{end:012}-{redacted:012}"
    return f"{FOLDER}date={UNDATED if day is None else day.isoformat()}/{name}.parquet"


def parse_segment_path(path: str) -> SegmentPath | None:
    """Return what a segment's path tells; None for the path of something else."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    try:
        day = None if match[1] == UNDATED else date.fromisoformat(match[1])
    except ValueError:
        return None
    return SegmentPath(day, int(match[2]), int(match[3]), None if match[4] is None else int(match[4]))


def write_segments(chunk: Chunk) -> Iterator[Segment]:
    """Yield a file for each date of a chunk's rows, in the order of their paths; the chunk loses them."""
    for day, rows in chunk.take_out():
        path, number = segment_path(day, chunk.first, chunk.end), len(rows.entry)
        table = _table(rows)
        rows.clear()
        content = _encoded(table)
        facts = SegmentFacts(
            path=path,
            sha256=hashlib.sha256(content).hexdigest(),
            rows=number,
            first=chunk.first,
            end=chunk.end,
        )
        yield Segment(path, content, facts)


def encode_segment(rows: Rows) -> bytes:
    """Return a Parquet file with these rows."""
    return _encoded(_table(rows))


def _table(rows: Rows) -> Any:
    arrays = [_array(field, column) for field, column in zip(_schema(), rows, strict=True)]
    return _pyarrow().Table.from_arrays(arrays, schema=_schema())


def _encoded(table: Any) -> bytes:
    sink = io.BytesIO()
    _pyarrow().parquet.write_table(
        table,
        sink,
        compression="zstd",
        row_group_size=_GROUP_ROWS,
        use_dictionary=list(_REPEATED),
        write_statistics=list(_SOUGHT),
        store_schema=False,
    )
    return sink.getvalue()


def read_segment(content: bytes) -> Iterator[Rows]:
    """Yield a file's rows, some thousands at a time. Raises ValueError, with a sentence, if it is none."""
    with opened(content) as (file, _, size):
        rows = _GROUP_ROWS if size < _LARGE else _FEW_ROWS
        for batch in file.iter_batches(batch_size=rows, use_threads=False):
            yield Rows._make(map(_values, Rows._fields, batch))


@contextmanager
def opened(content: bytes) -> Iterator[tuple[Any, list[Group], int]]:
    """Open a segment as a Parquet file; yield it with its groups of rows, and with its size in memory.

    Raises ValueError, with a sentence, for what is no segment.

    Nothing is decoded before it is known to become no larger in memory than a segment can be.
    """
    pa = _pyarrow()
    try:
        groups = read_footer(content, most_rows=_GROUP_ROWS)
        size = decoded_bytes(content, groups, _REPEATED)
        if size > max(_MOST_DECODED, min(_MOST_TIMES * len(content), _MOST_EVER)):
            raise ValueError(f"its {len(content):,} bytes would become {size:,} in memory")
        if not pa.parquet.ParquetFile(pa.BufferReader(content)).schema_arrow.equals(_schema()):
            raise ValueError("its columns are not those of a data segment")
        # As dictionaries, values that are repeated are in memory once.
        file = pa.parquet.ParquetFile(pa.BufferReader(content), read_dictionary=sorted(TEXTS_REPEATED))
        yield file, groups, size
    except (pa.ArrowException, OSError, OverflowError) as error:
        raise ValueError(f"it is no readable Parquet file: {type(error).__name__}") from error


def _array(field: Any, column: Any) -> Any:
    pa = _pyarrow()
    if field.name in _IN_BYTES:
        return pa.array(column, type=pa.binary()).cast(field.type)
    return pa.array(column, type=field.type)


def _values(name: str, column: Any) -> list[Any]:
    pa = _pyarrow()
    if name in _MOMENTS:  # three times as fast as pyarrow's own way
        numbers = column.cast(pa.int64()).to_pylist()
        return [None if one is None else _EPOCH + timedelta(microseconds=one) for one in numbers]
    if pa.types.is_dictionary(column.type):
        column.validate(full=True)  # the library does not look whether a dictionary has so many values
        known: list[Any] = column.dictionary.to_pylist()
        return [None if at is None else known[at] for at in column.indices.to_pylist()]
    values: list[Any] = (column.cast(pa.binary()) if name in _IN_BYTES else column).to_pylist()
    return values


@cache
def _schema() -> Any:
    pa = _pyarrow()
    moment = pa.timestamp("us", tz="UTC")
    types = {
        "entry": pa.int64(),
        "timestamp": pa.int64(),
        "occurred_at": moment,
        "ordinal": pa.int32(),
        "revision": pa.int32(),
        "seq": pa.int64(),
        "received_at": moment,
        "run_id": pa.int64(),
        "number": pa.int64(),
        "raw": pa.binary(),
        "salt": pa.binary(SALT_BYTES),
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in Rows._fields])


@cache
def _pyarrow() -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import
        import pyarrow.parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ArchiveError("the archive needs more packages: pip install 'maia-sync[archive]'") from error
    # Arrow's own allocator keeps tens of MB of what it was given back, and is no faster here.
    pa.set_memory_pool(pa.system_memory_pool())
    return pa
