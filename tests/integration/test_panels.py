"""Do the panels of page and report answer what they say? On both databases, and by the SQL they show."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest
from told_story import NOW, TOKEN, ask, open_reading, open_writing, store_story, store_surroundings, task_ids

from maia_sync.analytics.filling import fill_panel, values_of
from maia_sync.analytics.panels import read_panels
from maia_sync.analytics.window import Window
from maia_sync.clock import ManualClock
from maia_sync.store.statement import read_statement
from maia_sync.store.task_list import DESCENDING_FIRST, SORTS, Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.analytics.filling import Filled
    from maia_sync.store.asking import ReadingDatabase

PANELS = read_panels()
UTC_ZONE = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
DAY = timedelta(days=1)


def window(since: datetime | None, until: datetime | None, zone: ZoneInfo = UTC_ZONE) -> Window:
    return Window(since=since, until=until, zone=zone, label="then")


WINDOWS = {
    "all": window(None, None),
    "short": window(NOW - DAY, NOW),
    "long": window(NOW - 7 * DAY, NOW),
    "open end": window(NOW - 2 * DAY, None),
    "odd": window(datetime(2026, 1, 6, 1, 2, 3, 123456, UTC), datetime(2026, 1, 7, 9, 30, 0, 100, UTC)),
    "year 1": window(datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)),
}
CASES = [
    (name, chosen)
    for name, panel in PANELS.items()
    for chosen in WINDOWS
    if chosen == "all" or not panel.statement.parameters <= {"limit", "task"}
]
OF_THIS_MOMENT = {"freshness", "stale-tasks", "task-copy"}
"""Panels that tell how long ago something was."""


@pytest.fixture(scope="module")
def filled_sqlite(migrated_sqlite: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("panels") / "told.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    yield from _filled(f"sqlite:///{path}")


@pytest.fixture(scope="module")
def filled_postgresql(new_postgresql_database: Callable[[], str]) -> Iterator[str]:
    yield from _filled(new_postgresql_database())


def _filled(url: str) -> Iterator[str]:
    with closing(open_writing(url)) as database:
        store_story(database)
        store_surroundings(database)
    yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"filled_{request.param}"))


@pytest.fixture
def reading(url: str) -> Iterator[ReadingDatabase]:
    with closing(open_reading(url, ManualClock(NOW))) as database:
        yield database


def rows_by_driver(url: str, sql: str) -> list[Any]:
    """Ask a database as sqlite3 and psql would, in a time zone of its own."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(sql).fetchall()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'Asia/Kathmandu'")
        return connection.execute(sql.encode()).fetchall()


def fill(reading: ReadingDatabase, name: str, chosen: Window, **more: Any) -> Filled:
    filled = fill_panel(reading, PANELS[name], chosen, timeout=60, **more)
    assert filled.trouble is None, filled.trouble
    return filled


def told(filled: Filled) -> list[dict[str, Any]]:
    return [dict(zip(filled.columns, row, strict=True)) for row in filled.rows]


# ------------------------------------------------------------------ every panel


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_says_what_it_asks_and_what_to_do_without_an_answer(name: str) -> None:
    panel = PANELS[name]
    assert panel.title
    assert panel.description.endswith("?")
    assert panel.empty.endswith(".")
    assert "above" not in panel.empty  # a report has no choice of time above it
    assert panel.empty.count("maia-sync") == panel.empty.count("`maia-sync") == panel.empty.count("`") / 2
    assert "each day" not in panel.description  # bars can be weeks or years
    assert "--" not in panel.statement.text
    assert panel.statement.parameters <= {"since", "until", "since_day", "until_day", "task", "limit"}
    assert (panel.limit is not None) == ("limit" in panel.statement.parameters)


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_both_databases_answer_a_panel_alike(
    filled_sqlite: str, filled_postgresql: str, name: str, chosen: str
) -> None:
    found = []
    for url in (filled_sqlite, filled_postgresql):
        with closing(open_reading(url, ManualClock(NOW))) as reading:
            found.append(fill(reading, name, WINDOWS[chosen]))
    first, second = found
    assert first.columns == second.columns
    if name in OF_THIS_MOMENT:
        assert len(first.rows) == len(second.rows)
    else:
        assert first.rows == second.rows
    chart = PANELS[name].chart
    if chart is not None:
        assert {chart.along, *(each.column for each in chart.series)} <= set(first.columns)
    if chosen == "all":
        assert first.rows, "the story has nothing of this"


