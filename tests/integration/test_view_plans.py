"""Do the views answer for a day or a task by indexes, never by looking through all events?

On SQLite, whose plans do not depend on what is stored; PostgreSQL's do, and the benchmark shows them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.answers import VIEWS, questions

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDED = [
    pytest.param(question, id=f"{view.name} {what}")
    for view in VIEWS
    for what, question in questions(view)
    if what != "everything"
]
LOOKS_AT_ALL = "SELECT * FROM v_event WHERE error_type = 'x'"
"""A question that no index answers: the looking itself is tested with it."""


def scans_on_sqlite(url: str, question: str) -> Iterator[str]:
    """Yield the steps that go through all events; those that pair by order stand in an index of their own."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {question}"):
            words = step.split()
            of_events = words[:1] == ["SCAN"] and words[1] in {"e", "c", "p", "r", "n", "f", "task_event"}
            if of_events and "ix_task_event_bare_call" not in words:
                yield step


@pytest.mark.parametrize("question", BOUNDED)
def test_a_day_or_a_task_is_answered_without_a_scan_on_sqlite(sqlite_url: str, question: str) -> None:
    assert list(scans_on_sqlite(sqlite_url, question)) == []


def test_a_scan_of_all_events_would_be_seen(sqlite_url: str) -> None:
    assert list(scans_on_sqlite(sqlite_url, LOOKS_AT_ALL)) != []
