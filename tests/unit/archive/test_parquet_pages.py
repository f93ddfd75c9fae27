from __future__ import annotations

import io
import random
import secrets
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from maia_sync.archive import segment
from maia_sync.archive.chunk import Rows
from maia_sync.archive.segment import encode_segment, read_segment
from maia_sync.archive.segment_search import find_rows
from maia_sync.errors import ArchiveDiffers

SCHEMA = pa.schema(segment._schema())


def encoded(rows: int, column: str, text: str, **options: Any) -> bytes:
    """Return a file of the columns of a segment, with a text that stands in each row."""
    arrays = []
    for field in SCHEMA:
        values = {column: [text] * rows, "entry": range(rows)}.get(field.name, [None] * rows)
        arrays.append(pa.array(values, field.type))
    sink = io.BytesIO()
    written = {"use_dictionary": False, "compression": "zstd", "row_group_size": 8_192, **options}
    pa.parquet.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), sink, store_schema=False, **written)
    return sink.getvalue()


def test_what_is_written_as_segments_are_is_read() -> None:
    for column in ("data", "group_id"):
        content = encoded(9_000, column, "x", use_dictionary=list(segment._REPEATED))
        assert sum(len(rows.entry) for rows in read_segment(content)) == 9_000
    assert len(find_rows(content, {"group_id": "x", "entry": 8_500})) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"use_dictionary": True},
        {"use_dictionary": ["extra"]},
        {"data_page_version": "2.0"},
        {"row_group_size": 9_000},
        {"column_encoding": {"extra": "DELTA_BYTE_ARRAY"}},
    ],
)
def test_what_could_unfold_is_not_looked_into(options: dict[str, Any]) -> None:
    content = encoded(9_000, "extra", "x" * 1_000, **options)
    with pytest.raises(ValueError, match="no Parquet file that maia-sync has written"):
        [*read_segment(content)]
    with pytest.raises(ArchiveDiffers, match="a data segment cannot be read"):
        find_rows(content, {"entry": 1})


def test_what_becomes_too_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(3_000, "extra", "x" * 1_000)
    assert len(content) < 20_000
    assert [*read_segment(content)]
    monkeypatch.setattr(segment, "_MOST_DECODED", 1 << 20)
    monkeypatch.setattr(segment, "_MOST_EVER", 2 << 20)
    with pytest.raises(ValueError, match=r"its [\d,]+ bytes would become 3,[\d,]+ in memory"):
        [*read_segment(content)]


def test_no_altered_file_breaks_the_reading() -> None:
    rows = Rows(*([None] * 300 for _ in Rows._fields))  # type: ignore[arg-type]
    rows.entry[:] = range(300)
    rows.group_id[:] = [f"group {number % 7}" for number in range(300)]
    rows.data[:] = [b"%d" % number for number in range(300)]
    content = encode_segment(rows)
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(1_500):
        altered = bytearray(content)
        for _ in range(rng.randrange(1, 4)):
            altered[rng.randrange(len(altered))] = rng.randrange(256)
        try:
            [*read_segment(bytes(altered))]
        except ValueError:
            continue
