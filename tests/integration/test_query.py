"""Is anybody's SQL answered, and nothing else done? On both databases, with one answer from both."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import psycopg
import pytest
from logs import BEARER
from sqlalchemy import text

from maia_sync.analytics.named import NamedQuery, find_named_query, read_named_queries
from maia_sync.app import open_app
from maia_sync.clock import ManualClock, SystemClock
from maia_sync.config import load_settings
from maia_sync.errors import (
    DatabaseError,
    DatabaseNotMigrated,
    DatabaseUnreachable,
    MaiaSyncError,
    UsageError,
)
from maia_sync.sandbox.server import SandboxServer
from maia_sync.sandbox.story import make_world
from maia_sync.store.asking import ReadingDatabase
from maia_sync.store.database import Database
from maia_sync.store.statement import read_statement
from maia_sync.store.tasks import upsert_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maia_sync.clock import Clock
    from maia_sync.store.answer import Row, Value

FOR_EVER = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(x) FROM c",
    "postgresql": "SELECT pg_sleep(3600)",
}
OF_THE_RUN = {"changed", "vanished", "stale-tasks"}
"""Queries whose answers hold the time at which this test ran."""


def driver_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def open_reading(url: str, clock: Clock | None = None) -> ReadingDatabase:
    return ReadingDatabase(url=driver_url(url), clock=clock or SystemClock())


@pytest.fixture
def reading(database_url: str) -> Iterator[ReadingDatabase]:
    with closing(open_reading(database_url)) as database:
        yield database


def ask(database: ReadingDatabase, sql: str, timeout: float | None = None, **values: Value) -> list[Row]:
    with database.ask(read_statement(sql), values, timeout=timeout) as answer:
        return list(answer.rows)


def dialect_of(database: Database) -> str:
    return "postgresql" if database.is_postgresql else "sqlite"


@pytest.fixture
def writing(database_url: str) -> Iterator[Database]:
    with closing(Database(url=driver_url(database_url), clock=SystemClock())) as database:
        yield database


TASK = "0b1e7a52-6c1f-4d0e-9d4b-3f4a2c8e7d10"


@pytest.fixture
def one_task(writing: Database) -> str:
    with writing.transaction() as tx:
        upsert_tasks(tx, [TASK], label="load orders")
    return TASK


# ------------------------------------------------------------------ only read


WRITES = {
    "both": (
        "WITH gone AS (SELECT 1) DELETE FROM task",
        "EXPLAIN ANALYZE DELETE FROM task",
        "WITH gone AS (DELETE FROM task RETURNING task_id) SELECT * FROM gone",
        "SELECT task_id INTO stolen FROM task",
    ),
    "sqlite": (
        "WITH x AS (SELECT 1) UPDATE task SET label = 'mine'",
        "WITH x AS (SELECT 1) INSERT INTO quarantine SELECT * FROM quarantine",
        "WITH x AS (SELECT 1) REPLACE INTO task SELECT * FROM task",
        "SELECT load_extension('nothing')",
        "SELECT * FROM pragma_user_version(5)",
        "SELECT fts3_tokenizer('simple', x'00')",
    ),
    "postgresql": (
        "SELECT * FROM task FOR UPDATE",
        "SELECT nextval('sync_run_id_seq')",
        "SELECT setval('sync_run_id_seq', 77)",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT lo_create(0)",
        "SELECT query_to_xml('DELETE FROM task', true, true, '')",
        "EXPLAIN (ANALYZE) SELECT nextval('sync_run_id_seq')",
    ),
}


def state(database: Database) -> object:
    """Return what a statement above could have changed."""
    with database.transaction(write=False) as tx:
        tasks = [tuple(row) for row in tx.connection.execute(text("SELECT * FROM task"))]
        if not database.is_postgresql:
            schema = "SELECT type, name, sql FROM sqlite_master"
            version = tx.connection.execute(text("PRAGMA user_version")).scalar()
            return tasks, version, [tuple(row) for row in tx.connection.execute(text(schema))]
        tables = "SELECT table_name FROM information_schema.tables ORDER BY 1"
        sequence = tx.connection.execute(text("SELECT last_value, is_called FROM sync_run_id_seq")).one()
        return tasks, tuple(sequence), [tuple(row) for row in tx.connection.execute(text(tables))]


def test_a_query_that_would_write_is_refused_and_changes_nothing(
    reading: ReadingDatabase, writing: Database, one_task: str
) -> None:
    before = state(writing)
    for sql in (*WRITES["both"], *WRITES[dialect_of(reading)]):
        with pytest.raises(UsageError) as caught:
            ask(reading, sql)
        assert "\n" not in str(caught.value), sql
        assert state(writing) == before, sql
        assert ask(reading, "SELECT task_id FROM task") == [(one_task,)]


def test_what_postgresql_lets_an_explain_make_is_gone_when_it_ends(
    new_postgresql_database: Callable[[], str],
) -> None:
    url = new_postgresql_database()
    with closing(open_reading(url)) as database, psycopg.connect(url, autocommit=True) as other:
        assert ask(database, "EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1")
        assert other.execute("SELECT to_regclass('made')").fetchone() == (None,)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "SELECT 1; COMMIT; DELETE FROM task",
        "EXPLAIN SELECT 1; COMMIT; DELETE FROM task",
        "SELECT 1 /* a */ ; -- b\n ROLLBACK",
    ],
)
def test_one_statement_is_one_statement(
    reading: ReadingDatabase, writing: Database, one_task: str, sql: str
) -> None:
    with pytest.raises(UsageError, match="one statement"):
        ask(reading, sql)
    # The databases refuse it on their own as well, whatever we make of the text.
    harmless = read_statement("EXPLAIN SELECT 1" if sql.startswith("EXPLAIN") else "SELECT 1")
    with (
        pytest.raises(UsageError, match="refuses"),
        reading.ask(msgspec.structs.replace(harmless, text=sql)) as answer,
    ):
        list(answer.rows)
    with writing.transaction(write=False) as tx:
        assert tx.connection.execute(text("SELECT count(*) FROM task")).scalar() == 1
    assert one_task


@pytest.mark.parametrize(
    "sql",
    ["ATTACH 'other.db' AS other", "VACUUM INTO 'copy.db'", "PRAGMA journal_mode = DELETE", "DETACH main"],
)
def test_sqlite_itself_refuses_what_reads_nothing(sqlite_url: str, tmp_path: Path, sql: str) -> None:
    statement = msgspec.structs.replace(read_statement("SELECT 1"), text=sql)
    with closing(open_reading(sqlite_url)) as database:
        with pytest.raises(UsageError, match=r"only reads|refuses"), database.ask(statement) as answer:
            list(answer.rows)
        with database.transaction(write=False) as tx, pytest.raises(Exception, match=r"readonly|authorized"):
            tx.connection.execute(text("DELETE FROM task"))
    assert not [*tmp_path.glob("copy.db"), *tmp_path.glob("other.db")]


def test_what_a_query_sets_on_postgresql_is_gone_when_it_ends(
    new_postgresql_database: Callable[[], str],
) -> None:
    url = new_postgresql_database()
    with closing(open_reading(url)) as database:
        ask(database, "SELECT set_config('search_path', 'nowhere', false)")
        assert ask(database, "SELECT current_setting('search_path')") != [("nowhere",)]
        assert ask(database, "SELECT count(*) FROM task") == [(0,)]
        with pytest.raises(UsageError, match="must be set before any query"):
            ask(database, "SELECT set_config('transaction_read_only', 'off', true)")


def test_a_database_is_read_beside_who_writes_it(
    reading: ReadingDatabase, writing: Database, one_task: str
) -> None:
    with writing.transaction() as tx:
        tx.connection.execute(text("UPDATE task SET label = 'half way'"))
        assert ask(reading, "SELECT label FROM task") == [("load orders",)]
    with reading.ask(read_statement("SELECT label FROM task")) as answer:
        with writing.transaction() as tx:
            tx.connection.execute(text("UPDATE task SET label = 'meanwhile'"))
        assert list(answer.rows) == [("half way",)]
    assert ask(reading, "SELECT label FROM task WHERE task_id = :task", task=one_task) == [("meanwhile",)]


def test_a_log_that_a_killed_writer_left_is_read(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    insert = (
        "INSERT INTO task (task_id, status, tracked_at, failures, lease_epoch, times_missing) "
        "VALUES ('t', 'active', '2026-01-05 00:00:00.000000', 0, 0, 0)"
    )
    lines = (
        "import os, sqlite3, sys",
        "connection = sqlite3.connect(sys.argv[1])",
        "connection.execute(sys.argv[2])",
        "connection.commit()",
        "os.kill(os.getpid(), 9)",
    )
    killed = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), path, insert], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert Path(f"{path}-wal").stat().st_size > 0
    with closing(open_reading(sqlite_url)) as database:
        assert ask(database, "SELECT task_id FROM task") == [("t",)]


def test_a_path_may_have_any_name(migrated_sqlite: Path, tmp_path: Path) -> None:
    folder = tmp_path / "100% #1 ä 'b' &c;=+"
    folder.mkdir()
    shutil.copyfile(migrated_sqlite, folder / "co py?.db")
    url = f"sqlite:///{quote(str(folder / 'co py?.db'))}"
    with closing(open_reading(url)) as database:
        database.require_migrated()
        assert ask(database, "SELECT count(*) FROM task") == [(0,)]
        with pytest.raises(UsageError):
            ask(database, "SELECT nothing")
    assert [path.name for path in folder.iterdir() if not path.name.startswith("co py?.db")] == []


def test_a_database_that_is_not_there_is_told_as_elsewhere(tmp_path: Path) -> None:
    with closing(open_reading(f"sqlite:///{tmp_path}/none.db")) as database:
        with pytest.raises(DatabaseNotMigrated):
            database.require_migrated()
        with pytest.raises(DatabaseUnreachable):
            ask(database, "SELECT 1")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("this is no database, whatever it is called" * 99)
    with (
        closing(open_reading(f"sqlite:///{tmp_path}/text.db")) as database,
        pytest.raises(DatabaseError, match="no"),
    ):
        database.require_migrated()
    with (
        closing(open_reading("postgresql://127.0.0.1:1/none?connect_timeout=2")) as database,
        pytest.raises(DatabaseUnreachable),
    ):
        database.require_migrated()


def test_a_connection_that_breaks_is_the_databases_fault(new_postgresql_database: Callable[[], str]) -> None:
    url = new_postgresql_database()
    with closing(open_reading(url)) as database:

        def broken_off() -> None:
            with database.ask(read_statement("SELECT generate_series(1, 100000)")) as answer:
                next(answer.rows)
                with psycopg.connect(url, autocommit=True) as other:
                    other.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                list(answer.rows)

        with pytest.raises(DatabaseUnreachable):
            broken_off()
        assert ask(database, "SELECT 1") == [(1,)]


# ------------------------------------------------------------------ what is refused, and what ends


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nothing FROM task", "nothing"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT 'open", "."),
        ("SELECT 1 FROM", "."),
    ],
)
def test_a_mistake_is_one_sentence_with_the_databases_own_words(
    reading: ReadingDatabase, sql: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=f"^the database refuses the query: .*{reason}") as caught:
        ask(reading, sql)
    assert "\n" not in str(caught.value)
    assert ask(reading, "SELECT 1") == [(1,)]


def test_a_query_ends_at_its_time(reading: ReadingDatabase) -> None:
    with pytest.raises(
        MaiaSyncError, match=r"^the query was ended: it took longer than 0\.2 seconds$"
    ) as caught:
        ask(reading, FOR_EVER[dialect_of(reading)], timeout=0.2)
    assert caught.value.exit_code == 1
    assert ask(reading, "SELECT 1", timeout=60) == [(1,)]


def test_the_time_counts_while_rows_are_read(database_url: str) -> None:
    clock = ManualClock()
    sql = {
        "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
        "postgresql": "SELECT generate_series(1, 100000000)",
    }
    with closing(open_reading(database_url, clock)) as database:

        def read_slowly() -> None:
            with database.ask(read_statement(sql[dialect_of(database)]), timeout=30) as answer:
                for row in answer.rows:
                    if row == (40,):
                        clock.advance(31)

        with pytest.raises(MaiaSyncError, match="took longer than 30 seconds"):
            read_slowly()
        assert ask(database, "SELECT 1") == [(1,)]


def test_an_end_that_the_server_sets_is_told(new_postgresql_database: Callable[[], str]) -> None:
    url = new_postgresql_database()
    with (
        closing(open_reading(f"{url}&options=-cstatement_timeout%3D50")) as database,
        pytest.raises(
            MaiaSyncError,
            match=r"^the database ended the query: canceling statement due to statement timeout$",
        ),
    ):
        ask(database, "SELECT pg_sleep(60)")


def test_ctrl_c_ends_a_query_and_the_next_one_is_answered(reading: ReadingDatabase) -> None:
    interrupter = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        ask(reading, FOR_EVER[dialect_of(reading)])
    interrupter.join()
    assert ask(reading, "SELECT 1") == [(1,)]
    if reading.is_postgresql:
        running = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(3600)%'"
        )
        assert ask(reading, f"{running} AND pid <> pg_backend_pid()") == [(0,)]


# ------------------------------------------------------------------ what is answered


def test_columns_may_be_called_anything(reading: ReadingDatabase) -> None:
    with reading.ask(read_statement('SELECT 1 AS "a b", 2 AS a, 3 AS a, 4 AS "ä%s;"')) as answer:
        assert [column.name for column in answer.columns] == ["a b", "a", "a", "ä%s;"]
        assert list(answer.rows) == [(1, 2, 3, 4)]


def test_percent_signs_and_colons_are_what_they_are(reading: ReadingDatabase) -> None:
    assert ask(reading, "SELECT '50%', ':limit', 7 % 4, '%s %(x)s'") == [("50%", ":limit", 3, "%s %(x)s")]
    sql = "SELECT '50%', ':limit', 7 % 4, '%s' FROM (SELECT 1) x WHERE :until IS NULL LIMIT :limit"
    assert ask(reading, sql) == [("50%", ":limit", 3, "%s")]


def test_more_rows_come_than_are_fetched_at_once(reading: ReadingDatabase) -> None:
    numbers = {
        "sqlite": "WITH RECURSIVE c(x) AS (VALUES (1) UNION SELECT x + 1 FROM c) SELECT * FROM c LIMIT 30000",
        "postgresql": "SELECT * FROM generate_series(1, 30000)",
    }
    assert ask(reading, numbers[dialect_of(reading)]) == [(number,) for number in range(1, 30001)]


def test_postgresql_is_asked_for_a_few_megabytes_at_a_time(
    new_postgresql_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = psycopg.ServerCursor.fetchmany

    def fetchmany(self: Any, size: int = 0) -> Any:
        rows = real(self, size)
        sizes.append(sum(len(cell) for row in rows for cell in row))
        return rows

    monkeypatch.setattr(psycopg.ServerCursor, "fetchmany", fetchmany)
    with closing(open_reading(new_postgresql_database())) as database:
        assert len(ask(database, "SELECT repeat('x', 100000) FROM generate_series(1, 1000)")) == 1000
    assert max(sizes) <= 5_000_000
    assert len(sizes) > 20


POSTGRESQL_VALUES = {
    "TIMESTAMPTZ '2026-01-05 08:00:00.5+02'": "2026-01-05 06:00:00.500000",
    "TIMESTAMPTZ '2026-01-05 08:00:00Z'": "2026-01-05 08:00:00.000000",
    "TIMESTAMP '0033-01-05 08:00:00.123456'": "0033-01-05 08:00:00.123456",
    "TIMESTAMPTZ 'infinity'": "infinity",
    "DATE '2026-01-05'": "2026-01-05",
    "CAST(12.50 AS numeric)": 12.5,
    "CAST(12 AS numeric)": 12,
    "CAST('123456789012345678901234567890' AS numeric)": 123456789012345678901234567890,
    "repeat('9', 5000)::numeric": "9" * 5000,
    "(repeat('9', 400) || '.5')::numeric": "9" * 400 + ".5",
    "CAST('Infinity' AS numeric)": math.inf,
    "CAST(0.1 AS real)": 0.1,
    "CAST(0.1 AS double precision)": 0.1,
    "CAST('0B1E7A52-6C1F-4D0E-9D4B-3F4A2C8E7D10' AS uuid)": TASK,
    """CAST('{"b" : 1.50,  "a":"\\ud800"}' AS json)""": '{"b" : 1.50,  "a":"\\ud800"}',
    "CAST('ab' AS bytea)": b"ab",
    "true": True,
    "ARRAY[1, 2]": "{1,2}",
    "ARRAY[true]": "{t}",
    "INTERVAL '1 month 2 seconds'": "1 mon 00:00:02",
    "CAST(9223372036854775807 AS bigint)": 9223372036854775807,
    "CAST(NULL AS integer)": None,
    "ROW(1, 'a')": "(1,a)",
    "TIME '08:00'": "08:00:00",
}


def test_postgresql_values_look_as_sqlites_do(new_postgresql_database: Callable[[], str]) -> None:
    url = new_postgresql_database()
    with psycopg.connect(url, autocommit=True) as connection:  # as somebody may have set it up for a role
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET datestyle = 'German'".encode())
        connection.execute(f"ALTER DATABASE {name} SET bytea_output = 'escape'".encode())
    with closing(open_reading(url)) as database:
        for sql, value in POSTGRESQL_VALUES.items():
            ((found,),) = ask(database, f"SELECT {sql}")
            assert (found, type(found)) == (value, type(value)), sql
        ((not_a_number,),) = ask(database, "SELECT CAST('NaN' AS numeric)")
        assert isinstance(not_a_number, float)
        assert math.isnan(not_a_number)


SQLITE_VALUES = {
    """json_extract('{"a":"\\ud83d"}', '$.a')""": "\ud83d",
    "CAST(x'ff41' AS text)": "\\xffA",
    "'a' || char(0) || 'b'": "a\0b",
    "9e999": math.inf,
    "9223372036854775807": 9223372036854775807,
    "x'00ff'": b"\x00\xff",
    "(SELECT group_concat(value) FROM json_each('[1, 2]'))": "1,2",
    "(SELECT name FROM pragma_table_info('task') LIMIT 1)": "task_id",
}


def test_odd_values_of_sqlite_break_nothing(sqlite_url: str) -> None:
    with closing(open_reading(sqlite_url)) as database:
        for sql, value in SQLITE_VALUES.items():
            assert ask(database, f"SELECT {sql}") == [(value,)], sql


# ------------------------------------------------------------------ queries that have a name


class Filled:
    """A database that holds a world, and what its payloads say, read by hand."""

    def __init__(self, url: str) -> None:
        self.database = open_reading(url)
        self.rows = self._rows(url)

    @staticmethod
    def _rows(url: str) -> list[dict[str, Any]]:
        sql = "SELECT task_id, group_id, occurred_at, data, vanished_at FROM task_event"
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
                rows = connection.execute(sql).fetchall()
        else:
            with psycopg.connect(url) as other:
                rows = other.execute(
                    "SELECT task_id::text, group_id, to_char(occurred_at AT TIME ZONE 'UTC', "
                    "'YYYY-MM-DD HH24:MI:SS.US'), data::text, vanished_at FROM task_event"
                ).fetchall()
        return [
            {"task": task, "group": group, "at": at, "vanished": vanished is not None, **json.loads(data)}
            for task, group, at, data, vanished in rows
        ]

    def kept(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["type"] == kind and not row["vanished"]]

    def ask(self, name: str, **values: Value) -> list[dict[str, Any]]:
        named = find_named_query(name)
        given: dict[str, Value] = {"limit": 100_000, **values}
        with self.database.ask(named.statement, given) as answer:
            names = [column.name for column in answer.columns]
            return [dict(zip(names, row, strict=True)) for row in answer.rows]


def fill(url: str, authority: Path) -> Filled:
    world = make_world(seed=11, tasks=3, events_per_task=400)
    with SandboxServer(world) as server:
        environ = {
            "MAIA_SYNC_API__BASE_URL": server.url,
            "MAIA_SYNC_API__CA_FILE": str(authority),
            "MAIA_SYNC_AUTH__TOKEN": BEARER,
            "MAIA_SYNC_DATABASE__URL": driver_url(url),
        }
        with open_app(load_settings(environ=environ)) as app:
            app.track(list(world.logs), label="all of them")
            assert app.sync().status == "succeeded"
            log = list(world.logs.values())[1]
            place = next(at for at, event in enumerate(log.events) if b'"userMessage"' in event)
            log.replace(place, log.events[place].replace(b'"text":"', b'"text":"(edited) ', 1))
            log.remove(place + 2)
            report = app.sync(full=True)
            assert (report.changed, report.vanished) == (1, 1)
    return Filled(url)


@pytest.fixture(scope="module")
def filled_sqlite(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory, one_authority: Path
) -> Iterator[Filled]:
    path = tmp_path_factory.mktemp("filled") / "copy.db"
    shutil.copyfile(migrated_sqlite, path)
    filled = fill(f"sqlite:///{path}", one_authority)
    yield filled
    filled.database.close()


@pytest.fixture(scope="module")
def filled_postgresql(new_postgresql_database: Callable[[], str], one_authority: Path) -> Iterator[Filled]:
    filled = fill(new_postgresql_database(), one_authority)
    yield filled
    filled.database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest) -> Filled:
    found: Filled = request.getfixturevalue(f"filled_{request.param}")
    return found


NAMES = tuple(read_named_queries())


@pytest.mark.parametrize("name", NAMES)
def test_each_named_query_finds_something_with_and_without_bounds(filled: Filled, name: str) -> None:
    named = find_named_query(name)
    assert filled.ask(name)
    wide: dict[str, Value] = {
        "since": datetime(1970, 1, 1, tzinfo=UTC),
        "until": datetime(9999, 1, 1, tzinfo=UTC),
        "since_day": date(1970, 1, 1),
        "until_day": date(9999, 1, 1),
    }
    assert len(filled.ask(name, **wide)) == len(filled.ask(name))
    assert len(filled.ask(name, limit=1)) == 1
    assert filled.ask(name, limit=None)
    if "since" in named.options:
        late = datetime(9998, 1, 1, tzinfo=UTC)
        assert filled.ask(name, since=late, since_day=late.date()) == []
        early = datetime(1971, 1, 1, tzinfo=UTC)
        assert filled.ask(name, until=early, until_day=early.date()) == []
    if "task" in named.options:
        assert filled.ask(name, task="00000000-0000-4000-8000-000000000000") == []
        of_each = [filled.ask(name, task=task) for task in {row["task"] for row in filled.rows}]
        if named.name not in ("tools", "error-types", "users"):
            assert sum(map(len, of_each)) == len(filled.ask(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_THE_RUN])
def test_both_databases_answer_alike(filled_sqlite: Filled, filled_postgresql: Filled, name: str) -> None:
    def rows(filled: Filled) -> list[str]:
        found = filled.ask(name)
        assert found
        return sorted(json.dumps(row) for row in found)

    assert rows(filled_sqlite) == rows(filled_postgresql)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def test_tools_are_counted_as_by_hand(filled: Filled) -> None:
    results = {row["toolCallId"]: row for row in filled.kept("toolResult")}
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in filled.kept("toolCall"):
        calls[call["toolName"]].append(call)
    found = {row["tool_name"]: row for row in filled.ask("tools")}
    assert set(found) == set(calls)
    for tool, made in calls.items():
        answered = [results[call["toolCallId"]] for call in made if call["toolCallId"] in results]
        failed = [one for one in answered if one["status"] == "failed"]
        took = [float(one["durationMs"]) for one in answered]
        row = found[tool]
        assert (row["calls"], row["answered"], row["errors"]) == (len(made), len(answered), len(failed))
        assert row["error_rate"] == pytest.approx(len(failed) / len(answered), abs=1e-4)
        assert row["p50_ms"] == quantile(took, 0.5)
        assert row["p95_ms"] == quantile(took, 0.95)
        assert row["max_ms"] == max(took)
        assert row["last_at"] == max(call["at"] for call in made)


def test_calls_are_found_as_by_hand(filled: Filled) -> None:
    results = {row["toolCallId"]: row for row in filled.kept("toolResult")}
    calls = {row["toolCallId"]: row for row in filled.kept("toolCall")}
    slowest = filled.ask("slowest-calls", limit=5)
    took = sorted((results[one]["durationMs"] for one in calls if one in results), reverse=True)
    assert [row["duration_ms"] for row in slowest] == took[:5]
    failed = {one for one in calls if one in results and results[one]["status"] == "failed"}
    failing = filled.ask("failing-calls")
    assert {row["tool_call_id"] for row in failing} == failed
    assert len(failing) == len(failed)
    assert [row["called_at"] for row in failing] == sorted(
        (row["called_at"] for row in failing), reverse=True
    )
    assert {row["tool_call_id"] for row in filled.ask("unanswered-calls")} == set(calls) - set(results)


def test_days_and_hours_are_counted_as_by_hand(filled: Filled) -> None:
    kept = [row for row in filled.rows if not row["vanished"]]
    by_day = Counter(row["at"][:10] for row in kept)
    daily = filled.ask("daily")
    assert [(row["day"], row["events"]) for row in daily] == sorted(by_day.items(), reverse=True)
    assert sum(row["vanished_events"] for row in daily) == 1
    by_hour = Counter(f"{row['at'][:13]}:00:00.000000" for row in kept)
    assert [(row["hour_at"], row["events"]) for row in filled.ask("hourly")] == sorted(
        by_hour.items(), reverse=True
    )
    calls = Counter(row["at"][:10] for row in filled.kept("toolCall"))
    assert {row["day"]: row["tool_calls"] for row in daily} == {day: calls[day] for day in by_day}
    last = max(by_day)
    only = filled.ask("daily", since_day=date.fromisoformat(last), until_day=date.fromisoformat(last))
    assert [row["day"] for row in only] == [last]


def test_bounds_are_from_and_up_to(filled: Filled) -> None:
    calls = sorted(row["at"] for row in filled.kept("toolCall"))
    first, last = calls[10], calls[20]
    since, until = (datetime.fromisoformat(f"{at}+00:00") for at in (first, last))
    found = filled.ask("tools", since=since, until=until)
    assert sum(row["calls"] for row in found) == sum(first <= at < last for at in calls)
    tick = timedelta(microseconds=1)
    found = filled.ask("tools", since=since + tick, until=until + tick)
    assert sum(row["calls"] for row in found) == sum(first < at <= last for at in calls)


def test_costs_and_tasks_are_summed_as_by_hand(filled: Filled) -> None:
    costs: dict[str, float] = defaultdict(float)
    tokens: dict[str, int] = defaultdict(int)
    for row in filled.kept("usage"):
        costs[row["model"]] += row["costUsd"]
        tokens[row["model"]] += row["inputTokens"]
    found = filled.ask("costs")
    assert {row["model"]: row["cost"] for row in found} == pytest.approx(costs, abs=1e-5)
    assert {row["model"]: row["input_tokens"] for row in found} == tokens
    assert [row["cost"] for row in found] == sorted((row["cost"] for row in found), reverse=True)
    events = Counter(row["task"] for row in filled.rows if not row["vanished"])
    busiest = filled.ask("busiest-tasks")
    assert {row["task_id"]: row["events"] for row in busiest} == events
    calls = Counter(row["task"] for row in filled.kept("toolCall"))
    assert {row["task_id"]: row["tool_calls"] for row in busiest} == calls
    assert {row["label"] for row in busiest} == {"all of them"}


def test_changes_and_vanishings_are_found(filled: Filled) -> None:
    (change,) = filled.ask("changed")
    assert json.loads(change["data_after"])["text"].startswith("(edited) ")
    assert (
        json.loads(change["data_after"])["text"].removeprefix("(edited) ")
        == json.loads(change["data"])["text"]
    )
    (gone,) = filled.ask("vanished")
    (by_hand,) = [row for row in filled.rows if row["vanished"]]
    assert (gone["task_id"], gone["occurred_at"]) == (by_hand["task"], by_hand["at"])
    users = Counter(row["userId"] for row in filled.kept("userMessage"))
    assert {row["user_id"] for row in filled.ask("users")} == set(users)


def test_the_worst_stand_first(filled: Filled) -> None:
    turns = [row["duration_seconds"] for row in filled.ask("slowest-turns")]
    assert turns == sorted(turns, reverse=True)
    gaps = [row["gap_seconds"] for row in filled.ask("longest-silences")]
    assert gaps == sorted(gaps, reverse=True)
    stale = filled.ask("stale-tasks")
    assert {row["task_id"] for row in stale} == {row["task"] for row in filled.rows}


def test_a_named_query_names_views_alone() -> None:
    for named in read_named_queries().values():
        assert isinstance(named, NamedQuery)
        sources = set(re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", named.statement.text))
        made = set(re.findall(r"(\w+) AS \(\n", named.statement.text))
        assert {one for one in sources - made if not one.startswith("v_")} == set(), named.name
