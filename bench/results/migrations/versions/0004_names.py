"""What users call their data."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAMES = ("pretrain_name", "task_name")


def upgrade() -> None:
    for name in NAMES:
        op.add_column("cells", sa.Column(name, sa.String(64), nullable=False, server_default=""))


def downgrade() -> None:
    for name in NAMES:
        op.drop_column("cells", name)
