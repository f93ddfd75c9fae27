"""Which messages were sent to tasks, and what became of each?

A row is written as `unknown` before its request leaves, in a transaction that survives a power cut,
and completed afterwards. So a row that still says `unknown` is a message of which nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from maia_sync.model import SentMessage
from maia_sync.store.schema import sent_message, task
from maia_sync.store.tasks import heat, upsert_tasks

if TYPE_CHECKING:
    from maia_sync.model import SendOutcome
    from maia_sync.store.database import Transaction


def insert_sent_message(tx: Transaction, *, task_id: str, sent_by: str, request: str) -> SentMessage:
    """Note a message that is about to be sent; `request` is the JSON that will be sent, to the letter."""
    values = {
        "task_id": task_id,
        "sent_by": sent_by,
        "sent_at": tx.now,
        "request": request,
        "outcome": "unknown",
    }
    statement = insert(sent_message).values(values).returning(sent_message.c.id)
    number = int(tx.connection.execute(statement).scalar_one())
    return SentMessage(id=number, task_id=task_id, sent_by=sent_by, sent_at=tx.now, outcome="unknown")


def complete_sent_message(tx: Transaction, number: int, outcome: SendOutcome, error: str | None) -> None:
    """Note what became of a message; `error` is a sentence without payload or secret."""
    completed_at = None if outcome == "unknown" else tx.now
    statement = (
        update(sent_message)
        .where(sent_message.c.id == number)
        .values(outcome=outcome, completed_at=completed_at, error=error, checkpoint_id=None)
    )
    tx.connection.execute(statement)


def track_sent_task(tx: Transaction, task_id: str) -> bool:
    """Track a task that a message went to, unless it is tracked, paused or not; tell whether it was not.

    Either way it is hot: polled at once, and often as long as it has news.
    """
    status = tx.connection.execute(select(task.c.status).where(task.c.task_id == task_id)).scalar()
    if status not in (None, "untracked"):
        heat(tx, [task_id])
        return False
    upsert_tasks(tx, [task_id])
    return True
