"""`maia-sync query` from outside: formats, files, bad questions, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from cli_folder import CliFolder, for_sandbox

from maia_sync.analytics.named import read_named_queries
from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIALECTS = ("sqlite", "postgresql")
FOR_EVER = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(x) FROM c",
    "postgresql": "SELECT pg_sleep(3600)",
}
MANY = {
    "sqlite": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {rows}) "
    "SELECT n, printf('%.{size}c', 'x') AS text FROM c",
    "postgresql": "SELECT n, repeat('x', {size}) AS text FROM generate_series(1, {rows}) n",
}
TASK = "0b1e7a52-6c1f-4d0e-9d4b-3f4a2c8e7d10"


@pytest.fixture(scope="module")
def databases(
    tmp_path_factory: pytest.TempPathFactory,
    migrated_sqlite: Path,
    new_postgresql_database: Callable[[], str],
    one_authority: Path,
) -> dict[str, str]:
    """The URLs of two databases that hold the same world; nothing here writes to them."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copyfile(migrated_sqlite, folder / "copy.db")
    urls = {"sqlite": f"sqlite:///{folder}/copy.db", "postgresql": new_postgresql_database()}
    world = make_world(seed=7, tasks=2, events_per_task=150)
    with SandboxServer(world) as server:
        for url in urls.values():
            cli = for_sandbox(folder, server.url, one_authority)
            cli.variables["MAIA_SYNC_DATABASE__URL"] = url
            cli.ok("track", *world.logs)
            cli.ok("sync")
    return urls


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, databases: dict[str, str], dialect: str) -> CliFolder:
    return CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL=databases[dialect])


@pytest.fixture
def on_sqlite(tmp_path: Path, databases: dict[str, str]) -> CliFolder:
    return CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL=databases["sqlite"])


EVENTS = "SELECT task_id, occurred_at, event_type, data FROM v_event ORDER BY task_id, seq"


# ------------------------------------------------------------------ what comes out


def test_the_formats_hold_the_same_on_both_databases(databases: dict[str, str], tmp_path: Path) -> None:
    outputs = []
    for url in databases.values():
        cli = CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL=url)
        as_csv = cli.ok("query", EVENTS, "--format", "csv").out
        as_json = cli.ok("query", EVENTS, "--json").json()
        as_table = cli.ok("query", EVENTS).out
        assert list(csv.DictReader(io.StringIO(as_csv))) == as_json
        assert len(as_json) == 300
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", as_json[0]["occurred_at"])
        assert len(as_table.splitlines()) == 302
        cli.ok("query", EVENTS, "--output", "out.parquet")
        parquet = pq.read_table(tmp_path / "out.parquet")
        assert str(parquet.schema.field("occurred_at").type) == "timestamp[us, tz=UTC]"
        moment = datetime.fromisoformat(as_json[0]["occurred_at"]).replace(tzinfo=UTC)
        first = parquet.to_pylist()[0]
        assert first == {**as_json[0], "occurred_at": moment}
        outputs.append((as_csv, as_json, as_table, parquet))
    assert outputs[0] == outputs[1]


def test_what_has_a_name_is_asked_by_name(folder: CliFolder) -> None:
    rows = folder.ok("query", "tools", "--json").json()
    calls = folder.ok("query", "SELECT count(*) AS n FROM v_tool_call", "--json").json()
    assert sum(row["calls"] for row in rows) == calls[0]["n"] > 0
    assert rows == folder.ok("query", "tools", "--since", "20000d", "--until", "2100-01-01", "--json").json()
    assert folder.ok("query", "tools", "--since", "2100-01-01T00:00:00+02:00", "--json").json() == []
    assert len(folder.ok("query", "slowest-calls", "--limit", "3", "--json").json()) == 3
    (task,) = folder.ok("query", "SELECT task_id FROM v_task ORDER BY 1 LIMIT 1", "--json").json()
    of_task = folder.ok("query", "slowest-calls", "--task", task["task_id"].upper(), "--json").json()
    assert {row["task_id"] for row in of_task} == {task["task_id"]}


def test_every_named_query_is_answered(folder: CliFolder) -> None:
    for name in ("daily", "hourly", "errors", "stale-tasks"):
        assert len(folder.ok("query", name).out.splitlines()) > 2, name
    days = [row["day"] for row in folder.ok("query", "daily", "--json").json()]
    assert days == sorted(days, reverse=True)
    found = folder.ok(
        "query", "daily", "--since", days[0], "--until", f"{days[0]}T00:00:01Z", "--json"
    ).json()
    assert [row["day"] for row in found] == days[:1]
    assert folder.ok("query", "daily", "--until", days[-1], "--json").json() == []


