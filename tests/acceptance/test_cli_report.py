"""`maia-sync report` from outside: formats, files, what cannot be, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_folder import CliFolder
from told_story import open_writing, store_story, store_surroundings, task_ids

if TYPE_CHECKING:
    from collections.abc import Callable

DIALECTS = ("sqlite", "postgresql")
ALWAYS = ("--since", "2026-01-04", "--until", "2026-01-12")
"""The days of which something is stored."""


@pytest.fixture(scope="module")
def databases(
    tmp_path_factory: pytest.TempPathFactory,
    migrated_sqlite: Path,
    new_postgresql_database: Callable[[], str],
) -> dict[str, str]:
    """The URLs of two databases that hold the same; nothing here writes to them."""
    path = tmp_path_factory.mktemp("told") / "copy.db"
    shutil.copyfile(migrated_sqlite, path)
    urls = {"sqlite": f"sqlite:///{path}", "postgresql": new_postgresql_database()}
    for url in urls.values():
        with closing(open_writing(url)) as database:
            store_story(database)
            store_surroundings(database)
    return urls


@pytest.fixture(params=DIALECTS)
def folder(request: pytest.FixtureRequest, tmp_path: Path, databases: dict[str, str]) -> CliFolder:
    return CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL=databases[request.param])


@pytest.fixture
def on_sqlite(tmp_path: Path, databases: dict[str, str]) -> CliFolder:
    return CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL=databases["sqlite"])


def names_in(folder: CliFolder) -> list[str]:
    return sorted(each.name for each in folder.path.iterdir())


def test_one_file_holds_charts_tables_and_downloads(folder: CliFolder) -> None:
    done = folder.ok("report", *ALWAYS, "-o", "report.html", "--title", "Week <2>")
    html = folder.path.joinpath("report.html").read_text(encoding="utf-8")
    assert done.out == ""
    assert done.err.startswith("Wrote report.html: 22 panels, ")
    assert names_in(folder) == ["report.html"]
    assert "<title>Week &lt;2&gt;</title>" in html
    assert html.count('<svg class="wide"') == html.count('<svg class="narrow"') > 5
    assert html.count('href="data:text/csv;charset=utf-8,') > 10
    assert "<script" not in html
    assert "4 Jan 2026, 00:00 to 12 Jan 2026, 00:00 (UTC)" in html


@pytest.mark.parametrize("name", ["report.md", "report.csv", "report.json", "report.htm"])
def test_the_end_of_a_files_name_says_the_format(on_sqlite: CliFolder, name: str) -> None:
    on_sqlite.ok("report", *ALWAYS, "--output", name)
    text = on_sqlite.path.joinpath(name).read_text(encoding="utf-8")
    begins = {"md": "# What", "csv": "panel,row,", "json": '{\n  "title"', "htm": "<!DOCTYPE html>"}
    assert text.startswith(begins[name.partition(".")[2]])


def test_stdout_gets_any_format(folder: CliFolder) -> None:
    assert folder.ok("report", *ALWAYS).out.startswith("<!DOCTYPE html>")
    assert folder.ok("report", *ALWAYS, "--format", "md").out.startswith("# What the agents did")
    document = folder.ok("report", *ALWAYS, "--json").json()
    assert folder.ok("report", *ALWAYS, "--format", "json", "-o", "-").json().keys() == document.keys()
    rows = list(csv.reader(io.StringIO(folder.ok("report", *ALWAYS, "--format", "csv").out)))
    assert rows[0] == ["panel", "row", "column", "value"]
    figures = {row[2]: row[3] for row in rows if row[0] == "figures"}
    assert int(figures["events"]) == document["panels"][0]["rows"][0][0] > 500


def test_the_window_is_as_for_queries(on_sqlite: CliFolder) -> None:
    def asked(*arguments: str) -> tuple[str | None, str | None]:
        document = on_sqlite.ok("report", "--json", *arguments).json()
        return document["since"], document["until"]

    assert asked(*ALWAYS) == ("2026-01-04T00:00:00.000000Z", "2026-01-12T00:00:00.000000Z")
    assert asked("--since", "all", "--until", "2026-01-05T08:00+01:00") == (
        None,
        "2026-01-05T07:00:00.000000Z",
    )
    since, until = asked()
    assert since is not None
    assert until is not None
    assert since < until
    assert "The last 30 days: " in on_sqlite.ok("report", "--format", "md").out
    assert "The last 12 hours: " in on_sqlite.ok("report", "--since", "12h", "--format", "md").out


def test_days_are_those_of_the_reporting_zone(on_sqlite: CliFolder) -> None:
    done = on_sqlite.run("report", *ALWAYS, "--json", MAIA_SYNC_FACETS__TIME_ZONE="Asia/Tokyo")
    document = json.loads(done.out)
    assert (document["time_zone"], document["since"]) == ("Asia/Tokyo", "2026-01-03T15:00:00.000000Z")


def test_a_copy_is_late_by_the_bound_that_is_configured(on_sqlite: CliFolder) -> None:
    on_sqlite.variables["MAIA_SYNC_SCHEDULE__MAX_LAG"] = "17m"
    told = json.loads(on_sqlite.ok("report", "--json", *ALWAYS).out)
    [freshness] = [panel for panel in told["panels"] if panel["name"] == "freshness"]
    assert dict(zip(freshness["columns"], freshness["rows"][0], strict=True))["max_lag_seconds"] == 1020


def test_a_report_can_be_of_one_task(folder: CliFolder) -> None:
    task_id = task_ids(3)[1]
    document = folder.ok("report", *ALWAYS, "--task", task_id.upper(), "--json").json()
    assert document["task"] == task_id
    assert {panel["name"] for panel in document["panels"]} >= {"tools", "slowest-turns", "error-types"}
    assert {"task-copy", "stored", "kept"} <= {panel["name"] for panel in document["panels"]}
    unknown = "00000000-0000-4000-8000-000000000000"
    done = folder.run("report", *ALWAYS, "--task", unknown, "-o", "report.html")
    assert (done.code, done.is_one_clear_sentence()) == (2, True), done
    assert f"task {unknown} is not tracked" in done.err
    assert names_in(folder) == []


def test_a_report_is_written_by_a_process_of_its_own(on_sqlite: CliFolder) -> None:
    done = on_sqlite.ok_apart("report", *ALWAYS, "--task", task_ids(1)[0], "-o", "report.html")
    assert done.out == ""
    assert done.err.startswith("Wrote report.html: ")
    assert names_in(on_sqlite) == ["report.html"]


def on_terminal(folder: CliFolder, *arguments: str) -> tuple[int, str, str]:
    """Run with a terminal for stdout; return the exit code, what the terminal was given, and stderr."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "maia_sync", *arguments],
        cwd=folder.path,
        env=folder.variables,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # how Linux tells that the other side has been closed
        pass
    os.close(ours)
    err = process.communicate(timeout=60)[1]
    return process.returncode, b"".join(parts).decode(), err.decode()


