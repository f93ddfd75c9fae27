"""Where does a page lead? To tasks, turns and events, and to the panels' own addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from maia_sync.web.addresses import quarantine_address, task_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maia_sync.analytics.filling import Filled


class SitePlaces:
    """The site's places (see report/panel.py) on a page whose window `query` asks for."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self._query = query

    def task(self, task_id: str) -> str:
        """Return where a task's timeline is."""
        return task_address(quote(task_id, safe=""))

    def turn(self, task_id: str, group_id: str) -> str:
        """Return where in its timeline a turn is."""
        return task_address(quote(task_id, safe=""), group=group_id)

    def event(self, task_id: str, seq: int) -> str:
        """Return where in its timeline an event is."""
        return task_address(quote(task_id, safe=""), seq=seq)

    def quarantine(self, task_id: str) -> str:
        """Return where a task's quarantine is."""
        return quarantine_address(quote(task_id, safe=""))

    def csv(self, filled: Filled) -> str:
        """Return where a panel's whole answer is."""
        return self._panel(filled, ".csv")

    def fragment(self, filled: Filled) -> str:
        """Return where a panel alone is."""
        return self._panel(filled, "")

    def _panel(self, filled: Filled, ending: str) -> str:
        told = dict(self._query)
        if isinstance(task_id := filled.values.get("task"), str):
            told["task"] = task_id
        return f"/panels/{filled.panel.name}{ending}" + (f"?{urlencode(told)}" if told else "")
