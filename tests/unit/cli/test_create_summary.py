"""Is a person told what a create came to, in numbers that agree, and nothing that is not so?"""

from __future__ import annotations

from typing import Any

from maia_sync.archive.creating import CreateReport
from maia_sync.cli.archive_verbs import summarize_create

NOTHING: dict[str, Any] = {
    "place": "/archive",
    "origin": "test.example/log",
    "entries": {},
    "size_before": 0,
    "size_after": 0,
    "checkpoints": 0,
    "checkpoint": None,
    "segments": 0,
    "segment_bytes": 0,
    "replaced": None,
    "enrolled": 0,
    "older_runs": (),
    "was_cut_off": False,
    "anchor": "no checkpoint",
    "anchor_error": None,
    "interrupted_by": None,
    "seconds": 1.0,
}
CHECKPOINT = "test.example/log\n1\nroot\n\nsignature\n"


def told(**changed: Any) -> list[str]:
    return [*summarize_create(CreateReport(**{**NOTHING, **changed}))]


def test_what_has_no_payload_has_no_segment() -> None:
    lines = told(
        entries={"run": 1}, size_after=1, checkpoints=1, checkpoint=CHECKPOINT, anchor="none configured"
    )
    assert lines[0].startswith("1 new record (1 run) in ")
    assert lines[1] == "The log of test.example/log has grown from 0 to 1 entry"
    assert told(size_after=1, checkpoint=CHECKPOINT, anchor="anchored")[:2] == [
        "Nothing new to archive",
        "The log of test.example/log has 1 entry",
    ]


def test_a_small_segment_has_its_bytes_told() -> None:
    lines = told(entries={"event": 2}, size_after=3, segments=1, segment_bytes=33_844)
    assert lines[1] == "1 data segment, 33,844 bytes"


def test_a_first_create_that_was_interrupted_has_no_checkpoint_to_go_on_from() -> None:
    assert told(interrupted_by=15, anchor="interrupted") == ["Interrupted; the next create begins again"]
    again = told(interrupted_by=15, anchor="interrupted", size_after=1, checkpoint=CHECKPOINT)
    assert again[-1] == "Interrupted; the next create goes on from this checkpoint"
