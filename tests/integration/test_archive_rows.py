"""Is every row of the database compared with the archive, whatever somebody has put into it?"""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from logs import TASK
from small_archive import SmallArchive, make_small_archive
from sqlalchemy import insert, text

from maia_sync.errors import DatabaseError
from maia_sync.model import RunReport
from maia_sync.store import schema
from maia_sync.store.archive_standing import read_archive_standing
from maia_sync.store.runs import close_lost_runs, finish_run, start_run
from maia_sync.store.sent import complete_sent_message, insert_sent_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from maia_sync.archive.verifying import ArchiveReport

EVENT = f"task_id = '{TASK}' AND group_id = 'g3' AND timestamp = 1767600150250000000"
REVISION = "revision = 0 AND timestamp = 1767600020250000000"
UNDATED = "timestamp_text = 'no time at all'"
KEYLESS = (
    ("sync_run", "upstream_host = 'evil.example', pages = 0, started_at = '2020-01-01 00:00:00'"),
    ("sync_run", "events_new = 0"),
    ("sync_run", "ended_at = '2020-01-01 00:00:00.000000'"),
    ("sync_run", "status = 'lost', error = 'it was not me'"),
    ("quarantine", "reason = 'another one'"),
    ("quarantine", "raw = :raw"),
    ("quarantine", "run_id = 99"),
    ("quarantine", "quarantined_at = '2020-01-01 00:00:00.000000'"),
    ("sent_message", "sent_by = 'nobody'"),
    ("sent_message", "sent_at = '2020-01-01 00:00:00.000000', error = NULL"),
    ("sent_message", "request = :request"),
    ("sent_message", "outcome = 'unknown', completed_at = NULL"),
)
"""What whoever has the database writes into a row of id 1 that is archived, to have it archived once more."""
ON_SQLITE: dict[str, tuple[str, tuple[str, ...]]] = {
    "task_event": (EVENT, ("vanished_at", "seq", "occurred_at", "revision", "extra", "first_seen_at")),
    "task_event_revision": (REVISION, ("seen_at", "superseded_at", "extra", "run_id")),
    "quarantine": ("id = 1", ("quarantined_at", "raw", "reason", "run_id")),
    "sent_message": ("id = 1", ("sent_at", "completed_at", "request", "outcome")),
    "sync_run": ("id = 1", ("started_at", "ended_at", "pages", "worker")),
    "archive_checkpoint": ("id = 2", ("completed_at", "created_at", "tree_size", "root_hash", "note")),
}
GARBAGE = ("'garbage'", "CAST(x'FF' AS TEXT)", "x'FF'", "9e999", "''")
ON_POSTGRESQL = {
    "task_event": (EVENT, ("vanished_at", "first_seen_at", "last_changed_at", "occurred_at")),
    "task_event_revision": (REVISION, ("seen_at", "superseded_at")),
    "quarantine": ("id = 1", ("quarantined_at",)),
    "sent_message": ("id = 1", ("sent_at", "completed_at")),
    "sync_run": ("id = 1", ("started_at", "ended_at")),
    "archive_checkpoint": ("id = 2", ("completed_at", "created_at")),
}
NO_MOMENTS = ("'infinity'", "'-infinity'", "'20000-01-01'", "{} - interval '4000 years'")
PLACES: dict[str, str | tuple[str, ...]] = {
    "task_event": f"event of task {TASK}",
    "task_event_revision": "event of task",
    "archive_checkpoint": ("row 2 of archive_checkpoint", "checkpoint of "),
}


def told(report: ArchiveReport) -> list[tuple[str, str]]:
    return [(finding.kind, finding.place) for finding in report.findings]


@pytest.fixture
def archive(stage_for: Callable[..., Any], tmp_path: Path) -> SmallArchive:
    return make_small_archive(stage_for, tmp_path)


def execute(archive: SmallArchive, statement: str, **values: Any) -> None:
    with archive.database.transaction() as tx:
        assert tx.connection.execute(text(statement), values).rowcount == 1


