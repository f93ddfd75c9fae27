"""Are a page's events the same, as columns and one by one?"""

from __future__ import annotations

from maia_sync.model import Event, NewRow
from maia_sync.page_events import NewRows, PageEvents, events_of


def event(number: int, extra: str | None = None) -> Event:
    return Event(
        group_id=f"group {number}",
        timestamp=number,
        timestamp_text=None,
        occurred_at=None,
        data=str(number),
        extra=extra,
        digest=bytes([number]) * 32,
    )


EVENTS = [event(1), event(2, '{"a":1}'), event(3)]


def test_columns_are_a_sequence_of_the_events_that_they_were_made_of() -> None:
    columns = PageEvents.of(EVENTS)
    assert (list(columns), len(columns), columns[1], columns[-1:]) == (EVENTS, 3, EVENTS[1], EVENTS[2:])
    assert columns == EVENTS
    assert columns != EVENTS[:2]
    assert PageEvents.of(columns) is columns
    assert not PageEvents.of([])


def test_events_without_extra_need_no_column_for_it() -> None:
    columns = PageEvents.of([event(1), event(2)])
    columns.extras = None
    assert columns == [event(1), event(2)]


def test_new_rows_are_the_events_at_their_places() -> None:
    rows = NewRows(PageEvents.of(EVENTS), range(10, 40, 10))
    alone = [NewRow(event=each, ordinal=0, seq=10 * at) for at, each in enumerate(EVENTS, 1)]
    assert (list(rows), rows[1:], rows[-1], len(rows)) == (alone, alone[1:], alone[-1], 3)
    assert events_of(rows) is rows.events
    assert events_of(alone) == EVENTS
