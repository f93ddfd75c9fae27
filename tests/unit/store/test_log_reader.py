"""Does the reader give every row once, in order, and find what is inserted later?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.cli import events_verb
from maia_sync.clock import ManualClock
from maia_sync.facet_settings import FacetsSettings
from maia_sync.model import Event, NewRow, TaskLog
from maia_sync.store import log_reader
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.database import Database
from maia_sync.store.log_reader import LogReader
from maia_sync.store.reading import read_task_figures
from maia_sync.store.standing import count_stored
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.store.reading import LogRow

FACETS = FacetReader(FacetsSettings())


TASK = "0b5c1c9e-8f5e-4d7a-9a59-2f3f0a1b2c3d"
OTHER = "11111111-2222-4333-8444-555555555555"


class Log:
    """A task's log in a database, and a writer to it."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock

    def write(self, *seqs: int, task_id: str = TASK, ties: bool = False) -> None:
        with self.database.transaction() as tx:
            rows = [_row(f"{seq}.{at}" if ties else f"{seq}", seq, tie=at) for at, seq in enumerate(seqs)]
            insert_new_rows(tx, TaskLog(task_id=task_id), rows, None, FACETS)

    def reader(self) -> LogReader:
        self.clock.advance(1)
        return LogReader(self.database, TASK)


def _row(name: str, seq: int, *, tie: int) -> NewRow:
    event = Event(
        group_id=f"{name}-{tie}",
        timestamp=seq,
        timestamp_text=None,
        occurred_at=None,
        data=f'"{name}"',
        extra=None,
        digest=b"\0" * 32,
    )
    return NewRow(event=event, ordinal=0, seq=seq, tie=tie)


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    clock = ManualClock()
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    database = Database(url=url, clock=clock)
    yield Log(database, clock)
    database.close()


def data_of(rows: Iterator[LogRow]) -> list[str]:
    return [(row.data or "").strip('"') for row in rows]


def test_a_log_longer_than_a_page_is_read_once_and_in_order(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "PAGE_ROWS", 3)
    log.write(5, 1, 3, 9, 7, 2, 8)
    log.write(4, 6, task_id=OTHER)
    assert data_of(log.reader().read_on()) == ["1", "2", "3", "5", "7", "8", "9"]


def test_rows_that_share_a_seq_are_each_read_once(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "PAGE_ROWS", 2)
    log.write(1, 1, 1, 1, 1, 2, ties=True)
    assert data_of(log.reader().read_on()) == ["1.0", "1.1", "1.2", "1.3", "1.4", "2.5"]


@pytest.mark.parametrize(
    ("number", "expected"), [(0, []), (2, ["4", "5"]), (5, list("12345")), (9, list("12345"))]
)
def test_the_newest_rows_come_oldest_first(log: Log, number: int, expected: list[str]) -> None:
    log.write(1, 2, 3, 4, 5)
    newest = log.reader()
    newest.skip_to_newest(number)
    assert data_of(newest.read_on()) == expected


@pytest.mark.parametrize("number", [None, 0, 1, 3])
def test_what_comes_later_is_found_at_the_end_and_in_the_middle_once(log: Log, number: int | None) -> None:
    log.write(10, 20, 30)
    follower = log.reader()
    if number is not None:
        follower.skip_to_newest(number)
    list(follower.read_on())
    assert data_of(follower.read_news()) == []
    log.write(40)
    assert data_of(follower.read_news()) == ["40"]
    log.write(15, 50)
    assert data_of(follower.read_news()) == ["15", "50"]
    assert data_of(follower.read_news()) == []
    log.clock.advance(3600)
    log.write(17, 45, 60)
    assert data_of(follower.read_news()) == ["17", "45", "60"]
    log.write(5)
    assert data_of(follower.read_news()) == ["5"]
    assert data_of(follower.read_news()) == []


def test_a_log_that_begins_empty_is_followed_too(log: Log) -> None:
    follower = log.reader()
    assert data_of(follower.read_on()) == []
    log.write(3, 4)
    assert data_of(follower.read_news()) == ["3", "4"]
    log.write(1)
    assert data_of(follower.read_news()) == ["1"]


def test_what_the_follower_remembers_is_bounded(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "MOST_REMEMBERED", 2)
    follower = log.reader()
    log.write(1, 2, 3, 4, 5)
    assert len(data_of(follower.read_news())) == 5
    assert len(follower._remembered) == 2


def test_a_follower_looks_once_a_second() -> None:
    clock = ManualClock()
    turns = events_verb.turns(clock)
    next(turns)
    next(turns)
    assert clock.slept == [1.0, 1.0]


def test_figures_count_rows_per_task(log: Log) -> None:
    with log.database.transaction() as tx:
        upsert_tasks(tx, [TASK, OTHER], label="x")
    log.write(1, 2, 3)
    with log.database.transaction(write=False) as tx:
        figures = read_task_figures(tx)
        totals = count_stored(tx)
        assert {one.task.task_id: (one.events, one.vanished) for one in figures} == {
            TASK: (3, 0),
            OTHER: (0, 0),
        }
        assert (totals.events, totals.vanished, totals.revisions, totals.quarantined) == (3, 0, 0, 0)
        assert read_task_figures(tx, statuses=["paused"]) == []
