"""What does maia-sync need before it can be measured? Its tables and its tasks; measured is neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maia_sync.store.migrations import upgrade
from maia_sync.store.tasks import upsert_tasks
from tests.benchmarks.subject import open_subject

if TYPE_CHECKING:
    from tests.benchmarks.child import Job


def prepare(job: Job) -> None:
    """Make the tables and track the tasks."""
    with open_subject(job) as app:
        upgrade(app.database)
        with app.database.transaction() as tx:
            upsert_tasks(tx, job.work.task_ids)
