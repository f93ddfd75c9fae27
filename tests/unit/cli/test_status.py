from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from maia_sync.cli.status_verb import stale_tasks
from maia_sync.clock import ManualClock
from maia_sync.model import Task, TaskStatus
from maia_sync.store.reading import TaskFigures

NOW = ManualClock().now()


def figures(
    status: TaskStatus, polled: datetime | None, *, tracked: timedelta = timedelta(days=9)
) -> TaskFigures:
    task = Task(
        task_id="t",
        label=None,
        status=status,
        tracked_at=NOW - tracked,
        last_polled_at=polled,
        last_news_at=None,
        next_poll_at=None,
        failures=0,
        last_error=None,
        last_error_at=None,
        lease_owner=None,
        lease_expires_at=None,
        lease_epoch=0,
    )
    return TaskFigures(task=task, events=0, vanished=0)


@pytest.mark.parametrize(
    ("one", "stale"),
    [
        (figures("active", NOW - timedelta(seconds=899)), False),
        (figures("active", NOW - timedelta(seconds=901)), True),
        (figures("active", None), True),
        (figures("active", None, tracked=timedelta(seconds=5)), False),
        (figures("active", NOW + timedelta(seconds=5)), False),
        (figures("forbidden", NOW - timedelta(days=1)), True),
        (figures("missing", NOW - timedelta(days=1)), True),
        (figures("paused", NOW - timedelta(days=1)), False),
        (figures("untracked", None), False),
    ],
)
def test_a_task_is_stale_unless_it_is_meant_to_be(one: TaskFigures, *, stale: bool) -> None:
    assert bool(stale_tasks([one], NOW, 900.0)) is stale
