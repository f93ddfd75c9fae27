"""How many events does a walk ask for at a time?

As many as the settings allow, less where upstream is too slow for that, more again when it has been
fast for a while. A page token is opaque: one that names "page 3" leads elsewhere under another limit.
So a token is asked with the limit of the request that brought it, or a smaller one, which such a
token answers with what is known already. A larger one is used once a token that was read under the
smaller one has brought the same events, and more: then tokens do not depend on the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maia_sync.model import Cursor, Page

_CALM_PAGES = 4
"""So many pages in a row must come in time before more is asked for; after each failure twice as many."""


class PageLimits:
    """The limits of one walk's requests."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._wanted = most
        self._calm = 0
        self._patience = _CALM_PAGES
        self._grown = False
        """A larger limit has been asked for since it was last found too large."""
        self._independent: bool | None = None
        """Whether page tokens mean the same under every limit; None as long as that is not known."""

    def limit_for(self, cursor: Cursor) -> int:
        """Return the limit to ask for a page with."""
        if cursor.page_token is None or cursor.limit is None or self._independent:
            return self._wanted
        return min(cursor.limit, self._wanted)

    def note(self, asked: int, page: Page) -> None:
        """Note with which limit a page was asked for, and with which one it came."""
        if page.limit < asked:
            if self._grown:
                self._patience *= 2
            self._wanted, self._calm, self._grown = page.limit, 0, False
            return
        self._calm += 1
        if self._independent and self._calm >= self._patience:
            self._grown = self._wanted < self._most
            self._wanted, self._calm = min(2 * self._wanted, self._most), 0

    def larger_to_try(self, cursor: Cursor, page: Page) -> int | None:
        """Return a larger limit with which the page should be asked for once more, if it is time for that."""
        could_grow = page.limit < self._most and page.next_token is not None and page.element_count > 0
        known = self._independent is not None or cursor.page_token is None
        if not could_grow or known or self._calm < self._patience:
            return None
        self._calm = 0
        return min(2 * page.limit, self._most)

    def is_proof(self, page: Page, larger: Page | None) -> bool:
        """Tell whether the same token brought the same events under the larger limit, and remember it.

        `larger` is None where upstream refused it. A page that came no larger after all proves nothing.
        """
        if larger is not None and larger.limit <= page.limit:
            self._patience *= 2
            return False
        self._independent = larger is not None and _begins_with(larger, page)
        return self._independent


def _begins_with(larger: Page, page: Page) -> bool:
    if larger.element_count < page.element_count:
        return False
    same_events = all(
        (one.group_id, one.timestamp, one.digest) == (other.group_id, other.timestamp, other.digest)
        for one, other in zip(page.events, larger.events, strict=False)
    )
    return same_events and all(
        one.digest == other.digest for one, other in zip(page.quarantined, larger.quarantined, strict=False)
    )
