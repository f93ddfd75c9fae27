"""Does what the log tells of files written anew fit what it has told before?"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from maia_sync.archive.entry import Entry, RedactedFacts, decode_entry, encode_entry, entry_of
from maia_sync.archive.finding import Findings
from maia_sync.archive.manifest import Sum, encode_manifest
from maia_sync.archive.segment import segment_path
from maia_sync.archive.told_segments import ToldSegments
from maia_sync.archive.verify_files import check_manifest
from maia_sync.store.archived import ErasureFacts, Record

DAY = date(2026, 1, 5)
PLAIN = segment_path(DAY, 0, 20)


def erasure(**changes: Any) -> Entry:
    values = {"before": None, "reason": "asked", "basis": "law", "erased_by": "me", "payloads": 7}
    facts = ErasureFacts(**{**values, **changes})
    record = Record(
        type="erasure", received_at=datetime(2026, 1, 5, tzinfo=UTC), task_id="t", number=1, facts=facts
    )
    return decode_entry(encode_entry(entry_of(record, None)))


def redacted(index: int, **changes: Any) -> RedactedFacts:
    values = {
        "path": segment_path(DAY, 0, 20, index), "sha256": f"{index:064}", "rows": 20, "first": 0, "end": 20,
        "replaces": PLAIN, "erasure": 40,
    }  # fmt: skip
    return RedactedFacts(**{**values, **changes})


def begun() -> tuple[ToldSegments, Findings]:
    findings = Findings()
    told = ToldSegments(findings)
    assert [told.add(PLAIN, "0" * 64, 20), told.add(segment_path(None, 0, 20), "1" * 64, 3)] == [0, 1]
    told.take_erasure(40, erasure())
    return told, findings


def test_a_file_takes_the_place_of_another_again_and_again() -> None:
    told, findings = begun()
    assert told.replace(41, redacted(41)) == 0
    told.take_erasure(50, erasure())
    assert told.replace(51, redacted(51, replaces=redacted(41).path, erasure=50)) == 0
    told.end(None)
    assert findings.kept == []
    assert [path for _, path in told.lines] == [segment_path(DAY, 0, 20, 51), segment_path(None, 0, 20)]
    assert told.replaced == {PLAIN: 41, redacted(41).path: 51}
    assert PLAIN in told
    assert told.path(0) == segment_path(DAY, 0, 20, 51)


@pytest.mark.parametrize(
    "changes",
    [
        {"erasure": 39},
        {"rows": 19},
        {"first": 1},
        {"replaces": segment_path(DAY, 0, 21)},
        {"replaces": segment_path(None, 0, 20), "rows": 3},
        {"path": segment_path(DAY, 0, 20, 42)},
        {"path": segment_path(DAY, 0, 20)},
        {"path": "../x"},
    ],
)
def test_what_does_not_fit_is_reported(changes: dict[str, Any]) -> None:
    told, findings = begun()
    assert told.replace(41, redacted(41, **changes)) is None
    told.end(None)
    assert {finding.place for finding in findings.kept} == {"entry 41", "entry 40"}
    assert told.path(0) == PLAIN


def test_erasures_that_tell_nothing_are_reported() -> None:
    told, findings = begun()
    told.replace(41, redacted(41))
    told.take_erasure(50, erasure(before="yesterday"))
    told.take_erasure(60, erasure())
    told.end(None)
    assert [finding.place for finding in findings.kept] == ["entry 50", "entry 60"]


@pytest.mark.parametrize(
    ("emptied", "places"), [(None, []), ({40: 7}, []), ({40: 6}, ["entry 40"]), ({}, ["entry 40"])]
)
def test_an_erasure_tells_how_many_payloads_it_was_of(
    emptied: dict[int, int] | None, places: list[str]
) -> None:
    told, findings = begun()
    told.replace(41, redacted(41))
    told.end(emptied)
    assert [finding.place for finding in findings.kept] == places


def test_a_list_of_files_may_be_ahead_of_the_checkpoint() -> None:
    lines = [("0" * 64, PLAIN), ("1" * 64, segment_path(None, 0, 20))]
    new, later = redacted(41), segment_path(DAY, 43, 50)
    ahead = [(new.sha256, new.path), lines[1], ("2" * 64, later)]

    def checked(found: list[tuple[str, str]], size: int) -> tuple[list[str], int]:
        findings = Findings()
        content = encode_manifest(Sum(*line) for line in found)
        return check_manifest(content, lines, size, findings), findings.count

    assert checked(lines, 40) == ([], 0)
    assert checked(ahead, 40) == ([new.path, later], 0)
    assert checked(ahead, 42) == ([], 1)  # the log of this size would tell of it
    foreign = ("3" * 64, segment_path(DAY, 0, 21, 41))
    firsts = [("3" * 64, PLAIN), ahead[2], foreign]
    for wrong in (ahead[1:], [ahead[0]], *([first, *ahead[1:]] for first in firsts)):
        assert checked(wrong, 40) == ([], 1), wrong
