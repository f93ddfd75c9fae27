"""Do task_turn and task_activity say what rows say whose payloads were taken out, batch by batch?"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from logs import TASK
from oracle import Copy
from sqlalchemy import select, update
from taken_out import key_in
from test_summaries import Teller, assert_summed_up
from told_story import driver_url

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.clock import SystemClock
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.wire import decode_page
from maia_sync.model import NewRow, TaskLog
from maia_sync.store import summing
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.database import Database
from maia_sync.store.emptying import EmptiedEvent, empty_events, sum_task_again
from maia_sync.store.schema import task_event
from maia_sync.store.summaries import add_events, sum_again
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

READER = FacetReader(FacetsSettings())
KEYED = b"k" * 36


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """Yield the test's database, with a digest key."""
    opened = Database(url=driver_url(database_url), clock=SystemClock(), digest_key_file=key_in(tmp_path))
    yield opened
    opened.close()


def store(database: Database, elements: Sequence[bytes]) -> None:
    """Store a log, some of it vanished, as pages do."""
    ordinals: Counter[tuple[str, int]] = Counter()
    rows = []
    for place, event in enumerate(decode_page(b'{"results":[%b]}' % b",".join(elements)).events):
        key = (event.group_id, event.timestamp)
        canonical = event.digest if ordinals[key] else None
        rows.append(NewRow(event=event, ordinal=ordinals[key], seq=1 << 10 | place, canonical=canonical))
        ordinals[key] += 1
    with database.transaction() as tx:
        upsert_tasks(tx, [TASK])
        facets = insert_new_rows(tx, TaskLog(task_id=TASK), rows, None, READER)
        groups, moments = [row.event.group_id for row in rows], [row.event.occurred_at for row in rows]
        add_events(tx, TASK, groups, moments, facets)
        gone = rows[:: len(rows) // 7 + 6]
        for row in gone:
            of_row = (task_event.c.seq == row.seq) & (task_event.c.task_id == TASK)
            tx.connection.execute(update(task_event).where(of_row).values(vanished_at=tx.now))
        sum_again(tx, TASK, [(row.event.group_id, row.event.occurred_at) for row in gone])


def names(database: Database) -> list[EmptiedEvent]:
    columns = task_event.c
    key = (columns.group_id, columns.timestamp, columns.ordinal, columns.revision)
    with database.transaction(write=False) as tx:
        found = tx.connection.execute(select(*key).order_by(columns.seq)).all()
    return [EmptiedEvent(*row, KEYED, KEYED) for row in found]


@pytest.mark.parametrize("small", [0, 5])
@pytest.mark.parametrize("way", ["oldest first", "newest first", "at random"])
def test_sums_equal_the_rows_after_each_batch_of_payloads_taken_out(
    database: Database, database_url: str, way: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_SMALL", small)
    monkeypatch.setattr(summing, "_SMALL_SHARE", small // 2)
    rng = random.Random(f"{way} {small}")
    teller = Teller(rng)
    store(database, [teller.element() for _ in range(110)])
    copy = Copy(database_url)
    assert_summed_up(copy, "UTC", "before")
    rows = names(database)
    if way != "oldest first":
        rows.reverse()
    if way == "at random":
        rng.shuffle(rows)
    at = 0
    while at < len(rows):
        some = rows[at : at + rng.choice((1, 3, 10, 25))]
        with database.transaction() as tx:
            assert empty_events(tx, TASK, [*some, *rows[:3]], erased=rng.random() < 0.5) >= len(some) - 3
        at += len(some)
        assert_summed_up(copy, "UTC", f"{way}, {small}, {at}")
    text = "::text" if copy.is_postgresql else ""
    read_from_them = f"event_kind, actor, user_id, agent_name, outcome, input_tokens, cost, data{text}"
    assert copy.ask(f"SELECT DISTINCT {read_from_them} FROM task_event") == [(None,) * 8]
    with database.transaction() as tx:
        sum_task_again(tx, TASK)
    assert_summed_up(copy, "UTC", "all over again")


def test_a_long_log_is_summed_up_again_part_by_part(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what has vanished of a group that several parts have rows of."""
    monkeypatch.setattr(summing, "_MOST_CELLS", 1)
    monkeypatch.setattr(summing, "_ROWS", 7)
    teller = Teller(random.Random("part by part"))
    store(database, [teller.element() for _ in range(110)])
    with database.transaction() as tx:
        sum_task_again(tx, TASK)
    assert_summed_up(Copy(database_url), "UTC", "part by part")


def test_of_several_names_in_one_microsecond_the_smaller_text_stands_in_place_of_what_was_taken_out(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_SMALL", 0)
    monkeypatch.setattr(summing, "_SMALL_SHARE", 0)
    said = [("0.0000001", "b"), ("0.0000002", "a"), ("1.0000001", "z"), ("1.0000002", "y"), ("2.0", "c")]
    store(
        database,
        [
            f'{{"data":{{"userId":"{name}"}},"groupId":"g","timestamp":"2026-01-05T08:00:0{second}Z"}}'.encode()
            for second, name in [("0.0", "vanishes at once"), *said]
        ],
    )
    copy = Copy(database_url)
    rows = names(database)[1:]
    for taken, left in ((1, "b"), (0, "y"), (3, "z"), (2, "c"), (4, None)):
        with database.transaction() as tx:
            assert empty_events(tx, TASK, [rows[taken]], erased=False) == 1
        assert copy.ask("SELECT user_id FROM task_turn") == [(left,)]
        assert_summed_up(copy, "UTC", f"{taken}")


def test_a_name_that_only_events_without_a_moment_have_stays_as_long_as_one_of_them_has_it(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "_SMALL", 0)
    monkeypatch.setattr(summing, "_SMALL_SHARE", 0)
    said = ("vanishes at once", "b", "a", "a", "b")
    store(database, [f'{{"data":{{"userId":"{name}"}},"groupId":"g"}}'.encode() for name in said])
    copy = Copy(database_url)
    rows = names(database)[1:]
    for taken, left in ((1, "a"), (2, "b"), (3, "b"), (0, None)):
        with database.transaction() as tx:
            assert empty_events(tx, TASK, [rows[taken]], erased=False) == 1
        assert copy.ask("SELECT user_id FROM task_turn") == [(left,)]
        assert_summed_up(copy, "UTC", f"{taken}")
