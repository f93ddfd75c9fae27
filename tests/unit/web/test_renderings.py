"""Is a panel rendered once for a moment, and anew when it shows something else?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from maia_sync.analytics.filling import Filled
from maia_sync.analytics.panels import read_panels
from maia_sync.clock import ManualClock
from maia_sync.web.renderings import MOST_KEPT, Renderings
from maia_sync.web.windows import Choice, choose_window

NOW = datetime(2026, 1, 8, 9, tzinfo=UTC)
ZONE = ZoneInfo("UTC")
FILLED = Filled(
    panel=read_panels()["task-states"],
    values={"limit": 10},
    columns=("status", "tasks"),
    rows=(("active", 3),),
    asked_at=NOW,
    seconds=0.1,
)


def choice(**query: str) -> Choice:
    return choose_window(query, now=NOW, zone=ZONE)


def test_what_was_rendered_a_moment_ago_is_taken_as_it_is() -> None:
    clock = ManualClock(NOW)
    renderings = Renderings(ZONE, clock)
    first = renderings.render(FILLED, choice())
    assert renderings.render(FILLED, choice()) is first
    clock.advance(1.9)
    assert renderings.render(FILLED, choice()) is first
    clock.advance(10)
    later = renderings.render(FILLED, choice())
    assert later is not first
    assert "As of" in later
    assert "As of" not in first


def test_what_shows_something_else_is_rendered_anew() -> None:
    renderings = Renderings(ZONE, ManualClock(NOW))
    first = renderings.render(FILLED, choice())
    others = [
        (FILLED, choice(window="24h")),
        (msgspec.structs.replace(FILLED, asked_at=NOW - timedelta(seconds=1)), choice()),
        (msgspec.structs.replace(FILLED, panel=read_panels()["workers"]), choice()),
        (msgspec.structs.replace(FILLED, values={"limit": 11}), choice()),
    ]
    rendered = [renderings.render(filled, chosen) for filled, chosen in others]
    assert all(html is not first for html in rendered)
    assert "window=24h" in rendered[0]


def test_what_is_pending_is_not_kept_and_what_is_kept_is_little() -> None:
    renderings = Renderings(ZONE, ManualClock(NOW))
    pending = msgspec.structs.replace(FILLED, is_pending=True, rows=())
    assert "data-fragment" in renderings.render(pending, choice())
    assert "data-fragment" not in renderings.render(FILLED, choice())
    for number in range(MOST_KEPT + 10):
        renderings.render(msgspec.structs.replace(FILLED, values={"limit": number}), choice())
    assert len(renderings._kept) == MOST_KEPT
