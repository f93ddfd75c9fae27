"""Do summaries come to the same whether events are added at once or piece by piece, in whatever order?"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from test_summaries import Teller

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.wire import decode_page
from maia_sync.store.summaries import add_events
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.model import Event
    from maia_sync.store.database import Database

READER = FacetReader(FacetsSettings())
TABLES = {"task_turn": "group_id", "task_activity": "slot_at"}


def task_ids(number: int) -> list[str]:
    return [f"{each:08x}-0000-4000-8000-{number:012x}" for each in range(2)]


def told(number: int, seed: str) -> list[Event]:
    """Return random events: some of one moment, some of none, some with names that have to be quoted."""
    teller = Teller(random.Random(seed))
    elements = [teller.element() for _ in range(number)]
    return list(decode_page(b'{"results":[%b]}' % b",".join(elements)).events)


def add(database: Database, task_id: str, events: Sequence[Event]) -> None:
    facets = READER.read_all([each.data for each in events])
    groups, moments = [each.group_id for each in events], [each.occurred_at for each in events]
    with database.transaction() as tx:
        add_events(tx, task_id, groups, moments, facets)


def stored(database: Database, task_id: str) -> list[list[Any]]:
    """Return both summaries of a task; costs as exactly as the order of adding lets them be told."""
    found = []
    with database.transaction(write=False) as tx:
        for table, key in TABLES.items():
            rows = tx.connection.exec_driver_sql(
                f"SELECT * FROM {table} WHERE task_id = '{task_id}' ORDER BY {key}"
            )
            found.append(
                [
                    {
                        name: pytest.approx(value) if name == "cost" else value
                        for name, value in row.items()
                        if name != "task_id"
                    }
                    for row in map(dict, rows.mappings())
                ]
            )
    return found


@pytest.mark.parametrize("seed", range(3))
def test_events_come_to_the_same_sums_in_pieces_of_any_order(database: Database, seed: int) -> None:
    """Many short logs beside a long one: an event without a moment may be the only one that tells there."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    for number, size in enumerate((150, *[rng.choice((2, 3, 6)) for _ in range(40)])):
        at_once, piecemeal = task_ids(number)
        with database.transaction() as tx:
            upsert_tasks(tx, [at_once, piecemeal])
        events = told(size, f"{seed}/{number}")
        add(database, at_once, events)
        left = rng.sample(events, len(events))
        while left:
            piece = rng.choice((1, 1, 2, size // 5 + 1))
            add(database, piecemeal, left[:piece])
            left = left[piece:]
        assert stored(database, piecemeal) == stored(database, at_once), f"log {number}"


def test_a_page_is_added_by_one_statement_for_each_table_and_nothing_is_read(database: Database) -> None:
    """Beside the time zone. A page of 25 events would cost more by its statements than by what is in it."""
    task_id, _ = task_ids(0)
    with database.transaction() as tx:
        upsert_tasks(tx, [task_id])
    add(database, task_id, told(30, "before"))
    statements: list[str] = []

    def note(*given: Any) -> None:
        statements.append(given[2].split(" AS ")[0])

    event.listen(database.engine, "before_cursor_execute", note)
    add(database, task_id, told(60, "noted"))
    add(database, task_id, [])
    event.remove(database.engine, "before_cursor_execute", note)
    of_page = [each for each in statements if "BEGIN" not in each]
    assert [each.split(" FOR ")[0] for each in of_page] == [
        "SELECT name FROM reporting_zone",
        "INSERT INTO task_activity",
        "INSERT INTO task_turn",
    ]
