from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from maia_sync.cli.moments import parse_moment
from maia_sync.errors import UsageError

NOW = datetime(2026, 1, 8, 12, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", datetime(2026, 1, 1, 12, 30, tzinfo=UTC)),
        (" 2h ", datetime(2026, 1, 8, 10, 30, tzinfo=UTC)),
        ("2026-01-05", datetime(2026, 1, 4, 23, tzinfo=UTC)),
        ("2026-07-05", datetime(2026, 7, 4, 22, tzinfo=UTC)),
        ("2026-01-05T08:00", datetime(2026, 1, 5, 7, tzinfo=UTC)),
        ("2026-01-05 08:00:00.25", datetime(2026, 1, 5, 7, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-01-05T08:00:00Z", datetime(2026, 1, 5, 8, tzinfo=UTC)),
        ("2026-01-05T08:00:00-05:30", datetime(2026, 1, 5, 13, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_duration_ago_a_date_or_a_time(text: str, moment: datetime) -> None:
    found = parse_moment(text, option="--since", now=NOW, zone=BERLIN)
    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-13-01", "2026-01-05T25:00", "20260105", "7w", "999999999d", "0001-01-01", "90"],
)
def test_anything_else_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r'^--until: expected a duration such as "7d", a date .*, got "'):
        parse_moment(text, option="--until", now=NOW, zone=BERLIN)
