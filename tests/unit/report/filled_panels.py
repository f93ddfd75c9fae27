"""What do panels look like that somebody has filled? Made up, for tests of what is done with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from maia_sync.analytics.filling import Filled
from maia_sync.analytics.panels import Chart, Panel, Series
from maia_sync.analytics.window import Window
from maia_sync.report.panel import Showing
from maia_sync.store.statement import read_statement

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 2, 1, 8, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
UTC_ZONE = ZoneInfo("UTC")


def window(days: float | None = 30, zone: ZoneInfo = UTC_ZONE) -> Window:
    if days is None:
        return Window(since=None, until=None, zone=zone, label="everything")
    return Window(since=NOW - timedelta(days=days), until=NOW, zone=zone, label=f"the last {days:g} days")


def chart(kind: str, along: str, **roles: str) -> Chart:
    series = tuple(Series(column=column, role=role) for column, role in roles.items())  # type: ignore[arg-type]
    return Chart(kind=kind, along=along, series=series)  # type: ignore[arg-type]


def filled(
    columns: Sequence[str],
    rows: Sequence[tuple[object, ...]],
    drawn: Chart | None = None,
    **changes: object,
) -> Filled:
    panel = Panel(
        name="tool-calls",
        title="Tool calls",
        description="How many tool calls were there?",
        empty="No tool was called. Choose a longer time.",
        chart=drawn,
        limit=400,
        statement=read_statement("SELECT day, '<b>' FROM v_daily WHERE day >= :since_day"),
    )
    given: dict[str, object] = {
        "panel": panel,
        "values": {"since_day": NOW.date()},
        "columns": tuple(columns),
        "rows": tuple(rows),
        "asked_at": NOW,
        "seconds": 0.1,
    }
    return Filled(**(given | changes))  # type: ignore[arg-type]


class Places:
    """Places of which each is named, by a text that must be escaped."""

    def task(self, task_id: str) -> str | None:
        return f"/tasks/{task_id}?a=1&b"

    def turn(self, task_id: str, group_id: str) -> str | None:
        return f"/tasks/{task_id}?group={group_id}"

    def event(self, task_id: str, seq: int) -> str | None:
        return f"/tasks/{task_id}?seq={seq}"

    def quarantine(self, task_id: str) -> str | None:
        return f"/tasks/{task_id}/quarantine"

    def csv(self, filled: Filled) -> str | None:
        return f"/panels/{filled.panel.name}.csv?a=1&b"

    def fragment(self, filled: Filled) -> str | None:
        return f"/panels/{filled.panel.name}?a=1&b"


def showing(days: float | None = 30, zone: ZoneInfo = UTC_ZONE) -> Showing:
    return Showing(zone=zone, now=NOW, window=window(days, zone), places=Places())
