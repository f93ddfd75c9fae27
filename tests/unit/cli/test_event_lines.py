from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from maia_sync.cli.event_lines import human_line, json_object
from maia_sync.model import NO_TIMESTAMP
from maia_sync.store.reading import LogRow

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def row(data: str | None = "null", **changes: Any) -> LogRow:
    columns: dict[str, Any] = {
        "task_id": "0b5c1c9e-8f5e-4d7a-9a59-2f3f0a1b2c3d",
        "group_id": "abcdefgh-rest",
        "timestamp": 1,
        "ordinal": 0,
        "data": data,
        "extra": None,
        "occurred_at": MOMENT,
        "timestamp_text": "2026-01-02T03:04:05.678901Z",
        "seq": 1 << 20,
        "digest": b"\x01\x02",
        "canonical": None,
        "revision": 0,
        "first_seen_at": MOMENT,
        "last_changed_at": MOMENT,
        "vanished_at": None,
        "run_id": 1,
    }
    return LogRow(**{**columns, **changes})


@pytest.mark.parametrize(
    "data",
    [
        None,
        "null",
        "1e400",
        "[" * 5000 + "]" * 5000,
        "9" * 5000,
        r'{"type":"x","text":"\ud800"}',
        '{"type":5,"text":{}}',
        '{"text":"' + "x" * 2_000_000 + '"}',
        '"\\u001b[2J"',
    ],
    ids=lambda data: str(data)[:10],
)
def test_any_payload_becomes_one_harmless_line(data: str | None) -> None:
    line = human_line(row(data), 120)
    assert len(line) <= 120
    assert line.isprintable()
    assert line.startswith("2026-01-02 03:04:05  abcdefgh  ")


def test_a_line_says_type_text_and_marks() -> None:
    data = '{"type":"agentMessage","text":"Hello\\nthere"}'
    line = human_line(row(data, vanished_at=MOMENT, revision=2), 200)
    assert line.split("  ", 2)[2] == "agentMessage    [vanished] [revision 2] Hello\\nthere"


def test_an_event_without_an_instant_shows_its_own_text_or_a_dash() -> None:
    assert human_line(row(occurred_at=None, timestamp_text="yesterday"), 80).startswith("yesterday   ")
    assert human_line(row(occurred_at=None, timestamp_text=None, group_id=""), 80).startswith("-  ")


@pytest.mark.parametrize("data", ["null", "1e400", '{"a":1,"a":2.50}', r'"\ud800"', "1" * 5000, "-0.0"])
def test_a_json_object_holds_the_payload_to_the_letter(data: str) -> None:
    extra = '{"new": [1,  2],"new":3}'
    text = json_object(row(data, extra=extra))
    assert text.endswith(f'"extra": {extra}, "data": {data}}}')
    json.loads(text, parse_int=str)


def test_absent_and_null_data_are_told_apart() -> None:
    assert "data" not in json.loads(json_object(row(None)))
    assert json.loads(json_object(row("null")))["data"] is None
    assert json.loads(json_object(row(timestamp=NO_TIMESTAMP)))["timestamp"] is None
