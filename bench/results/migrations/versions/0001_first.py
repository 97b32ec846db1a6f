"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stages",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
    )
    op.create_index("ix_stages_kind", "stages", ["kind"])
    op.create_table(
        "provenance",
        sa.Column(
            "stage_key",
            sa.String(64),
            sa.ForeignKey("stages.key", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("record", sa.JSON(), nullable=False),
    )
    op.create_table(
        "cells",
        sa.Column("label", sa.String(64), primary_key=True),
        *(sa.Column(n, sa.String(128), nullable=False) for n in ("method", "crop", "task")),
        sa.Column("scale", sa.String(32), nullable=False),
        sa.Column("pretrain_data", sa.String(128), nullable=False),
        sa.Column("pretrain_data_key", sa.String(64), nullable=False),
        sa.Column("task_data", sa.String(128), nullable=False),
        sa.Column("task_data_key", sa.String(64), nullable=False),
        sa.Column("engine", sa.String(64), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("group", sa.String(64), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
    )
    op.create_index("ix_cells_state", "cells", ["state"])
    op.create_index("cells_by_names", "cells", ["task", "method", "crop", "scale"])
    op.create_index("cells_by_group", "cells", ["group"])
    op.create_table(
        "results",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "label",
            sa.String(64),
            sa.ForeignKey("cells.label", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("headline", sa.String(64), nullable=False),
        sa.UniqueConstraint("label", "source"),
    )
    op.create_index("ix_results_label", "results", ["label"])
    op.create_table(
        "metrics",
        sa.Column(
            "result_id",
            sa.Integer(),
            sa.ForeignKey("results.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Float(53), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    for table in ("metrics", "results", "cells", "provenance", "stages"):
        op.drop_table(table)