def test_a_terminal_is_asked_for_a_file_rather_than_given_html(on_sqlite: CliFolder) -> None:
    code, shown, err = on_terminal(on_sqlite, "report", *ALWAYS)
    assert (code, shown) == (2, "")
    assert "use -o report.html, or --format md" in err
    code, shown, _ = on_terminal(on_sqlite, "report", *ALWAYS, "--format", "md")
    assert code == 0
    assert "## Tools" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["-o", "report.pdf"], 2, "expected a name that ends with .html, .md, .csv or .json, or --format"),
        (["-o", "report"], 2, "expected a name that ends with"),
        (["--format", "pdf"], 2, '--format: expected one of html, md, csv, json, got "pdf"'),
        (["--format", "md", "--json"], 2, "contradict each other"),
        (["--since", "20260105"], 2, "--since: expected a duration"),
        (["--until", "soon"], 2, "--until: expected a duration"),
        (["--since", "2026-01-05", "--until", "2026-01-05"], 2, "--since: expected a moment before --until"),
        (["--since", "1d", "--until", "2d"], 2, "--since: expected a moment before --until"),
        (["--task", "seven"], 2, '"seven" is not a task id'),
        (["-o", "none/report.html"], 2, '--output: cannot write "none/report.html": No such file'),
        (["nothing"], 2, ""),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(
    on_sqlite: CliFolder, arguments: list[str], code: int, told: str
) -> None:
    done = on_sqlite.run("report", *arguments)
    assert (done.code, done.out, done.is_one_clear_sentence()) == (code, "", True), done
    assert told in done.err
    assert names_in(on_sqlite) == []


def test_a_database_that_is_not_there_is_told(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/none.db", "postgresql+psycopg://nobody@127.0.0.1:1/none"):
        done = CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL=url).run("report", "-o", "report.html")
        assert (done.code, done.is_one_clear_sentence()) == (5, True), done
    assert not tmp_path.joinpath("report.html").exists()


def test_a_panel_that_fails_is_told_and_the_report_is_there_all_the_same(
    tmp_path: Path, migrated_sqlite: Path
) -> None:
    folder = CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL="sqlite:///copy.db")
    change(migrated_sqlite, tmp_path, "DROP VIEW v_model_usage")
    done = folder.run("report", "-o", "report.html")
    assert done.code == 1
    assert "Error: Models: the database refuses the query: no such table: v_model_usage" in done.err
    assert "There is no answer: " in tmp_path.joinpath("report.html").read_text(encoding="utf-8")


def change(migrated: Path, folder: Path, *statements: str) -> None:
    """Make a database that is not as it should be."""
    import sqlite3

    shutil.copyfile(migrated, folder / "copy.db")
    with closing(sqlite3.connect(folder / "copy.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_report_leaves_what_was_there(
    tmp_path: Path, migrated_sqlite: Path, number: signal.Signals, code: int
) -> None:
    folder = CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL="sqlite:///copy.db")
    for_ever = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS model FROM c"
    change(
        migrated_sqlite,
        tmp_path,
        "DROP VIEW v_model_usage",
        "CREATE VIEW v_model_usage AS SELECT c.model, '2026-01-05' AS day, 1 AS input_tokens, "
        f"1 AS output_tokens, 1 AS cost, 1 AS events FROM ({for_ever}) c",
    )
    tmp_path.joinpath("report.html").write_text("before")
    process = folder.start("report", *ALWAYS, "-o", "report.html")
    await_open(process.pid, tmp_path / "copy.db")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "", "")
    assert tmp_path.joinpath("report.html").read_text() == "before"
    assert [name for name in names_in(folder) if "copy.db" not in name] == ["report.html"]


def await_open(process: int, file: Path) -> None:
    """Wait until a process has had a file open for a while: the question that takes for ever is put."""
    until = time.monotonic() + 30
    seen = 0
    while seen < 5:
        assert time.monotonic() < until
        links = []
        for each in Path(f"/proc/{process}/fd").iterdir():
            try:
                links.append(each.readlink())
            except OSError:  # closed in the meantime
                continue
        seen = seen + 1 if file in links else 0
        time.sleep(0.1)
