"""What is new, changed or the same: does it depend on nothing but what the log says? (P1, P2, P3)

Not on where its pages end, on the order or the spelling in which it is served again, or on repetitions.
What one event is says the second reader of these tests: group, instant and the meaning of its payload.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from properties.copying import Came, Copying, Row
from properties.second_reader import meaning, place_of, read_element, read_moment

from maia_sync.clock import ManualClock
from maia_sync.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Stage = tuple[Database, ManualClock]


@pytest.fixture(scope="module")
def stage(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Yield a migrated database for all examples: each has a task of its own there."""
    path = tmp_path_factory.mktemp("logs") / "logs.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    clock = ManualClock()
    database = Database(url=f"sqlite:///{path}", clock=clock)
    yield database, clock
    database.close()


# ------------------------------------------------------------------ what a log holds

SPELLINGS = {
    "data": [
        (None,),
        ("null",),
        ("1", " 1"),
        ("1.0",),
        ('"A"', r'"\u0041"'),
        ('{"a":1,"b":[2,{"c":"é","d":0}]}', r'{ "b":[2 ,{"d":0,"c":"\u00e9"}], "\u0061" : 1 }'),
        ('{"a":1,"a":2}', '{ "a" : 1,"a":2 }'),
        ('{"a":2,"a":1}',),
        (r'"\ud800"', r'"\uD800"'),
    ],
    "groupId": [(None, "null", '""'), ('"g"', r'"\u0067"'), ("7",), ('{"a":1}',)],
    "timestamp": [
        (None, "null"),
        ('"soon"',),
        ('"2026-01-05T08:00:00Z"', '"2026-01-05t09:00:00.000000+01:00"', '"2026-01-05T07:59:60Z"'),
        ('"2026-01-05T08:00:00.0000000001Z"', '"2026-01-05T08:00:00.00000000010z"'),
        ('"2026-01-05T08:00:01.5Z"',),
    ],
    "x": [(None,), ("true",), ("[1]", "[ 1 ]")],
}
"""Per member some values, each in spellings that mean the same; None is the absent member."""


@st.composite
def meant(draw: st.DrawFn) -> tuple[int, ...]:
    """Choose what an event says: one value per member."""
    return tuple(draw(st.integers(0, len(values) - 1)) for values in SPELLINGS.values())


def spelt(event: tuple[int, ...], spelling: int = 0) -> bytes:
    """Spell an event; another number is another spelling where there is one."""
    parts = []
    for (name, values), which in zip(SPELLINGS.items(), event, strict=True):
        texts = values[which]
        text = texts[spelling % len(texts)]
        if text is not None:
            parts.append(f'"{name}":{text}')
    if spelling % 2:
        parts.reverse()
    return ("{" + ",".join(parts) + "}").encode()


def identity(row: Any) -> tuple[Any, ...]:
    """Return what tells an event from all others, whatever its spelling."""
    _, rest = place_of(read_moment(row.timestamp_text), row.timestamp_text)
    said = [None if text is None else repr(meaning(text)) for text in (row.data, row.extra)]
    return (row.group_id, row.timestamp, *said, rest)


def events_of(elements: list[bytes]) -> dict[tuple[Any, ...], Any]:
    """Return the events of a log by identity, in order, each as it was spelt first."""
    events: dict[tuple[Any, ...], Any] = {}
    for raw in elements:
        told = read_element(raw)
        events.setdefault(identity(told), told)
    return events


def rows_of(elements: list[bytes]) -> list[Row]:
    """Return the rows that a log comes to when it is read once, in order."""
    ordinals: Counter[tuple[str, int]] = Counter()
    rows = []
    for told in events_of(elements).values():
        key = (told.group_id, told.timestamp)
        rows.append(Row(*key, ordinals[key], told.data, told.extra, told.timestamp_text, 0))
        ordinals[key] += 1
    return rows


logs = st.lists(meant(), max_size=12)
distinct_logs = st.lists(meant(), max_size=12, unique=True)
borders = st.lists(st.integers(0, 12), max_size=5)
spellings = st.integers(0, 5)
orders = st.booleans()


def sorted_rows(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row.group_id, row.timestamp, row.ordinal))


# ------------------------------------------------------------------ a log that stays as it is


@given(log=distinct_logs, ends=borders, newest_first=orders)
def test_wherever_pages_end_a_log_comes_to_the_same_rows(
    stage: Stage, log: list[tuple[int, ...]], ends: list[int], newest_first: bool
) -> None:
    copy = Copying(*stage, newest_first=newest_first)
    elements = [spelt(event) for event in log]
    came = copy.walk(elements, ends)
    assert copy.rows() == rows_of(elements)
    assert came == Came(new=len(rows_of(elements)), changed=0, unchanged=len(elements) - came.new)


@given(log=logs, ends=borders, newest_first=orders)
@example(log=[(2, 1, 2, 0), (3, 1, 2, 0), (2, 1, 2, 0), (4, 1, 2, 0)], ends=[1], newest_first=False)
def test_repetitions_within_a_log_come_to_nothing_wherever_pages_end(
    stage: Stage, log: list[tuple[int, ...]], ends: list[int], newest_first: bool
) -> None:
    copy = Copying(*stage, newest_first=newest_first)
    elements = [spelt(event, at) for at, event in enumerate(log)]
    copy.walk(elements, ends)
    assert copy.rows() == rows_of(elements)


