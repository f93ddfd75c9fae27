from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from maia_sync.cli.summary import summarize_run, summarize_verify
from maia_sync.cli.sync_verbs import exit_code_of_run, exit_code_of_verify
from maia_sync.clock import ManualClock
from maia_sync.model import RunReport, VerifyReport, WalkReport

START = ManualClock().now()
FAILED = WalkReport(
    task_id="some-task", kind="poll", error="the API\x1b[2J said no", error_kind="TaskForbidden"
)


def run(**changes: Any) -> RunReport:
    numbers = [name for name, kind in RunReport.__annotations__.items() if kind == "int"]
    values: dict[str, Any] = {
        **dict.fromkeys(numbers, 0),
        "kind": "sync",
        "started_at": START,
        "ended_at": START + timedelta(seconds=75),
        "status": "succeeded",
        "held": (),
        "walks": (),
    }
    return RunReport(**{**values, **changes})


def verified(**changes: Any) -> VerifyReport:
    values: dict[str, Any] = {
        "tasks": 3,
        "failed": (),
        "pages": 3,
        "requests": 4,
        "events": 1234,
        "difference_count": 0,
        "differences": (),
    }
    return VerifyReport(**{**values, **changes})


def test_a_quiet_run_is_told_in_two_lines() -> None:
    told = list(summarize_run(run(tasks=1, pages=1, requests=2, unchanged=1000)))
    assert told == [
        "1 task, 1 page, 2 requests, 0.0 MB, in 1m 15s",
        "Events: 0 new, 0 changed, 1,000 unchanged",
    ]


def test_everything_unusual_has_its_own_line() -> None:
    report = run(
        vanished=1, doubted=2, quarantined=3, held=("a", "b"), failed=30, walks=(FAILED,), interrupted_by=15
    )
    told = "\n".join(summarize_run(report))
    for words in (
        "1 event no longer served",
        "2 rows look vanished, more than a tenth of their task: run `maia-sync sync --full` once more",
        "3 elements could not be stored",
        "2 tasks left to other workers",
        "30 tasks failed",
        "some-task: the API\\u001b[2J said no",
        "and 29 more",
        "Interrupted",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (run(), 0),
        (run(held=("a",)), 0),
        (run(failed=1, status="failed"), 1),
        (run(interrupted_by=2, status="interrupted", failed=1), 130),
        (run(interrupted_by=15, status="interrupted"), 143),
    ],
)
def test_a_run_ends_with_the_exit_code_of_the_design(report: RunReport, code: int) -> None:
    assert exit_code_of_run(report) == code


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (verified(), 0),
        (verified(failed=(FAILED,)), 1),
        (verified(failed=(FAILED,), difference_count=1), 7),
        (verified(interrupted_by=2), 130),
    ],
)
def test_a_comparison_ends_with_the_exit_code_of_the_design(report: VerifyReport, code: int) -> None:
    assert exit_code_of_verify(report) == code


def test_a_comparison_says_what_could_not_be_compared() -> None:
    told = list(summarize_verify(verified(failed=(FAILED,))))
    assert told[0] == "Compared 1,234 events of 2 tasks (3 pages, 4 requests)"
    assert told[1] == "1 task could not be compared:"
    assert told[-1] == "No difference"
    assert "No difference" not in "\n".join(summarize_verify(verified(difference_count=2)))
