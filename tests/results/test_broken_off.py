"""The making and the upgrade of a database, broken off: it is the old one or the new one, and it
opens."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect
from sqlalchemy.engine import make_url

from bench.core.errors import BadInput
from bench.results.db.connection import make_engine
from bench.results.db.database import open_database
from bench.results.db.models import Base
from bench.results.db.schema import VERSION_TABLE
from tests.postgres import Server
from tests.results.test_results import record, url

COMPILER = shutil.which("cc")


def break_off(folder: Path, step: int, *faults: str) -> dict[str, Any]:
    """What `tests.results.broken_off` reports of these faults."""
    if COMPILER is None or sys.platform != "linux":
        pytest.skip("no C compiler on Linux")
    library = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(
        [COMPILER, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
    )
    words = [str(library), str(folder), str(step), *faults]
    done = subprocess.run(
        [sys.executable, "-m", "tests.results.broken_off", *words],
        env={**os.environ, "LD_PRELOAD": str(library)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def check(report: dict[str, Any]) -> None:
    assert list(report) == ["nothing", "0001", "0002", "0003"]
    for start in report.values():
        assert start["wrong"] == []
        assert start["calls"] > 20, "the calls of a whole upgrade were counted"


def test_a_fault_at_any_call_leaves_the_old_database_or_the_new_one(tmp_path: Path) -> None:
    """A kill amid a write, ENOSPC from a call on and EIO of a call that changes a file, for a new
    database and for upgrades of every older schema; each at every third call, so that every call
    has one of them."""
    check(break_off(tmp_path, 3, "torn", "full", "error"))


@pytest.mark.long
def test_every_fault_at_every_call_leaves_the_old_database_or_the_new_one(tmp_path: Path) -> None:
    """And kills before the call, and disks that give nothing but errors from there on."""
    check(break_off(tmp_path, 1, "torn", "full", "error", "killed", "dead"))


def fail_at(number: int) -> Callable[..., None]:
    """A hook that lets statement `number` of an upgrade fail."""
    statements = count(1)

    def hook(*_: Any) -> None:
        if next(statements) == number:
            raise KeyboardInterrupt

    return hook


@contextmanager
def failing(number: int) -> Iterator[None]:
    hook = fail_at(number)
    event.listen(Engine, "before_cursor_execute", hook)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", hook)


def break_off_at_every_statement(where: str) -> int:
    """Ctrl-C at every statement of the making of a database: afterwards there is no table, or all
    of it (where only a lock was to be given back)."""
    for number in count(1):
        try:
            with failing(number):
                open_database(where)
        except KeyboardInterrupt:
            engine = make_engine(where)
            tables = set(inspect(engine).get_table_names())
            assert tables in (set(), {*Base.metadata.tables, VERSION_TABLE})
            engine.dispose()
        else:
            return number
    raise AssertionError


def test_ctrl_c_at_any_statement_leaves_no_table(tmp_path: Path) -> None:
    assert break_off_at_every_statement(url(tmp_path)) > 20
    assert open_database(url(tmp_path)).read_rows() == []


def test_ctrl_c_at_any_statement_leaves_no_table_on_a_server(postgres: Server) -> None:
    where = postgres.database()
    assert break_off_at_every_statement(where) > 20
    assert open_database(where).read_rows() == []


def test_a_server_that_ends_the_connection_amid_an_upgrade_keeps_no_table(
    postgres: Server,
) -> None:
    """As a kill looks to the server."""
    where = postgres.database()
    statements = count(1)

    def hook(*_: Any) -> None:
        if next(statements) == 20:
            postgres.end_connections(make_url(where).database or "")

    event.listen(Engine, "before_cursor_execute", hook)
    try:
        with pytest.raises(BadInput, match="cannot be opened"):
            open_database(where)
    finally:
        event.remove(Engine, "before_cursor_execute", hook)
    engine = make_engine(where)
    assert inspect(engine).get_table_names() == []
    assert open_database(where).read_rows() == []


def test_a_creation_that_an_earlier_version_left_half_made_is_made_again(tmp_path: Path) -> None:
    """Version 0.1 made its tables one by one; killed between two, no command opened the rest."""
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        connection.execute("CREATE TABLE bench_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.execute("CREATE TABLE stages (key VARCHAR(64) PRIMARY KEY, kind VARCHAR(32))")
    database = open_database(url(tmp_path))
    database.record_result(record(1.0))
    assert len(database.read_rows()) == 1


def test_tables_with_rows_and_without_a_version_are_kept_and_refused(tmp_path: Path) -> None:
    open_database(url(tmp_path)).record_result(record(1.0))
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        connection.execute("DELETE FROM bench_version")
        connection.commit()
    with pytest.raises(BadInput, match="does not say which schema"):
        open_database(url(tmp_path))
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        assert connection.execute("SELECT count(*) FROM results").fetchone() == (1,)
