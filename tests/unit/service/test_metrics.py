"""Do the numbers count what is observed, under bounded labels, whatever the database does?"""

from __future__ import annotations

import asyncio
import re
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from maia_sync.clock import ManualClock
from maia_sync.errors import DatabaseUnreachable
from maia_sync.model import PageApplied, RequestMade, RunReport, Waited, WalkReport
from maia_sync.service.health import Question
from maia_sync.service.metrics import Metrics
from maia_sync.store.gauges import Gauges
from maia_sync.version import __version__

START = datetime(2026, 1, 1, tzinfo=UTC)
TASK = "11111111-2222-4333-8444-555555555555"
GAUGES = Gauges(
    tasks={"active": 7, "paused": 1, "forbidden": 2, "missing": 3, "untracked": 4},
    due=5,
    reconciles_due=6,
    failing=8,
    over_max_lag=9,
    largest_lag_seconds=12.5,
    leases_of_this_worker=10,
    leases_of_others=11,
    quarantined=13,
    database_bytes=8192,
)


def make_metrics(read: Any = lambda: GAUGES, clock: ManualClock | None = None) -> Metrics:
    return Metrics(read=read, clock=clock or ManualClock(START))


def values_of(metrics: Metrics) -> dict[str, float]:
    """Return every sample as `name{label="value"}` without the prefix."""
    body, _ = asyncio.run(metrics.render())
    return {
        sample.name.removeprefix("maia_sync_")
        + (str(sorted(sample.labels.values())).replace("'", "") if sample.labels else ""): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def page(**counts: int) -> PageApplied:
    values: dict[str, Any] = dict.fromkeys(("new", "changed", "unchanged", "quarantined", "vanished"), 0)
    return PageApplied(
        task_id=TASK,
        kind="poll",
        size_bytes=100,
        end_reached=False,
        commit_seconds=0.02,
        **{**values, **counts},
    )


def report(**changes: Any) -> RunReport:
    zeros = ("pages", "size_bytes", "new", "changed", "unchanged", "quarantined", "vanished", "doubted")
    values: dict[str, Any] = dict.fromkeys((*zeros, "tasks", "requests", "failed"), 0)
    ended = START + timedelta(seconds=2.5)
    values |= {"run_id": 1, "kind": "poll", "started_at": START, "ended_at": ended, "status": "succeeded"}
    return RunReport(**{**values, "held": (), "walks": (), **changes})


def test_events_pages_and_bytes_are_counted_by_result() -> None:
    metrics = make_metrics()
    metrics(page(new=3, unchanged=2))
    metrics(page(new=1, changed=4, vanished=5, quarantined=6))
    values = values_of(metrics)
    results = ("new", "changed", "unchanged", "vanished", "quarantined")
    assert [values[f"events_total[{result}]"] for result in results] == [4, 4, 2, 5, 6]
    assert values["pages_total[poll]"] == 2
    assert values["page_bytes_total"] == 200
    assert values["commit_duration_seconds_count"] == 2
    assert values["commit_duration_seconds_sum"] == pytest.approx(0.04)


def test_a_run_tells_its_end_only_if_it_succeeded() -> None:
    metrics = make_metrics()
    assert not [name for name in values_of(metrics) if name.startswith("last_success")]
    metrics(report(status="failed", error="no"))
    assert not [name for name in values_of(metrics) if name.startswith("last_success")]
    metrics(report())
    metrics(report(kind="reconcile", status="interrupted"))
    values = values_of(metrics)
    assert values["last_success_timestamp_seconds[poll]"] == START.timestamp() + 2.5
    assert values["last_run_duration_seconds[poll]"] == 2.5
    assert values["runs_total[poll, succeeded]"] == values["runs_total[failed, poll]"] == 1
    assert values["runs_total[interrupted, reconcile]"] == 1


def test_a_turn_with_nothing_due_is_a_success_as_well() -> None:
    clock = ManualClock(START)
    metrics = make_metrics(clock=clock)
    clock.advance(60)
    metrics.note_idle_turn("poll")
    assert values_of(metrics)["last_success_timestamp_seconds[poll]"] == START.timestamp() + 60


def test_walks_are_counted_by_how_they_ended() -> None:
    metrics = make_metrics()
    ends: dict[str, dict[str, Any]] = {
        "news": {"kind": "poll", "new": 1},
        "quiet": {"kind": "poll", "unchanged": 9},
        "gave_way": {"kind": "poll", "new": 1, "gave_way": True},
        "held": {},
        "lease_lost": {"lease_lost": True},
        "failed": {"kind": "poll", "error": "no", "error_kind": "TaskMissing"},
    }
    for end in ends.values():
        metrics(WalkReport(task_id=TASK, **end))
    values = values_of(metrics)
    assert {end: values[f"walks_total[{end}]"] for end in ends} == dict.fromkeys(ends, 1.0)
    assert values["walk_failures_total[TaskMissing]"] == 1


def test_requests_and_waits_are_counted_with_their_seconds() -> None:
    metrics = make_metrics()
    for status in (200, 200, 429, None):
        metrics(RequestMade(method="GET", status=status, seconds=0.2))
    metrics(Waited(seconds=1.5, cause="TooManyRequests"))
    metrics(Waited(seconds=2.0, cause="TooManyRequests"))
    values = values_of(metrics)
    assert values["requests_total[200, GET]"] == 2
    assert values["requests_total[429, GET]"] == values["requests_total[GET, none]"] == 1
    assert values["request_duration_seconds_count[GET]"] == 4
    assert values["retry_waits_total[TooManyRequests]"] == 2
    assert values["retry_wait_seconds_total[TooManyRequests]"] == 3.5


def test_what_upstream_invents_makes_no_label_of_its_own() -> None:
    metrics = make_metrics()
    for number in range(100, 1000):
        metrics(RequestMade(method="GET", status=number, seconds=0.1))
        metrics(Waited(seconds=1, cause=f"Kind{number}"))
        metrics(WalkReport(task_id=f"{number}", kind="poll", error="no", error_kind=f"Kind{number}"))
    values = values_of(metrics)
    assert len([name for name in values if name.startswith("requests_total")]) < 80
    assert values["retry_waits_total[other]"] == values["walk_failures_total[other]"] == 900
    assert not [name for name in values if name.startswith("retry") and "Kind" in name]


def test_what_happens_around_the_runs_is_counted() -> None:
    metrics = make_metrics()
    metrics.note_job("poll", "missed")
    metrics.note_job("reconcile", "failed")
    metrics.note_discovery_failure("tasks_file")
    metrics.note_ping(succeeded=True)
    metrics.note_ping(succeeded=False)
    metrics.note_reload(succeeded=True)
    values = values_of(metrics)
    assert values["jobs_missed_total[poll]"] == values["jobs_failed_total[reconcile]"] == 1
    assert values["discovery_failures_total[tasks_file]"] == 1
    assert values["pings_total[succeeded]"] == values["pings_total[failed]"] == 1
    assert (values["reloads_total[succeeded]"], values["reloads_total[failed]"]) == (1, 0)


def test_the_database_tells_its_gauges() -> None:
    values = values_of(make_metrics())
    assert values["database_up"] == 1
    assert values["tasks[active]"] == 7
    assert values["tasks[untracked]"] == 4
    assert values["tasks_due"] == 5
    assert values["reconciles_due"] == 6
    assert values["tasks_failing"] == 8
    assert values["tasks_over_max_lag"] == 9
    assert values["largest_lag_seconds"] == 12.5
    assert (values["leases[this_worker]"], values["leases[other_workers]"]) == (10, 11)
    assert values["quarantine_rows"] == 13
    assert values["database_size_bytes"] == 8192


def test_a_database_that_is_away_takes_only_its_gauges_along() -> None:
    def read() -> Gauges:
        raise DatabaseUnreachable("away")

    metrics = make_metrics(read)
    metrics(page(new=3))
    values = values_of(metrics)
    assert values["database_up"] == 0
    assert values["events_total[new]"] == 3
    assert "tasks_due" not in values


def test_scrapes_in_quick_succession_ask_the_database_once() -> None:
    clock = ManualClock(START)
    asked: list[int] = []

    def read() -> Gauges:
        asked.append(1)
        return GAUGES

    metrics = make_metrics(read, clock)
    values_of(metrics)
    values_of(metrics)
    assert len(asked) == 1
    clock.advance(5)
    values_of(metrics)
    assert len(asked) == 2


def test_every_name_has_prefix_and_unit_and_a_line_of_help() -> None:
    metrics = make_metrics()
    metrics(page(new=1))
    metrics(report())
    body, _ = asyncio.run(metrics.render())
    families = list(text_string_to_metric_families(body.decode()))
    for family in families:
        assert family.name.startswith(("maia_sync_", "process_"))
        assert family.documentation
        for sample in family.samples:
            assert not sample.name.endswith("_created")
            if family.type == "counter":
                assert sample.name.endswith("_total")
            if re.search(r"second|duration|lag_", sample.name) and not sample.name.startswith("process"):
                assert re.search(r"_seconds(_total|_sum|_count|_bucket)?$", sample.name)
    assert [family.name for family in families if family.name.startswith("process_")]
    build = next(family for family in families if family.name.startswith("maia_sync_build"))
    assert build.samples[0].labels == {"version": __version__}


def test_the_format_is_what_the_scraper_asks_for() -> None:
    async def content_type(accept: str) -> tuple[str, bytes]:
        body, kind = await make_metrics().render(accept)
        return kind, body

    plain, _ = asyncio.run(content_type(""))
    assert plain.startswith("text/plain; version=0.0.4")
    openmetrics, body = asyncio.run(content_type("application/openmetrics-text; version=1.0.0,text/plain"))
    assert openmetrics.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_two_metrics_share_nothing() -> None:
    first, second = make_metrics(), make_metrics()
    first(page(new=3))
    assert values_of(second)["events_total[new]"] == 0


def test_a_question_is_asked_once_at_a_time_and_nobody_waits_for_it_for_long() -> None:
    may_answer = threading.Event()
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        may_answer.wait(60)
        return "late"

    async def scenario() -> None:
        hasty = Question(ask, clock=ManualClock(START), patience=0.01)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await hasty.answer()
        assert len(asked) == 1
        hasty._patience = 60
        waiting = [asyncio.create_task(hasty.answer()) for _ in range(3)]
        may_answer.set()
        assert await asyncio.gather(*waiting) == ["late"] * 3
        assert len(asked) == 1

    asyncio.run(scenario())


def test_a_question_that_failed_is_asked_again_when_its_answer_is_stale() -> None:
    answers: list[Any] = [DatabaseUnreachable("away"), "back"]
    clock = ManualClock(START)

    def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scenario() -> None:
        question = Question(ask, clock=clock, fresh=3)
        for _ in range(2):
            with pytest.raises(DatabaseUnreachable):
                await question.answer()
        clock.advance(3)
        assert await question.answer() == "back"

    asyncio.run(scenario())


def test_a_question_that_is_answered_after_the_loop_has_ended_disturbs_nobody() -> None:
    may_answer, answered = threading.Event(), threading.Event()

    def ask() -> None:
        may_answer.wait(60)

    async def scenario(question: Question[None]) -> None:
        with pytest.raises(TimeoutError):
            await question.answer()

    question = Question(ask, clock=ManualClock(START), patience=0.01)
    asyncio.run(scenario(question))
    assert question._asked is not None
    question._asked.add_done_callback(lambda _: answered.set())
    may_answer.set()
    assert answered.wait(60)
