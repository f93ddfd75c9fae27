"""Is each figure written so that it is read rightly, and is a foreign text on a page only a text?"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from markupsafe import Markup

from maia_sync.report.figures import (
    DASH,
    FILTERS,
    NOT_TOLD,
    ago,
    count,
    cut,
    day,
    duration,
    figure,
    heading,
    is_number,
    kind_of,
    milliseconds,
    moment,
    moment_text,
    money,
    plain,
    rate,
    short,
    shown,
)
from maia_sync.report.templates import make_environment

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 1, 5, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, DASH), (0, "0 ms"), (0.0004, "0.4 ms"), (0.85, "850 ms"), (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (2.44, "2.4 s"), (59.94, "59.9 s"), (59.96, "1 min"), (185, "3 min 5 s"), (3599.6, "1 h"),
        (7800, "2 h 10 min"), (273_600, "3 d 4 h"), (-2.4, "\N{MINUS SIGN}2.4 s"), (float("inf"), "infinite"),
        (float("nan"), "not a number"), ("soon", "soon"), (timedelta(minutes=3, seconds=5), "3 min 5 s"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: object, written: str) -> None:
    assert duration(seconds) == written
    if isinstance(seconds, int | float):
        assert milliseconds(seconds * 1000) == written


@pytest.mark.parametrize(
    ("share", "written"),
    [
        (None, DASH), (0, "0 %"), (1, "100 %"), (0.0338, "3.4 %"), (0.5, "50.0 %"), (0.0004, "< 0.1 %"),
        (0.9996, "> 99.9 %"), (12.5, "1,250.0 %"), (float("nan"), "not a number"),
    ],
)  # fmt: skip
def test_a_rate_is_rounded_to_none_or_all_only_where_it_is_that(share: float | None, written: str) -> None:
    assert rate(share) == written


@pytest.mark.parametrize(
    ("cost", "written"),
    [(None, DASH), (0, "0.0000"), (0.0123, "0.0123"), (0.00001, "< 0.0001"), (1234.5, "1,234.5000")],
)
def test_costs_are_told_without_a_currency_and_align(cost: float | None, written: str) -> None:
    assert money(cost) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [(None, DASH), (12345, "12,345"), (-1, "-1"), (2.0, "2"), (1234.567, "1,234.57"), ("x", "x")],
)
def test_counts_have_separators(number: object, written: str) -> None:
    assert count(number) == written


def test_moments_are_told_in_the_reporting_zone_and_kept_exactly() -> None:
    cell = "2026-01-05 23:30:00.250000"
    assert moment_text(cell, BERLIN) == "6 Jan 2026, 00:30:00"
    assert moment(cell, BERLIN) == (
        '<time datetime="2026-01-05T23:30:00.250000Z">6 Jan 2026, 00:30:00</time>'
    )
    assert moment(NOW, BERLIN, minutes=True) == (
        '<time datetime="2026-01-05T08:00:00.000000Z">5 Jan 2026, 09:00</time>'
    )
    assert moment(None, BERLIN) == NOT_TOLD
    assert moment("<b>never", BERLIN) == "&lt;b&gt;never"
    assert moment_text("0001-01-01 00:00:00.000000", ZoneInfo("America/New_York")) == "1 Jan 1, 00:00:00"


def test_days_are_days_whatever_the_zone() -> None:
    assert day("2026-01-05") == day(date(2026, 1, 5)) == "5 Jan 2026"
    assert day("no day") == "no day"
    assert figure("first_day", "2026-01-05", BERLIN) == '<time datetime="2026-01-05">5 Jan 2026</time>'


@pytest.mark.parametrize(
    ("before", "written"),
    [(0.4, "just now"), (185, "3 min 5 s ago"), (-90, "in 1 min 30 s"), (86_400 * 3, "3 d ago")],
)
def test_how_long_ago(before: float, written: str) -> None:
    assert ago(NOW - timedelta(seconds=before), NOW) == written
    assert ago(None, NOW) == "never"


@pytest.mark.parametrize(
    ("column", "cell", "written"),
    [
        ("called_at", "2026-01-05 08:00:00.000000", "5 Jan 2026, 08:00:00"),
        ("hour_at", "2026-01-05 08:00:00.000000", "5 Jan 2026, 08:00"),
        ("day", "2026-01-05", "5 Jan 2026"), ("hour", 8, "08:00"), ("p95_ms", 1200, "1.2 s"),
        ("gap_seconds", 61.5, "1 min 2 s"), ("error_rate", 0.5, "50.0 %"), ("cost", 0.5, "0.5000"),
        ("input_tokens", 12345, "12,345"), ("id", 12345, "12345"), ("seq", 1048576, "1048576"),
        ("is_late", True, "yes"), ("raw", b"\x00\xff", "00ff"), ("label", None, DASH), ("label", "", ""),
        ("duration_ms", "soon", "soon"), ("day", 5, "5"), ("started_at", 5, "5"),
    ],
)  # fmt: skip
def test_a_columns_name_says_how_its_cells_are_written(column: str, cell: object, written: str) -> None:
    assert plain(column, cell, ZoneInfo("UTC")) == written  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("events", [1, None], True), ("label", ["1"], False), ("duration_ms", [None], True),
        ("called_at", [5], False), ("day", ["2026-01-05"], False), ("events", [None], False),
        ("flag", [True], False), ("events", [1, "x"], False), ("id", [1], True),
    ],
)  # fmt: skip
def test_columns_of_numbers_are_known(column: str, cells: list[object], expected: bool) -> None:
    assert is_number(column, cells) is expected  # type: ignore[arg-type]


def test_headings_leave_out_what_the_cells_say() -> None:
    names = ("tool_calls", "p95_ms", "last_at", "task_id", "lag_seconds", "id")
    assert [heading(name) for name in names] == ["tool calls", "p95", "last", "task", "lag", "id"]
    assert kind_of("status") == "other"


def test_where_there_is_little_room_millions_are_told() -> None:
    utc = ZoneInfo("UTC")
    assert [short("tokens", number, utc) for number in (999_999, 452_812_416)] == ["999,999", "452.8 M"]
    assert short("cost", 20_000_000.5, utc) == "20,000,000.5000"


def test_a_foreign_text_is_cut_made_visible_and_escaped() -> None:
    text = '<img src=x onerror="alert(1)">\x1b[31m\u202egnp.exe' + "x" * 3_000_000
    written = shown(text)
    assert len(written) < 400
    assert "<" not in written
    assert '"' not in written
    assert "\x1b" not in written
    assert "\u202e" not in written
    assert written.endswith("…")
    assert cut("x" * 200) == "x" * 200
    assert len(cut("x" * 201)) == 200


def test_a_long_id_is_cut_and_whole_in_its_title() -> None:
    task_id = "0f0e0d0c-0000-4000-8000-000000000000"
    assert figure("task_id", task_id, BERLIN) == f'<span title="{task_id}">0f0e0d0c…</span>'
    assert figure("group_id", "turn-1", BERLIN) == "turn-1"
    hostile = figure("user_id", '"><script>alert(1)</script>' + "x" * 10_000, BERLIN)
    assert "<script" not in hostile
    assert len(hostile) < 500


def test_filters_write_the_same_in_templates() -> None:
    environment = make_environment(filters=FILTERS)
    template = environment.from_string(
        "{{ at|moment(zone) }}|{{ none|duration }}|{{ 2.44|duration }}|{{ 12345|count }}|{{ 0.5|rate }}"
        "|{{ at|ago(now) }}|{{ '<b>'|shown }}|{{ 1200|figure('p95_ms', zone) }}|{{ 'a_b'|heading }}"
    )
    written = template.render(at=NOW, zone=BERLIN, now=NOW, none=None)
    assert written.split("|") == [
        moment(NOW, BERLIN), NOT_TOLD, "2.4 s", "12,345", "50.0 %", "just now", "&lt;b&gt;", "1.2 s",
        "a b",
    ]  # fmt: skip
    assert isinstance(NOT_TOLD, Markup)
