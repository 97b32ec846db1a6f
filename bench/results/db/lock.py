"""A lock that every process using one database respects."""

from __future__ import annotations

import fcntl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from bench.core.locks import take_lock

UPGRADE = "lock"  # held while the schema is upgraded


@contextmanager
def exclude_others(engine: Engine, what: str = UPGRADE) -> Iterator[None]:
    """Let one process at a time into the block, of all that use this database and name the same
    `what`. SQLite's lock is on a file beside the database, PostgreSQL's is in the server."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        with open(f"{engine.url.database}.{what}", "a") as handle:
            take_lock(handle.fileno(), fcntl.LOCK_EX, Path(engine.url.database).parent)
            yield
    elif engine.dialect.name == "postgresql":
        number = {"number": 7265636 + zlib.crc32(what.encode()) * (what != UPGRADE)}
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:number)"), number)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), number)
    else:
        yield
