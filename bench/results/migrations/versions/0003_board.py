"""What a leaderboard reads without opening a JSON value: headline values, rows, columns, code,
time."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "cells", sa.Column("pretraining", sa.String(64), nullable=False, server_default="")
    )
    op.add_column("cells", sa.Column("protocol", sa.String(64), nullable=False, server_default=""))
    op.add_column(
        "cells", sa.Column("validation", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("results", sa.Column("value", sa.Float(53)))
    op.add_column("stages", sa.Column("runner", sa.String(128), nullable=False, server_default=""))
    op.add_column(
        "stages", sa.Column("source_digest", sa.String(64), nullable=False, server_default="")
    )
    op.add_column("stages", sa.Column("seconds", sa.Float(53)))
    board = ["scale", "pretrain_data", "task", "task_data", "engine"]
    op.create_index(
        "cells_board", "cells", [*board, "group", "label", "seed", "state", "validation"]
    )
    op.create_index("results_board", "results", ["label", "source", "headline", "value"])
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    """The new columns of the rows there are; a cell's pretraining and protocol stay unknown."""
    connection.execute(
        sa.text(
            "UPDATE results SET value = (SELECT m.value FROM metrics m "
            "WHERE m.result_id = results.id AND m.name = results.headline)"
        )
    )
    cells = sa.table(
        "cells",
        sa.column("label"),
        sa.column("overrides", sa.JSON),
        sa.column("validation", sa.Boolean),
    )
    for label, overrides in list(connection.execute(sa.select(cells.c.label, cells.c.overrides))):
        if any(key.endswith(".holdout") and float(value) for key, value in overrides.items()):
            connection.execute(
                cells.update().where(cells.c.label == label).values(validation=True)
            )
    made_by = sa.table("provenance", sa.column("stage_key"), sa.column("record", sa.JSON))
    stages = sa.table("stages", *(sa.column(n) for n in ("key", "source_digest", "seconds")))
    for key, record in list(connection.execute(sa.select(made_by.c.stage_key, made_by.c.record))):
        values = {
            "source_digest": record.get("source_digest") or "",
            "seconds": record.get("seconds"),
        }
        connection.execute(stages.update().where(stages.c.key == key).values(values))


def downgrade() -> None:
    op.drop_index("results_board", "results")
    op.drop_index("cells_board", "cells")
    for table, names in (
        ("stages", ("runner", "source_digest", "seconds")),
        ("results", ("value",)),
        ("cells", ("pretraining", "protocol", "validation")),
    ):
        for name in names:
            op.drop_column(table, name)
