"""What does a small database hold? The sandbox's stories, stored without HTTP, and what panels look for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, text, update

from maia_sync.analytics.facet_reader import FacetReader
from maia_sync.clock import SystemClock
from maia_sync.facet_settings import FacetsSettings
from maia_sync.maia.wire import decode_page
from maia_sync.model import NewRow, TaskLog
from maia_sync.sandbox.story import FIRST_DAY, Storyteller, task_uuid
from maia_sync.store import schema
from maia_sync.store.asking import ReadingDatabase
from maia_sync.store.bulk import insert_new_rows
from maia_sync.store.database import Database
from maia_sync.store.statement import read_statement
from maia_sync.store.summaries import add_events
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from maia_sync.clock import Clock
    from maia_sync.store.answer import Row

STEP = 1 << 20
TOKEN = "page-token-that-nobody-may-see"
NOW = FIRST_DAY + timedelta(days=3, hours=9)
"""When the tests look at it: the stories lie in the two days before."""


def driver_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def open_writing(url: str) -> Database:
    return Database(url=driver_url(url), clock=SystemClock())


def open_reading(url: str, clock: Clock | None = None) -> ReadingDatabase:
    return ReadingDatabase(url=driver_url(url), clock=clock or SystemClock())


def ask(database: ReadingDatabase, sql: str, **values: Any) -> list[Row]:
    with database.ask(read_statement(sql), values, timeout=60) as answer:
        return list(answer.rows)


def task_ids(tasks: int) -> list[str]:
    return [task_uuid(11, index) for index in range(tasks)]


def store_story(database: Database, *, tasks: int = 3, events: int = 300, gap_hours: int = 20) -> None:
    """Store the logs of some tasks, each beginning so long after the one before."""
    reader = FacetReader(FacetsSettings())
    for index, task_id in enumerate(task_ids(tasks)):
        begins = FIRST_DAY + timedelta(hours=gap_hours * index)
        store_elements(database, task_id, Storyteller(f"told/{index}", begins).tell(events), reader)


def store_elements(
    database: Database, task_id: str, elements: Sequence[bytes], reader: FacetReader | None = None
) -> None:
    """Store a log of raw elements, as a sync would, with facets and summaries."""
    page = decode_page(b'{"results":[%b]}' % b",".join(elements))
    seqs = count(STEP, STEP)
    rows = [NewRow(event=event, ordinal=0, seq=next(seqs)) for event in page.events]
    with database.transaction() as tx:
        upsert_tasks(tx, [task_id])
        facets = insert_new_rows(
            tx, TaskLog(task_id=task_id), rows, None, reader or FacetReader(FacetsSettings())
        )
        groups, moments = [row.event.group_id for row in rows], [row.event.occurred_at for row in rows]
        add_events(tx, task_id, groups, moments, facets)


def store_surroundings(database: Database) -> None:
    """Store what there is beside events: checkpoints, leases, failures, runs, quarantine, revisions."""
    first, second, third = task_ids(3)
    soon, late = NOW + timedelta(minutes=1), NOW - timedelta(hours=5)
    of_task: dict[str, dict[str, Any]] = {
        first: {
            "label": "Ärger mit <script>alert(1)</script> 100%_",
            "last_polled_at": NOW - timedelta(minutes=2),
            "last_news_at": NOW - timedelta(hours=1),
            "poll_interval": 60.0,
            "lease_owner": "worker-7",
            "lease_acquired_at": NOW,
            "lease_expires_at": soon,
        },
        second: {"label": "load orders", "last_polled_at": late, "failures": 3, "last_error_at": late}
        | {"last_error": "the API answered 503"},
        third: {"status": "forbidden", "last_error": "403", "last_error_at": late},
    }
    with database.transaction() as tx:
        execute = tx.connection.execute
        execute(update(schema.task).values(next_poll_at=soon, tracked_at=late))
        for task_id, values in of_task.items():
            execute(update(schema.task).where(schema.task.c.task_id == task_id).values(values))
        execute(
            insert(schema.checkpoint).values(
                task_id=first,
                page_token=TOKEN,
                reconcile_token=TOKEN,
                compare_seq=0,
                epoch=1,
                updated_at=NOW,
            )
        )
        for number in range(40):
            execute(
                insert(schema.sync_run).values(
                    kind="poll",
                    worker="worker-7",
                    started_at=late + timedelta(minutes=number),
                    ended_at=late + timedelta(minutes=number, seconds=2),
                    status="succeeded",
                    events_new=number,
                )
            )
        for number, reason in enumerate(("invalid UTF-8", "invalid UTF-8", "not an object")):
            execute(
                insert(schema.quarantine).values(
                    task_id=first, digest=bytes([number]), quarantined_at=NOW, reason=reason, raw=b"[1]"
                )
            )
        columns = "task_id, group_id, timestamp, ordinal, revision, data, digest, seen_at, superseded_at"
        execute(
            text(
                f"INSERT INTO task_event_revision ({columns}) "
                "SELECT task_id, group_id, timestamp, ordinal, 0, data, digest, first_seen_at, first_seen_at "
                "FROM task_event ORDER BY seq, task_id LIMIT 5"
            )
        )
    with database.transaction() as tx:
        tx.connection.execute(
            text("UPDATE task_event SET vanished_at = first_seen_at WHERE task_id = :task AND seq >= :seq"),
            {"task": third, "seq": 298 * STEP},
        )


def moment(text_of_cell: str) -> datetime:
    return datetime.fromisoformat(text_of_cell).replace(tzinfo=UTC)
