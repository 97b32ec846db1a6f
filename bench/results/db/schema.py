"""The version of the database's schema, and the upgrade of an older one (Alembic)."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

from bench.core.errors import BadInput
from bench.core.redact import redact_url
from bench.results.db.connection import RESTORE, for_writing
from bench.results.db.lock import exclude_others

HEAD = "0005"  # the newest migration; a test compares it with the migrations folder
# Alembic's usual one belongs to Optuna, whose studies are in this database
VERSION_TABLE = "bench_version"


def upgrade_schema(engine: Engine) -> None:
    """Make the tables, or bring older ones up to `HEAD`; BadInput where they are newer. Processes
    that start together migrate once.

    All of it is one transaction, tables and the row with the version: whatever ends it leaves the
    database as it was.
    """
    with engine.connect() as connection:
        if _read_version(connection) == HEAD:
            return
    with exclude_others(engine), for_writing(engine).begin() as connection:
        _adopt_version(connection)
        version = _read_version(connection)
        if version is None:
            _drop_half_made(connection)
        if version != HEAD:
            _migrate(connection, version)


def _migrate(connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "bench.results:migrations")
    config.set_main_option("path_separator", "os")
    known = {s.revision for s in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise BadInput(
            f"the results database {redact_url(str(connection.engine.url))} has schema "
            f"{version}, newer than this version's {HEAD}; "
            "try: pip install --upgrade ssl-crop-bench"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _read_version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _adopt_version(connection: Connection) -> None:
    """Take over the version that a database from before `VERSION_TABLE` keeps in Alembic's own
    table, and leave that table to Optuna, which keeps its version there."""
    tables = inspect(connection)
    if tables.has_table(VERSION_TABLE) or not tables.has_table("alembic_version"):
        return
    for (number,) in connection.execute(text("SELECT version_num FROM alembic_version")).all():
        if len(number) == len(HEAD) and number.isdecimal():
            connection.execute(
                text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) PRIMARY KEY)")
            )
            connection.execute(
                text(f"INSERT INTO {VERSION_TABLE} VALUES (:number)"), {"number": number}
            )
            connection.execute(text("DELETE FROM alembic_version"))


def _drop_half_made(connection: Connection) -> None:
    """Drop the empty tables that a killed creation of version 0.1 left, which made them one by
    one; BadInput where they are not empty."""
    from bench.results.db.models import Base

    present = set(inspect(connection).get_table_names())
    tables = [t for t in reversed(Base.metadata.sorted_tables) if t.name in present]
    full = [t.name for t in tables if connection.execute(text(f"SELECT 1 FROM {t.name}")).first()]
    if full:
        raise BadInput(
            f"the results database {redact_url(str(connection.engine.url))} does not say which "
            f"schema its table {full[0]} has; {RESTORE}"
        )
    for table in tables:
        table.drop(connection)
