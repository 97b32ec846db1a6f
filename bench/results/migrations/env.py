"""Alembic's environment: the connection is handed over by `open_database`."""

from alembic import context

from bench.results.db.models import Base
from bench.results.db.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
