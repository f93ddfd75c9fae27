"""Keep an audit archive: what of each task is not archived yet, the log's checkpoints, who made a run where."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

TASK_ID = sa.String(length=36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
NUMBERED = ("quarantine", "sent_message", "sync_run")


def upgrade() -> None:
    op.add_column("task", sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()))
    make_index("ix_task_not_archived", "task", ["task_id"], "archived IS false", "archived IS 0")
    op.add_column("sync_run", sa.Column("upstream_host", sa.Text(), nullable=True))
    op.add_column("sync_run", sa.Column("version", sa.Text(), nullable=True))
    for table in NUMBERED:
        op.add_column(table, sa.Column("checkpoint_id", sa.BigInteger(), nullable=True))
        make_indexes_of_marks(table, ["id"])
    op.create_table(
        "archive_journal",
        sa.Column("id", ROW_ID, sa.Identity(), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("noted_at", MOMENT, nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("turned", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("records", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("checkpoint_id", sa.BigInteger(), nullable=True),
        sa.Column("changes", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_archive_journal"),
    )
    make_indexes_of_marks("archive_journal", ["task_id", "id", "records"])
    make_tables_of_the_log()


def make_tables_of_the_log() -> None:
    op.create_table(
        "archive_log",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("origin", name="pk_archive_log"),
    )
    op.create_table(
        "archive_checkpoint",
        sa.Column("id", ROW_ID, sa.Identity(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("tree_size", sa.BigInteger(), nullable=False),
        sa.Column("root_hash", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.Column("anchored_at", MOMENT, nullable=True),
        sa.Column("anchor_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_archive_checkpoint"),
    )
    op.create_index(
        "ix_archive_checkpoint_origin_status_id", "archive_checkpoint", ["origin", "status", "id"]
    )
    make_index(
        "ix_archive_checkpoint_pending", "archive_checkpoint", ["origin"], "status = 'pending'", unique=True
    )


def downgrade() -> None:
    for table in ("archive_checkpoint", "archive_log", "archive_journal"):
        op.drop_table(table)
    for table in NUMBERED:
        op.drop_index(f"ix_{table}_checkpoint_id", table)
        op.drop_index(f"ix_{table}_waiting", table)
        op.drop_column(table, "checkpoint_id")
    op.drop_column("sync_run", "version")
    op.drop_column("sync_run", "upstream_host")
    op.drop_index("ix_task_not_archived", "task")
    op.drop_column("task", "archived")


def make_indexes_of_marks(table: str, columns: list[str]) -> None:
    """Make the indexes of what waits for the archive, and of what a checkpoint has taken in."""
    make_index(f"ix_{table}_waiting", table, columns, "checkpoint_id IS NULL")
    make_index(f"ix_{table}_checkpoint_id", table, ["checkpoint_id"], "checkpoint_id IS NOT NULL")


def make_index(
    name: str, table: str, columns: list[str], condition: str, on_sqlite: str = "", *, unique: bool = False
) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=sa.text(on_sqlite or condition),
        postgresql_where=sa.text(condition),
    )
