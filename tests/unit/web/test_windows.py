"""Does an address choose the stretch of time that it says, in the days of its zone?"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from maia_sync.errors import UsageError
from maia_sync.web.windows import Choice, choose_window

BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")
NOW = datetime(2026, 2, 7, 23, 20, tzinfo=UTC)
"""In Berlin it is the 8th."""


def choose(zone: ZoneInfo = BERLIN, newest: datetime | None = NOW, **query: str) -> Choice:
    return choose_window(query, now=NOW, zone=zone, newest=newest)


def days(choice: Choice) -> tuple[object, object]:
    values = choice.window.values()
    return values["since_day"], values["until_day"]


def test_without_a_choice_it_is_the_last_seven_days_of_the_zone() -> None:
    choice = choose()
    assert days(choice) == (date(2026, 2, 2), date(2026, 2, 8))
    assert choice.window.until == datetime(2026, 2, 8, 23, tzinfo=UTC)
    assert (choice.name, choice.notice, choice.window.label) == ("7d", None, "the last 7 days")
    assert choice == choose(window="7d")


def test_a_day_is_told_in_hours_that_are_the_zones() -> None:
    choice = choose(KOLKATA, window="24h")
    # There it is 04:50 on the 8th; hours begin at half past.
    assert choice.window.since == datetime(2026, 2, 6, 23, 30, tzinfo=UTC)
    assert choice.window.until == datetime(2026, 2, 7, 23, 30, tzinfo=UTC)
    assert choice.window.is_short
    assert not choose(window="7d").window.is_short


def test_all_time_has_no_bounds() -> None:
    window = choose(window="all").window
    assert (window.since, window.until) == (None, None)
    assert set(window.values().values()) == {"-infinity", "infinity"}
    assert not window.is_short


def test_a_week_without_events_is_replaced_by_the_week_of_the_newest() -> None:
    choice = choose(newest=datetime(2026, 1, 10, 23, 30, tzinfo=UTC))
    assert days(choice) == (date(2026, 1, 5), date(2026, 1, 11))
    assert choice.notice == "The newest event is of 11 Jan 2026; these are the 7 days up to it."
    assert choice.name is None
    assert choice.query == {"since": "2026-01-05", "until": "2026-01-11"}
    asked_again = choose(**choice.query)
    assert (asked_again.window.since, asked_again.window.until) == (choice.window.since, choice.window.until)
    assert choose(newest=datetime(2026, 2, 1, 23, 0, tzinfo=UTC)).notice is None
    assert choose(newest=datetime(2026, 2, 1, 22, 59, 59, tzinfo=UTC)).notice is not None
    assert choose(newest=None).notice is None


@pytest.mark.parametrize("day", [1, 3, 6])
def test_an_event_of_the_calendars_first_week_moves_no_window(day: int) -> None:
    newest = datetime(1, 1, day, tzinfo=UTC)
    assert choose(newest=newest).window == choose().window


def test_what_was_chosen_is_never_replaced() -> None:
    newest = datetime(2020, 1, 1, tzinfo=UTC)
    for query in ({"window": "7d"}, {"window": "24h"}, {"window": "all"}, {"since": "2026-02-01"}):
        assert choose(newest=newest, **query).notice is None


def test_both_dates_are_included_across_a_change_of_clocks() -> None:
    choice = choose(since="2026-03-29", until="2026-03-29")
    assert choice.window.since == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert choice.window.until == datetime(2026, 3, 29, 22, tzinfo=UTC)  # a day of 23 hours
    assert choice.window.label == "29 Mar 2026"
    assert days(choice) == (date(2026, 3, 29), date(2026, 3, 29))


def test_one_date_is_enough() -> None:
    assert days(choose(since="2026-02-01")) == (date(2026, 2, 1), date(2026, 2, 8))
    assert days(choose(since="2026-12-01")) == (date(2026, 12, 1), date(2026, 12, 1))
    assert days(choose(until="2026-02-01")) == ("-infinity", date(2026, 2, 1))
    assert choose(since="", until="", window="") == choose()


@pytest.mark.parametrize(
    "query",
    [
        {"window": "7D"},
        {"window": "-1d"},
        {"since": "20260105"},
        {"since": "2026-W01-1"},
        {"since": "2026-1-5"},
        {"since": "\u0662\u0660\u0662\u0666-\u0660\u0661-\u0660\u0665"},
        {"until": "0000-01-01"},
        {"since": "2026-01-06", "until": "2026-01-05"},
        {"until": "9999-12-31"},
        {"since": "0001-01-01"},
        {"window": "7d", "until": "2026-01-05"},
    ],
)
def test_what_is_no_window_is_refused_in_one_sentence(query: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        choose(**query)
    assert "\n" not in str(caught.value)


def test_windows_that_mean_the_same_have_one_name() -> None:
    later = choose_window({}, now=NOW + timedelta(minutes=5), zone=BERLIN, newest=NOW)
    assert later.key == choose().key
    assert choose(since="2026-02-01", until="2026-02-02").key != choose(since="2026-02-01").key
