"""Does a report say what the database holds, the same in each format and on both databases, and only that?"""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from html_elements import Elements
from sqlalchemy import text
from told_story import (
    NOW,
    TOKEN,
    ask,
    open_reading,
    open_writing,
    store_elements,
    store_story,
    store_surroundings,
    task_ids,
)

from maia_sync.analytics.window import Window
from maia_sync.clock import ManualClock
from maia_sync.report.formats import FORMATS, render
from maia_sync.report.making import SECTIONS, is_known, make_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.report.making import Report
    from maia_sync.store.asking import ReadingDatabase

UTC_ZONE = ZoneInfo("UTC")
WEEK = Window(since=NOW - timedelta(days=7), until=NOW, zone=UTC_ZONE, label="the last 7 days")
DAY = Window(since=NOW - timedelta(days=3), until=NOW - timedelta(days=2), zone=UTC_ZONE, label="a day")


@pytest.fixture(scope="module")
def told_sqlite(migrated_sqlite: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("report") / "told.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    yield from _told(f"sqlite:///{path}")


@pytest.fixture(scope="module")
def told_postgresql(new_postgresql_database: Callable[[], str]) -> Iterator[str]:
    yield from _told(new_postgresql_database())


def _told(url: str) -> Iterator[str]:
    with closing(open_writing(url)) as database:
        store_story(database)
        store_surroundings(database)
    yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def reading(request: pytest.FixtureRequest) -> Iterator[ReadingDatabase]:
    url = str(request.getfixturevalue(f"told_{request.param}"))
    with closing(open_reading(url, ManualClock(NOW))) as database:
        yield database


def made(database: ReadingDatabase, window: Window = WEEK, **options: Any) -> Report:
    return make_report(database, window, version="1.2.3", max_lag=1800.0, **options)


def test_a_report_has_every_panel_of_its_list_and_all_are_answered(reading: ReadingDatabase) -> None:
    report = made(reading)
    assert [filled.panel.name for filled in report.panels] == [
        name for _, names in SECTIONS for name in names
    ]
    assert report.troubles == ()
    answered = {filled.panel.name for filled in report.panels if filled.rows}
    assert {
        "figures",
        "activity",
        "tools",
        "errors",
        "users",
        "models",
        "busiest-tasks",
        "stored",
    } <= answered


def test_the_key_figures_stand_beside_those_of_the_time_before(reading: ReadingDatabase) -> None:
    html = render(made(reading), "html")
    assert "none in the 7 days before" in html
    everything = Window(since=None, until=NOW, zone=UTC_ZONE, label="everything")
    report = made(reading, everything)
    assert report.earlier is None
    assert "before</dd>" not in render(report, "html")


def test_a_short_window_is_told_in_hours(reading: ReadingDatabase) -> None:
    names = [filled.panel.name for filled in made(reading, DAY).panels]
    assert "activity-by-hour" in names
    assert "activity" not in names
    assert "each bar is an hour" in render(made(reading, DAY), "html")


def test_a_report_of_one_task_has_only_what_can_be_told_of_it(reading: ReadingDatabase) -> None:
    task_id = task_ids(3)[0]
    report = made(reading, task_id=task_id)
    assert report.panels
    assert all("task" in filled.panel.statement.parameters for filled in report.panels)
    names = [filled.panel.name for filled in report.panels]
    assert names[:2] == ["figures", "activity"]
    stored = ask(reading, "SELECT count(*) FROM task_event WHERE task_id = :task", task=task_id)
    assert report.panels[0].rows[0][0] == stored[0][0]
    for filled in report.panels:
        if "task_id" in filled.columns:
            assert {row[filled.column("task_id")] for row in filled.rows} <= {task_id}
    assert f"only of task {task_id}" in render(report, "html")


def test_a_report_of_one_task_ends_with_how_complete_its_copy_is(reading: ReadingDatabase) -> None:
    for task_id, error in zip(task_ids(3), (None, "the API answered 503", "403"), strict=True):
        report = made(reading, task_id=task_id)
        last = report.sections[-1]
        assert last.title == "How complete is the copy?"
        assert [filled.panel.name for filled in last.panels] == ["task-copy", "stored", "kept", "quarantine"]
        copy = last.panels[0]
        assert [row[copy.column("last_error")] for row in copy.rows] == [error]
        for form in FORMATS:
            assert error is None or error in render(report, form)
    assert is_known(reading, task_ids(3)[2])
    assert not is_known(reading, "00000000-0000-4000-8000-000000000000")


def test_charts_of_all_time_have_one_axis_whatever_odd_dates_there_are(database_url: str) -> None:
    with closing(open_writing(database_url)) as database:
        store_story(database)
        odd = b'{"data":{"type":"message"},"groupId":"g","timestamp":"0001-01-01T00:00:00Z"}'
        store_elements(database, task_ids(4)[3], [odd])
    everything = Window(since=None, until=NOW, zone=UTC_ZONE, label="everything")
    with closing(open_reading(database_url, ManualClock(NOW))) as database:
        html = render(made(database, everything), "html")
    stretches = set(re.findall(r"<figcaption>([^;]+); each bar is a (\w+)", html))
    assert len(stretches) == 1
    assert {unit for _, unit in stretches} == {"day"}
    assert "1 row with a time far away is in the table." in html


def test_the_formats_tell_the_same(reading: ReadingDatabase) -> None:
    report = made(reading)
    document = json.loads(render(report, "json"))
    rows = list(csv.reader(io.StringIO(render(report, "csv"))))
    as_csv = [(name, column, value) for name, _, column, value in rows[1:] if name != "report"]
    as_json = [
        (panel["name"], column, cell)
        for panel in document["panels"]
        for row in panel["rows"]
        for column, cell in zip(panel["columns"], row, strict=True)
    ]
    assert [(name, column) for name, column, _ in as_csv] == [(name, column) for name, column, _ in as_json]
    for (_, _, in_csv), (_, _, in_json) in zip(as_csv, as_json, strict=True):
        assert in_csv == ("" if in_json is None else str(in_json))
    events = next(row for panel in document["panels"] if panel["name"] == "figures" for row in panel["rows"])[
        0
    ]
    assert f"{events:,}" in render(report, "html")
    assert f"| {events:,} |" in render(report, "md")


def test_both_databases_tell_the_same(told_sqlite: str, told_postgresql: str) -> None:
    documents = []
    for url in (told_sqlite, told_postgresql):
        with closing(open_reading(url, ManualClock(NOW))) as database:
            documents.append(json.loads(render(made(database), "json")))
    for panel in (panel for document in documents for panel in document["panels"]):
        panel.pop("sql")
        if panel["name"] in ("freshness", "stale-tasks"):  # how long ago, by each database's own clock
            panel.pop("rows")
    assert documents[0]["panels"] == documents[1]["panels"]


@pytest.mark.parametrize("form", FORMATS)
def test_no_page_token_and_no_payload_is_in_a_report(reading: ReadingDatabase, form: Any) -> None:
    told = render(made(reading), form)
    assert TOKEN not in told
    assert "userId" not in told
    assert "usage" not in re.sub(r'"(sql|description)": ".*"', "", told) or form == "html"


def test_one_panel_that_fails_is_told_and_the_others_are_there(
    told_sqlite: str, tmp_path: Any, migrated_sqlite: Any
) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    url = f"sqlite:///{path}"
    with closing(open_writing(url)) as database, database.transaction() as tx:
        tx.connection.execute(text("DROP VIEW v_model_usage"))
    with closing(open_reading(url, ManualClock(NOW))) as database:
        report = made(database)
    assert [filled.panel.name for filled in report.troubles] == ["models"]
    html = render(report, "html")
    assert "There is no answer: " in html
    assert "One question has no answer in this report" in html
    assert told_sqlite


def test_hostile_names_in_every_field_are_only_texts(tmp_path: Any, migrated_sqlite: Any) -> None:
    path = tmp_path / "hostile.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    url = f"sqlite:///{path}"
    with closing(open_writing(url)) as database:
        store_story(database)
        store_surroundings(database)
        with database.transaction() as tx:
            for table, columns in TEXT_COLUMNS.items():
                for column in columns:
                    tx.connection.execute(
                        text(f"UPDATE {table} SET {column} = :hostile || substr({column}, 1, 3)"),
                        {"hostile": HOSTILE},
                    )
    with closing(open_reading(url, ManualClock(NOW))) as database:
        report = made(database)
    assert report.troubles == ()
    html = render(report, "html")
    assert html.count("&lt;script&gt;") > 20
    assert "<script" not in html
    assert "<img" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    elements = Elements(html)
    assert not any(name.startswith("on") or name == "style" for _, found in elements.found for name in found)
    assert {found["href"].partition(",")[0] for found in elements.of("a")} == {"data:text/csv;charset=utf-8"}
    assert "<script" not in render(report, "md")


HOSTILE = '"\'><script>alert(1)</script><img src=x onerror="alert(1)">\x1b[31m\u202e'
TEXT_COLUMNS = {
    "task": ("label", "last_error", "lease_owner"),
    "task_event": ("event_type", "user_id", "agent_name", "model", "tool_name", "status", "error_type"),
    "task_turn": ("user_id", "agent_name"),
    "quarantine": ("reason",),
    "sync_run": ("worker", "error"),
}
