from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from maia_sync.cli.durations import parse_duration, show_ago, show_duration, show_moment
from maia_sync.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("15m", 900), ("1.5 h", 5400), ("7d", 604_800), ("90", 90)],
)
def test_a_duration_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text, option="--x") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1w", "1e3", "٣s", "99999999999s"])
def test_what_is_no_duration_is_refused_by_its_options_name(text: str) -> None:
    with pytest.raises(UsageError, match="--max-lag"):
        parse_duration(text, option="--max-lag")


@pytest.mark.parametrize("text", ["1y", "2 years", "12M", "6months", "1.5 mo"])
def test_who_asks_for_months_or_years_is_told_that_there_are_none(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"such as 400d, got .*; there are no months or years: a year is 365d"
    ):
        parse_duration(text, option="--older-than")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0.0s"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (192, "3m 12s"),
        (3600, "1h"),
        (7_500, "2h 5m"),
        (90_000, "1d 1h"),
        (86_400 * 400, "400d"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
    assert show_duration(timedelta(seconds=seconds)) == shown


def test_a_moment_is_shown_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert show_moment(moment) == "2025-12-31 23:30:00Z"
    assert show_moment(None) == "-"
    assert show_ago(moment, datetime(2026, 1, 1, tzinfo=UTC)) == "30m ago"
    assert show_ago(None, moment) == "never"
