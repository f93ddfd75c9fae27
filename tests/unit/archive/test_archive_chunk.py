from __future__ import annotations

import hashlib
import io
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest

from maia_sync.archive import chunk as chunks
from maia_sync.archive.chunk import Chunk
from maia_sync.archive.entry import decode_entry, facts_of, payload_of
from maia_sync.archive.layout import checkpoint_path, parse_checkpoint_path, size_needed
from maia_sync.archive.segment import (
    encode_segment,
    parse_segment_path,
    read_segment,
    segment_path,
    write_segments,
)
from maia_sync.archive.tiles import bundle_path, tile_path
from maia_sync.store.archived import QuarantineFacts, Record, RunFacts, SentFacts

NOON = datetime(2026, 1, 5, 12, 0, 0, 123456, tzinfo=UTC)


def event(number: int, **other: Any) -> Record:
    values = {
        "type": "event",
        "received_at": NOON,
        "task_id": "t",
        "group_id": "g",
        "timestamp": number * 1000,
        "ordinal": 0,
        "revision": 0,
        "run_id": 7,
        "seq": number << 20,
        "timestamp_text": "2026-01-05T12:00:00Z",
        "occurred_at": NOON,
        "data": f'{{"n":{number}}}',
    }
    return Record(**{**values, **other})


RUN = Record(
    type="run",
    received_at=NOON,
    number=3,
    facts=RunFacts(
        kind="poll",
        worker="w",
        started_at=NOON,
        ended_at=NOON,
        status="succeeded",
        tasks=1,
        tasks_failed=0,
        tasks_held=0,
        requests=1,
        pages=1,
        bytes=2,
        events_new=0,
        events_changed=0,
        events_unchanged=0,
        events_vanished=0,
        quarantined=0,
        error=None,
        upstream_host="api.example",
        version="1",
    ),
)
SENT = Record(
    type="sent",
    received_at=NOON,
    task_id="t",
    number=4,
    data='{"message":"é"}',
    facts=SentFacts(sent_by="me", outcome="accepted", completed_at=None, error=None),
)
ODD = Record(
    type="quarantine",
    received_at=NOON,
    task_id="t",
    number=5,
    raw=b"\xff\0[1]",
    facts=QuarantineFacts(reason="invalid UTF-8"),
)
VANISHED = event(1, type="vanished", data=None, timestamp_text=None, occurred_at=None, revision=None)


def test_each_record_becomes_an_entry_and_each_payload_a_row_that_has_its_hash() -> None:
    records = [
        event(1),
        event(2, data=None),
        event(3, extra='{"more":1}', timestamp_text="no moment", occurred_at=None),
        event(4, data='"ä€😀"', type="revision", revision=2),
        VANISHED,
        RUN,
        SENT,
        ODD,
    ]
    chunk = Chunk(100)
    encoded = chunk.take(records)
    entries = [decode_entry(each) for each in encoded]
    assert [entry.type for entry in entries] == [record.type for record in records]
    assert (chunk.first, chunk.end, chunk.types["event"], chunk.types.total()) == (100, 108, 3, 8)
    with_payload = [record for record in records if record not in (VANISHED, RUN)]
    assert chunk.payload_bytes == sum(len(payload_of(record)) for record in with_payload)
    (_, rows), (_, undated) = chunk.take_out()
    assert (rows.entry, undated.entry) == ([100, 101, 103, 106, 107], [102])
    assert len({*rows.salt, *undated.salt}) == 6
    for index, salt in zip(rows.entry + undated.entry, rows.salt + undated.salt, strict=True):
        payload = payload_of(records[index - 100])
        assert entries[index - 100].payload == hashlib.sha256(salt + payload).hexdigest()
    assert [entry.payload is None for entry in entries] == [False] * 4 + [True] * 2 + [False] * 2
    assert undated.data == [b'{"n":3}']
    assert rows.data == [b'{"n":1}', None, '"ä€😀"'.encode(), '{"message":"é"}'.encode(), None]
    assert facts_of(entries[5]) == RUN.facts


def test_rows_go_by_the_date_in_utc_of_the_event_or_of_the_receipt() -> None:
    east = timezone(timedelta(hours=2))
    chunk = Chunk(0)
    early = datetime(2026, 1, 5, 1, tzinfo=east)
    chunk.take([event(1, occurred_at=early), event(2), event(3, occurred_at=None), SENT, ODD])
    by_date = [(day, rows.entry, len(rows.salt)) for day, rows in chunk.take_out()]
    assert by_date == [(date(2026, 1, 4), [0], 1), (date(2026, 1, 5), [1, 3, 4], 3), (None, [2], 1)]
    assert list(chunk.take_out()) == []


