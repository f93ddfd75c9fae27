"""Walk logs in either order: the order itself, open gaps, limits beside tokens, quiet tails."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

COUNT = {"type_": sa.Integer(), "nullable": False, "server_default": "0"}


def upgrade() -> None:
    op.add_column("checkpoint", sa.Column("page_limit", sa.Integer(), nullable=True))
    op.add_column("checkpoint", sa.Column("log_order", sa.String(length=16), nullable=True))
    op.add_column("checkpoint", sa.Column("gaps", sa.Text(), nullable=True))
    op.add_column("checkpoint", sa.Column("quiet_polls", **COUNT))
    op.add_column("checkpoint", sa.Column("tail_elements", **COUNT))
    op.add_column("checkpoint", sa.Column("reconcile_limit", sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in ("reconcile_limit", "tail_elements", "quiet_polls", "gaps", "log_order", "page_limit"):
        op.drop_column("checkpoint", name)
