"""Is a cursor that somebody has made up refused in one sentence, whatever is in it?"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from maia_sync.errors import UsageError
from maia_sync.web.addresses import read_cursor, write_cursor

PLACE = (5, datetime(2026, 1, 5, 8, tzinfo=UTC), 0, "group", 17)


def made_up(*place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([place, None]).encode()).decode().rstrip("=")


def test_a_cursor_names_the_place_that_it_was_made_of() -> None:
    assert read_cursor(write_cursor(PLACE)) == PLACE
    assert read_cursor(made_up(5, "2026-01-05T08:00:00Z", 0, "group", 17)) == PLACE


@pytest.mark.parametrize(
    "place",
    [
        (5, "2026-01-05T08:00:00", 0, "group", 17),
        (5, "0001-01-01T00:00:00+23:59", 0, "group", 17),
        (5, "9999-12-31T23:59:59-23:59", 0, "group", 17),
        (2**63, "2026-01-05T08:00:00Z", 0, "group", 17),
        (5, "2026-01-05T08:00:00Z", 2**31, "group", 17),
        (5, "2026-01-05T08:00:00Z", 0, "gro\0up", 17),
        (5, "soon", 0, "group", 17),
        (5,),
    ],
)
def test_a_place_that_no_log_has_is_refused(place: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match="the address names no place in this log"):
        read_cursor(made_up(*place))