@contextmanager
def altered(archive: SmallArchive, table: str, where: str, changes: str, **values: Any) -> Iterator[None]:
    """Alter a row, and put back what has been changed."""
    columns = re.findall(r"(?:^|, )(\w+) = ", changes)
    with archive.database.transaction() as tx:
        row = tx.connection.execute(text(f"SELECT * FROM {table} WHERE {where}")).one()
    before = {name: row._mapping[name] for name in columns}
    execute(archive, f"UPDATE {table} SET {changes} WHERE {where}", **values)
    yield
    back = ", ".join(f"{name} = :{name}" for name in columns)
    execute(archive, f"UPDATE {table} SET {back} WHERE {where}", **before)


def test_what_cannot_become_of_an_archived_row_is_found_before_and_after_the_next_create(
    archive: SmallArchive,
) -> None:
    values = {"raw": b"[]", "request": '{"said":"something else"}'}
    for table, changes in KEYLESS:
        used = {name: value for name, value in values.items() if f":{name}" in changes}
        with altered(archive, table, "id = 1", f"{changes}, checkpoint_id = NULL", **used):
            assert told(archive.verify()) == [("database", f"row 1 of {table}")], changes
    for table, changes in KEYLESS[0], KEYLESS[4], KEYLESS[10]:
        used = {"request": values["request"]} if "request" in changes else {}
        size = archive.size
        execute(archive, f"UPDATE {table} SET {changes}, checkpoint_id = NULL WHERE id = 1", **used)
        archive.create()
        with_database = told(archive.verify())
        assert ("entry", f"entry {size}") in with_database
        assert ("database", f"row 1 of {table}") in with_database
        assert ("entry", f"entry {size}") in told(archive.verify(database=False))


def test_what_may_become_of_a_row_is_no_difference(archive: SmallArchive) -> None:
    with archive.database.transaction() as tx:
        run_id = start_run(tx, kind="sync", worker="somebody", upstream_host="api.example")
        sent = [insert_sent_message(tx, task_id=TASK, sent_by="me", request="{}") for _ in range(3)]
    with archive.database.transaction() as tx:
        assert close_lost_runs(tx, silent_seconds=-1) == 1
    archive.create()
    with archive.database.transaction() as tx:
        report = RunReport(
            run_id=run_id,
            kind="sync",
            started_at=tx.now,
            ended_at=tx.now,
            status="failed",
            tasks=1,
            held=(),
            walks=(),
            requests=7,
            pages=2,
            size_bytes=9,
            new=3,
            changed=1,
            unchanged=1,
            quarantined=1,
            vanished=1,
            doubted=0,
            failed=1,
            error="no",
        )
        finish_run(tx, report)
        complete_sent_message(tx, sent[0].id, "accepted", None)
        complete_sent_message(tx, sent[1].id, "unknown", "nobody knows")
    assert archive.verify().findings == ()
    with archive.database.transaction() as tx:  # as if the answer to the first commit had not come
        finish_run(tx, report)
    archive.create()
    assert archive.verify().findings == ()
    assert archive.verify(database=False).findings == ()
    execute(archive, "UPDATE sync_run SET checkpoint_id = NULL WHERE id = 1")
    assert archive.verify().findings == ()
    archive.create()
    assert archive.verify().findings == ()


def test_values_that_no_column_can_hold_are_told_of_by_their_rows(
    archive: SmallArchive, database_url: str
) -> None:
    is_sqlite = database_url.startswith("sqlite")
    number = secrets.randbelow(len(GARBAGE) * len(NO_MOMENTS))
    print(f"begun at {number}")
    for table, (where, columns) in (ON_SQLITE if is_sqlite else ON_POSTGRESQL).items():
        place = PLACES.get(table, f"row 1 of {table}")
        for column in columns:
            number += 1
            values = GARBAGE if is_sqlite else NO_MOMENTS
            value = values[number % len(values)].format(f"COALESCE({column}, now())")
            with altered(archive, table, where, f"{column} = {value}"):
                found = told(archive.verify())
            assert any(each == "database" and at.startswith(place) for each, at in found), (
                f"{table}.{column} = {value}: {found}"
            )
    journal = schema.archive_journal
    with archive.database.transaction() as tx:
        note = {"task_id": TASK, "noted_at": tx.now, "records": 1, "changes": "nope"}
        row_id = tx.connection.execute(insert(journal).values(note).returning(journal.c.id)).scalar_one()
    assert told(archive.verify()) == [("database", f"row {row_id} of archive_journal")]
    execute(archive, f"DELETE FROM archive_journal WHERE id = {row_id}")
    assert archive.verify().findings == ()


