"""How does a panel become HTML in time? In the thread that has asked it, while others are still asked.

The page then finds it rendered: what was so a moment ago is taken as it is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from maia_sync.report.panel import Showing, render_panel
from maia_sync.web.places import SitePlaces

if TYPE_CHECKING:
    from collections.abc import Hashable
    from zoneinfo import ZoneInfo

    from markupsafe import Markup

    from maia_sync.analytics.filling import Filled
    from maia_sync.clock import Clock
    from maia_sync.report.buckets import Axis
    from maia_sync.web.windows import Choice

KEPT_SECONDS: Final = 2.0
"""A panel says how old its answer is, and which of its bars is still growing."""
MOST_KEPT: Final = 50


class Renderings:
    """Panels as HTML, by what they show; for several threads."""

    def __init__(self, zone: ZoneInfo, clock: Clock) -> None:
        self._zone = zone
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Markup]] = OrderedDict()
        self._keeping = threading.Lock()

    def render(self, filled: Filled, choice: Choice, axis: Axis | None = None) -> Markup:
        """Return a panel on a page of a window, whose charts have this axis if it is open."""
        panel = filled.panel
        asked = (*choice.query.items(), *filled.values.items())
        name = (panel.name, panel.empty, *asked, filled.asked_at, axis)
        moment = self._clock.monotonic()
        with self._keeping:
            at, html = self._kept.get(name, (moment, None))
        if html is not None and moment - at <= KEPT_SECONDS:
            return html
        showing = Showing(
            zone=self._zone,
            now=self._clock.now(),
            window=choice.window,
            places=SitePlaces(choice.query),
            axis=axis,
        )
        html = render_panel(filled, showing)
        if not filled.is_pending:
            with self._keeping:
                self._kept[name] = (moment, html)
                self._kept.move_to_end(name)
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
        return html
