"""What does a database hold, and is it what a prune may make of it? Judged by rules of the tests' own."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from maia_sync.facet_settings import FACETS
from maia_sync.store.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from maia_sync.store.database import Database

NO_TIMESTAMP = -(2**63)
RECEIVED = {
    "task_event": "last_changed_at",
    "task_event_revision": "seen_at",
    "quarantine": "quarantined_at",
    "sent_message": "sent_at",
}
"""The tables with payloads, and when these were received."""
SUMS = {"task_turn", "task_activity"}
OF_PRUNES = {"archive_log", "archive_prune"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = dict[str, Any]
Dump = dict[str, dict[tuple[Any, ...], Row]]


def dump(database: Database) -> Dump:
    """Return all rows of all tables, by their keys."""
    held: Dump = {}
    with database.transaction(write=False) as tx:
        for table in metadata.sorted_tables:
            keys = [column.name for column in table.primary_key] or [column.name for column in table.c]
            rows = [dict(row._mapping) for row in tx.connection.execute(table.select())]
            held[table.name] = {tuple(row[name] for name in keys): row for row in rows}
    return held


def key_in(path: Path) -> bytes:
    return bytes.fromhex(path.read_text().split()[1])


def keyed(key: bytes, digest: bytes) -> bytes:
    """Return the keyed digest of a digest, by the rule in the README."""
    return hashlib.sha256(b"maia-sync digest key\n" + key).digest()[:4] + hmac.digest(key, digest, "sha256")


def age_of(table: str, row: Row) -> int:
    """Return when an event occurred, or else when it was received, in nanoseconds since the epoch."""
    timestamp = row.get("timestamp", NO_TIMESTAMP)
    if timestamp != NO_TIMESTAMP:
        return int(timestamp)
    return (row[RECEIVED[table]] - EPOCH) // timedelta(microseconds=1) * 1000


def selected(held: Dump, before: datetime, but: Collection[str] = ()) -> set[tuple[str, tuple[Any, ...]]]:
    """Return which rows are older than that, without those of some tasks: table and key."""
    limit = (before - EPOCH) // timedelta(microseconds=1) * 1000
    return {
        (table, name)
        for table in RECEIVED
        for name, row in held[table].items()
        if age_of(table, row) < limit and row["task_id"] not in but
    }


def emptied(table: str, row: Row, key: bytes) -> Row:
    """Return what a row is without its payload, `canonical` and the moment apart."""
    timed = row.get("timestamp", NO_TIMESTAMP) != NO_TIMESTAMP
    short = len(row.get("timestamp_text") or "") <= 64
    gone: Row = {
        "task_event": {"data": None, "extra": None, **dict.fromkeys(FACETS)},
        "task_event_revision": {"data": None, "extra": None},
        "quarantine": {"raw": b""},
        "sent_message": {"request": "null"},
    }[table]
    if "timestamp_text" in row:
        gone["timestamp_text"] = row["timestamp_text"] if timed and short else None
    if "occurred_at" in row:
        gone["occurred_at"] = row["occurred_at"] if timed else None
    if "digest" in row:
        gone["digest"] = keyed(key, row["digest"])
    return {**row, **gone}


def assert_emptied_or_whole(before: Dump, after: Dump, chosen: Collection[Any], key: bytes) -> int:
    """Chosen rows are as they were, or without their payload (these are counted); all others are whole."""
    gone = 0
    for table, rows in before.items():
        if table in SUMS | OF_PRUNES:
            continue
        assert after[table].keys() == rows.keys(), table
        for name, row in rows.items():
            now = after[table][name]
            if now == row:
                continue
            assert (table, name) in chosen, (table, name)
            assert now["pruned_at"] is not None
            canonical = now.get("canonical")
            assert canonical is None or len(canonical) == 36
            assert (canonical is None) == (table != "task_event")
            same = {"pruned_at": now["pruned_at"]} | ({"canonical": canonical} if canonical else {})
            assert now == {**emptied(table, row, key), **same}, (table, name)
            gone += 1
    return gone