def test_values_of_another_type_are_told_of(archive: SmallArchive, database_url: str) -> None:
    if not database_url.startswith("sqlite"):
        pytest.skip("there a column has one type")
    with altered(archive, "task_event", EVENT, "data = CAST(data AS BLOB)"):
        assert len(told(archive.verify())) == 1
    for value in ("x'FF'", "CAST(x'FF' AS TEXT)"):
        execute(archive, f"UPDATE task_event SET task_id = {value} WHERE {EVENT}")
        found = told(archive.verify())
        assert any(place.startswith(f"event of task {TASK}") for _, place in found)
        assert any("\\xff" in place or "\\udcff" in place for _, place in found)
        back = f"UPDATE task_event SET task_id = '{TASK}' WHERE typeof(task_id) = 'blob' OR task_id > 'g'"
        execute(archive, back)
    assert archive.verify().findings == ()


def test_when_an_event_without_a_place_in_time_happened_is_compared(
    archive: SmallArchive, database_url: str
) -> None:
    stamps = (
        "1500-02-28T23:59:60.1234567+00:30",
        "2500-01-01t00:00:00z",
        "2500-02-30T00:00:00Z",
        "0001-01-01",
    )
    log = archive.stage.world.logs[TASK]
    log.extend([f'{{"data":{number},"timestamp":"{stamp}"}}'.encode() for number, stamp in enumerate(stamps)])
    archive.stage.sync(full=True)
    archive.create()
    assert archive.verify().findings == ()
    wheres = [UNDATED, *(f"timestamp_text = '{stamp}'" for stamp in stamps)]
    values = ["'2026-01-01 00:00:00.000000'"]
    if not database_url.startswith("sqlite"):
        values.append("'infinity'")
    for where in wheres:
        for value in values if where in (UNDATED, wheres[-1]) else [*values, "NULL"]:
            if value == "NULL" and where == wheres[3]:
                continue  # there is no such day
            with altered(archive, "task_event", where, f"occurred_at = {value}"):
                found = told(archive.verify())
            assert len(found) == 1, f"{where}: {value}"
            assert found[0][1].startswith("event of task")
    assert archive.verify().findings == ()


def test_a_create_that_cannot_read_a_row_says_which_it_is(archive: SmallArchive, database_url: str) -> None:
    value = "'garbage'" if database_url.startswith("sqlite") else "'infinity'"
    with archive.database.transaction() as tx:
        note = {"task_id": TASK, "noted_at": tx.now, "records": 1, "turned": True}
        tx.connection.execute(insert(schema.archive_journal).values(note))
    cases = (
        ("archive_checkpoint", "id = 3", "completed_at", "row 3 of archive_checkpoint"),
        ("archive_journal", "checkpoint_id IS NULL", "noted_at", "row [0-9]+ of archive_journal"),
        ("quarantine", "id = 1", "quarantined_at", "row 1 of quarantine"),
        ("sync_run", "id = 1", "ended_at", "row 1 of sync_run"),
    )
    for table, where, column, place in cases:
        waits = "" if table.startswith("archive") else ", checkpoint_id = NULL"
        with (
            altered(archive, table, where, f"{column} = {value}{waits}"),
            pytest.raises(DatabaseError, match=f"^{place} cannot be read: its {column} was altered$"),
        ):
            archive.create()
    execute(archive, f"UPDATE archive_checkpoint SET completed_at = {value} WHERE id = 3")
    with (
        archive.database.transaction(write=False) as tx,
        pytest.raises(DatabaseError, match="row 3 of archive_checkpoint cannot be read"),
    ):
        read_archive_standing(tx)
