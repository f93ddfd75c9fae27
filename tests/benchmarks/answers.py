"""How quickly does each view answer: for one day, for one task, over everything?

`python -m tests.benchmarks.answers` from the repository's root prints the table of README.md. The copy is
made of the sandbox's stories, decoded and stored by maia-sync's own code without HTTP, one event in a hundred
with an earlier payload; then each question is asked three times, and the quickest counts.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.clock import SystemClock
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.wire import decode_page
from maia_sync.model import NewRow, TaskLog
from maia_sync.sandbox.story import FIRST_DAY, Storyteller, task_uuid
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.database import Database
from maia_sync.store.migrations import upgrade
from maia_sync.store.summaries import add_events
from maia_sync.store.tasks import upsert_tasks
from tests.benchmarks.databases import PostgresqlDatabases, SqliteDatabases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.databases import Place

EVENTS_PER_TASK = 2_000
BEGINS_AFTER = timedelta(minutes=90)
"""Each task begins so long after the one before: 500 tasks are a month's work."""
ROUNDS = 3
PAGE = 1_000
STEP = 1 << 20
DAY, NEXT_DAY = "2026-01-20", "2026-01-21"
TARGETS = {"one day": 0.2, "one task": 0.2, "everything": 5.0}


_REVISIONS = """
INSERT INTO task_event_revision
    (task_id, group_id, timestamp, ordinal, revision, data, digest, seen_at, superseded_at)
SELECT task_id, group_id, timestamp, ordinal, 0, data, digest, first_seen_at, occurred_at
FROM task_event WHERE seq / 1048576 = seq / 104857600 * 100
"""


@dataclass(frozen=True, kw_only=True)
class View:
    """A view: by which columns it is asked for a day and for a task, and what over everything."""

    name: str
    day: str | None
    task: str | None = "task_id"
    whole: str = "SELECT * FROM {}"


VIEWS = (
    View(
        name="v_event",
        day="occurred_at",
        whole="SELECT count(*), sum(length(CAST(data AS text))), max(cost) FROM {}",
    ),
    View(name="v_task", day="first_at"),
    View(name="v_turn", day="started_at", whole="SELECT count(*), max(duration_seconds), sum(cost) FROM {}"),
    View(
        name="v_tool_call",
        day="called_at",
        whole="SELECT count(*), count(outcome), max(duration_ms), max(returned_at) FROM {}",
    ),
    View(name="v_tool", day=None, task=None),
    View(name="v_daily", day="day", task=None),
    View(name="v_hourly", day="day", task=None),
    View(name="v_user", day=None, task=None),
    View(name="v_error", day="occurred_at", whole="SELECT count(*), max(error_type), max(seq) FROM {}"),
    View(name="v_model_usage", day="day", task=None),
    View(name="v_gap", day="started_at", whole="SELECT count(*), max(gap_seconds), max(ended_at) FROM {}"),
    View(name="v_revision", day="superseded_at"),
    View(name="v_sync_health", day=None),
)


def stories(events: int) -> Iterator[tuple[str, list[bytes]]]:
    """Yield tasks and the bodies of their pages."""
    for index in range(max(1, events // EVENTS_PER_TASK)):
        teller = Storyteller(f"answers/{index}", FIRST_DAY + index * BEGINS_AFTER)
        elements = teller.tell(EVENTS_PER_TASK)
        pages = [elements[at : at + PAGE] for at in range(0, len(elements), PAGE)]
        yield task_uuid(9, index), [b'{"results":[%b]}' % b",".join(page) for page in pages]


def fill(database: Database, events: int) -> float:
    """Store the stories; return the seconds that storing took."""
    reader = FacetReader(FacetsSettings())
    spent = 0.0
    for task_id, bodies in stories(events):
        seqs = count(STEP, STEP)
        for body in bodies:
            page = decode_page(body)
            rows = [NewRow(event=event, ordinal=0, seq=next(seqs)) for event in page.events]
            began = time.perf_counter()
            with database.transaction() as tx:
                upsert_tasks(tx, [task_id])
                facets = insert_new_rows(tx, TaskLog(task_id=task_id), rows, None, reader)
                groups, moments = (
                    [row.event.group_id for row in rows],
                    [row.event.occurred_at for row in rows],
                )
                add_events(tx, task_id, groups, moments, facets)
            spent += time.perf_counter() - began
    with database.transaction() as tx:
        tx.connection.exec_driver_sql(_REVISIONS)
    return spent


def questions(view: View) -> Iterator[tuple[str, str]]:
    """Yield what is asked of a view, and in which words."""
    if view.day == "day":
        yield "one day", f"SELECT * FROM {view.name} WHERE day = '{DAY}'"
    elif view.day is not None:
        yield (
            "one day",
            f"SELECT * FROM {view.name} WHERE {view.day} >= '{DAY}' AND {view.day} < '{NEXT_DAY}'",
        )
    if view.task is not None:
        yield "one task", f"SELECT * FROM {view.name} WHERE {view.task} = '{task_uuid(9, 7)}'"
    yield "everything", view.whole.format(view.name)


def measured(ask: Callable[[str], list[Any]], question: str) -> tuple[float, int]:
    """Return the seconds of the quickest answer, and its rows."""
    best, rows = float("inf"), 0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        rows = len(ask(question))
        best = min(best, time.perf_counter() - began)
    return best, rows


def table(ask: Callable[[str], list[Any]], dialect: str) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| {dialect}: view | one day | rows | one task | rows | everything | rows |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for view in VIEWS:
        found = {what: measured(ask, question) for what, question in questions(view)}
        cells = []
        for what, most in TARGETS.items():
            if what not in found:
                cells += ["", ""]
                continue
            seconds, rows = found[what]
            cells += [f"{seconds:.3f} s{'' if seconds < most else ', missed'}", f"{rows:,}"]
        yield f"| `{view.name}` | {' | '.join(cells)} |"


def sqlite_asker(place: Place) -> tuple[Any, Callable[[str], list[Any]]]:
    """Return a connection as an analyst's, and what asks it."""
    connection = sqlite3.connect(place.plain)
    return connection, lambda question: connection.execute(question).fetchall()


def postgresql_asker(place: Place) -> tuple[Any, Callable[[str], list[Any]]]:
    """Return a connection as an analyst's, and what asks it."""
    import psycopg

    connection = psycopg.connect(place.plain, autocommit=True)
    connection.execute("ANALYZE")  # autovacuum does so by itself within a minute or so

    def ask(question: str) -> list[Any]:
        """Fetch the whole answer as text: making Python's values takes longer than answering."""
        with connection.cursor() as cursor, cursor.copy(f"COPY ({question}) TO STDOUT") as copy:
            return b"".join(copy).splitlines()

    return connection, ask


def main() -> None:
    """Fill a database of each kind and print how quickly the views answer."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    arguments.add_argument("--folder", type=Path, help="where the databases are made")
    given = arguments.parse_args()
    for dialect in given.database or ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            kind = SqliteDatabases if dialect == "sqlite" else PostgresqlDatabases
            asker = sqlite_asker if dialect == "sqlite" else postgresql_asker
            with kind(Path(folder)) as databases, databases.fresh() as place:
                with closing(Database(url=place.url, clock=SystemClock())) as database:
                    upgrade(database)
                    spent = fill(database, given.events)
                print(f"{given.events:,} events stored in {spent:.0f} s\n", flush=True)
                connection, ask = asker(place)
                with closing(connection):
                    for line in table(ask, dialect):
                        print(line, flush=True)
                print()


if __name__ == "__main__":
    main()
