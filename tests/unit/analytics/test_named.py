from __future__ import annotations

import re

import pytest

from maia_sync.analytics.named import OPTIONS, find_named_query, options_of, read_named_queries
from maia_sync.errors import UsageError
from maia_sync.store.statement import PARAMETERS, read_statement

PROMISED = {
    *(
        "slowest-turns",
        "tools",
        "slowest-calls",
        "failing-calls",
        "unanswered-calls",
        "errors",
        "daily",
        "hourly",
    ),
    *("busiest-tasks", "costs", "users", "longest-silences", "changed", "vanished", "stale-tasks"),
}


def test_every_query_that_is_promised_is_there() -> None:
    assert set(read_named_queries()) >= PROMISED


def test_the_file_is_read_whole() -> None:
    queries = read_named_queries()
    assert all(name == query.name for name, query in queries.items())
    for query in queries.values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", query.name)
        assert re.fullmatch(r"[A-Z][^?\n]+\?", query.description), query.name
        assert query.statement.text.startswith(("SELECT", "WITH")), query.name
        assert "--" not in query.statement.text, query.name
        assert query.limit, query.name
        assert "limit" in query.options, query.name


def test_options_are_those_whose_parameters_are_named() -> None:
    assert options_of(read_statement("SELECT :since_day, :limit")) == ("since", "limit")
    assert options_of(read_statement("SELECT 1")) == ()
    assert {each for parameters in OPTIONS.values() for each in parameters} == set(PARAMETERS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("slowest-turn", "did you mean slowest-turns"),
        ("Slowest_Turns", "did you mean slowest-turns"),
        ("dayly", "did you mean daily"),
        ("xyzzy", "--list"),
    ],
)
def test_an_unknown_name_is_told_with_its_neighbours(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"^there is no query named '{name}': .*{hint}"):
        find_named_query(name)