def test_days_are_those_of_the_reporting_time_zone(on_sqlite: CliFolder) -> None:
    sql = "SELECT :since AS since, :since_day AS since_day, :until_day AS until_day"
    done = on_sqlite.run(
        *("query", sql, "--since", "2026-01-05", "--until", "2026-01-07", "--json"),
        MAIA_SYNC_FACETS__TIME_ZONE="Asia/Tokyo",
    )
    assert done.json() == [
        {"since": "2026-01-04 15:00:00.000000", "since_day": "2026-01-05", "until_day": "2026-01-06"}
    ]


def test_sql_comes_from_stdin_too_and_may_name_parameters(folder: CliFolder) -> None:
    sql = "\ufeff-- how many?\nSELECT count(*) AS n FROM v_event WHERE task_id = :task;\n"
    assert folder.ok("query", "-", "--task", TASK, "--json", stdin=sql).json() == [{"n": 0}]


def test_names_are_listed_and_their_sql_is_shown(on_sqlite: CliFolder) -> None:
    listed = on_sqlite.ok("query", "--list", "--json").json()
    assert [one["name"] for one in listed] == list(read_named_queries())
    assert listed[0].keys() == {"name", "description", "parameters", "default_limit"}
    told = on_sqlite.ok("query", "--list").out
    for one in listed:
        options = "".join(f" [--{option}]" for option in one["parameters"])
        assert f"{one['name']}{options}\n    {one['description']}\n" in told
    shown = on_sqlite.ok("query", "--show", "tools").out
    asked = on_sqlite.ok("query", "-", "--limit", "50", "--json", stdin=shown).json()
    assert asked == on_sqlite.ok("query", "tools", "--json").json()


def test_a_limit_is_for_the_rows_that_are_printed(folder: CliFolder) -> None:
    for form in ("csv", "json", "table"):
        done = folder.ok("query", EVENTS, "--limit", "2", "--format", form)
        lines = len(done.out.splitlines())
        assert lines == {"csv": 3, "json": 4, "table": 4}[form]
        assert ("more rows than these 2" in done.err) == (form == "table")


def test_odd_values_break_nothing(on_sqlite: CliFolder) -> None:
    sql = """SELECT json_extract('{"a":"\\ud83d"}', '$.a') AS half, 'a' || char(0) AS nul, 9e999 AS much,
    9223372036854775807 AS n, x'00ff' AS raw, CAST(x'ff' AS text) AS bad, char(27) AS esc"""
    (row,) = on_sqlite.ok("query", sql, "--json").json()
    assert row == {
        "half": "\ud83d",
        "nul": "a\0",
        "much": None,
        "n": 9223372036854775807,
        "raw": "00ff",
        "bad": "\\xff",
        "esc": "\x1b",
    }
    (line,) = on_sqlite.ok("query", sql).out.splitlines()[2:]
    assert line.split() == [
        "\\ud83d",
        "a\\u0000",
        "Infinity",
        "9223372036854775807",
        "00ff",
        "\\xff",
        "\\u001b",
    ]
    on_sqlite.ok("query", sql, "--format", "csv", "--output", "out.csv")
    assert (
        on_sqlite.path.joinpath("out.csv").read_bytes().splitlines()[1].startswith(b"\\ud83d,a\0,Infinity,")
    )
    on_sqlite.ok("query", sql, "--output", "out.parquet")
    (row,) = pq.read_table(on_sqlite.path / "out.parquet").to_pylist()
    assert (row["half"], row["nul"], row["raw"]) == ("\\ud83d", "a\0", b"\x00\xff")


# ------------------------------------------------------------------ where to


def test_a_file_is_replaced_only_by_a_whole_answer(folder: CliFolder, dialect: str) -> None:
    target = folder.path / "out.csv"
    target.write_text("yesterday's")
    failing = {
        "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 40000) "
        "SELECT CASE WHEN x < 40000 THEN x ELSE abs(-9223372036854775807 - 1) END FROM c",
        "postgresql": "SELECT 1 / (40000 - x) FROM generate_series(1, 40000) x",
    }
    done = folder.run("query", failing[dialect], "--output", "out.csv")
    assert (done.code, done.is_one_clear_sentence()) == (2, True), done
    assert "integer overflow" in done.err or "division by zero" in done.err
    assert target.read_text() == "yesterday's"
    assert names_in(folder.path) == ["out.csv"]
    folder.ok("query", "SELECT 1 AS one", "--output", "out.csv")
    assert target.read_text() == "one\n1\n"
    folder.ok("query", "SELECT 1 AS one", "--format", "json", "--output", "out.csv")
    assert json.loads(target.read_text()) == [{"one": 1}]
    assert names_in(folder.path) == ["out.csv"]


