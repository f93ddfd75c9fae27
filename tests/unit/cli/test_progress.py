from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from test_summary import FAILED, run

from maia_sync.cli.progress import Bar, Lines
from maia_sync.clock import ManualClock
from maia_sync.model import PageApplied, RunStarted, WalkReport
from maia_sync.settings import LogSettings

if TYPE_CHECKING:
    import pytest

    from maia_sync.model import Observation

PAGE = PageApplied(
    task_id="t",
    kind="poll",
    new=900,
    changed=0,
    unchanged=99,
    quarantined=1,
    vanished=0,
    size_bytes=1,
    end_reached=False,
)
STORY: list[Observation] = [
    RunStarted(run_id=7, kind="sync", tasks=2),
    PAGE,
    PAGE,
    WalkReport(task_id="t", kind="poll", pages=2, new=1800),
    FAILED,
    run(run_id=7, failed=1, status="failed", new=1800),
]


def test_lines_tell_of_runs_and_failures_not_of_pages(capsys: pytest.CaptureFixture[str]) -> None:
    observer = Lines(LogSettings(), ManualClock())
    for seen in STORY:
        observer(seen)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "2026-01-01 00:00:00Z Reading 2 tasks",
        "2026-01-01 00:00:00Z Task some-task failed: the API\\u001b[2J said no",
        "2026-01-01 00:00:00Z The run has failed: 1,800 new events, 1 task failed",
    ]


def test_lines_can_be_json_and_can_be_fewer(capsys: pytest.CaptureFixture[str]) -> None:
    observer = Lines(LogSettings(format="json", level="warning"), ManualClock())
    for seen in STORY:
        observer(seen)
    (line,) = capsys.readouterr().err.splitlines()
    fields = json.loads(line)
    assert (fields["level"], fields["task_id"], fields["error_kind"]) == (
        "warning",
        "some-task",
        "TaskForbidden",
    )


def test_the_bar_counts_tasks_and_events() -> None:
    shown = io.StringIO()
    columns = (
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        TextColumn("{task.fields[events]}"),
    )
    with Progress(*columns, console=Console(file=shown, width=100), auto_refresh=False) as progress:
        bar = Bar(progress)
        for seen in STORY:
            bar(seen)
        (task,) = progress.tasks
        assert (task.completed, task.total) == (2, 2)
        assert "2,000 events" in task.fields["events"]
    assert "some-task" in shown.getvalue()
