"""Which way does a log run in time? Told from the timestamps of one page."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from maia_sync.model import NO_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.model import Event

_FEWEST_STEPS = 3


def read_direction(events: Sequence[Event]) -> Literal["oldest-first", "newest-first"] | None:
    """Tell which way the page runs in time; None while too few of its timestamps differ.

    Newest-first is told only where hardly any step goes forward: agents' clocks differ a little, and
    an event that comes late stands behind newer ones in any log.
    """
    times = [event.timestamp for event in events if event.timestamp != NO_TIMESTAMP]
    back = sum(1 for earlier, later in pairwise(times) if later < earlier)
    forward = sum(1 for earlier, later in pairwise(times) if later > earlier)
    if back + forward < _FEWEST_STEPS:
        return None
    return "newest-first" if back >= _FEWEST_STEPS and forward * 4 <= back else "oldest-first"