@pytest.mark.parametrize(("name", "chosen"), CASES)
def test_the_sql_that_a_panel_shows_gives_its_rows(
    url: str, reading: ReadingDatabase, name: str, chosen: str
) -> None:
    for task_id in (None, task_ids(1)[0]):
        filled = fill(reading, name, WINDOWS[chosen], task_id=task_id)
        again = read_statement(filled.sql)
        assert again.parameters == frozenset()
        assert len(rows_by_driver(url, filled.sql)) == len(filled.rows)
        if name not in OF_THIS_MOMENT:
            with reading.ask(again) as answer:
                assert tuple(answer.rows) == filled.rows


@pytest.mark.parametrize("name", PANELS)
def test_no_panel_knows_page_tokens_or_whole_payloads(reading: ReadingDatabase, name: str) -> None:
    text = PANELS[name].statement.text
    assert "token" not in text.replace("input_tokens", "").replace("output_tokens", "")
    filled = fill(reading, name, WINDOWS["all"])
    assert not {"data", "extra", "raw"} & set(filled.columns)
    cells = [cell for row in filled.rows for cell in row if isinstance(cell, str)]
    assert TOKEN not in cells
    assert all(len(cell) <= 300 for cell in cells)


# ------------------------------------------------------------------ figures


def test_the_days_come_to_what_the_views_say(reading: ReadingDatabase) -> None:
    for name, columns in {
        "activity": "day, events, user_messages, agent_messages, tool_calls, "
        "events - user_messages - agent_messages - tool_calls",
        "tool-calls": "day, tool_calls, tool_calls - tool_errors, tool_errors, "
        "round(1.0 * tool_errors / tool_calls, 4)",
        "tokens": "day, input_tokens, output_tokens",
        "cost": "day, round(CAST(cost AS numeric), 5)",
    }.items():
        expected = ask(reading, f"SELECT {columns} FROM v_daily ORDER BY day DESC")
        assert list(fill(reading, name, WINDOWS["all"]).rows) == expected, name
        hourly = ask(
            reading, f"SELECT {columns.replace('day', 'hour_at')} FROM v_hourly ORDER BY hour_at DESC"
        )
        by_hour = fill(reading, f"{name}-by-hour", WINDOWS["all"]).rows
        assert set(by_hour) <= set(hourly), name


def test_the_figures_are_those_of_the_views(reading: ReadingDatabase) -> None:
    [row] = told(fill(reading, "figures", WINDOWS["all"]))
    [expected] = ask(
        reading,
        "SELECT sum(events), sum(turns), sum(tool_calls), sum(tool_errors), sum(errors), sum(input_tokens), "
        "sum(output_tokens) FROM v_daily",
    )
    names = ("events", "turns", "tool_calls", "tool_errors", "errors", "input_tokens", "output_tokens")
    assert tuple(row[name] for name in names) == expected
    assert row["active_tasks"] == 3
    assert row["tool_error_rate"] == pytest.approx(row["tool_errors"] / row["tool_calls"], abs=1e-4)


def test_a_window_holds_its_first_moment_and_not_its_last(reading: ReadingDatabase) -> None:
    [first] = told(fill(reading, "latest-errors", WINDOWS["all"], limit=1))
    at = datetime.fromisoformat(first["occurred_at"]).replace(tzinfo=UTC)
    instant = timedelta(microseconds=1)
    for bounds, number in (
        ((at, at + instant), 1),
        ((at - instant, at), 0),
        ((at - DAY, at + instant), None),
    ):
        filled = fill(reading, "latest-errors", window(*bounds))
        pasted = ask(reading, filled.sql)
        assert pasted == list(filled.rows)
        found = [row for row in told(filled) if row["occurred_at"] == first["occurred_at"]]
        assert len(found) >= 1 if number is None else len(filled.rows) == number


