"""Does a log show itself newest-first? Told from the timestamps of one page."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from maia_sync.model import NO_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.model import Event

_FEWEST_STEPS_BACK = 3


def shows_newest_first(events: Sequence[Event]) -> bool:
    """Tell whether the page clearly runs back in time: some steps back, hardly any forward."""
    times = [event.timestamp for event in events if event.timestamp != NO_TIMESTAMP]
    back = sum(1 for earlier, later in pairwise(times) if later < earlier)
    forward = sum(1 for earlier, later in pairwise(times) if later > earlier)
    return back >= _FEWEST_STEPS_BACK and forward * 4 <= back
