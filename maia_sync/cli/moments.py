"""Which moment is meant? `7d` ago, a date, or a date and a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from maia_sync.cli.durations import parse_duration
from maia_sync.cli.task_ids import shown
from maia_sync.errors import UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ].+)?")


def parse_moment(text: str, *, option: str, now: datetime, zone: tzinfo) -> datetime:
    """Return the moment in UTC; a time without an offset is the zone's, a date begins there at midnight.

    A duration is that long before `now`. Raises UsageError.
    """
    text = text.strip()
    try:
        if text[-1:].isdecimal() and _DATED.fullmatch(text) is None:
            # Seconds elsewhere, but here as likely a date without its dashes, or days.
            raise ValueError(text)  # noqa: TRY301 - told below, like all others
        if _DATED.fullmatch(text) is None:
            return now - timedelta(seconds=parse_duration(text, option=option))
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError, UsageError) as error:
        raise UsageError(
            f'{option}: expected a duration such as "7d", a date such as "2026-01-05" '
            f'or a moment such as "2026-01-05T08:00:00Z", got {shown(text)}'
        ) from error
