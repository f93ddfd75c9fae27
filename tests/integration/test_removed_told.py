"""Do reports and pages say of how many events only the rows are left, before anybody reads their figures?"""

from __future__ import annotations

import csv
import html
import io
import json
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from page_check import Checked
from sqlalchemy import select, text
from test_web_pages import get, visit
from told_story import NOW, ask, open_reading, open_writing, store_story, task_ids

from maia_sync.analytics.filling import fill_panel
from maia_sync.analytics.panels import read_panels
from maia_sync.analytics.window import Window
from maia_sync.clock import ManualClock
from maia_sync.report.formats import FORMATS, render
from maia_sync.report.making import make_report
from maia_sync.report.removed import OF_TIME, REMOVED, Removed, removed_of
from maia_sync.store.emptying import EmptiedEvent, empty_events
from maia_sync.store.facets import lock_task
from maia_sync.store.schema import task_event

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import httpx

    from maia_sync.analytics.filling import Filled
    from maia_sync.report.making import Report

ALL = Window(since=None, until=None, zone=ZoneInfo("UTC"), label="all time")
ADVICE = ("facets explore", "No event of this time tells tokens", "No tool was called")
COUNT_AS = "they count as events, and not as messages, calls, errors, tokens or cost."
TASKS = task_ids(2)


@pytest.fixture
def told(database_url: str) -> str:
    """Return where two logs of 30 events are stored."""
    with closing(open_writing(database_url)) as database:
        store_story(database, tasks=2, events=30)
    return database_url


def take_out(url: str, task_id: str, most: int, *, erased: bool) -> None:
    """Empty so many of a task's events that are whole, the first ones."""
    named = [task_event.c[name] for name in ("group_id", "timestamp", "ordinal", "revision")]
    whole = (task_event.c.task_id == task_id, task_event.c.pruned_at.is_(None))
    with closing(open_writing(url)) as database, database.transaction() as tx:
        lock_task(tx, task_id)
        rows = tx.connection.execute(
            select(*named).where(*whole).order_by(task_event.c.seq).limit(most)
        ).all()
        emptied = [EmptiedEvent._make((*row, b"k" * 36, b"%036d" % at)) for at, row in enumerate(rows)]
        assert empty_events(tx, task_id, emptied, erased=erased) == most


def made(url: str, window: Window = ALL, **options: Any) -> Report:
    with closing(open_reading(url, ManualClock(NOW))) as database:
        return make_report(database, window, version="1.2.3", max_lag=1800.0, **options)


def pages(url: str, *addresses: str) -> list[str]:
    """Return the pages, each well-formed, as text without entities."""
    found: list[str] = []

    async def look(http: httpx.AsyncClient) -> None:
        for address in addresses:
            found.append((await get(http, address)).text)

    visit(url, look)
    for address, each in zip(addresses, found, strict=True):
        if address.startswith("/tasks/"):
            Checked(each)
    return [html.unescape(each) for each in found]


def test_nothing_is_said_where_every_payload_is_there(told: str) -> None:
    report = made(told)
    assert (report.removed, report.removed_told) == (None, None)
    about = json.loads(render(report, "json"))
    assert (about["pruned_events"], about["erased_events"], about["removed"]) == (0, 0, None)
    for form in ("html", "md"):
        assert COUNT_AS not in render(report, form)
    for page in pages(told, "/?window=all", "/tasks", f"/tasks/{TASKS[0]}"):
        assert "pruned" not in page.replace("pruned_at", "")


