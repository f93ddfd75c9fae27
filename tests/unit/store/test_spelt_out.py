"""Does a statement without its parameters ask the same, whoever it is pasted to?"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from maia_sync.store.statement import read_statement

if TYPE_CHECKING:
    from maia_sync.store.answer import Value


def spelt_out(sql: str, **values: Value) -> str:
    return read_statement(sql).spelt_out(values)


def test_values_stand_where_parameters_stood_and_nowhere_else() -> None:
    sql = """SELECT ':since', ":limit", a::date -- :task
FROM t WHERE d >= :since_day AND k = :task LIMIT :limit"""
    told = spelt_out(sql, since_day=date(2026, 1, 5), task="0b1e", limit=7)
    assert (
        told
        == """SELECT ':since', ":limit", a::date -- :task
FROM t WHERE d >= '2026-01-05' AND k = '0b1e' LIMIT 7"""
    )


def test_what_has_no_value_has_no_bound() -> None:
    assert spelt_out("SELECT :task, :since") == "SELECT CAST(NULL AS uuid), CAST(NULL AS timestamptz)"
    assert spelt_out("SELECT 1 LIMIT :limit") == f"SELECT 1 LIMIT {2**63 - 1}"
    assert spelt_out("SELECT 1 WHERE x < :until", until="infinity") == "SELECT 1 WHERE x < 'infinity'"


@pytest.mark.parametrize("text", ["o'clock", "''", "\\'", "a\nb"])
def test_a_text_ends_where_it_ends(text: str) -> None:
    told = spelt_out("SELECT :task", task=text)
    assert told == "SELECT '" + text.replace("'", "''") + "'"
    assert read_statement(told).parameters == frozenset()


INSTANTS = [
    datetime(2026, 1, 5, 8, tzinfo=UTC),
    datetime(2026, 1, 5, 8, 0, 0, 500_000, tzinfo=UTC),
    datetime(2026, 1, 5, 8, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 1, 5, 8, 0, 0, 123_456, tzinfo=UTC),
    datetime(2026, 1, 5, 8, 0, 0, 999_999, tzinfo=UTC),
    datetime(2026, 1, 5, 10, 0, 0, 10, tzinfo=timezone(timedelta(hours=2))),
    datetime(33, 1, 5, tzinfo=UTC),
]


@pytest.mark.parametrize("moment", INSTANTS, ids=str)
def test_a_moment_with_its_offset_lies_among_sqlites_texts_where_it_should(moment: datetime) -> None:
    literal = spelt_out("SELECT :since", since=moment).removeprefix("SELECT '").removesuffix("'")
    assert literal.endswith("+00")

    def stored(microseconds: int) -> str:
        there = moment.astimezone(UTC) + timedelta(microseconds=microseconds)
        return f"{there.year:04}-{there:%m-%d %H:%M:%S.%f}"

    assert stored(0) >= literal
    assert stored(1) >= literal
    assert stored(-1) < literal


def test_parameters_of_ones_own_are_spelt_out_as_well() -> None:
    statement = read_statement("SELECT :search, :since", {"search": "text"})
    assert statement.parameters == {"search"}
    assert statement.spelt_out({"search": "100%"}) == "SELECT '100%', :since"
    assert statement.for_psycopg() == "SELECT CAST(%(search)s AS text), :since"
