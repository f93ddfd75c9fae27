"""Is an event found by its name without reading the task, on both databases, whatever the name holds?"""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from logs import task_id

from maia_sync.clock import SystemClock
from maia_sync.model import NO_TIMESTAMP, SeenRows, StoredRow, TaskLog
from maia_sync.store import events
from maia_sync.store.archive_journal import Journal
from maia_sync.store.database import Database
from maia_sync.store.facets import read_summed
from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.store.database import Transaction
    from maia_sync.store.named_rows import RowName

LOG = TaskLog(task_id=task_id(1))
ODD_GROUPS = ("", "'", '"\\', "ä€\u2028", "\U0001f600", "\x01\x7f", "[1]", "null", "\ufffe", "g" * 2000)
NAMES: list[RowName] = [
    *((group, NO_TIMESTAMP, 0) for group in ODD_GROUPS),
    *((f"group {number % 100}", 1_767_600_000_000_000_000 + number // 100, 0) for number in range(2_000)),
    ("twins", 2**63 - 1, 0),
    ("twins", 2**63 - 1, 1),
]
LAST_SEQ = 1024 * (len(NAMES) - 1)
SEEN = SeenRows(ranges=((-(2**62), LAST_SEQ - 1),), tied=((LAST_SEQ, *NAMES[-2]),))
"""A reconcile has been served everything but the second of the twins."""


def name_of(row: StoredRow) -> RowName:
    return row.group_id, row.timestamp, row.ordinal


def payload_of(name: RowName) -> str:
    return f'"{NAMES.index(name)}"'


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return a database with a task of many events; the last two share their seq."""
    with closing(
        Database(url=database_url.replace("postgresql://", "postgresql+psycopg://"), clock=SystemClock())
    ) as database:
        with database.transaction() as tx:
            rows = [
                {
                    "task_id": LOG.task_id,
                    "group_id": name[0],
                    "timestamp": name[1],
                    "ordinal": name[2],
                    "data": f'"{number}"',
                    "seq": min(1024 * (number + 1), LAST_SEQ),
                    "digest": bytes(32),
                    "canonical": bytes(32) if name[0] == "twins" else None,
                    "revision": 0,
                    "first_seen_at": tx.now,
                    "last_changed_at": tx.now,
                }
                for number, name in enumerate(NAMES)
            ]
            if tx.is_postgresql:  # its statistics know of other tasks only, and expect none but those
                others = [{**row, "task_id": task_id(number)} for number in (2, 3, 4) for row in rows[:40]]
                tx.connection.execute(sqlalchemy.insert(task_event), others)
                tx.connection.exec_driver_sql("ANALYZE task_event")
            tx.connection.execute(sqlalchemy.insert(task_event), rows)
        yield database


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Yield the list of what is asked about events in the block, with the parameters."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _x: object, many: bool) -> None:
        if "task_event" in statement:
            asked.append((statement, parameters[0] if many else parameters))

    sqlalchemy.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        sqlalchemy.event.remove(database.engine, "before_cursor_execute", note)


def plan(tx: Transaction, statement: str, parameters: Any) -> list[str]:
    explain = "EXPLAIN" if tx.is_postgresql else "EXPLAIN QUERY PLAN"
    return [str(row[-1]) for row in tx.connection.exec_driver_sql(f"{explain} {statement}", parameters)]


def reads_the_task(step: str) -> bool:
    """Tell whether a step of SQLite's plan goes through the rows of a task, or of all."""
    of_events = re.match(r"(SCAN|SEARCH) (TABLE )?(task_event|named)\b", step)
    return of_events is not None and (of_events[1] == "SCAN" or step.endswith("(task_id=?)"))


def of_keys(tx: Transaction) -> None:
    keys = [name[:2] for name in NAMES if name[2] == 0]
    for log in (LOG, TaskLog(task_id=LOG.task_id, newest_first=True)):
        found = events.read_rows_of_keys(tx, log, keys, lambda _: [bytes(32)])
        assert {name_of(row) for row in found.rows} == set(NAMES)
    absent = events.read_rows_of_keys(tx, LOG, [("group 1", 0), ("", 0)], lambda _: [])
    assert (absent.rows, absent.next_ordinals) == ([], {})


def of_rows_behind(tx: Transaction) -> None:
    for log, start in ((LOG, 0), (TaskLog(task_id=LOG.task_id, newest_first=True), -(2**62))):
        found = events.read_rows_of_key_behind(tx, log, NAMES[-1][:2], start, 5, stored=2)
        assert {name_of(row) for row in found} == set(NAMES[-2:])


def of_payloads(tx: Transaction) -> None:
    found = events.read_payloads(tx, LOG.task_id, rows_named(NAMES))
    assert {name: payload.data for name, payload in found.items()} == {
        name: payload_of(name) for name in NAMES
    }


def of_facets(tx: Transaction) -> None:
    assert set(read_summed(tx, LOG.task_id, rows_named(NAMES))) == set(NAMES)


def of_vanished(tx: Transaction) -> None:
    unseen = events.read_unseen(tx, LOG, SEEN, limit=2)
    assert [(row.group_id, row.ordinal) for row in unseen] == [("twins", 1)]
    journal = Journal(tx=tx, task_id=LOG.task_id, run_id=None, enrolled=True)
    assert events.mark_vanished(tx, LOG, SEEN, journal) == 1
    assert events.mark_vanished(tx, LOG, SEEN, journal) == 0


def rows_named(names: list[RowName]) -> list[StoredRow]:
    return [
        StoredRow(
            group_id=name[0],
            timestamp=name[1],
            ordinal=name[2],
            seq=0,
            digest=b"",
            canonical=None,
            vanished=False,
        )
        for name in names
    ]


@pytest.mark.parametrize("ask", [of_keys, of_rows_behind, of_payloads, of_facets, of_vanished])
def test_every_name_is_found_and_no_task_is_read_for_it(
    database: Database, ask: Callable[[Transaction], None]
) -> None:
    with database.transaction() as tx:
        with statements(database) as asked:
            ask(tx)
        assert asked
        for statement, parameters in asked:
            steps = plan(tx, statement, parameters)
            if not tx.is_postgresql:
                assert [step for step in steps if reads_the_task(step)] == []
            elif "unnest" in statement:
                assert any("pk_task_event" in step for step in steps), steps
                assert not any("Seq Scan" in step or "Hash" in step for step in steps), steps


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_list_of_row_values_would_be_seen(database: Database) -> None:
    columns = task_event.c
    name = sqlalchemy.tuple_(columns.group_id, columns.timestamp, columns.ordinal)
    some = sqlalchemy.select(columns.data).where(columns.task_id == LOG.task_id, name.in_(NAMES[:2]))
    with database.transaction() as tx, statements(database) as asked:
        tx.connection.execute(some).all()
        assert any(reads_the_task(step) for step in plan(tx, *asked[0]))