def test_parquet_goes_through_a_pipe(folder: CliFolder) -> None:
    command = [sys.executable, "-m", "maia_sync", "query", "SELECT 1 AS a, 2 AS a", "--format", "parquet"]
    done = subprocess.run(command, cwd=folder.path, env=folder.variables, capture_output=True, check=True)
    assert pq.read_table(io.BytesIO(done.stdout)).to_pylist() == [{"a": 1, "a_2": 2}]
    assert done.stderr == b""


def test_without_pyarrow_the_command_that_helps_is_told(on_sqlite: CliFolder) -> None:
    (on_sqlite.path / "pyarrow.py").write_text("raise ModuleNotFoundError('pyarrow')")
    path = f"{on_sqlite.path}:{on_sqlite.variables['PYTHONPATH']}"
    done = on_sqlite.run_apart("query", "SELECT 1", "--output", "out.parquet", PYTHONPATH=path)
    assert (done.code, done.is_one_clear_sentence()) == (2, True), done
    assert "pip install 'maia-sync[parquet]'" in done.err
    assert on_sqlite.run_apart("query", "SELECT 1", PYTHONPATH=path).code == 0


def on_terminal(folder: CliFolder, *arguments: str) -> tuple[int, str]:
    """Run with a terminal for stdout; return the exit code and what the terminal was given."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "maia_sync", *arguments],
        cwd=folder.path,
        env={**folder.variables, "COLUMNS": "60", "LINES": "20"},
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    parts = []
    try:
        while select.select([ours], [], [], 60)[0]:
            if not (part := os.read(ours, 65536)):
                break
            parts.append(part)
    except OSError:  # how Linux tells that the other side has been closed
        pass
    os.close(ours)
    process.communicate(timeout=60)
    return process.returncode, b"".join(parts).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_no_control_character_reaches_a_terminal(on_sqlite: CliFolder, form: str) -> None:
    sql = "SELECT char(27) || '[2J' AS \"x\x1b[1m\", char(0x202e, 0x9b) AS y, char(0xd800) AS z"
    code, shown = on_terminal(on_sqlite, "query", sql, "--format", form)
    assert code == 0
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown) is None
    assert "\\u001b[2J" in shown


def test_a_terminal_gets_what_fits_it(on_sqlite: CliFolder) -> None:
    many = MANY["sqlite"].format(rows=1500, size=300)
    code, shown = on_terminal(on_sqlite, "query", many)
    assert code == 0
    assert len(shown.splitlines()) == 1002
    assert max(map(len, shown.splitlines())) == 60
    code, shown = on_terminal(on_sqlite, "query", many, "--limit", "1200")
    assert len(shown.splitlines()) == 1202
    code, shown = on_terminal(on_sqlite, "query", many, "--format", "parquet")
    assert (code, shown) == (2, "")


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--list"),
        ([""], "the query is empty"),
        (["slowest-turn"], "did you mean slowest-turns"),
        (["DELETE FROM task"], "only reads"),
        (["SELECT 1; DELETE FROM task"], "one statement"),
        (["SELECT nothing FROM task"], "nothing"),
        (["SELECT 'a\nb' FROM nowhere"], "nowhere"),
        (["SELECT 1", "--since", "7d"], "takes no --since"),
        (["SELECT 1", "--task", TASK], "takes no --task"),
        (["daily", "--task", TASK], "the query daily takes no --task: it takes --since, --until, --limit"),
        (["stale-tasks", "--since", "7d"], "takes no --since"),
        (["tools", "--task", "x"], "UUID"),
        (["tools", "--since", "yesterday"], "--since: expected"),
        (["tools", "--until", "20260105"], "--until: expected"),
        (["tools", "--limit", "0"], "--limit"),
        (["tools", "--limit", "9223372036854775808"], "--limit"),
        (["tools", "--timeout", "soon"], "--timeout: expected"),
        (["tools", "--format", "xml"], "expected one of table, csv, json, parquet"),
        (["tools", "--format", "csv", "--json"], "contradict"),
        (["tools", "--output", "no/such/folder.csv"], "cannot write"),
        (["tools", "--output", "."], "cannot write"),
        (["--list", "tools"], "--list takes nothing beside it but --json"),
        (["--list", "--since", "7d"], "--list takes nothing"),
        (["--show", "tools", "--json"], "--show takes nothing beside it"),
        (["--show", "tool"], "did you mean tools"),
    ],
)
def test_a_question_that_cannot_be_is_one_sentence(
    on_sqlite: CliFolder, arguments: list[str], told: str
) -> None:
    done = on_sqlite.run("query", *arguments)
    assert done.code == 2, done
    assert done.is_one_clear_sentence(), done
    assert told in done.err
    assert names_in(on_sqlite.path) == []


def test_stdin_that_is_no_text_is_refused(on_sqlite: CliFolder) -> None:
    done = on_sqlite.run("query", "-", stdin=b"SELECT '\xff'")
    assert (done.code, done.is_one_clear_sentence()) == (2, True), done


def test_a_database_that_cannot_be_asked_is_told_as_elsewhere(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/none.db", "postgresql://127.0.0.1:1/x?connect_timeout=2"):
        folder = CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL=url)
        for question in ("SELECT 1", "tools"):
            done = folder.run("query", question, "--output", "out.csv")
            assert (done.code, done.is_one_clear_sentence()) == (5, True), done
    (tmp_path / "old.db").touch()
    done = CliFolder(tmp_path, MAIA_SYNC_DATABASE__URL=f"sqlite:///{tmp_path}/old.db").run(
        "query", "SELECT 1"
    )
    assert (done.code, done.is_one_clear_sentence()) == (5, True), done
    assert "db upgrade" in done.err
    assert names_in(tmp_path) == ["old.db"]


# ------------------------------------------------------------------ how it ends


def test_a_query_ends_at_its_time(folder: CliFolder, dialect: str) -> None:
    done = folder.run_apart("query", FOR_EVER[dialect], "--timeout", "300ms", "--output", "out.csv")
    assert (done.code, done.is_one_clear_sentence()) == (1, True), done
    assert "longer than 0.3 seconds" in done.err
    assert names_in(folder.path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_query_leaves_nothing_behind(
    folder: CliFolder, dialect: str, number: signal.Signals, code: int
) -> None:
    # Between the file's making and its "with", a signal leaves it to the garbage collector to close.
    folder.variables["PYTHONWARNINGS"] = "error,ignore::ResourceWarning"
    process = folder.start("query", FOR_EVER[dialect], "--output", "out.csv")
    await_file(folder.path)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "", "")
    assert names_in(folder.path) == []


def names_in(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


def await_file(path: Path) -> None:
    """Wait for the file that is made just before the database is asked."""
    until = time.monotonic() + 30
    while not names_in(path):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_reader_who_goes_ends_it(folder: CliFolder, dialect: str) -> None:
    process = folder.start("query", MANY[dialect].format(rows=2_000_000, size=50), "--format", "csv")
    assert process.stdout is not None
    assert process.stdout.readline() == "n,text\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


WATCHED = """
import sys
from maia_sync.cli.main import run
code = run(sys.argv[1:])
with open("/proc/self/status") as status:
    (peak,) = [line.split()[1] for line in status if line.startswith("VmHWM")]
sys.stderr.write(peak)
sys.exit(code)
"""
"""The command, which then tells its peak in kilobytes; `ru_maxrss` would carry over what the tests have."""


@pytest.mark.parametrize(
    ("form", "rows", "most"),
    [
        ("table", 50_000, 120_000),
        ("csv", 50_000, 120_000),
        ("json", 50_000, 120_000),
        ("parquet", 100_000, 300_000),
    ],
)
def test_memory_does_not_grow_with_the_answer(
    folder: CliFolder, dialect: str, form: str, rows: int, most: int
) -> None:
    sql = MANY[dialect].format(rows=rows, size=4000)
    command = [sys.executable, "-c", WATCHED, "query", sql, "--format", form]
    with (folder.path / "out").open("wb") as out:
        done = subprocess.run(
            command, cwd=folder.path, env=folder.variables, stdout=out, stderr=subprocess.PIPE, check=True
        )
    if form == "parquet":
        assert pq.read_metadata(folder.path / "out").num_rows == rows
    else:
        assert (folder.path / "out").stat().st_size > rows * 4000
    assert int(done.stderr) < most, f"kilobytes, for an answer of {rows * 4} thousand"
