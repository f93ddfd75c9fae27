from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from maia_sync.cli.standing_lines import archive_lines, overview_lines, retention_lines
from maia_sync.cli.status_verb import check_sentence
from maia_sync.clock import ManualClock
from maia_sync.model import Task, TaskStatus
from maia_sync.settings import Cron, ScheduleSettings
from maia_sync.store.archive_log import Waiting
from maia_sync.store.archive_standing import ArchiveStanding
from maia_sync.store.reading import TaskFigures, Totals
from maia_sync.store.retention_standing import RetentionStanding
from maia_sync.store.standing import Backlog, Leases, Staleness, Standing

NOW = ManualClock().now()


def make_task(status: TaskStatus, polled: datetime | None, *, tracked: timedelta = timedelta(days=9)) -> Task:
    return Task(
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


def make_staleness(**numbers: int) -> Staleness:
    return Staleness(**{"tasks": 0, "never_complete": 0, "forbidden": 0, "missing": 0, **numbers})


def make_standing(**values: Any) -> Standing:
    none_due = Backlog(due=0, due_since=None, next_poll_at=None, reconciles_due=0, next_reconcile_at=None)
    defaults: dict[str, Any] = {
        "now": NOW,
        "by_status": {"active": 3, "paused": 1},
        "totals": Totals(events=1234, vanished=2, revisions=1, quarantined=0),
        "backlog": none_due,
        "staleness": make_staleness(),
        "failing": 0,
        "leases": Leases(held=0, expired=0, holders=(), tasks=()),
        "freshest": (),
        "stalest": (),
        "listed": (),
    }
    return Standing(**{**defaults, **values})


def overview(schedule: ScheduleSettings | None = None, **values: Any) -> dict[str, str]:
    lines = overview_lines(make_standing(**values), 1800.0, schedule or ScheduleSettings())
    return {line[:13].rstrip(): line[13:] for line in lines}


@pytest.mark.parametrize(
    ("task", "lag"),
    [
        (make_task("active", NOW - timedelta(seconds=899)), 899),
        (make_task("active", None, tracked=timedelta(seconds=5)), 5),
        (make_task("active", NOW + timedelta(seconds=5)), 0),
        (make_task("forbidden", NOW - timedelta(days=1)), 86_400),
        (make_task("missing", NOW - timedelta(days=1)), 86_400),
        (make_task("paused", NOW - timedelta(days=1)), None),
        (make_task("untracked", None), None),
    ],
)
def test_a_copy_lags_since_it_was_complete_unless_nobody_polls_it(task: Task, lag: float | None) -> None:
    found = TaskFigures(task=task, events=0, vanished=0).lag(NOW)
    assert (None if found is None else found.total_seconds()) == lag


@pytest.mark.parametrize(
    ("staleness", "sentence"),
    [
        (make_staleness(), "No active task is more than 15m behind"),
        (make_staleness(tasks=1), "Stale: 1 active task is more than 15m behind"),
        (
            make_staleness(tasks=1500, never_complete=1),
            "Stale: 1,500 active tasks are more than 15m behind, 1 of them never complete yet",
        ),
        (
            make_staleness(forbidden=2, missing=1),
            "No active task is more than 15m behind (2 forbidden, 1 missing: no bound)",
        ),
    ],
)
def test_the_check_says_what_is_stale_and_what_has_no_bound(staleness: Staleness, sentence: str) -> None:
    assert check_sentence(staleness, 900.0) == sentence


def test_the_overview_of_an_empty_database_says_what_to_do_next() -> None:
    assert overview(by_status={})["Tasks"] == "none yet: `maia-sync track TASK_ID` begins"


def test_the_overview_says_what_is_due_and_since_when() -> None:
    backlog = Backlog(
        due=2,
        due_since=NOW - timedelta(minutes=3),
        next_poll_at=NOW + timedelta(seconds=20),
        reconciles_due=0,
        next_reconcile_at=NOW + timedelta(days=2),
    )
    lines = overview(backlog=backlog, staleness=make_staleness(tasks=2, never_complete=1))
    assert lines["Tasks"] == "3 active, 1 paused"
    assert lines["Due now"] == "2 tasks, the first for 3m"
    assert lines["Reconcile"] == "none due; the next in 2d"
    assert lines["Stale"] == "2 active tasks more than 30m behind; 1 never complete yet"


def test_the_overview_says_when_cron_reconciles_instead_of_calling_all_tasks_due() -> None:
    schedule = ScheduleSettings(reconcile=Cron(minute="0", hour="3", day="*", month="*", weekday="sun"))
    backlog = Backlog(due=0, due_since=None, next_poll_at=None, reconciles_due=3, next_reconcile_at=NOW)
    assert overview(schedule, backlog=backlog)["Reconcile"] == "at 0 3 * * sun (cron, UTC)"


def test_a_task_that_was_never_complete_is_not_called_behind() -> None:
    lines = overview(stalest=(make_task("active", None, tracked=timedelta(minutes=5)),))
    assert lines["Stalest"] == "incomplete for 5m: t"


def archive(waiting: dict[str, int], **facts: Any) -> list[str]:
    none = dict.fromkeys(("changes", "whole_tasks", "tasks_unknown", "quarantined", "sent", "runs"), 0)
    standing = ArchiveStanding(
        **{
            "origin": "example.com/log",
            "entries": 1234,
            "checkpoint_at": NOW - timedelta(minutes=3),
            "anchored_at": None,
            "anchor_error": None,
            **facts,
        },
        waiting=Waiting(**{**none, **waiting}, last_done_at=None),
    )
    return [*archive_lines(standing, NOW)]


def test_an_archive_that_is_up_to_date_is_two_lines() -> None:
    assert archive({}) == ["Archive      1,234 entries, checkpoint made 3m ago", "To archive   nothing"]


def test_what_waits_for_the_archive_and_what_its_keeper_refused_is_told() -> None:
    assert archive(
        {"changes": 5000, "whole_tasks": 1, "tasks_unknown": 2, "quarantined": 1, "sent": 2, "runs": 1},
        checkpoint_at=None,
        anchor_error="archive.anchor_command ended with\nexit code 1",
    ) == [
        "Archive      begun, without a checkpoint yet",
        "To archive   5,000 changes, 3 whole tasks, 1 quarantined element, 2 messages, 1 run",
        r"Anchoring    failed: archive.anchor_command ended with\nexit code 1",
    ]


def test_what_was_pruned_and_erased_is_told_behind_the_events() -> None:
    none = Totals(events=609, vanished=0, revisions=0, quarantined=0)
    assert overview(totals=none)["Events"] == "609, 0 of them vanished upstream"
    some = Totals(events=609, vanished=0, revisions=0, quarantined=0, pruned=145, erased=262)
    assert overview(totals=some)["Events"] == "609, 0 of them vanished upstream; 145 pruned, 262 erased"


@pytest.mark.parametrize(
    ("number", "is_exact", "holds", "on_all", "told"),
    [
        (0, True, 2, True, "0 events to prune now"),
        (1, True, 0, False, "1 event to prune now"),
        (3_000_000, False, 0, False, "at least 3,000,000 events to prune now"),
        (0, False, 0, False, "how many events to prune now is not known"),
        (7, True, 1, False, "7 events older, of which those on legal hold stay"),
        (7, True, 1, True, "7 events older, all on legal hold"),
    ],
)
def test_what_is_to_be_pruned_is_never_less_than_it_seems(
    number: int, is_exact: bool, holds: int, on_all: bool, told: str
) -> None:
    standing = RetentionStanding(
        retention_seconds=400 * 86_400.0,
        prunes_before=NOW - timedelta(days=400),
        come_of_age=number,
        is_come_of_age_exact=is_exact,
        last_prune=None,
        holds=holds,
        holds_all_tasks=on_all,
        unfinished_erasures=0,
    )
    assert next(retention_lines(standing, NOW)) == f"Retention    payloads stay for 400d; {told}"
