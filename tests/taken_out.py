"""How does a test take payloads out of a database? As prune and erase do, without an archive."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from maia_sync.store.digest_key import make_digest_key
from maia_sync.store.emptying import EmptiedEvent, empty_events, empty_quarantined, empty_sent
from maia_sync.store.facets import lock_task
from maia_sync.store.schema import quarantine, sent_message, task_event, task_event_revision
from maia_sync.sync.payload_digest import keyed_digests_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from maia_sync.store.database import Database


def key_in(folder: Path) -> Path:
    """Make a digest key, and return its path: what archive.digest_key_file is to be set to."""
    path = folder / "removed.digests"
    make_digest_key(path)
    return path


def take_out(
    database: Database,
    task_id: str,
    *,
    erased: bool = False,
    chosen: Callable[[Any], bool] = lambda _: True,
    batch: int = 1000,
    sum_again: bool = True,
) -> int:
    """Take the payloads of chosen rows out, earlier revisions too; returns how many there were."""
    taken = 0
    for table in (task_event, task_event_revision):
        columns = [table.c[name] for name in ("group_id", "timestamp", "ordinal", "revision")]
        payload = [table.c[name] for name in ("data", "extra", "timestamp_text")]
        there = (table.c.task_id == task_id, table.c.pruned_at.is_(None))
        statement = select(*columns, *payload).where(*there).order_by(*columns)
        with database.transaction(write=False) as tx:
            key = tx.digest_key.load()
            assert key is not None
            rows = [row for row in tx.connection.execute(statement) if chosen(row)]
        for at in range(0, len(rows), batch):
            named = [
                EmptiedEvent._make((*row[:4], *keyed_digests_of(key, *row[4:])))
                for row in rows[at : at + batch]
            ]
            with database.transaction() as tx:
                lock_task(tx, task_id)
                taken += empty_events(tx, task_id, named, erased=erased, sum_again=sum_again)
    return taken


def take_out_others(database: Database, task_id: str, *, erased: bool = False) -> int:
    """Take what is in quarantine, and what was sent, out."""
    with database.transaction() as tx:
        key = tx.digest_key.load()
        assert key is not None
        kept = select(quarantine.c.id, quarantine.c.raw).where(
            quarantine.c.task_id == task_id, quarantine.c.pruned_at.is_(None)
        )
        named = [(number, key.of(sha256(raw).digest())) for number, raw in tx.connection.execute(kept)]
        sent = select(sent_message.c.id).where(sent_message.c.task_id == task_id)
        return empty_quarantined(tx, named, erased=erased) + empty_sent(
            tx, list(tx.connection.execute(sent).scalars()), erased=erased
        )