def test_tools_are_what_their_view_says(reading: ReadingDatabase) -> None:
    expected = ask(
        reading,
        "SELECT tool_name, calls, errors, p50_ms, p95_ms, max_ms, last_at FROM v_tool "
        "ORDER BY calls DESC, tool_name",
    )
    found = [
        (*(row[name] for name in ("tool_name", "calls", "failed", "p50_ms", "p95_ms", "max_ms", "last_at")),)
        for row in told(fill(reading, "tools", WINDOWS["all"]))
    ]
    assert found == [(*row[:3], *(round(each) for each in row[3:6]), row[6]) for row in expected]
    assert PANELS["tool-durations"].statement is PANELS["tools"].statement


def test_failing_and_unanswered_calls_are_those_of_the_view(reading: ReadingDatabase) -> None:
    failing = told(fill(reading, "failing-calls", WINDOWS["all"]))
    expected = ask(
        reading,
        "SELECT task_id, result_seq, tool_name FROM v_tool_call "
        "WHERE outcome = 'error' AND result_seq IS NOT NULL",
    )
    assert {(row["task_id"], row["seq"], row["tool_name"]) for row in failing} == set(expected)
    assert [row["failed_at"] for row in failing] == sorted(
        (row["failed_at"] for row in failing), reverse=True
    )
    unanswered = told(fill(reading, "unanswered-calls", WINDOWS["all"]))
    calls = ask(
        reading, "SELECT task_id, call_seq FROM v_tool_call WHERE result_seq IS NULL AND outcome IS NULL"
    )
    assert {(row["task_id"], row["seq"]) for row in unanswered} == set(calls)


def test_errors_count_vanished_events_for_nothing(reading: ReadingDatabase) -> None:
    [number] = ask(reading, "SELECT count(*) FROM v_error")[0]
    assert sum(row["errors"] for row in told(fill(reading, "error-types", WINDOWS["all"]))) == number


def test_the_state_of_the_copy_is_told(reading: ReadingDatabase) -> None:
    [row] = told(fill(reading, "freshness", WINDOWS["all"]))
    assert (row["tasks"], row["active"], row["failing"], row["never_complete"]) == (3, 2, 1, 0)
    assert row["worst_lag_seconds"] > 5 * 3600
    assert dict(fill(reading, "task-states", WINDOWS["all"]).rows) == {"active": 2, "forbidden": 1}
    [failing] = told(fill(reading, "failing-tasks", WINDOWS["all"]))
    assert (failing["task_id"], failing["last_error"]) == (task_ids(3)[1], "the API answered 503")
    [worker] = told(fill(reading, "workers", WINDOWS["all"]))
    assert (worker["worker"], worker["tasks"]) == ("worker-7", 1)
    runs = told(fill(reading, "runs", WINDOWS["all"]))
    assert [row["new"] for row in runs] == list(range(39, 9, -1))
    assert list(runs[0])[:9] == [
        *("started_at", "ended_at", "kind", "status", "error", "walks", "failed", "requests", "new"),
    ]
    assert [row[:3] for row in fill(reading, "quarantine", WINDOWS["all"]).rows] == [
        ("invalid UTF-8", 2, task_ids(1)[0]),
        ("not an object", 1, task_ids(1)[0]),
    ]
    assert fill(reading, "kept", WINDOWS["all"]).rows == ((5, 3, 3, 0, 0),)


def test_the_copy_is_late_by_the_bound_that_is_configured(reading: ReadingDatabase) -> None:
    late = []
    for max_lag in (0, 10**9):
        panel = read_panels(max_lag)["freshness"]
        [row] = told(fill_panel(reading, panel, WINDOWS["all"], timeout=60))
        assert row["max_lag_seconds"] == max_lag
        late.append(row["stale"])
    assert late == [row["active"], 0]
    assert row["active"] > 0


def test_a_task_of_its_own_is_asked_alone(reading: ReadingDatabase) -> None:
    first = task_ids(1)[0]
    for name in ("slowest-turns", "slowest-calls", "latest-errors", "failing-calls"):
        rows = told(fill(reading, name, WINDOWS["all"], task_id=first))
        assert {row["task_id"] for row in rows} == {first}, name


