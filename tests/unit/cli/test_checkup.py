from __future__ import annotations

from datetime import timedelta

import pytest

from maia_sync.cli.checkup import Finding, judge_clock, judge_status, worst_exit_code


@pytest.mark.parametrize(
    ("status", "level", "code"),
    [
        (200, "ok", 0),
        (403, "ok", 0),
        (404, "ok", 0),
        (401, "problem", 4),
        (429, "warning", 0),
        (503, "warning", 0),
        (500, "problem", 6),
        (302, "problem", 6),
    ],
)
def test_an_answer_tells_of_the_api_and_the_token(status: int, level: str, code: int) -> None:
    finding = judge_status(status, "https://api.example")
    assert (finding.level, finding.exit_code) == (level, code)


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, "ok"), (59, "ok"), (-59, "ok"), (61, "warning"), (-3600, "warning")]
)
def test_a_clock_that_is_more_than_a_minute_off_is_a_warning(seconds: int, level: str) -> None:
    assert judge_clock(timedelta(seconds=seconds)).level == level


def test_the_first_problem_gives_the_exit_code() -> None:
    warning = Finding(check="a", level="warning", found="", exit_code=0)
    first = Finding(check="b", level="problem", found="", exit_code=5)
    second = Finding(check="c", level="problem", found="", exit_code=6)
    assert worst_exit_code([warning]) == 0
    assert worst_exit_code([warning, first, second]) == 5
