"""Is every alteration of an archive, or of the database that it was made of, detected and its place named?

Thousands of random ones, a third of them by somebody who makes anew whatever can be made without the key. The
archive is one from which payloads were erased twice, and others were pruned from the database.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from archive_attacker import Damage, Forgery, changed_paths
from hand_erasure import WHEN, erase, prune, use_digest_key
from logs import TASK
from memory_place import MemoryPlace
from small_archive import OTHER, make_small_archive
from sqlalchemy import delete, insert, select

from maia_sync.archive.keys import load_signer, make_key
from maia_sync.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from small_archive import SmallArchive
    from sqlalchemy import Table


TRIALS = {
    "sqlite": {"damage": 980, "forgery": 660, "rows": 120},
    "postgresql": {"damage": 60, "forgery": 60, "rows": 120},
}
PAYLOADS = "of some length, as payloads are"
"""What no finding tells."""
NEEDS_DATABASE = ("drop a copy", "rename a copy")
"""An older checkpoint that is gone altogether: only the database knows that it was made."""


@pytest.fixture
def seed() -> int:
    return secrets.randbelow(2**32)


def test_every_alteration_is_found_and_its_place_named(
    stage_for: Callable[..., Any], tmp_path: Path, seed: int, database_url: str
) -> None:
    print(f"seed {seed}")
    archive = make_small_archive(stage_for, tmp_path)
    kept = take_payloads_out(archive, tmp_path)
    trials = TRIALS["sqlite" if database_url.startswith("sqlite") else "postgresql"]
    tried: Counter[str] = Counter()
    for number in range(trials["damage"]):
        tried[damaged(archive, kept, random.Random(f"{seed} damage {number}"), f"damage {number}")] += 1
    forge = Forgery(archive.place.files, archive.signer.verifier)
    make_key(tmp_path / "other.key", archive.signer.name)
    other = load_signer(tmp_path / "other.key")
    for number in range(trials["forgery"]):
        rng = random.Random(f"{seed} forgery {number}")
        forged = forge.forge(rng, other)
        place = MemoryPlace(forged.files)
        assert_found(archive, place, f"forgery {number}: {forged.deed}", database=rng.random() < 0.1)
        tried[f"made anew: {forged.deed.split(';')[0]}"] += 1
    for number in range(trials["rows"]):
        tried[altered_row(archive, random.Random(f"{seed} row {number}"), f"row {number}")] += 1
    assert archive.verify().findings == ()
    assert sum(tried.values()) == sum(trials.values())
    for what, count in sorted(tried.items()):
        print(f"{count:5} {what}")


def take_payloads_out(archive: SmallArchive, folder: Path) -> dict[str, bytes]:
    """Hold and release, prune, erase, and erase more; return the files that were there before."""
    key = use_digest_key(archive, folder)
    held = {"reason": "a case", "held_by": "me", "held_at": WHEN}
    released = {"released_at": WHEN, "released_by": "me", "release_reason": "over"}
    with archive.database.transaction() as tx:
        tx.connection.execute(insert(schema.archive_hold).values(**held, **released))
    archive.create()
    kept = dict(archive.place.files)
    prune(archive, key, lambda entry: entry.group in ("g1", "g6") or entry.id == 1)
    erase(archive, key, OTHER)
    kept |= archive.place.files
    erase(archive, key, TASK, datetime(2026, 1, 5, 8, 0, 30, tzinfo=UTC))
    return {path: held for path, held in kept.items() if path.startswith("data/")}


def damaged(archive: SmallArchive, kept: dict[str, bytes], rng: random.Random, name: str) -> str:
    while True:
        place = archive.place.copy()
        deed = Damage(rng, place.files, kept).apply()
        if place.files != archive.place.files:
            break
    needed = deed.startswith(NEEDS_DATABASE)
    assert_found(archive, place, f"{name}: {deed}", database=needed or rng.random() < 0.1)
    return deed


def assert_found(archive: SmallArchive, place: MemoryPlace, what: str, *, database: bool) -> None:
    changed = changed_paths(archive.place.files, place.files)
    report = archive.verify(place, database=database)
    assert report.findings, f"{what}: not found; changed: {sorted(changed)}"
    named = any(finding.place.startswith(path) for finding in report.findings for path in changed)
    assert named, f"{what}: changed {sorted(changed)}, found {report.findings[:5]}"
    assert not any(PAYLOADS in finding.place + finding.sentence for finding in report.findings)


# ------------------------------------------------------------------ rows of the database

COLUMNS: dict[Table, tuple[str, ...]] = {
    schema.task_event: (
        *("group_id", "timestamp", "ordinal", "data", "extra", "timestamp_text", "occurred_at", "seq"),
        *("revision", "first_seen_at", "last_changed_at", "vanished_at", "run_id", "pruned_at", "erased_at"),
    ),
    schema.task_event_revision: (
        *("group_id", "timestamp", "ordinal", "revision", "data", "extra", "timestamp_text", "seen_at"),
        *("superseded_at", "run_id", "pruned_at", "erased_at"),
    ),
    schema.quarantine: (
        *("id", "task_id", "run_id", "quarantined_at", "reason", "raw", "pruned_at", "erased_at"),
    ),
    schema.sent_message: (
        *("id", "task_id", "sent_by", "sent_at", "request", "outcome", "completed_at", "error"),
        *("pruned_at", "erased_at"),
    ),
    schema.sync_run: tuple(column.name for column in schema.sync_run.c if column.name != "checkpoint_id"),
    schema.archive_checkpoint: ("tree_size", "root_hash", "note", "origin"),
    schema.task: ("archived", "archived_as", "tracked_at"),
    schema.archive_log: ("origin",),
    schema.archive_hold: tuple(
        column.name for column in schema.archive_hold.c if column.name != "checkpoint_id"
    ),
    schema.archive_erasure: (
        *("id", "task_id", "before_at", "reason", "basis", "erased_by", "erased_at", "payloads"),
    ),
}
OF_REMOVED = ("digest", "canonical", "event_type", "cost")
"""Columns that are compared once a payload was taken out."""
INSERTED = (
    schema.task_event,
    schema.task_event_revision,
    schema.quarantine,
    schema.sent_message,
    schema.sync_run,
    schema.archive_hold,
)
WEIGHTS = (18, 8, 3, 3, 3, 2, 2, 1, 2, 2)


def altered_row(archive: SmallArchive, rng: random.Random, name: str) -> str:
    """Alter one row, see that it is found, and put it back."""
    table = rng.choices(list(COLUMNS), WEIGHTS)[0]
    with archive.database.transaction() as tx:
        rows = [dict(row._mapping) for row in tx.connection.execute(select(table))]
        before = rng.choice(rows)
        after, deed = _another(rng, table, rows, before)
        if after is None or "insert" not in deed:
            tx.connection.execute(delete(table).where(_is(table, before)))
        if after is not None:
            tx.connection.execute(insert(table).values(after))
    report = archive.verify()
    with archive.database.transaction() as tx:
        if after is not None:
            tx.connection.execute(delete(table).where(_is(table, after)))
        if "insert" not in deed:
            tx.connection.execute(insert(table).values(before))
    what = f"{name}: {deed} in {table.name}: {before}"
    assert report.findings, f"{what}: not found"
    assert any(_is_named(finding.place, table, before, after) for finding in report.findings), (
        f"{what}: found {report.findings[:5]}"
    )
    return f"database, {table.name}: {deed}"


def _another(
    rng: random.Random, table: Table, rows: list[dict[str, Any]], row: dict[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    deed = rng.random()
    if deed < 0.2 and table is not schema.archive_log:
        return None, "delete a row"
    if deed < 0.35 and table in INSERTED:
        return _new_row(rows, row), "insert a row"
    more = [name for name in OF_REMOVED if name in row] if row.get("pruned_at") else []
    name = rng.choice([*COLUMNS[table], *more])
    after = {**row, name: _other_value(table, name, row[name])}
    if "id" in row and table.c.get("checkpoint_id") is not None and deed > 0.6 and table in INSERTED:
        return {**after, "checkpoint_id": None}, f"edit {name}, and have it archived once more"
    return after, f"edit {name}"


def _new_row(rows: list[dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    if "ordinal" in row:
        highest = max(each["ordinal"] for each in rows)
        return {**row, "ordinal": highest + 1}
    new = {**row, "id": max(each["id"] for each in rows) + 1}
    return {**new, "digest": secrets.token_bytes(32)} if "digest" in row else new


def _other_value(table: Table, name: str, value: Any) -> Any:
    column = table.c[name]
    if name == "task_id":
        return "99999999-1111-4111-8111-111111111111"
    if name in ("data", "request"):
        return '{"said":"something else"}' if value != "null" or name == "request" else None
    if name == "extra":
        return '{"more":0}'
    if name in ("pruned_at", "erased_at") and table is not schema.archive_erasure:
        return WHEN if value is None else None
    if isinstance(value, bool):
        return not value
    kind = column.type.__class__.__name__
    if kind == "UtcTimestamp":
        return (value or WHEN) + timedelta(microseconds=1)
    if isinstance(value, bytes):
        return bytes([(value or b"\0")[0] ^ 1]) + value[1:]
    if isinstance(value, int):
        return value + (1_000 if column.primary_key else 1)  # to a name that no other row has
    if value is None and kind in ("BigInteger", "Integer", "Double"):
        return 1
    return f"{value}x"


def _is(table: Table, row: dict[str, Any]) -> Any:
    keys = [column == row[column.name] for column in table.primary_key]
    condition = keys[0]
    for each in keys[1:]:
        condition &= each
    return condition


def _is_named(place: str, table: Table, before: dict[str, Any], after: dict[str, Any] | None) -> bool:
    if table is schema.archive_log:
        return place == "archive_log"
    if table is schema.archive_checkpoint:
        return place.startswith(("checkpoint", "archive_log"))
    if "id" in before:
        return any(place == f"row {each['id']} of {table.name}" for each in (before, after) if each)
    return any(str(each["task_id"]) in place for each in (before, after) if each)
