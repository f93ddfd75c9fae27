"""What does the archive keep of the database? One frozen record for each thing that happened.

A record is read from the database by `archive_reading.py` and becomes one entry of the log, and, where it has
a payload, one row of a data segment.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

RecordType: TypeAlias = Literal[
    "event",
    "revision",
    "vanished",
    "returned",
    "turned",
    "missing",
    "quarantine",
    "sent",
    "run",
]
"""event: as first stored (revision 0). revision: a later payload. vanished, returned: upstream no longer
serves an event, or serves it again. turned: the `seq` of all of the task's rows so far have changed their
sign. missing: an event that was stored, and was gone before it could be archived. The rest are rows of the
tables that they name.
"""


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to: the columns of `sync_run`, by their names."""

    kind: str
    worker: str
    started_at: datetime
    ended_at: datetime | None
    status: str
    tasks: int
    tasks_failed: int
    tasks_held: int
    requests: int
    pages: int
    bytes: int
    events_new: int
    events_changed: int
    events_unchanged: int
    events_vanished: int
    quarantined: int
    error: str | None
    upstream_host: str | None
    version: str | None


class SentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a sent message: the columns of `sent_message`, by their names."""

    sent_by: str
    outcome: str
    completed_at: datetime | None
    error: str | None


class QuarantineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Why an element is in quarantine."""

    reason: str


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened, with its payload if it has one; what does not apply is None."""

    type: RecordType
    received_at: datetime
    """When we stored it; of `vanished` and `returned` when it was noticed, of a run when it ended."""
    task_id: str | None = None
    """None for runs alone."""
    group_id: str | None = None
    timestamp: int | None = None
    ordinal: int | None = None
    """These three, with task_id, are an event's key (model.NO_TIMESTAMP included)."""
    revision: int | None = None
    run_id: int | None = None
    number: int | None = None
    """The row's id in `quarantine`, `sent_message` or `sync_run`."""
    seq: int | None = None
    timestamp_text: str | None = None
    occurred_at: datetime | None = None
    """The instant in the key, to the microsecond below: None if `timestamp` is NO_TIMESTAMP, whatever
    `task_event` can tell of it, so that a payload's record never changes.
    """
    data: str | None = None
    """An event's data, or a sent message's request; to the letter."""
    extra: str | None = None
    raw: bytes | None = None
    """An element in quarantine."""
    facts: RunFacts | SentFacts | QuarantineFacts | None = None
