"""P1, P4: do values get into their own columns, whatever is the same in all rows, or NULL?"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import event as engine_events
from sqlalchemy import select

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.facet_settings import FACETS, FacetsSettings
from maia_sync.model import Event, NewRow, TaskLog
from maia_sync.page_events import NewRows, PageEvents
from maia_sync.store.bulk import EventColumns, insert_columns, insert_new_rows
from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.store.database import Database

MOMENT = "2026-01-05 08:00:00.000000"
SAME = {"task_id": "00000000-0000-0000-0000-000000000001", "run_id": "", "revision": 0, "facets_version": 7}


@pytest.mark.parametrize("rows", [1, 24, 25, 26, 60])
def test_what_all_rows_share_may_be_null_in_any_place(database: Database, rows: int) -> None:
    numbers = list(range(rows))
    for at, names in enumerate(permutations(SAME)):
        varying = {
            "group_id": [f"{at} {number}" for number in numbers],
            "timestamp": numbers,
            "ordinal": [0] * rows,
            "data": [str(number) if number % 2 else "" for number in numbers],
            "seq": numbers,
            "digest": [bytes([number]) * 32 for number in numbers],
            "first_seen_at": [MOMENT] * rows,
            "last_changed_at": [MOMENT] * rows,
            "duration_ms": ["" if number % 3 else number for number in numbers],
        }
        with database.transaction() as tx:
            insert_columns(tx, EventColumns(constant={name: SAME[name] for name in names}, varying=varying))
    columns = task_event.c
    asked = select(
        columns.group_id, columns.timestamp, columns.data, columns.run_id, columns.facets_version,
        columns.duration_ms, columns.occurred_at,
    ).order_by(columns.timestamp)  # fmt: skip
    with database.transaction(write=False) as tx:
        found = tx.connection.execute(asked).all()
    assert len(found) == 24 * rows
    for group_id, timestamp, data, run_id, version, duration, occurred_at in found:
        assert group_id.split()[1] == str(timestamp)
        assert data == (str(timestamp) if timestamp % 2 else None)
        assert (run_id, version, occurred_at) == (None, 7, None)
        assert duration == (None if timestamp % 3 else timestamp)


# ------------------------------------------------------------------ a page's new events

TASK = "00000000-0000-0000-0000-000000000001"
ODD = ("", "\\", "\\N", "\\.", "a\tb", "a\nb", "a\rb", "\\t", "'", '"', "?1", "%s", "é😀", "\u2028", " ", "0")
"""Texts that a format of rows could take for something else."""


def event_of(number: int, text: str, *, told: bool = True) -> Event:
    """Return an event whose every column holds a text of its own, or as much of it as fits there."""
    said = {"type": "toolResult", "model": text, "toolCallId": text, "durationMs": number / 2, "costUsd": 0}
    spaces = "".join(each for each in text if each in "\t\n\r")
    return Event(
        group_id=text,
        timestamp=number,
        timestamp_text=None if number % 8 == 4 else text,
        occurred_at=None if number % 4 == 1 else f"2026-01-05 08:00:00.{number:06d}",
        data=None if number % 4 == 0 else json.dumps(said, ensure_ascii=False) + spaces,
        extra=json.dumps({"x": text}) if told and number % 2 else None,
        digest=bytes([number]) * 32,
    )


def stored(database: Database) -> list[dict[str, Any]]:
    with database.transaction(write=False) as tx:
        found = tx.connection.execute(select(task_event).order_by(task_event.c.timestamp)).mappings().all()
    return [dict(row) for row in found]


def as_stored(row: dict[str, Any]) -> Event:
    occurred_at = row["occurred_at"]
    told = {
        name: row[name] for name in ("group_id", "timestamp", "timestamp_text", "data", "extra", "digest")
    }
    return Event(occurred_at=occurred_at and f"{occurred_at:%Y-%m-%d %H:%M:%S.%f}", **told)


@pytest.mark.parametrize(("newest_first", "by_column"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("size", [1, len(ODD)])
def test_each_column_of_a_new_event_is_stored_as_it_is(
    database: Database, size: int, newest_first: bool, by_column: bool
) -> None:
    """Absent, empty, or with characters that COPY escapes; beside one another and alone in a page."""
    reader = FacetReader(FacetsSettings())
    log = TaskLog(task_id=TASK, newest_first=newest_first)
    events = [event_of(number, text) for number, text in enumerate(ODD, 1)]
    for page in (events[at : at + size] for at in range(0, len(events), size)):
        rows: Sequence[NewRow] = [
            NewRow(event=each, ordinal=each.timestamp % 3, seq=each.timestamp << 20) for each in page
        ]
        if by_column:
            rows = NewRows(PageEvents.of(page), [each.timestamp << 20 for each in page])
        with database.transaction() as tx:
            facets = insert_new_rows(tx, log, rows, 7, reader)
            assert [tuple(row) for row in zip(*facets, strict=True)] == [
                reader.read(each.data) for each in page
            ]
    found = stored(database)
    assert [as_stored(row) for row in found] == events
    for row, each in zip(found, events, strict=True):
        assert tuple(row[name] for name in FACETS) == tuple(
            None if value == "" else value for value in reader.read(each.data)
        )
        assert row["seq"] == (each.timestamp << 20) * (-1 if newest_first else 1)
        assert row["ordinal"] == (0 if by_column else each.timestamp % 3)
        assert row["first_seen_at"] == row["last_changed_at"]
        assert (row["task_id"], row["run_id"], row["revision"]) == (TASK, 7, 0)
        assert (row["facets_version"], row["canonical"]) == (reader.version, None)
        assert row["vanished_at"] is row["pruned_at"] is row["erased_at"] is None


@pytest.mark.parametrize("newest_first", [False, True])
def test_rows_that_share_a_place_are_told_apart_by_when_they_were_seen(
    database: Database, newest_first: bool
) -> None:
    """And sort behind those that are there, even of this very moment; canonicals stay with their rows."""
    log, reader = TaskLog(task_id=TASK, newest_first=newest_first), FacetReader(FacetsSettings())
    numbers = iter(range(1, 100))

    def row(tie: int, canonical: bytes | None = None) -> NewRow:
        return NewRow(
            event=event_of(next(numbers), "", told=False), ordinal=0, seq=9, canonical=canonical, tie=tie
        )

    with database.transaction() as tx:
        insert_new_rows(tx, log, [row(0), row(1, b"a" * 32), row(2)], None, reader)
        insert_new_rows(
            tx, log, [row(1), row(2, b"b" * 32), msgspec.structs.replace(row(0), seq=5)], None, reader
        )
        now = tx.now
    found = stored(database)
    after = [round((each["first_seen_at"] - now) / timedelta(microseconds=1)) for each in found]
    assert after == [0, 1, 2, 3, 4, 0]
    assert [each["last_changed_at"] for each in found] == [each["first_seen_at"] for each in found]
    assert [each["canonical"] for each in found] == [None, b"a" * 32, None, None, b"b" * 32, None]
    assert {each["run_id"] for each in found} == {None}


def test_pages_that_tell_less_than_others_are_inserted_by_the_same_statement(database: Database) -> None:
    """A new one has to be prepared. And no parameter has a number, which the sqlite3 module looks up.

    PostgreSQL gets no INSERT at all.
    """
    reader = FacetReader(FacetsSettings())
    statements: list[str] = []

    def note(*given: Any) -> None:
        statements.append(given[2])

    engine_events.listen(database.engine, "before_cursor_execute", note)
    for number, told in enumerate(
        ("{}", '{"model":"m","userId":"u"}', "{}", '{"userId":"u"}', '{"model":"m"}')
    ):
        events = [
            msgspec.structs.replace(event_of(at, "t", told=False), data=told, occurred_at=None)
            for at in range(number * 25, number * 25 + 25)
        ]
        with database.transaction() as tx:
            insert_new_rows(
                tx,
                TaskLog(task_id=TASK),
                [NewRow(event=each, ordinal=0, seq=0) for each in events],
                1,
                reader,
            )
    engine_events.remove(database.engine, "before_cursor_execute", note)
    inserts = [each for each in statements if each.startswith("INSERT")]
    assert reader.told == {"model", "user_id"}
    assert len(stored(database)) == 125
    assert len(set(inserts)) == (0 if database.engine.dialect.name == "postgresql" else 2)
    assert not any(re.search(r"\?\d", each) for each in inserts)
