"""Poll each task when it is due: its interval, its next reconcile, who holds it since when, its sources."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

TASK_ID = sa.String(length=36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
MOMENT = sa.DateTime(timezone=True)
WALKED = "status IN ('active', 'forbidden', 'missing')"
PARTIAL = {
    "ix_task_next_poll_at": ("next_poll_at", "next_poll_at IS NOT NULL"),
    "ix_task_next_reconcile_at": ("next_reconcile_at", "next_reconcile_at IS NOT NULL"),
    "ix_task_lease_owner": ("lease_owner", "lease_owner IS NOT NULL"),
    "ix_task_last_error_at": ("last_error_at", "last_error_at IS NOT NULL"),
}


def upgrade() -> None:
    op.add_column("task", sa.Column("poll_interval", sa.Float(), nullable=False, server_default="0"))
    op.add_column("task", sa.Column("times_missing", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("task", sa.Column("next_reconcile_at", MOMENT, nullable=True))
    op.add_column("task", sa.Column("lease_acquired_at", MOMENT, nullable=True))
    op.add_column("task", sa.Column("paused_by", sa.String(length=16), nullable=True))
    op.execute(f"UPDATE task SET next_poll_at = tracked_at WHERE {WALKED}")
    op.execute("UPDATE task SET paused_by = 'hand' WHERE status = 'paused'")
    for name, (column, condition) in PARTIAL.items():
        op.create_index(
            name, "task", [column], sqlite_where=sa.text(condition), postgresql_where=sa.text(condition)
        )
    op.create_index(
        "ix_task_status_last_polled_at_tracked_at", "task", ["status", "last_polled_at", "tracked_at"]
    )
    op.create_table(
        "task_source",
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "source", name="pk_task_source"),
    )
    op.create_index("ix_task_source_source_task_id", "task_source", ["source", "task_id"])


def downgrade() -> None:
    op.drop_table("task_source")
    op.drop_index("ix_task_status_last_polled_at_tracked_at", "task")
    for name in PARTIAL:
        op.drop_index(name, "task")
    for name in ("paused_by", "lease_acquired_at", "next_reconcile_at", "times_missing", "poll_interval"):
        op.drop_column("task", name)