def test_a_full_chunk_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MOST_ENTRIES", 3)
    chunk = Chunk(0)
    assert len(chunk.take([event(1), event(2)])) == 2
    assert not chunk.is_full
    assert len(chunk.take([event(3), event(4)])) == 1
    assert chunk.is_full
    assert chunk.take([event(4)]) == []
    assert chunk.end == 3


def test_a_chunk_is_full_of_bytes_as_well_and_takes_one_payload_of_any_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "MOST_PAYLOAD", 20)
    chunk = Chunk(0)
    assert len(chunk.take([event(1, data="1" * 50), event(2)])) == 1
    assert chunk.is_full
    chunk = Chunk(0)
    assert len(chunk.take([event(1, data="1" * 19), event(2, data="1"), event(3)])) == 2


def test_a_segment_is_read_as_it_was_written_and_its_entry_tells_its_bytes() -> None:
    chunk = Chunk(5)
    first_year = datetime(1, 1, 1, tzinfo=UTC)
    last_year = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    records = [
        event(1, data='{"a" :  "\\u0000é😀"}', extra="{}"),
        event(0, timestamp=-(2**63), occurred_at=first_year, seq=-(2**62)),
        event(2, occurred_at=last_year, run_id=None, group_id=""),
        event(3, data=None, occurred_at=None, timestamp_text=None),
        SENT,
        ODD,
    ]
    chunk.take(records)
    again = Chunk(5)
    again.take(records)
    written = {row[0]: row[:-1] for _, rows in again.take_out() for row in zip(*rows, strict=True)}
    segments = list(write_segments(chunk))
    assert [each.path for each in segments] == sorted(each.path for each in segments)
    assert len(segments) == 4
    rows = 0
    for segment in segments:
        assert segment.facts.sha256 == hashlib.sha256(segment.content).hexdigest()
        assert (segment.facts.path, segment.facts.first, segment.facts.end) == (segment.path, 5, 11)
        (read,) = read_segment(segment.content)
        assert segment.facts.rows == len(read.entry)
        rows += len(read.entry)
        for row in zip(*read, strict=True):
            assert row[:-1] == written[row[0]]
    assert rows == 6


def test_a_chunk_without_payloads_has_no_segment() -> None:
    chunk = Chunk(0)
    chunk.take([RUN, VANISHED])
    assert list(write_segments(chunk)) == []


def test_a_large_segment_is_read_some_thousand_rows_at_a_time() -> None:
    chunk = Chunk(0)
    for begin in range(0, 9_000, 1_000):
        chunk.take([event(number) for number in range(begin, begin + 1_000)])
    (segment,) = write_segments(chunk)
    assert [len(rows.entry) for rows in read_segment(segment.content)] == [8_192, 808]


def test_what_is_no_segment_is_refused_with_a_sentence() -> None:
    chunk = Chunk(0)
    chunk.take([event(1)])
    ((_, rows),) = chunk.take_out()
    content = encode_segment(rows)
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"entry": [1]}), sink)
    for bad in (b"", b"PAR1", content[:-9], content[9:], sink.getvalue()):
        with pytest.raises(ValueError, match=r"Parquet file|its columns"):
            list(read_segment(bad))


def test_paths_tell_what_they_hold_and_how_large_a_log_has_them() -> None:
    path = segment_path(date(2026, 1, 5), 12, 345, None)
    assert path == "data/date=2026-01-05/000000000012-000000000345.parquet"
    assert parse_segment_path(path) == (date(2026, 1, 5), 12, 345, None)
    assert size_needed(path) == 346
    undated = segment_path(None, 0, 1)
    assert undated == "data/date=__HIVE_DEFAULT_PARTITION__/000000000000-000000000001.parquet"
    assert parse_segment_path(undated) == (None, 0, 1, None)
    assert segment_path(date(1, 1, 1), 0, 1).startswith("data/date=0001-01-01/")
    assert (checkpoint_path(7), size_needed(checkpoint_path(7))) == ("checkpoints/000000000007", 7)
    assert size_needed(tile_path(1, 0, 3)) == 768
    assert size_needed(bundle_path(2)) == 768
    for other in (
        "data/date=2026-02-30/000000000012-000000000345.parquet",
        "data/date=2026-01-05/12-345.parquet",
        "data/000000000012-000000000345.parquet",
        "checkpoints/7",
        "checkpoint",
        "SHA256SUMS",
        "README",
    ):
        assert parse_segment_path(other) is None
        assert size_needed(other) is None
    assert parse_checkpoint_path("checkpoints/00000000000x") is None


def test_salts_and_hashes_differ_where_payloads_are_equal() -> None:
    chunk = Chunk(0)
    first, second = chunk.take([event(1), event(1)])
    assert decode_entry(first).payload != decode_entry(second).payload
    assert msgspec.structs.replace(decode_entry(first), payload=None) == msgspec.structs.replace(
        decode_entry(second), payload=None
    )