def test_how_complete_the_copy_of_one_task_is(reading: ReadingDatabase) -> None:
    first, second, third = task_ids(3)
    [failing] = told(fill(reading, "task-copy", WINDOWS["all"], task_id=second))
    assert (failing["status"], failing["last_error"]) == ("active", "the API answered 503")
    assert failing["lag_seconds"] > 5 * 3600
    for task_id, numbers in ((first, 3), (second, 0)):
        [kept] = told(fill(reading, "kept", WINDOWS["all"], task_id=task_id))
        assert kept["quarantined_elements"] == numbers
        quarantined = fill(reading, "quarantine", WINDOWS["all"], task_id=task_id)
        assert sum(row["quarantined"] for row in told(quarantined)) == numbers
    [kept] = told(fill(reading, "kept", WINDOWS["all"], task_id=third))
    assert kept["vanished_events"] == 3
    revisions = [
        told(fill(reading, "kept", WINDOWS["all"], task_id=each))[0]["earlier_versions_kept"]
        for each in task_ids(3)
    ]
    assert sum(revisions) == 5
    stored = [told(fill(reading, "stored", WINDOWS["all"], task_id=each))[0] for each in (None, first)]
    assert stored[0]["stored_events"] > stored[1]["stored_events"] > 0


def test_tasks_are_named_by_their_labels_wherever_they_are_listed(reading: ReadingDatabase) -> None:
    names = dict(ask(reading, "SELECT task_id, label FROM task"))
    listing = [
        name for name, panel in PANELS.items() if "task_id" in fill(reading, name, WINDOWS["all"]).columns
    ]
    assert {"slowest-calls", "failing-calls", "unanswered-calls", "latest-errors", "quarantine"} <= set(
        listing
    )
    for name in listing:
        for row in told(fill(reading, name, WINDOWS["all"])):
            assert row["label"] == names[row["task_id"]], name


def test_turns_that_took_no_time_are_not_among_the_slowest(reading: ReadingDatabase) -> None:
    [[turns]] = ask(reading, "SELECT count(*) FROM v_turn WHERE duration_seconds > 0")
    rows = told(fill(reading, "slowest-turns", WINDOWS["all"], limit=100_000))
    assert len(rows) == turns
    assert min(row["duration_seconds"] for row in rows) > 0


def test_errors_without_a_type_have_no_type(reading: ReadingDatabase) -> None:
    types = {row["error_type"] for row in told(fill(reading, "errors-by-type", WINDOWS["all"], limit=1000))}
    assert "not told" not in types
    [[untyped]] = ask(reading, "SELECT count(*) FROM v_error WHERE error_type IS NULL")
    assert ("no type" in types) == bool(untyped)


def test_a_limit_of_none_is_the_panels_own() -> None:
    panel = PANELS["runs"]
    assert values_of(panel, WINDOWS["all"]) == {"limit": 30}
    assert values_of(panel, WINDOWS["all"], limit=3) == {"limit": 3}
    whole = read_statement(panel.statement.spelt_out({"limit": None}))
    assert f"LIMIT {2**63 - 1}" in whole.text


# ------------------------------------------------------------------ the newest event


def test_an_event_of_the_future_is_not_the_newest(reading: ReadingDatabase) -> None:
    panel = PANELS["newest-event"]
    newest = ask(reading, "SELECT max(occurred_at) FROM task_event")[0][0]
    assert fill(reading, panel.name, WINDOWS["all"]).rows == ((newest,),)
    at = datetime.fromisoformat(str(newest)).replace(tzinfo=UTC)
    [[before]] = fill(reading, panel.name, window(None, at)).rows
    assert str(before) < str(newest)
    assert fill(reading, panel.name, window(None, datetime(1999, 1, 1, tzinfo=UTC))).rows == ((None,),)


# ------------------------------------------------------------------ the list of tasks


def listed(reading: ReadingDatabase, listing: Listing) -> list[dict[str, Any]]:
    with reading.ask(listing.statement(), listing.values(), timeout=60) as answer:
        names = [column.name for column in answer.columns]
        rows = [dict(zip(names, row, strict=True)) for row in answer.rows]
    pasted = ask(reading, listing.statement().spelt_out(listing.values()))
    assert pasted == [tuple(row.values()) for row in rows]
    return rows


def test_tasks_come_with_the_figures_of_their_view(reading: ReadingDatabase) -> None:
    names = (
        *("task_id", "label", "status", "events", "turns", "tool_calls", "tool_errors", "errors"),
        *("input_tokens", "output_tokens", "last_at", "last_polled_at"),
    )
    expected = ask(reading, f"SELECT {', '.join(names)} FROM v_task")
    assert {tuple(row[name] for name in names) for row in listed(reading, Listing())} == set(expected)


