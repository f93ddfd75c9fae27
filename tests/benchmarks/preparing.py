"""What does maia-sync need before it can be measured? Its tables and its tasks; measured is neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.store.migrations import upgrade
from maia_sync.store.tasks import upsert_tasks
from tests.benchmarks.subject import open_subject

if TYPE_CHECKING:
    from tests.benchmarks.child import Job

_FOR_QUESTIONS = (
    "ix_task_event_occurred_at",
    "ix_task_event_tool_call_id",
    "ix_task_event_bare_call",
    "ix_task_event_error",
)
"""The indexes of events that only views need."""


def prepare(job: Job) -> None:
    """Make the tables and track the tasks."""
    with open_subject(job) as app:
        upgrade(app.database)
        with app.database.transaction() as tx:
            upsert_tasks(tx, job.work.task_ids)
            for index in _FOR_QUESTIONS if "indexes" in job.without else ():
                tx.connection.exec_driver_sql(f"DROP INDEX {index}")
