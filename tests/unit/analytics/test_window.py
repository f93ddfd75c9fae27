"""Does a window name its days and the time before it, up to the ends of the calendar?"""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from maia_sync.analytics.window import Window

NOW = datetime(2026, 1, 12, 12, tzinfo=UTC)


def window(since: datetime | None, until: datetime | None, zone: str = "UTC") -> Window:
    return Window(since=since, until=until, zone=ZoneInfo(zone), label="")


def test_the_days_are_those_of_the_zone_and_both_are_included() -> None:
    values = window(datetime(2026, 1, 5, 5, tzinfo=UTC), NOW, "America/New_York").values()
    assert (values["since_day"], values["until_day"]) == (date(2026, 1, 5), date(2026, 1, 12))
    values = window(datetime(2026, 1, 5, 4, tzinfo=UTC), NOW, "America/New_York").values()
    assert values["since_day"] == date(2026, 1, 4)


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/New_York"])
def test_a_window_may_reach_to_the_ends_of_the_calendar(zone: str) -> None:
    whole = window(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), zone)
    values = whole.values()
    assert (values["since_day"], values["until_day"]) == (date.min, date.max)
    assert whole.before(NOW) is None
