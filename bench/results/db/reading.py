"""The results database, opened for reading only: nothing is migrated, locked or created."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bench.core.errors import BadInput, BenchError
from bench.core.redact import redact, redact_url
from bench.results.db.connection import read_fields
from bench.results.db.models import ResultRow
from bench.results.db.place import explain_url
from bench.results.db.schema import HEAD, VERSION_TABLE

FIRST_COMMAND = "bench run --method orl --task coco_det"
WAIT_SECONDS = 5.0  # for a writer


class NothingYet(BadInput):
    """There is no database yet, or nothing in it: the message says what to run first."""


def open_reader(url: str) -> Reader:
    """Open the database at an SQLAlchemy URL for reading; BadInput where the URL is none."""
    try:
        place, options, file = describe_engine(url)
        return Reader(create_engine(place, **options, json_deserializer=read_fields), file)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise explain_url(url, error) from None


def describe_engine(url: str) -> tuple[str, dict[str, Any], Path | None]:
    """The URL and the options of an SQLAlchemy engine that cannot write, and SQLite's file."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise BadInput(
                f"BENCH_DB {redact_url(url)!r} does not name a file; try: BENCH_DB=sqlite:///FILE"
            )
        file = Path(parsed.database)
        return "sqlite://", {"creator": lambda: _open_file(file), "poolclass": NullPool}, file
    options = "-c default_transaction_read_only=on -c statement_timeout=30000"
    return (
        url,
        {"connect_args": {"options": options, "connect_timeout": 5}, "pool_pre_ping": True},
        None,
    )


def _open_file(file: Path) -> sqlite3.Connection:
    """A connection that cannot write. SQLite cannot keep a reader's index of a database in
    write-ahead mode on a disk that cannot be written; where there is no log nobody writes to it,
    so that it is read as it is."""
    if not file.exists():
        raise sqlite3.OperationalError("no such file")
    place = f"file:{quote(str(file.absolute()))}"
    try:
        return _connect(f"{place}?mode=ro")
    except sqlite3.OperationalError:
        if Path(f"{file}-wal").exists():
            raise
        return _connect(f"{place}?immutable=1")


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, check_same_thread=False)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class Reader:
    """A database opened for reading."""

    def __init__(self, engine: Engine, file: Path | None) -> None:
        self.engine, self.file = engine, file

    def check(self) -> None:
        """NothingYet where the database is missing or empty, BadInput where it is damaged or has
        another schema."""
        if self.file is not None and not self.file.exists():
            raise NothingYet(
                f"there is no results database at {self.file} yet; run first: {FIRST_COMMAND}"
            )
        try:
            with self.engine.connect() as connection:
                version = connection.execute(
                    text(f"SELECT version_num FROM {VERSION_TABLE}")
                ).scalar()
        except DatabaseError as error:
            # no such table: the database is being made, or is another program's
            if VERSION_TABLE in str(error.orig):
                raise NothingYet(
                    f"the results database is empty; run first: {FIRST_COMMAND}"
                ) from None
            raise BadInput(explain_error(error)) from None
        if version == HEAD:
            return
        if str(version) < HEAD:
            raise BadInput(
                f"the results database has schema {version}, older than this version's {HEAD}; "
                "any other bench command upgrades it, for instance: bench leaderboard"
            )
        raise BadInput(
            f"the results database has schema {version}, newer than this version's {HEAD}; "
            "try: pip install --upgrade ssl-crop-bench"
        )

    def fingerprint(self) -> tuple[Any, ...]:
        """Changes when anything is written; costs a moment."""
        if self.file is not None:
            return tuple(_read_stamp(Path(f"{self.file}{end}")) for end in ("", "-wal"))
        with self.engine.connect() as connection:
            newest = connection.execute(
                select(func.max(ResultRow.id), func.count(ResultRow.id))
            ).one()
            if self.engine.dialect.name != "postgresql":
                return tuple(newest)
            written = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
            return (*newest, connection.execute(text(written)).scalar())


def _read_stamp(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_mtime_ns, status.st_size, status.st_ino


def explain_error(error: SQLAlchemyError) -> str:
    """A database's error in one line that says what to do."""
    reason = redact(" ".join(str(getattr(error, "orig", None) or error).split()))[:160]
    if "locked" in reason or "busy" in reason:
        return "the results database is being written to; reload in a moment"
    if "no such file" in reason:
        return f"the results database is gone; reload, or run: {FIRST_COMMAND}"
    return f"the results database cannot be read ({reason}); try: bench results check"


def is_user_error(error: Exception) -> bool:
    """Whether the error's text is meant for the user."""
    return isinstance(error, BenchError)
