r"""Which tables and columns are there? The metadata that migrations must arrive at.

Column types differ by dialect where they must: `task_id` is a native UUID on PostgreSQL and text
on SQLite; raw JSON is `json` on PostgreSQL (jsonb would refuse `\u0000`, lone surrogates and huge
exponents) and TEXT on SQLite. `task_event`, `task_event_revision` and `checkpoint` have no foreign
key to `task`, and every unique key of theirs begins with task_id, so that they can be distributed.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from maia_sync.store.column_types import (
    UtcTimestamp,
    counts,
    facets,
    metadata,
    only,
    raw_json,
    removal,
    row_id,
    task_id_column,
)

HEAD = "0006"
"""The newest migration; a test holds it against migrations/versions."""
KNOWN_REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")

task = Table(
    "task",
    metadata,
    Column("task_id", task_id_column(), primary_key=True),
    Column("label", Text),
    Column("status", String(16), nullable=False),
    Column("tracked_at", UtcTimestamp, nullable=False),
    Column("last_polled_at", UtcTimestamp),
    Column("last_news_at", UtcTimestamp),
    Column("next_poll_at", UtcTimestamp),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("last_error", Text),
    Column("last_error_at", UtcTimestamp),
    Column("lease_owner", Text),
    Column("lease_expires_at", UtcTimestamp),
    Column("lease_epoch", BigInteger, nullable=False, server_default="0"),
    Column("poll_interval", Float, nullable=False, server_default="0"),
    Column("times_missing", Integer, nullable=False, server_default="0"),
    Column("next_reconcile_at", UtcTimestamp),
    Column("lease_acquired_at", UtcTimestamp),
    Column("paused_by", String(16)),
    Column("archived", Boolean, nullable=False, server_default=false()),
    Column("archived_as", LargeBinary),
    Index("ix_task_status_last_polled_at_tracked_at", "status", "last_polled_at", "tracked_at"),
)
# Partial: what is not due, held or failing costs nothing in them.
for _column in (task.c.next_poll_at, task.c.next_reconcile_at, task.c.lease_owner, task.c.last_error_at):
    Index(
        f"ix_task_{_column.name}",
        _column,
        info=only(_column.is_not(None)),
    )
_is_not_archived = task.c.archived.is_(false())
Index(
    "ix_task_not_archived",
    task.c.task_id,
    info=only(_is_not_archived),
)

task_source = Table(
    "task_source",
    metadata,
    Column("source", String(32), nullable=False, primary_key=True),
    Column("task_id", task_id_column(), nullable=False, primary_key=True),
    PrimaryKeyConstraint("task_id", "source"),
    Index("ix_task_source_source_task_id", "source", "task_id"),
)
"""Which source (`hand`, `tasks_file`, `discovery_command`) lists a task; it may be in several, or in none."""

task_event = Table(
    "task_event",
    metadata,
    Column("task_id", task_id_column(), primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("timestamp", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("data", raw_json()),
    Column("extra", raw_json()),
    Column("occurred_at", UtcTimestamp),
    Column("timestamp_text", Text),
    Column("seq", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("canonical", LargeBinary),
    Column("revision", Integer, nullable=False),
    Column("first_seen_at", UtcTimestamp, nullable=False),
    Column("last_changed_at", UtcTimestamp, nullable=False),
    Column("vanished_at", UtcTimestamp),
    Column("run_id", BigInteger),
    *facets(),
    *removal(),
)
Index("ix_task_event_task_id_seq", task_event.c.task_id, task_event.c.seq)
Index("ix_task_event_occurred_at", task_event.c.occurred_at)
# Partial, so that it costs nothing where every key has one row, and keeps a log of a million
# events without timestamps (one key for all of them) from being scanned for each page.
Index(
    "ix_task_event_canonical",
    task_event.c.task_id,
    task_event.c.group_id,
    task_event.c.timestamp,
    task_event.c.canonical,
    info=only(task_event.c.canonical.is_not(None)),
)

# Partial as well: `status` counts vanished rows without reading the others.
Index(
    "ix_task_event_vanished",
    task_event.c.task_id,
    info=only(task_event.c.vanished_at.is_not(None)),
)

# Partial as well: it costs nothing until something is pruned. `status` counts by it what was pruned, what of
# that was erased, and what is as old and was not pruned.
Index(
    "ix_task_event_pruned",
    task_event.c.task_id,
    task_event.c.occurred_at,
    task_event.c.erased_at,
    info=only(task_event.c.pruned_at.is_not(None)),
)

# For v_tool_call: a call finds its result by its id, or else those of a group without ids stand together.
_has_call_id = task_event.c.tool_call_id.is_not(None)
Index(
    "ix_task_event_tool_call_id",
    task_event.c.task_id,
    task_event.c.tool_call_id,
    info=only(_has_call_id),
)
_is_bare_call = text("event_kind IN ('tool_call', 'tool_result') AND tool_call_id IS NULL")
Index(
    "ix_task_event_bare_call",
    task_event.c.task_id,
    info=only(_is_bare_call),
)
# For v_error: few rows of many.
_is_error = task_event.c.outcome == text("'error'")
Index(
    "ix_task_event_error",
    task_event.c.occurred_at,
    info=only(_is_error),
)

task_turn = Table(
    "task_turn",
    metadata,
    Column("task_id", task_id_column(), primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("day", Date),
    Column("hour_at", UtcTimestamp),
    Column("started_at", UtcTimestamp),
    Column("first_at", UtcTimestamp),
    Column("last_at", UtcTimestamp),
    Column("asked_at", UtcTimestamp),
    Column("answered_at", UtcTimestamp),
    Column("user_id", Text),
    Column("user_at", UtcTimestamp),
    Column("agent_name", Text),
    Column("agent_at", UtcTimestamp),
    Column("steps", BigInteger, nullable=False),
    *counts(),
    Index("ix_task_turn_started_at", "started_at"),
    Index("ix_task_turn_day", "day"),
)
"""What the events of a group come to, kept up to date with them; `started_at` is asked_at, else first_at."""

task_activity = Table(
    "task_activity",
    metadata,
    Column("task_id", task_id_column(), primary_key=True),
    Column("slot_at", UtcTimestamp, primary_key=True),
    Column("day", Date, nullable=False),
    Column("hour_at", UtcTimestamp, nullable=False),
    Column("hour", Integer, nullable=False),
    *counts(),
    Index("ix_task_activity_day", "day"),
)
"""What the events of a task within a quarter of an hour come to, kept up to date with them.

