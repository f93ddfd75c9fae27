"""Do the page tokens of a log lead on, or nowhere?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.errors import LogLoops

if TYPE_CHECKING:
    from maia_sync.model import Page

_MOST_EMPTY_PAGES = 100
_MOST_IDLE_PAGES = 1000
"""Pages in a row that bring nothing and lead no further: more is a loop."""


class LoopGuard:
    """Notices tokens that lead nowhere, in constant memory.

    Brent's cycle detection: one token is remembered, for twice as many pages each time; a cycle of
    any length meets it. Endless fresh tokens without progress are counted instead.
    """

    def __init__(self) -> None:
        self._remembered: str | None = None
        self._pages = 0
        self._patience = 1
        self._empty = 0
        self._idle = 0

    @property
    def is_patient(self) -> bool:
        """Tell whether the latest pages led nowhere: a walk that stopped now would forget it."""
        return bool(self._empty or self._idle)

    def passed(self, own_token: str | None, page: Page, *, advanced: bool) -> None:
        """Note one page that was not the last, and the token that fetched it. Raises LogLoops."""
        self._empty = 0 if page.element_count else self._empty + 1
        self._idle = 0 if advanced else self._idle + 1
        if self._empty > _MOST_EMPTY_PAGES:
            raise LogLoops(f"the API served more than {_MOST_EMPTY_PAGES} empty pages in a row")
        if self._idle > _MOST_IDLE_PAGES:
            raise LogLoops(f"more than {_MOST_IDLE_PAGES:,} pages in a row led no further into the log")
        if page.next_token in {None, own_token}:  # None: the walk goes on elsewhere behind the log's end
            return
        if page.next_token == self._remembered:
            raise LogLoops("the API's page tokens run in a circle")
        self._pages += 1
        if self._pages == self._patience:
            self._remembered, self._pages, self._patience = page.next_token, 0, self._patience * 2
