"""Is it found if a part of a payload is left in a row from which that was erased?"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest

from maia_sync.archive.entry import entry_of
from maia_sync.archive.segment_rows import difference, left_of
from maia_sync.store.archived import Record
from maia_sync.store.digest_key import KEYED_BYTES

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ROW = Record(
    type="event", received_at=NOON, task_id="t", group_id="g", timestamp=1_767_614_400 * 10**9, ordinal=0,
    revision=0, occurred_at=NOON, timestamp_text="2026-01-05T12:00:00Z", raw=bytes(2 * KEYED_BYTES),
)  # fmt: skip
ENTRY = entry_of(ROW, "a hash")


def differing(record: Record, *, entry: Any = ENTRY) -> str | None:
    return difference(entry, record, date(2026, 1, 5), entry.received, is_erased=True)


def test_an_instant_may_stay_that_the_entry_tells() -> None:
    assert differing(ROW) is None
    assert left_of(ROW, None, None) is None
    long = msgspec.structs.replace(ROW, timestamp_text="said by the payload alone: " + 60 * "x")
    untold = entry_of(long, "a hash")
    assert untold.timestamp_text is None
    assert differing(long, entry=untold) == "timestamp_text"
    assert differing(msgspec.structs.replace(long, timestamp_text=None), entry=untold) is None


@pytest.mark.parametrize(
    ("changes", "data", "salt", "named"),
    [
        ({}, b"{}", None, "its data"),
        ({}, None, bytes(32), "its salt"),
        ({"extra": "{}"}, None, None, "its extra"),
        ({"raw": bytes(2 * KEYED_BYTES + 1)}, None, None, "its raw"),
        ({"raw": None}, None, None, "its raw"),
        ({"type": "sent"}, None, None, "its raw"),
    ],
)
def test_what_is_left_is_named(
    changes: dict[str, Any], data: bytes | None, salt: bytes | None, named: str
) -> None:
    left = left_of(msgspec.structs.replace(ROW, **changes), data, salt)
    assert left is not None
    assert left.startswith(named)
