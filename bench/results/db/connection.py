"""Engines of the results database: how a connection begins, waits for others and reads JSON."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from bench.core.errors import BadInput
from bench.core.redact import redact, redact_url

PATIENCE = 4.0  # seconds that a write waits for other processes, in all its tries
CONNECT_SECONDS = 10  # psycopg waits two minutes for a server that does not answer
RESTORE = (  # what a message says that tells somebody to move the database away
    "move it away and run: bench results rebuild (it restores what this BENCH_HOME keeps: stages, "
    "results, imports, cells that failed, sweeps; not what other homes wrote into it)"
)


class DatabaseProblem(BadInput):
    """The database cannot be read or written, in one line. `reason`: what it said itself.
    `passing`: the same may succeed a moment later, or when somebody has mended the database."""

    def __init__(self, text: str, reason: str, passing: bool) -> None:
        super().__init__(text)
        self.reason, self.passing = reason, passing


def explain(error: Exception, url: str, what: str) -> DatabaseProblem:
    """An error of the database at `url`, which cannot be `what` ("opened", "read", "written")."""
    reason = redact(" ".join(str(getattr(error, "orig", None) or error).split()), url)[:160]
    remedy = f"if it is damaged, {RESTORE}"
    if isinstance(error, DBAPIError) and is_locked(error):
        remedy = "another process holds it; run the same command again when that one has ended"
    elif isinstance(error, OperationalError) and not url.startswith("sqlite"):
        remedy = (
            "check that its server runs, that this machine reaches it, and the names in BENCH_DB; "
            "then run the same command again: finished stages are kept"
        )
    text = f"the results database {redact_url(url)} cannot be {what} ({reason}); {remedy}"
    passing = isinstance(error, DBAPIError) and (
        may_pass(error) or isinstance(error, OperationalError)
    )
    return DatabaseProblem(text, reason, passing)


def make_engine(url: str) -> Engine:
    """An engine for writing and reading; it connects when it is first used.

    On SQLite every transaction begins explicitly, so that the making of tables is part of it too
    (by default Python's driver commits before each), and those of `for_writing` take the write
    lock at once: one that reads first and writes then would fail, not wait.
    """
    name = make_url(url).get_backend_name()
    waits = {"connect_timeout": CONNECT_SECONDS} if name == "postgresql" else {}
    engine = create_engine(
        url, pool_pre_ping=True, connect_args=waits, json_deserializer=read_fields
    )
    if name == "sqlite":
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
    return engine


def for_writing(engine: Engine) -> Engine:
    """The engine, whose transactions are going to write."""
    return engine.execution_options(writes=True)


def _set_up(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={PATIENCE * 1000:.0f}",
        "journal_mode=WAL",
        "foreign_keys=ON",
        "synchronous=NORMAL",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def read_fields(text: str | bytes) -> dict[str, Any]:
    """The named fields of a JSON column; BadInput where it is torn or holds something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        shown = ascii(text[:40])
        raise BadInput(
            f"the results database is damaged: a column of JSON holds {shown}; {RESTORE}"
        )
    return value


def may_pass(error: DBAPIError) -> bool:
    """Whether the same write may succeed a moment later."""
    if isinstance(error, IntegrityError) or error.connection_invalidated:
        return True
    state = str(getattr(error.orig, "sqlstate", None) or "")  # PostgreSQL's
    refused = isinstance(error, OperationalError) and "connection" in str(error.orig) and not state
    return is_locked(error) or refused or state[:2] in ("08", "40", "57")


def is_locked(error: DBAPIError) -> bool:
    """Whether another process holds SQLite's file."""
    return "locked" in str(error.orig)
