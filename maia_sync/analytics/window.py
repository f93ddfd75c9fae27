"""Which stretch of time is asked about? From when, up to when, in whose days."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from maia_sync.store.answer import Value

_HOURS_UP_TO = timedelta(hours=72)
_INSTANT = timedelta(microseconds=1)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` (included) up to `until` (not included), both aware; None: no bound."""

    since: Any  # datetime | None
    until: Any  # datetime | None
    zone: Any
    """The reporting time zone (ZoneInfo)."""
    label: str
    """As in a sentence: `the last 7 days`, `5 to 11 January 2026`."""

    @property
    def is_short(self) -> bool:
        """Tell whether it is told in hours rather than in days."""
        return self.since is not None and self.until is not None and self.until - self.since <= _HOURS_UP_TO

    def values(self) -> Mapping[str, Value]:
        """Return what the parameters since, until, since_day and until_day of a statement stand for."""
        since, until = self.since, self.until
        return {
            "since": since,
            "until": until,
            "since_day": None if since is None else since.astimezone(self.zone).date(),
            "until_day": None if until is None else (until - _INSTANT).astimezone(self.zone).date(),
        }
