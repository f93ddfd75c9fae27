"""With which limit is a page asked for again? Half of it after an answer that was too slow or too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.errors import AnswerTooSlow, PageTooLarge, UpstreamTimedOut

if TYPE_CHECKING:
    from maia_sync.errors import RetryLater

SMALLEST = 25
"""The contract's own default."""
_TOO_MUCH = (UpstreamTimedOut, AnswerTooSlow, PageTooLarge)


class ShrinkingLimit:
    """The limit of one page's requests: `now` is the next one's."""

    def __init__(self, given: int) -> None:
        self.now = given
        self._given = given
        self._least = min(given, SMALLEST)
        self._last_failure: RetryLater | None = None
        self._may_change = True

    @property
    def is_stuck(self) -> bool:
        """Whether the given limit was too much at last, and a smaller one was refused."""
        return not self._may_change and isinstance(self._last_failure, _TOO_MUCH)

    def note_failure(self, failure: RetryLater, *, one_left: bool) -> None:
        """Note what may pass; `one_left`: only one attempt remains, and so asks for the least."""
        self._last_failure = failure
        if self._may_change and isinstance(failure, _TOO_MUCH):
            self.now = self._least if one_left else max(self.now // 2, self._least)

    def note_refusal(self) -> RetryLater | None:
        """Note a refusal; returns the failure that it stands for, None if it stands for itself.

        If it was a smaller limit than the given one that was refused, the API may take no other limit
        with this token. That proves nothing of the token: the given limit is gone back to.
        """
        if self.now == self._given:
            return None
        self.now = self._given
        self._may_change = False
        return self._last_failure
