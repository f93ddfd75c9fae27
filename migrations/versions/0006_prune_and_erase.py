"""Prune, hold, erase, restore: when a payload was taken out, by whom, and what must not be."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

TASK_ID = sa.String(length=36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
WITH_PAYLOADS = ("task_event", "task_event_revision", "quarantine", "sent_message")
TABLES = ("archive_restore", "archive_prune", "archive_erasure", "archive_hold")


def upgrade() -> None:
    op.add_column("sync_run", sa.Column("credential", sa.Text(), nullable=True))
    op.add_column("task", sa.Column("archived_as", sa.LargeBinary(), nullable=True))
    for table in WITH_PAYLOADS:
        op.add_column(table, sa.Column("pruned_at", MOMENT, nullable=True))
        op.add_column(table, sa.Column("erased_at", MOMENT, nullable=True))
    pruned = ["task_id", "occurred_at", "erased_at"]
    make_index("ix_task_event_pruned", "task_event", pruned, "pruned_at IS NOT NULL")
    make_index("ix_quarantine_pruned", "quarantine", ["task_id", "digest"], "pruned_at IS NOT NULL")
    make_holds()
    make_removals()
    op.create_table(
        "archive_restore",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("tree_size", sa.BigInteger(), nullable=False),
        sa.Column("root_hash", sa.LargeBinary(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("origin", name="pk_archive_restore"),
    )


def make_holds() -> None:
    op.create_table(
        "archive_hold",
        sa.Column("id", ROW_ID, sa.Identity(), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("held_by", sa.Text(), nullable=False),
        sa.Column("held_at", MOMENT, nullable=False),
        sa.Column("released_at", MOMENT, nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("release_reason", sa.Text(), nullable=True),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_archive_hold"),
    )
    make_index("ix_archive_hold_waiting", "archive_hold", ["id"], "checkpoint_id IS NULL")
    make_index(
        "ix_archive_hold_checkpoint_id", "archive_hold", ["checkpoint_id"], "checkpoint_id IS NOT NULL"
    )


def make_removals() -> None:
    op.create_table(
        "archive_erasure",
        sa.Column("id", ROW_ID, sa.Identity(), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("before_at", MOMENT, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("erased_by", sa.Text(), nullable=False),
        sa.Column("erased_at", MOMENT, nullable=False),
        sa.Column("payloads", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=False),
        sa.Column("scrubbed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_archive_erasure"),
    )
    op.create_index("ix_archive_erasure_task_id", "archive_erasure", ["task_id"])
    op.create_table(
        "archive_prune",
        sa.Column("id", ROW_ID, sa.Identity(), nullable=False),
        sa.Column("older_than_at", MOMENT, nullable=False),
        sa.Column("pruned_by", sa.Text(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("payloads", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("held", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("tree_size", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_archive_prune"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.drop_index("ix_quarantine_pruned", "quarantine")
    op.drop_index("ix_task_event_pruned", "task_event")
    for table in WITH_PAYLOADS:
        op.drop_column(table, "erased_at")
        op.drop_column(table, "pruned_at")
    op.drop_column("task", "archived_as")
    op.drop_column("sync_run", "credential")


def make_index(name: str, table: str, columns: list[str], condition: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition)
    )