def test_what_was_pruned_and_erased_is_told_before_any_figure(told: str) -> None:
    take_out(told, TASKS[0], 10, erased=False)
    take_out(told, TASKS[0], 7, erased=True)
    report = made(told)
    sentence = f"Of 60 events, 10 were pruned and 7 erased: {COUNT_AS}"
    assert report.removed_told == sentence
    assert report.earlier is None
    for form in FORMATS:
        printed = html.unescape(render(report, form))
        begin = {"html": "<h2", "md": "## ", "csv": "figures,", "json": '"panels"'}[form]
        assert 0 < printed.index(sentence) < printed.index(begin)
    about = json.loads(render(report, "json"))
    assert (about["pruned_events"], about["erased_events"], about["removed_at_least"]) == (10, 7, False)
    lines = {
        line[2]: line[3] for line in csv.reader(io.StringIO(render(report, "csv"))) if line[0] == "report"
    }
    assert (lines["pruned_events"], lines["erased_events"]) == ("10", "7")
    kept = next(each for each in report.panels if each.panel.name == "kept")
    told_there = dict(zip(kept.columns, kept.rows[0], strict=True))
    assert (told_there["pruned_events"], told_there["erased_events"]) == (10, 7)

    overview, tools, tasks, task, other = pages(
        told, "/?window=all", "/tools?window=all", "/tasks", *(f"/tasks/{each}" for each in TASKS)
    )
    assert sentence in overview
    assert f"10 were pruned and 7 erased: {COUNT_AS}" in tools
    assert f"Of all events, 10 were pruned and 7 erased: {COUNT_AS}" in tasks
    assert f"Of 30 events, 10 were pruned and 7 erased: {COUNT_AS}" in task
    assert COUNT_AS not in other
    assert made(told, task_id=TASKS[1]).removed is None


def test_no_advice_is_given_where_payloads_are_gone(told: str) -> None:
    for task_id in TASKS:
        take_out(told, task_id, 30, erased=False)
    report = made(told)
    assert report.removed_told == f"Of 60 events, 60 were pruned: {COUNT_AS}"
    printed = [html.unescape(render(report, form)) for form in ("html", "md")]
    overview, *single = pages(
        told, "/?window=all", "/panels/tokens?window=all", "/panels/tool-calls?window=all"
    )
    for each in (*printed, overview, *single):
        assert not any(advice in each for advice in ADVICE)
        assert "No event of this time that still has its payload" in each


def test_only_events_of_the_time_are_told_and_never_a_vanished_one(told: str) -> None:
    take_out(told, TASKS[0], 12, erased=False)
    take_out(told, TASKS[0], 3, erased=True)
    with closing(open_writing(told)) as database, database.transaction() as tx:
        vanish = "UPDATE task_event SET vanished_at = first_seen_at WHERE erased_at IS NOT NULL"
        tx.connection.execute(text(vanish))
        kept = (task_event.c.pruned_at.is_not(None), task_event.c.vanished_at.is_(None))
        moments = tx.connection.execute(select(task_event.c.occurred_at).where(*kept)).scalars()
        times: list[datetime] = sorted(at for at in moments if at is not None)
    until = times[4] + timedelta(microseconds=1)
    within = sum(at < until for at in times)
    assert 5 <= within < len(times)
    window = Window(since=times[0], until=until, zone=ALL.zone, label="a while")
    later = Window(since=times[-1] + timedelta(days=9), until=None, zone=ALL.zone, label="later")
    panels = read_panels()
    with closing(open_reading(told, ManualClock(NOW))) as database:

        def fill(name: str, window: Window, limit: int | None = None) -> Filled:
            return fill_panel(database, panels[name], window, limit=limit)

        assert removed_of(fill(REMOVED, window)) == Removed(pruned=within, erased=0)
        assert removed_of(fill(REMOVED, later)) is None
        few = fill(REMOVED, window, 2)
        assert removed_of(few, fill(OF_TIME, window)) == Removed(pruned=within, erased=0)
        assert removed_of(fill(REMOVED, later, 2), fill(OF_TIME, later)) is None
        at_least = removed_of(few, fill(OF_TIME, window, 2))
        assert at_least == Removed(pruned=2, erased=0, is_at_least=True)
    since, span = times[-1] + timedelta(microseconds=1), times[-1] - times[0]
    for begin, is_compared in ((since, False), (since + 2 * span, True)):
        report = made(told, Window(since=begin, until=begin + 2 * span, zone=ALL.zone, label="after it"))
        assert report.removed is None
        assert (report.earlier is not None) is is_compared


def test_what_counts_them_is_led_by_indexes(migrated_sqlite: Path) -> None:
    with closing(open_reading(f"sqlite:///{migrated_sqlite}", ManualClock(NOW))) as database:
        for panel, index in ((REMOVED, "ix_task_event_pruned"), (OF_TIME, "ix_task_event_occurred_at")):
            filled = fill_panel(database, read_panels()[panel], ALL, task_id=TASKS[0])
            plan = [str(row[3]) for row in ask(database, f"EXPLAIN QUERY PLAN {filled.sql.rstrip(';')}")]
            reading = [line for line in plan if " task_event" in line]
            assert reading
            assert all(index in line for line in reading), plan
