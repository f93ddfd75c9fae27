"""Make the first tables: tasks, events with their revisions, checkpoints, runs, quarantine, sent messages."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

TASK_ID = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
RAW_JSON = sa.Text().with_variant(postgresql.JSON(), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("page_token", sa.Text(), nullable=True),
        sa.Column("compare_seq", sa.BigInteger(), nullable=False),
        sa.Column("end_reached_at", MOMENT, nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("reconcile_token", sa.Text(), nullable=True),
        sa.Column("reconcile_seq", sa.BigInteger(), nullable=True),
        sa.Column("reconcile_seen", sa.Text(), nullable=True),
        sa.Column("reconcile_started_at", MOMENT, nullable=True),
        sa.Column("reconcile_doubt", sa.Text(), nullable=True),
        sa.Column("reconciled_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("task_id", name="pk_checkpoint"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", ROW_ID, sa.Identity(always=False), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("quarantined_at", MOMENT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
        sa.UniqueConstraint("task_id", "digest", name="uq_quarantine_task_id_digest"),
    )
    op.create_table(
        "sent_message",
        sa.Column("id", ROW_ID, sa.Identity(always=False), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("sent_by", sa.Text(), nullable=False),
        sa.Column("sent_at", MOMENT, nullable=False),
        sa.Column("request", RAW_JSON, nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sent_message"),
    )
    op.create_index("ix_sent_message_task_id_sent_at", "sent_message", ["task_id", "sent_at"], unique=False)
    op.create_table(
        "sync_run",
        sa.Column("id", ROW_ID, sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("tasks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tasks_failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tasks_held", sa.Integer(), server_default="0", nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("pages", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("events_new", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("events_changed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("events_unchanged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("events_vanished", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("quarantined", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sync_run"),
    )
    op.create_table(
        "task",
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("tracked_at", MOMENT, nullable=False),
        sa.Column("last_polled_at", MOMENT, nullable=True),
        sa.Column("last_news_at", MOMENT, nullable=True),
        sa.Column("next_poll_at", MOMENT, nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_error_at", MOMENT, nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", MOMENT, nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("task_id", name="pk_task"),
    )
    op.create_table(
        "task_event",
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", RAW_JSON, nullable=True),
        sa.Column("extra", RAW_JSON, nullable=True),
        sa.Column("occurred_at", MOMENT, nullable=True),
        sa.Column("timestamp_text", sa.Text(), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("last_changed_at", MOMENT, nullable=False),
        sa.Column("vanished_at", MOMENT, nullable=True),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("task_id", "group_id", "timestamp", "ordinal", name="pk_task_event"),
    )
    op.create_index(
        "ix_task_event_canonical",
        "task_event",
        ["task_id", "group_id", "timestamp", "canonical"],
        unique=False,
        sqlite_where=sa.text("canonical IS NOT NULL"),
        postgresql_where=sa.text("canonical IS NOT NULL"),
    )
    op.create_index("ix_task_event_task_id_seq", "task_event", ["task_id", "seq"], unique=False)
    op.create_index(
        "ix_task_event_vanished",
        "task_event",
        ["task_id"],
        unique=False,
        sqlite_where=sa.text("vanished_at IS NOT NULL"),
        postgresql_where=sa.text("vanished_at IS NOT NULL"),
    )
    op.create_table(
        "task_event_revision",
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", RAW_JSON, nullable=True),
        sa.Column("extra", RAW_JSON, nullable=True),
        sa.Column("timestamp_text", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("superseded_at", MOMENT, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint(
            "task_id", "group_id", "timestamp", "ordinal", "revision", name="pk_task_event_revision"
        ),
    )


def downgrade() -> None:
    for table in (
        "task_event_revision",
        "task_event",
        "checkpoint",
        "quarantine",
        "sent_message",
        "sync_run",
        "task",
    ):
        op.drop_table(table)