@given(log=logs, ends=borders, others=borders, data=st.data(), newest_first=orders)
def test_served_again_in_any_order_and_spelling_nothing_is_new_or_changed(
    stage: Stage,
    log: list[tuple[int, ...]],
    ends: list[int],
    others: list[int],
    data: st.DataObject,
    newest_first: bool,
) -> None:
    copy = Copying(*stage, newest_first=newest_first)
    copy.walk([spelt(event) for event in log], ends)
    before = copy.rows()
    again = data.draw(st.permutations(log)) + data.draw(
        st.lists(st.sampled_from(log), max_size=4) if log else st.just([])
    )
    respelt = [spelt(event, data.draw(spellings)) for event in again]
    assert copy.walk(respelt, others) == Came(new=0, changed=0, unchanged=len(again))
    assert copy.rows() == before
    assert not copy.revisions()


# ------------------------------------------------------------------ a log that grows and changes


@given(
    log=distinct_logs, old=st.integers(0, 12), ends=borders, border=st.integers(0, 12), newest_first=orders
)
def test_a_log_that_has_grown_comes_to_what_it_would_have_at_once(
    stage: Stage, log: list[tuple[int, ...]], old: int, ends: list[int], border: int, newest_first: bool
) -> None:
    """It grows at its end; one served newest-first in front.

    Two pages, as a walk looks one page ahead: of two events that share group and instant, it may take
    the new one for a change of the old if that stands further behind. Nothing is lost then either, as
    the next test shows of any log.
    """
    copy = Copying(*stage, newest_first=newest_first)
    elements = [spelt(event) for event in log]
    copy.walk(elements[max(0, len(elements) - old) :] if newest_first else elements[:old], ends)
    copy.walk(elements, [border])
    assert [identity(row) for row in copy.rows()] == list(events_of(elements))
    assert not copy.revisions()


@given(before=logs, now=logs, ends=borders, others=borders, newest_first=orders)
def test_whatever_a_log_turns_into_every_event_is_a_row_once_and_nothing_is_forgotten(
    stage: Stage,
    before: list[tuple[int, ...]],
    now: list[tuple[int, ...]],
    ends: list[int],
    others: list[int],
    newest_first: bool,
) -> None:
    copy = Copying(*stage, newest_first=newest_first)
    earlier, later = [spelt(event) for event in before], [spelt(event, 1) for event in now]
    copy.walk(earlier, ends)
    copy.walk(later, others)
    rows, revisions = copy.rows(), copy.revisions()
    current = [identity(row) for row in rows]
    assert len(set(current)) == len(current), "an event has two rows"
    assert set(events_of(later)) <= set(current), "an event that was served is no row"
    known = set(current) | {identity(row) for row in revisions}
    assert known == set(events_of(earlier)) | set(events_of(later)), "a payload was forgotten or made up"
    assert sum(row.revision for row in rows) == len(revisions)
    assert copy.walk(later, ends) == Came(new=0, changed=0, unchanged=len(later)), "a second look finds news"


def single(number: int, text: str) -> bytes:
    """Spell the event of this number, which alone has its instant."""
    return f'{{"data":"{text}","groupId":"g","timestamp":"2026-01-05T08:00:{number:02d}Z"}}'.encode()


FATES = st.lists(
    st.sampled_from(["stays", "stays", "stays", "changes", "comes late", "is respelt"]), max_size=16
)


@given(fates=FATES, ends=borders, others=borders, newest_first=orders)
@example(fates=["comes late", "changes"], ends=[], others=[2], newest_first=False)
@example(fates=["changes", "comes late"], ends=[], others=[2], newest_first=False)
@example(fates=["changes"] * 4, ends=[2], others=[1, 3], newest_first=False)
@example(fates=["stays", "changes", "comes late", "changes"], ends=[2], others=[3], newest_first=True)
def test_where_each_event_has_its_own_instant_changes_and_latecomers_are_told_apart_wherever_pages_end(
    stage: Stage, fates: list[str], ends: list[int], others: list[int], newest_first: bool
) -> None:
    copy = Copying(*stage, newest_first=newest_first)
    numbers = list(range(len(fates)))
    if newest_first:
        numbers.reverse()
    copy.walk([single(n, "A") for n in numbers if fates[n] != "comes late"], ends)
    told = {"changes": "B", "is respelt": r"\u0041"}
    came = copy.walk([single(n, told.get(fates[n], "A")) for n in numbers], others)
    changed, late = fates.count("changes"), fates.count("comes late")
    assert came == Came(new=late, changed=changed, unchanged=len(fates) - late - changed)
    expected = ['"B"' if fates[n] == "changes" else '"A"' for n in numbers]
    assert [row.data for row in copy.rows()] == expected
    assert [row.timestamp_text for row in copy.rows()] == [f"2026-01-05T08:00:{n:02d}Z" for n in numbers], (
        "rows are not read in the log's order"
    )
    assert [row.data for row in copy.revisions()] == ['"A"'] * changed
