"""Is what `decode_page` makes of some bytes right? The judge of the fuzz target; needs no fuzzer.

Each input is judged as a whole body, as the inside of `results`, and as one element between two others.
Where the bytes are JSON, the second reader of the property tests has to say the same; where they are not,
what a page holds must at least stand in them, in order.
"""

from __future__ import annotations

import re
from hashlib import sha256
from itertools import accumulate
from typing import TYPE_CHECKING

from properties.second_reader import BLANKS, NoPageError, Said, Told, read_element, read_page, tell

from maia_sync.errors import BrokenPage
from maia_sync.maia.wire import decode_page

if TYPE_CHECKING:
    from maia_sync.model import Page

FIRST, LAST = b'{"data":"first"}', b'{"data":"last","groupId":"g","timestamp":"2026-01-05T08:00:00Z"}'
_BLANKS = BLANKS.encode()
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def judge(given: bytes) -> None:
    """Raise AssertionError, or what `decode_page` should not have raised, if a reading is wrong."""
    judge_body(given)
    judge_body(b'{"results":[' + given + b'],"more":"t"}')
    judge_body(b'{"results":[' + FIRST + b"," + given + b"," + LAST + b"]}", between=given)


def judge_body(body: bytes, *, between: bytes | None = None) -> None:
    """Judge one body; `between` is what stands between FIRST and LAST, if it is made that way."""
    page = _decoded(body)
    try:
        expected = read_page(body)
    except NoPageError:
        assert page is None, "a page was made of JSON that is none"
        return
    if expected is not None:
        assert page is not None, "a page that is JSON was refused"
        assert said(page) == expected, "the two readers differ"
    elif page is not None:
        _judge_slices(body, page)
        if between is not None and page.element_count == 3 and _is_closed(between):
            _judge_neighbour(page, between.strip(_BLANKS))


def _decoded(body: bytes) -> Page | None:
    try:
        page = decode_page(body, limit=7)
    except BrokenPage:
        return None
    assert (page.size_bytes, page.limit) == (len(body), 7)
    return page


def said(page: Page) -> Said:
    """Put a page into the second reader's words."""
    for odd in page.quarantined:
        assert odd.reason
        assert odd.digest == sha256(odd.raw).digest()
    events = [
        Told(
            group_id=event.group_id,
            timestamp=event.timestamp,
            timestamp_text=event.timestamp_text,
            occurred_at=event.occurred_at,
            data=event.data,
            extra=event.extra,
            digest=event.digest,
        )
        for event in page.events
    ]
    return Said(events=events, odd=[odd.raw for odd in page.quarantined], token=page.next_token)


def _judge_slices(body: bytes, page: Page) -> None:
    """Of a body that is no JSON: what is told of it stands in it, in order, and is right in itself."""
    now = said(page)
    at = 0
    for raw in now.odd:
        at = body.find(raw, at) + len(raw)
        assert at >= len(raw), "what is quarantined does not stand in the body"
        assert read_element(raw) is None, "an event was quarantined"
    at = 0
    for event in now.events:
        data = (event.data or "").encode()
        at = body.find(data, at) + len(data)
        assert at >= len(data), "a payload does not stand in the body"
        whole = tell(
            group_id=event.group_id,
            timestamp_text=event.timestamp_text,
            data=event.data,
            extra=event.extra,
        )
        assert event == whole, "an event's instant or digest is not that of its texts"


def _is_closed(raw: bytes) -> bool:
    """Tell whether bytes open no string or bracket that they do not close, and close no others."""
    outside = _STRING.sub(b"", raw)
    depths = list(accumulate((byte in b"[{") - (byte in b"]}") for byte in outside))
    return b'"' not in outside and min(depths, default=0) >= 0 and depths[-1:] in ([], [0])


def _judge_neighbour(page: Page, element: bytes) -> None:
    """An odd element costs only itself: it is told or quarantined, and both neighbours stand."""
    told, now = read_element(element), said(page)
    middle = [told] if told is not None else []
    assert now.events == [read_element(FIRST), *middle, read_element(LAST)]
    assert now.odd == ([] if told is not None else [element])
