"""Is a token asked with another limit than its own only where that means the same?"""

from __future__ import annotations

from maia_sync.maia.element import make_event
from maia_sync.model import Cursor, Page
from maia_sync.sync.limits import PageLimits


def page(first: int, count: int, *, limit: int, more: bool = True) -> Page:
    events = [
        make_event(data=str(number), group_id="", timestamp_text=None, extra=None)
        for number in range(first, first + count)
    ]
    return Page(events=events, quarantined=[], next_token="next" if more else None, size_bytes=1, limit=limit)


def token(limit: int | None) -> Cursor:
    return Cursor(page_token="a", compare_seq=0, limit=limit)


START = Cursor(page_token=None, compare_seq=0)


def shrunk(most: int = 100) -> PageLimits:
    """Return limits after a page that came with half of what was asked, and four calm ones."""
    limits = PageLimits(most)
    limits.note(most, page(0, most // 2, limit=most // 2))
    for _ in range(4):
        limits.note(most // 2, page(0, most // 2, limit=most // 2))
    return limits


def test_a_token_is_asked_with_its_own_limit_or_a_smaller_one() -> None:
    limits = PageLimits(100)
    assert limits.limit_for(START) == 100
    assert limits.limit_for(token(40)) == 40
    assert limits.limit_for(token(1000)) == 100
    limits.note(100, page(0, 50, limit=50))
    assert (limits.limit_for(START), limits.limit_for(token(100)), limits.limit_for(token(40))) == (
        50,
        50,
        40,
    )


def test_a_larger_limit_is_tried_on_a_token_that_was_read_after_calm_pages_only() -> None:
    limits = PageLimits(100)
    limits.note(100, page(0, 50, limit=50))
    assert limits.larger_to_try(token(50), page(0, 50, limit=50)) is None
    limits = shrunk()
    assert limits.larger_to_try(START, page(0, 50, limit=50)) is None
    assert limits.larger_to_try(token(50), page(0, 20, limit=50, more=False)) is None
    assert limits.larger_to_try(token(50), page(0, 50, limit=50)) == 100


def test_the_same_events_and_more_prove_that_tokens_do_not_depend_on_the_limit() -> None:
    limits = shrunk()
    assert limits.is_proof(page(50, 50, limit=50), page(50, 100, limit=100))
    assert limits.limit_for(token(25)) == 50
    for _ in range(4):
        limits.note(50, page(0, 50, limit=50))
    assert limits.limit_for(token(25)) == 100


def test_other_events_or_a_refusal_prove_the_contrary_for_this_walk() -> None:
    for larger in (page(100, 100, limit=100), None):
        limits = shrunk()
        assert not limits.is_proof(page(50, 50, limit=50), larger)
        assert limits.limit_for(token(25)) == 25
        assert limits.larger_to_try(token(50), page(50, 50, limit=50)) is None


def test_a_page_that_came_no_larger_after_all_proves_nothing() -> None:
    limits = shrunk()
    assert not limits.is_proof(page(50, 50, limit=50), page(50, 50, limit=50))
    for _ in range(4):
        limits.note(50, page(0, 50, limit=50))
    assert limits.larger_to_try(token(50), page(50, 50, limit=50)) == 100
