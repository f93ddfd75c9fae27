"""Do the figures at the top say how they stand to those of the time before?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from maia_sync.analytics.filling import Filled
from maia_sync.analytics.panels import read_panels
from maia_sync.report.tiles import activity_tiles, freshness_tiles

NOW = datetime(2026, 1, 8, 9, tzinfo=UTC)
SPAN = "the 7 days before"
FIGURES: dict[str, Any] = {
    "events": 1200,
    "turns": 10,
    "tool_calls": 100,
    "tool_errors": 3,
    "tool_error_rate": 0.03,
    "input_tokens": 5000,
    "output_tokens": 70,
    "cost": 0.0123,
}
FRESHNESS: dict[str, Any] = {
    "tasks": 12,
    "active": 11,
    "failing": 0,
    "never_complete": 0,
    "stale": 0,
    "max_lag_seconds": 1800,
    "worst_lag_seconds": 42.0,
    "last_polled_at": "2026-01-08 08:59:50.000000",
    "last_news_at": "2026-01-08 08:00:00.000000",
}


def filled(row: dict[str, Any] | None) -> Filled:
    return Filled(
        panel=read_panels()["figures"],
        values={},
        columns=tuple(row or ()),
        rows=() if row is None else (tuple(row.values()),),
        asked_at=NOW,
        seconds=0.0,
        is_pending=row is None,
    )


def notes(earlier: dict[str, Any] | None) -> dict[str, str]:
    before = None if earlier is None else filled(earlier)
    return {tile.label: tile.note for tile in activity_tiles(filled(FIGURES), before, SPAN)}


@pytest.mark.parametrize(
    ("before", "note"),
    [
        (1200, "as much as in the 7 days before"),
        (1203, "as much as in the 7 days before"),
        (1000, "20 % more than in the 7 days before"),
        (2400, "50 % less than in the 7 days before"),
        (0, "none in the 7 days before"),
        (100, "12 times as much as in the 7 days before"),
    ],
)
def test_a_figure_stands_beside_the_one_before(before: int, note: str) -> None:
    assert notes({**FIGURES, "events": before})["Events"] == note


def test_a_rate_stands_beside_the_rate_before() -> None:
    assert notes({**FIGURES, "tool_error_rate": 0.1})["Tool error rate"] == "10.0 % in the 7 days before"
    assert notes({**FIGURES, "tool_error_rate": None})["Tool error rate"] == ""


def test_without_a_time_before_there_is_no_note() -> None:
    assert set(notes(None).values()) == {""}
    assert activity_tiles(filled(None), None, SPAN) == []


def test_figures_are_written_for_people() -> None:
    tiles = activity_tiles(filled(FIGURES), None, SPAN)
    assert [(tile.label, tile.value) for tile in tiles] == [
        ("Events", "1,200"),
        ("Turns", "10"),
        ("Tool calls", "100"),
        ("Tool error rate", "3.0 %"),
        ("Tokens in / out", "5,000 / 70"),
        ("Cost", "0.0123"),
    ]
    assert [tile.role for tile in tiles if tile.role != "plain"] == ["bad"]


def test_a_copy_in_good_order_is_good() -> None:
    tiles = {tile.label: tile for tile in freshness_tiles(filled(FRESHNESS), NOW)}
    assert tiles["Tasks tracked"].value == "12"
    assert (tiles["Furthest behind"].value, tiles["Furthest behind"].role) == ("42.0 s", "good")
    assert (tiles["Failing"].value, tiles["Failing"].role, tiles["Failing"].note) == ("0", "plain", "")
    assert tiles["Last poll"].value == "10.0 s ago"


@pytest.mark.parametrize("amiss", ["failing", "never_complete", "stale"])
def test_a_copy_in_which_anything_is_amiss_is_not_good(amiss: str) -> None:
    tiles = {tile.label: tile for tile in freshness_tiles(filled({**FRESHNESS, amiss: 1}), NOW)}
    assert tiles["Furthest behind"].role == ("bad" if amiss == "stale" else "plain")


def test_a_copy_that_is_behind_says_with_how_many_tasks() -> None:
    row = {**FRESHNESS, "worst_lag_seconds": 7200.0, "stale": 1, "failing": 2, "never_complete": 3}
    tiles = {tile.label: tile for tile in freshness_tiles(filled(row), NOW)}
    assert tiles["Furthest behind"].role == tiles["Failing"].role == "bad"
    assert tiles["Furthest behind"].note == "1 task more than 30 min"
    assert tiles["Tasks tracked"].note == "11 of them active, 3 never read to the end"


def test_a_large_figure_fits_into_its_tile() -> None:
    row = {**FIGURES, "input_tokens": 119_501_713, "output_tokens": 9_999_999}
    tiles = {tile.label: tile for tile in activity_tiles(filled(row), filled(FIGURES), SPAN)}
    assert tiles["Tokens in / out"].value == "119.5 M / 10.0 M"
    assert tiles["Tokens in / out"].note == "25,543 times as much as in the 7 days before"


@pytest.mark.parametrize(
    ("tokens", "value"),
    [
        ((659_123, 59_400), "659 k / 59 k"),
        ((1_700_000, 183_000), "1.7 M / 183 k"),
        ((999_600, 9_999), "1.0 M / 9,999"),
        ((0, 10_000), "0 / 10 k"),
    ],
)
def test_two_counts_that_share_a_tile_are_short(tokens: tuple[int, int], value: str) -> None:
    row = FIGURES | dict(zip(("input_tokens", "output_tokens"), tokens, strict=True))
    tiles = {tile.label: tile for tile in activity_tiles(filled(row), None, SPAN)}
    assert tiles["Tokens in / out"].value == value