@pytest.mark.parametrize("sort", SORTS)
def test_tasks_are_sorted_both_ways_and_page_by_page(reading: ReadingDatabase, sort: Any) -> None:
    def value(row: dict[str, Any]) -> Any:
        if sort == "tokens":
            return row["input_tokens"] + row["output_tokens"]
        if sort == "lag":
            return row["last_polled_at"] or row["tracked_at"]
        return row[{"news": "last_news_at"}.get(sort, sort)]

    for descends in (True, False):
        listing = Listing(sort=sort, is_descending=descends)
        rows = listed(reading, listing)
        assert len(rows) == 3
        values = [value(row) for row in rows if value(row) is not None]
        values = [each.lower() if sort == "label" else each for each in values]
        assert values == sorted(values, reverse=descends != (sort == "lag"))
        assert all(value(row) is None for row in rows[len(values) :])
        pages = [listed(reading, msgspec.structs.replace(listing, offset=at, limit=1))[0] for at in range(3)]
        assert pages == rows
        assert {row["found"] for row in pages} == {3}
    assert sort in ("label", "status") or sort in DESCENDING_FIRST


@pytest.mark.parametrize(
    ("search", "number"),
    [
        ("load", 1),
        ("LOAD ord", 1),
        ("ärger", 1),
        ("ÄRGER", 1),
        ("100%_", 1),
        ("%", 1),
        ("_", 1),
        ("!", 0),
        ("'", 0),
        ("\\", 0),
        ("<script>", 1),
        (task_ids(3)[2][4:20].upper(), 1),
        ("", 3),
    ],
)
def test_a_search_is_for_exactly_these_characters_in_small_or_capital_letters(
    reading: ReadingDatabase, search: str, number: int
) -> None:
    assert len(listed(reading, Listing(search=search))) == number


def test_tasks_are_filtered_by_state(reading: ReadingDatabase) -> None:
    assert len(listed(reading, Listing(state="active"))) == 2
    assert listed(reading, Listing(state="paused")) == []
    assert len(listed(reading, Listing(state="forbidden", search=task_ids(3)[2]))) == 1


# ------------------------------------------------------------------ windows


def test_the_window_before_is_as_long_by_the_clock_on_the_wall() -> None:
    # In Berlin, clocks went forward in the night to 29 March 2026.
    since = datetime(2026, 3, 28, tzinfo=BERLIN).astimezone(UTC)
    until = datetime(2026, 4, 4, tzinfo=BERLIN).astimezone(UTC)
    before = window(since, until, BERLIN).before(until)
    assert before is not None
    assert before.values()["since_day"] == date(2026, 3, 21)
    assert before.until == since
    assert before.label == "the 7 days before"
    unfinished = window(since, until, BERLIN).before(until - timedelta(hours=5))
    assert unfinished is not None
    assert unfinished.label == "the same time 7 days before"


def test_a_day_that_has_just_begun_is_not_compared_with_a_whole_one() -> None:
    until = NOW.replace(hour=0) + DAY
    before = window(until - 7 * DAY, until).before(NOW)
    assert before is not None
    assert (before.since, before.until) == (until - 14 * DAY, NOW - 7 * DAY)


def test_a_window_with_an_open_end_has_none_before() -> None:
    assert window(None, NOW).before(NOW) is None
    assert window(NOW, None).before(NOW) is None
    assert window(datetime(1, 1, 1, tzinfo=UTC), NOW).before(NOW) is None


# ------------------------------------------------------------------ plans


@pytest.mark.parametrize("name", PANELS)
def test_no_panel_goes_through_all_events_of_a_bounded_time(filled_sqlite: str, name: str) -> None:
    """On SQLite, whose plans do not depend on what is stored."""
    sql = PANELS[name].statement.spelt_out(values_of(PANELS[name], WINDOWS["short"]))
    for *_, step in rows_by_driver(filled_sqlite, f"EXPLAIN QUERY PLAN {sql}"):
        words = step.split()
        of_events = words[:1] == ["SCAN"] and words[1] in {"e", "c", "p", "r", "n", "f", "task_event"}
        few = {f"ix_task_event_{each}" for each in ("bare_call", "vanished", "pruned")}
        assert not of_events or few & set(words), step
        assert "AUTOMATIC" not in words, step
