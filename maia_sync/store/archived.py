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
    "task",
    "hold",
    "erasure",
]
"""event: as first stored (revision 0). revision: a later payload. vanished, returned: upstream no longer
serves an event, or serves it again. turned: the `seq` of all of the task's rows so far have changed their
sign. missing: an event that was stored, and was gone before it could be archived. task: how a task is
tracked; told again whenever that has changed. hold: a legal hold; told again once it is released. erasure:
that payloads were erased, by whom and why. The rest are rows of the tables that they name.
"""


class RunFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    credential: str | None = None
    """Left out if it is not known: logs that were begun before it was kept have none."""


class SentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a sent message: the columns of `sent_message`, by their names."""

    sent_by: str
    outcome: str
    completed_at: datetime | None
    error: str | None


class QuarantineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Why an element is in quarantine."""

    reason: str


class TaskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How a task is tracked: columns of `task`, by their names, its sources, and its log's order.

    Never a page token, which leads to payloads.
    """

    label: str | None
    status: str
    tracked_at: datetime
    paused_by: str | None
    sources: tuple[str, ...]
    """In their order as text."""
    log_order: str | None
    """The column of `checkpoint`; None if it is not known yet."""


class HoldFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A legal hold: columns of `archive_hold`, by their names; on the record's task_id, or on all tasks."""

    reason: str
    held_by: str
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None


class ErasureFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased of the record's task, and why; `number` is the row's id in `archive_erasure`."""

    before: str | None
    """As entries tell moments; payloads that are older (archive/selection.py). None: all of the task."""
    reason: str
    basis: str
    """The legal one."""
    erased_by: str
    payloads: int
    """How many of the log's entries lost theirs with this erasure."""


class Removed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is still told of a payload that was pruned or erased before it could be archived."""

    seq: int | None = None
    """Of an event: its place in the task."""
    pruned_at: datetime | None = None
    erased_at: datetime | None = None
    digest: str | None = None
    """The keyed digest by which it is known again, in hex; None if there is none."""
    canonical: str | None = None
    """Likewise; of the newest payload of an event alone."""


Facts: TypeAlias = RunFacts | SentFacts | QuarantineFacts | TaskFacts | HoldFacts | ErasureFacts


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
    """The row's id in `quarantine`, `sent_message`, `sync_run`, `archive_hold` or `archive_erasure`."""
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
    facts: Facts | None = None
    removed: Removed | None = None
    """Of what was pruned or erased; of those that are told to be `missing` it goes to the archive."""
