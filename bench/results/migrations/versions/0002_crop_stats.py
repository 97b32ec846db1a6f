"""Objectness statistics of crops."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "crop_stats",
        sa.Column(
            "stage_key",
            sa.String(64),
            sa.ForeignKey("stages.key", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("crop", sa.String(128), nullable=False),
        sa.Column("data", sa.String(128), nullable=False),
        sa.Column("data_key", sa.String(64), nullable=False),
        sa.Column("split", sa.String(32), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("stats", sa.JSON(), nullable=False),
    )
    op.create_index("ix_crop_stats_crop", "crop_stats", ["crop"])


def downgrade() -> None:
    op.drop_table("crop_stats")
