from __future__ import annotations

import pytest

from maia_sync.errors import UsageError
from maia_sync.store.statement import read_statement


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("select 1", "SELECT"),
        ("  -- which?\n/* all; of * them */ SELECT 1", "SELECT"),
        ("((SELECT 1) UNION SELECT 2)", "SELECT"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "WITH"),
        ("values (1)", "VALUES"),
        ("TABLE task", "TABLE"),
        ("explain query plan select 1", "EXPLAIN"),
        (";SELECT 1", "SELECT"),
    ],
)
def test_statements_that_give_rows_are_taken(text: str, verb: str) -> None:
    assert read_statement(text).verb == verb


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM task",
        "COMMIT",
        "PRAGMA journal_mode = DELETE",
        "SET TRANSACTION READ WRITE",
        "DO $$ BEGIN END $$",
        "COPY task TO PROGRAM 'sh'",
        "-- SELECT\nDROP TABLE task",
        "/* SELECT */ VACUUM",
        "'SELECT' 1",
        "SELECTED",
        "DECLARE c CURSOR FOR SELECT 1",
        "ATTACH 'x' AS y",
    ],
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^a query only reads, so it begins with SELECT, WITH, VALUES, TABLE or "
    ):
        read_statement(text)


@pytest.mark.parametrize(
    "function",
    [
        "pg_terminate_backend",
        "PG_Cancel_Backend",
        '"pg_notify"',
        "pg_try_advisory_lock",
        "pg_stat_reset",
        "dblink_exec",
    ],
)
def test_functions_that_act_at_once_are_refused(function: str) -> None:
    with pytest.raises(UsageError, match=f"^a query only reads, and {function} would act at once$"):
        read_statement(f"SELECT {function}(pid) FROM pg_stat_activity")


def test_what_only_sounds_like_acting_is_taken() -> None:
    text = "SELECT pg_backend_pid(), 'pg_notify' FROM pg_replication_slots, pg_file_settings -- pg_notify"
    assert read_statement(text).text == text


@pytest.mark.parametrize("text", ["", "  \n", ";;", "-- nothing", "/* never closed", "(("])
def test_nothing_is_no_query(text: str) -> None:
    with pytest.raises(UsageError, match=r"^the query is empty$"):
        read_statement(text)


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT 1;\n-- and\nx", "SELECT ';' ; ; COMMIT"])
def test_two_statements_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="one statement"):
        read_statement(text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("SELECT 1 ; -- done\n;", "SELECT 1 "),
        ("SELECT ';', \";\", $$;$$, $a$;$a$, E'\\';', 'it''s;' -- ;", None),
        ("SELECT `;` /* ; */", None),
    ],
)
def test_a_semicolon_ends_it_only_where_it_is_one(text: str, kept: str | None) -> None:
    assert read_statement(text).text == (kept or text)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="NUL"):
        read_statement("SELECT '\0'")
    with pytest.raises(UsageError, match="UTF-8"):
        read_statement("SELECT '\udcff'")


def test_a_word_that_is_no_verb_is_shown_cut() -> None:
    with pytest.raises(UsageError) as caught:
        read_statement("x" * 5000)
    assert len(str(caught.value)) < 200


def test_parameters_are_named_outside_of_quotes_and_comments() -> None:
    text = """SELECT ':task', "until", x::since, a[1:limit], $$ :limit $$ -- :until
    /* :task */ FROM t WHERE (:since IS NULL OR at>:since) AND y = :other LIMIT:limit"""
    assert read_statement(text).parameters == {"since", "limit"}


def test_psycopg_is_given_placeholders_with_types() -> None:
    statement = read_statement("SELECT '50%', x::date FROM t WHERE a > :since AND b % 2 = 0 AND c = :task")
    assert statement.for_psycopg() == (
        "SELECT '50%%', x::date FROM t WHERE a > CAST(%(since)s AS timestamptz) "
        "AND b %% 2 = 0 AND c = CAST(%(task)s AS uuid)"
    )
    assert read_statement("SELECT '50%'").for_psycopg() == "SELECT '50%'"


def test_a_long_text_is_read_in_time() -> None:
    for text in (
        "SELECT '" + "x" * 500_000,
        "SELECT " + "(" * 200_000,
        "SELECT /*" + "*" * 500_000,
        "$" * 20_000,
    ):
        with pytest.raises(UsageError) if text.startswith("$") else pytest.MonkeyPatch.context():
            read_statement(text)
