"""Is every line a sentence with stable fields, one a run, and harmless to a terminal?"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from maia_sync.clock import ManualClock
from maia_sync.errors import Bug, DatabaseUnreachable
from maia_sync.model import PageApplied, RequestMade, RunReport, RunStarted, Waited, WalkReport
from maia_sync.service.logs import LONGEST_TEXT, Log, RunLog, harmless, set_up_logging
from maia_sync.settings import LogSettings, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maia_sync.model import Observation

TASK = "11111111-2222-4333-8444-555555555555"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _standard_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, show = root.handlers[:], warnings.showwarning
    yield
    root.handlers[:], warnings.showwarning = handlers, show
    logging.captureWarnings(capture=False)
    structlog.contextvars.clear_contextvars()


class Lines(io.StringIO):
    def parsed(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def log_to(stream: io.StringIO, *, style: Any = "json", level: Any = "info") -> Log:
    return set_up_logging(LogSettings(format=style, level=level), stream=stream, clock=ManualClock(START))


def fail(text: str) -> None:
    raise ValueError(text)


def report(**changes: Any) -> RunReport:
    values: dict[str, Any] = {
        "run_id": 7,
        "kind": "poll",
        "started_at": START,
        "ended_at": START + timedelta(seconds=1.5),
        "status": "succeeded",
        "tasks": 3,
        "held": ("a", "b"),
        "walks": (),
        "requests": 4,
        "pages": 3,
        "size_bytes": 1000,
        "new": 5,
        "changed": 1,
        "unchanged": 2,
        "quarantined": 0,
        "vanished": 0,
        "doubted": 0,
        "failed": 0,
    }
    return RunReport(**{**values, **changes})


def page() -> PageApplied:
    return PageApplied(
        task_id=TASK,
        kind="poll",
        new=1,
        changed=0,
        unchanged=0,
        quarantined=0,
        vanished=0,
        size_bytes=10,
        end_reached=True,
    )


EVERYTHING: tuple[Observation, ...] = (
    RunStarted(run_id=7, kind="poll", tasks=0),
    RequestMade(method="GET", status=200, seconds=0.1),
    RequestMade(method="GET", status=None, seconds=0.1),
    Waited(seconds=4.9, cause="UpstreamBusy"),
    page(),
    WalkReport(task_id=TASK, kind="poll", pages=1, new=1),
    WalkReport(task_id=TASK),
    report(),
)


def test_a_json_line_has_time_level_event_and_sentence_first_and_its_fields_behind() -> None:
    stream = Lines()
    log_to(stream).warning("job_missed", message="A job was missed.", job="poll", run_id=None)
    assert list(stream.parsed()[0].items()) == [
        ("time", "2026-01-01T00:00:00.000Z"),
        ("level", "warning"),
        ("event", "job_missed"),
        ("message", "A job was missed."),
        ("job", "poll"),
    ]


def test_a_console_line_says_the_same() -> None:
    stream = Lines()
    log = log_to(stream, style="console")
    log.warning("job_missed", message="A job was missed.", job="poll", seconds=1.5, reason="too late", no="")
    log.info("stopped")
    first, second = stream.getvalue().splitlines()
    assert first == (
        "2026-01-01T00:00:00.000Z WARNING job_missed: A job was missed.  "
        'job=poll seconds=1.500 reason="too late" no=""'
    )
    assert second == "2026-01-01T00:00:00.000Z INFO    stopped:"


def test_at_info_a_run_is_one_line_however_many_pages_it_has() -> None:
    stream = Lines()
    observe = RunLog(log_to(stream))
    for observation in EVERYTHING:
        observe(observation)
    (line,) = stream.parsed()
    assert line == {
        "time": "2026-01-01T00:00:00.000Z",
        "level": "info",
        "event": "run_finished",
        "message": "Run 7 (poll) succeeded: tasks 3, new events 5, changed 1, in 1.5 s.",
        "run_id": 7,
        "kind": "poll",
        "status": "succeeded",
        "tasks": 3,
        "held": 2,
        "failed": 0,
        "requests": 4,
        "pages": 3,
        "new": 5,
        "changed": 1,
        "unchanged": 2,
        "vanished": 0,
        "quarantined": 0,
        "bytes": 1000,
        "seconds": 1.5,
    }


def test_at_debug_every_page_and_request_is_a_line_with_the_run_it_is_of() -> None:
    stream = Lines()
    observe = RunLog(log_to(stream, level="debug"))
    for observation in EVERYTHING:
        observe(observation)
    lines = stream.parsed()
    assert [line["event"] for line in lines] == [
        "run_started",
        "request_made",
        "request_made",
        "waiting",
        "page_stored",
        "walk_finished",
        "walk_finished",
        "run_finished",
    ]
    assert {line["run_id"] for line in lines} == {7}


def test_runs_at_once_keep_their_ids_apart() -> None:
    stream = Lines()
    observe = RunLog(log_to(stream))

    async def run(run_id: int, met: asyncio.Barrier) -> None:
        observe(RunStarted(run_id=run_id, kind="poll", tasks=0))
        await met.wait()
        failed = WalkReport(task_id=f"task of {run_id}", kind="poll", error="no", error_kind="TaskMissing")
        await asyncio.create_task(asyncio.to_thread(observe, failed))
        observe(report(run_id=run_id))

    async def both() -> None:
        met = asyncio.Barrier(2)
        await asyncio.gather(run(1, met), run(2, met))

    asyncio.run(both())
    failures = [line for line in stream.parsed() if line["event"] == "task_failed"]
    assert {(line["run_id"], line["task_id"]) for line in failures} == {(1, "task of 1"), (2, "task of 2")}


def test_a_failed_task_and_a_lost_lease_are_warnings_of_their_own() -> None:
    stream = Lines()
    observe = RunLog(log_to(stream, level="warning"))
    observe(
        WalkReport(task_id=TASK, kind="poll", error="upstream knows no such task", error_kind="TaskMissing")
    )
    observe(WalkReport(task_id=TASK, lease_lost=True, pages=2))
    observe(report(status="failed", error="1 of 3 tasks failed"))
    failed, lost = stream.parsed()
    assert (failed["event"], failed["level"], failed["task_id"]) == ("task_failed", "warning", TASK)
    assert (failed["message"], failed["error_kind"]) == ("upstream knows no such task", "TaskMissing")
    assert (lost["event"], lost["task_id"]) == ("lease_lost", TASK)


def test_a_run_that_failed_or_was_interrupted_says_so() -> None:
    stream = Lines()
    observe = RunLog(log_to(stream))
    observe(report(status="failed", error="the API is down"))
    observe(report(status="interrupted", interrupted_by=15))
    failed, interrupted = stream.parsed()
    assert failed["message"] == "Run 7 (poll) failed: the API is down"
    assert interrupted["message"].startswith("Run 7 (poll) was interrupted: ")


def test_a_long_wait_is_told_and_a_short_one_is_not() -> None:
    stream = Lines()
    observe = RunLog(log_to(stream))
    observe(Waited(seconds=4.9, cause="TooManyRequests"))
    observe(Waited(seconds=5.0, cause="TooManyRequests"))
    (line,) = stream.parsed()
    assert (line["event"], line["seconds"], line["error_kind"]) == ("waiting", 5.0, "TooManyRequests")


def test_a_database_that_is_away_is_one_warning_until_it_is_back() -> None:
    stream = Lines()
    observe = RunLog(log_to(stream))
    for wait in (0.2, 0.4, 5.0, 5.0):
        observe(Waited(seconds=wait, cause="DatabaseUnreachable"))
    observe(page())
    observe(page())
    assert [(line["event"], line["level"]) for line in stream.parsed()] == [
        ("database_lost", "warning"),
        ("database_back", "info"),
    ]


@pytest.mark.parametrize("style", ["console", "json"])
def test_no_line_holds_what_a_terminal_obeys_nor_breaks(style: str) -> None:
    stream = Lines()
    hostile = "a\x1b[2Jb\r\nevent=forged \x07\x7f\x9b31m\u202e\u2028\ud800\U000e0001"
    log_to(stream, style=style).warning("task_failed", message=hostile, task_id=hostile, names=[hostile])
    text = stream.getvalue()
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert text.count("\n") == 1


def test_ordinary_text_of_any_language_stays_and_long_text_is_cut() -> None:
    assert harmless("Größe 山田 é שלום") == "Größe 山田 é שלום"
    assert harmless("x\ny\u202e\U000e0001") == "x\\ny\\u202e\\udb40\\udc01"
    assert harmless("x" * 5000) == "x" * LONGEST_TEXT + "..."


def test_a_secret_in_a_field_is_hidden() -> None:
    stream = Lines()
    log_to(stream).info("started", message="Up.", url=Secret("https://ping.example/abc"))
    assert stream.parsed()[0]["url"] == "***"


def test_of_an_unforeseen_exception_the_place_is_told_and_not_the_text() -> None:
    stream = Lines()
    log = log_to(stream)
    try:
        fail("the payload {'secret': 1}")
    except ValueError as error:
        log.exception("job_failed", message="A job failed.", job="poll")
        log.warning("job_failed", message="A job failed.", job="poll", exc_info=error)
    for line in stream.parsed():
        assert line["error_kind"] == "ValueError"
        assert re.search(
            r"test_logs\.py:\d+ test_of_an_unforeseen.* > .*test_logs.py:\d+ fail", line["place"]
        )
    assert len(stream.parsed()) == 2
    assert "payload" not in stream.getvalue()


def test_of_our_own_errors_the_sentence_is_told_and_of_a_bug_the_place_too() -> None:
    stream = Lines()
    log = log_to(stream)
    log.error("tick_failed", message="No.", exc_info=DatabaseUnreachable("the database is away"))
    log.error("tick_failed", message="No.", exc_info=Bug("an invariant"))
    ours, bug = stream.parsed()
    assert (ours["error"], "place" in ours) == ("the database is away", False)
    assert (bug["error"], "place" in bug) == ("an invariant", True)


def test_what_libraries_warn_of_goes_to_the_same_place_and_once_after_a_second_set_up() -> None:
    first, second = Lines(), Lines()
    log_to(first)
    log_to(second)
    library = logging.getLogger("some.library")
    library.info("Added job")
    library.warning("Run time of job %s was missed", "poll\x1b")
    try:
        fail("payload")
    except ValueError:
        library.exception("Job raised\nValueError('payload')")
    odd_record = logging.LogRecord("lib", logging.WARNING, "", 1, "%d", ("no number",), None)
    logging.getLogger().handlers[-1].handle(odd_record)
    assert first.getvalue() == ""
    missed, raised, odd = second.parsed()
    assert (missed["event"], missed["level"]) == ("library", "warning")
    assert (missed["logger"], missed["message"]) == (
        "some.library",
        "Run time of job poll\\u001b was missed",
    )
    assert (raised["level"], raised["error_kind"]) == ("error", "ValueError")
    assert odd["message"] == "%d"
    assert "payload" not in second.getvalue()


def test_a_warning_of_python_is_a_line_too() -> None:
    stream = Lines()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log_to(stream)
        warnings.warn("late", RuntimeWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert [line["logger"] for line in stream.parsed()] == ["py.warnings"]


def test_a_stream_that_fails_or_knows_no_unicode_never_stops_the_work() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    log_to(ascii_only, style="console").info("started", message="Größe")
    assert b"Gr\\xf6\\xdfe" in ascii_only.buffer.getvalue()  # type: ignore[attr-defined]
    closed = io.StringIO()
    log = log_to(closed)
    closed.close()
    log.info("started", message="Nobody hears this.")
