"""What did each run over the tasks come to?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from maia_sync.store.schema import sync_run, task
from maia_sync.version import __version__

if TYPE_CHECKING:
    from maia_sync.model import RunReport
    from maia_sync.store.database import Transaction


def start_run(
    tx: Transaction,
    *,
    kind: str,
    worker: str,
    upstream_host: str | None = None,
    credential: str | None = None,
) -> int:
    """Open a row of `sync_run` and return its id."""
    values = {
        "kind": kind,
        "worker": worker,
        "started_at": tx.now,
        "status": "running",
        "upstream_host": upstream_host,
        "credential": credential,
        "version": __version__,
    }
    statement = insert(sync_run).values(values).returning(sync_run.c.id)
    return int(tx.connection.execute(statement).scalar_one())


def finish_run(tx: Transaction, report: RunReport) -> None:
    """Close the run's row with what it came to; a second time, after a commit of unknown outcome, for naught.

    It never changes again: the archive would take that for an alteration.
    """
    values: dict[str, Any] = {
        "ended_at": tx.now,
        "status": report.status,
        "tasks": report.tasks,
        "tasks_failed": report.failed,
        "tasks_held": len(report.held),
        "requests": report.requests,
        "pages": report.pages,
        "bytes": report.size_bytes,
        "events_new": report.new,
        "events_changed": report.changed,
        "events_unchanged": report.unchanged,
        "events_vanished": report.vanished,
        "quarantined": report.quarantined,
        "error": report.error,
        "checkpoint_id": None,  # one given up for lost may have been archived as it stood
    }
    is_open = sync_run.c.status.in_(("running", "lost"))
    tx.connection.execute(update(sync_run).where(sync_run.c.id == report.run_id, is_open).values(values))


def close_lost_runs(tx: Transaction, *, silent_seconds: float) -> int:
    """Mark runs whose process died without a word; returns how many.

    A run is lost if it is so old and its worker holds no living lease.
    """
    living = select(task.c.lease_owner).where(
        task.c.lease_owner.is_not(None), task.c.lease_expires_at >= tx.now
    )
    statement = (
        update(sync_run)
        .where(
            sync_run.c.status == "running",
            sync_run.c.started_at < tx.now - timedelta(seconds=silent_seconds),
            sync_run.c.worker.not_in(living),
        )
        .values(status="lost", ended_at=tx.now)
    )
    return tx.connection.execute(statement).rowcount


def read_last_runs(tx: Transaction, limit: int) -> list[dict[str, Any]]:
    """Return the newest runs as column-to-value mappings, newest first."""
    columns = (column for column in sync_run.c if column is not sync_run.c.checkpoint_id)
    statement = select(*columns).order_by(sync_run.c.id.desc()).limit(limit)
    return [dict(row._mapping) for row in tx.connection.execute(statement)]  # noqa: SLF001 - public name