Quarters, because time zones differ by such; day and hour are those of the reporting time zone.
"""

reporting_zone = Table(
    "reporting_zone",
    metadata,
    Column("name", Text, nullable=False),
)
"""One row: the time zone in which days and hours are told."""

task_event_revision = Table(
    "task_event_revision",
    metadata,
    Column("task_id", task_id_column(), primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("timestamp", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("data", raw_json()),
    Column("extra", raw_json()),
    Column("timestamp_text", Text),
    Column("digest", LargeBinary, nullable=False),
    Column("seen_at", UtcTimestamp, nullable=False),
    Column("superseded_at", UtcTimestamp, nullable=False),
    Column("run_id", BigInteger),
    *removal(),
    Index("ix_task_event_revision_superseded_at", "superseded_at"),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("task_id", task_id_column(), primary_key=True),
    Column("page_token", Text),
    Column("compare_seq", BigInteger, nullable=False),
    Column("page_limit", Integer),
    Column("end_reached_at", UtcTimestamp),
    Column("epoch", BigInteger, nullable=False),
    Column("updated_at", UtcTimestamp, nullable=False),
    Column("log_order", String(16)),
    Column("gaps", Text),
    Column("quiet_polls", Integer, nullable=False, server_default="0"),
    Column("tail_elements", Integer, nullable=False, server_default="0"),
    Column("reconcile_token", Text),
    Column("reconcile_seq", BigInteger),
    Column("reconcile_limit", Integer),
    Column("reconcile_seen", Text),
    Column("reconcile_started_at", UtcTimestamp),
    Column("reconcile_doubt", Text),
    Column("reconciled_at", UtcTimestamp),
)

sync_run = Table(
    "sync_run",
    metadata,
    row_id(),
    Column("kind", String(16), nullable=False),
    Column("worker", Text, nullable=False),
    Column("started_at", UtcTimestamp, nullable=False),
    Column("ended_at", UtcTimestamp),
    Column("status", String(16), nullable=False),
    Column("tasks", Integer, nullable=False, server_default="0"),
    Column("tasks_failed", Integer, nullable=False, server_default="0"),
    Column("tasks_held", Integer, nullable=False, server_default="0"),
    Column("requests", BigInteger, nullable=False, server_default="0"),
    Column("pages", BigInteger, nullable=False, server_default="0"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("events_new", BigInteger, nullable=False, server_default="0"),
    Column("events_changed", BigInteger, nullable=False, server_default="0"),
    Column("events_unchanged", BigInteger, nullable=False, server_default="0"),
    Column("events_vanished", BigInteger, nullable=False, server_default="0"),
    Column("quarantined", BigInteger, nullable=False, server_default="0"),
    Column("error", Text),
    Column("upstream_host", Text),
    Column("credential", Text),
    Column("version", Text),
    Column("checkpoint_id", BigInteger),
)

quarantine = Table(
    "quarantine",
    metadata,
    row_id(),
    Column("task_id", task_id_column(), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("run_id", BigInteger),
    Column("quarantined_at", UtcTimestamp, nullable=False),
    Column("reason", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("checkpoint_id", BigInteger),
    *removal(),
    UniqueConstraint("task_id", "digest"),
)
# Partial: whether anything of a task was removed is told without reading what is there.
Index(
    "ix_quarantine_pruned",
    quarantine.c.task_id,
    quarantine.c.digest,
    info=only(quarantine.c.pruned_at.is_not(None)),
)

sent_message = Table(
    "sent_message",
    metadata,
    row_id(),
    Column("task_id", task_id_column(), nullable=False),
    Column("sent_by", Text, nullable=False),
    Column("sent_at", UtcTimestamp, nullable=False),
    Column("request", raw_json(), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("completed_at", UtcTimestamp),
    Column("error", Text),
    Column("checkpoint_id", BigInteger),
    *removal(),
    Index("ix_sent_message_task_id_sent_at", "task_id", "sent_at"),
)

archive_journal = Table(
    "archive_journal",
    metadata,
    row_id(),
    Column("task_id", task_id_column(), nullable=False),
    Column("run_id", BigInteger),
    Column("noted_at", UtcTimestamp, nullable=False),
    Column("whole", Boolean, nullable=False, server_default=false()),
    Column("turned", Boolean, nullable=False, server_default=false()),
    Column("records", BigInteger, nullable=False, server_default="0"),
    Column("checkpoint_id", BigInteger),
    Column("changes", Text),
)
"""What has happened to tasks since they were last archived (see archive_journal.py)."""

archive_log = Table(
    "archive_log",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("started_at", UtcTimestamp, nullable=False),
    Column("lease_owner", Text),
    Column("lease_expires_at", UtcTimestamp),
)
"""The one log in which this database is archived, and who writes it now."""

archive_checkpoint = Table(
    "archive_checkpoint",
    metadata,
    row_id(),
    Column("origin", Text, nullable=False),
    Column("tree_size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", UtcTimestamp, nullable=False),
    Column("completed_at", UtcTimestamp),
    Column("anchored_at", UtcTimestamp),
    Column("anchor_error", Text),
    Index("ix_archive_checkpoint_origin_status_id", "origin", "status", "id"),
)
_is_pending = archive_checkpoint.c.status == text("'pending'")
Index(
    "ix_archive_checkpoint_pending",
    archive_checkpoint.c.origin,
    unique=True,
    info=only(_is_pending),
)

archive_hold = Table(
    "archive_hold",
    metadata,
    row_id(),
    Column("task_id", task_id_column()),
    Column("reason", Text, nullable=False),
    Column("held_by", Text, nullable=False),
    Column("held_at", UtcTimestamp, nullable=False),
    Column("released_at", UtcTimestamp),
    Column("released_by", Text),
    Column("release_reason", Text),
    Column("checkpoint_id", BigInteger),
)
"""Legal holds: while one is not released, nothing of the task (all tasks, where it is NULL) is removed."""

archive_erasure = Table(
    "archive_erasure",
    metadata,
    row_id(),
    Column("task_id", task_id_column(), nullable=False),
    Column("before_at", UtcTimestamp),
    Column("reason", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("erased_by", Text, nullable=False),
    Column("erased_at", UtcTimestamp, nullable=False),
    Column("payloads", BigInteger, nullable=False),
    Column("checkpoint_id", BigInteger, nullable=False),
    Column("scrubbed_at", UtcTimestamp),
    Index("ix_archive_erasure_task_id", "task_id"),
)
"""What was erased everywhere; `scrubbed_at`: when the free pages of the database were rid of it, too."""

archive_prune = Table(
    "archive_prune",
    metadata,
    row_id(),
    Column("older_than_at", UtcTimestamp, nullable=False),
    Column("pruned_by", Text, nullable=False),
    Column("started_at", UtcTimestamp, nullable=False),
    Column("ended_at", UtcTimestamp),
    Column("payloads", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("origin", Text),
    Column("tree_size", BigInteger),
)
"""What was pruned: payloads from before `older_than_at`, but for those that were on hold.

`origin` and `tree_size` tell the log, as large as it was when it had been verified.
"""

archive_restore = Table(
    "archive_restore",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("tree_size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("entries", BigInteger, nullable=False, server_default="0"),
    Column("started_at", UtcTimestamp, nullable=False),
    Column("completed_at", UtcTimestamp),
)
"""From which archive this database was restored, and up to which of its entries so far."""

# What waits for the archive, in the order in which it is read, and what a checkpoint has taken in.
for _table, _reading in (
    (archive_journal, ("task_id", "id", "records")),
    (quarantine, ("id",)),
    (sent_message, ("id",)),
    (sync_run, ("id",)),
    (archive_hold, ("id",)),
):
    _checkpoint_id = _table.c.checkpoint_id
    Index(
        f"ix_{_table.name}_waiting",
        *(_table.c[name] for name in _reading),
        info=only(_checkpoint_id.is_(None)),
    )
    Index(
        f"ix_{_table.name}_checkpoint_id",
        _checkpoint_id,
        info=only(_checkpoint_id.is_not(None)),
    )
