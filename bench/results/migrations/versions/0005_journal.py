"""Who asked for a cell and when it last changed; notes and tags."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "journal",
        sa.Column(
            "label",
            sa.String(64),
            sa.ForeignKey("cells.label", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("user", sa.String(64), nullable=False, server_default=""),
        sa.Column("changed", sa.Float(53)),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("tags", sa.Text(), nullable=False, server_default=""),
    )


def downgrade() -> None:
    op.drop_table("journal")
