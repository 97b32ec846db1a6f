"""A results database that another process holds, or that somebody has changed: no training stops
or waits for long, what is missing is written later, and every command says one line."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from bench.cli import cli
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.results.db.connection import PATIENCE
from bench.results.db.database import Database, open_database
from bench.results.db.listener import DatabaseListener
from bench.results.db.reading import open_reader
from tests.core.runners import stage
from tests.results.test_results import record


@pytest.fixture
def database(home: Path) -> Database:
    database = open_database(f"sqlite:///{home / 'results.db'}")
    database.record_result(record(1.0))
    return database


@contextmanager
def hold(home: Path) -> Iterator[None]:
    """Another process (a backup, a database browser) holds the file for writing."""
    with closing(sqlite3.connect(home / "results.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_a_held_database_stops_no_training_and_is_made_up_for(
    home: Path, database: Database
) -> None:
    notes: list[str] = []
    listener = DatabaseListener(database, notes.append)
    runtime = Runtime(home=home, database="sqlite://", tracker="none")
    engine = LocalEngine(runtime, Store(home), listener)
    stages = [stage(name) for name in "abcd"]
    start = time.monotonic()
    with hold(home):
        for each in stages:
            engine.ensure(each)
        took = time.monotonic() - start
        assert took < 2.5 * PATIENCE, "one wait for all, not one for each stage"
        assert database.find_unrecorded(s.key for s in stages) == {s.key for s in stages}
        assert "locked" in (listener.error or "")
    assert len(notes) == 1
    assert "cannot be written now (database is locked); work goes on" in notes[0]
    listener.close()
    assert listener.error is None
    assert database.find_unrecorded(s.key for s in stages) == set()
    assert notes[1:] == ["the results database can be written again, and is up to date"]


def test_a_database_held_to_the_end_is_an_error_of_one_line(
    home: Path, database: Database
) -> None:
    listener = DatabaseListener(database, lambda line: None)
    start = time.monotonic()
    with hold(home):
        listener._write(lambda: database.record_result(record(2.0, seed=1)))
        listener.close()
        with pytest.raises(BadInput, match="another process holds it") as caught:
            database.record_result(record(2.0, seed=2))
    assert time.monotonic() - start < 3 * PATIENCE + 4
    assert "\n" not in str(caught.value)
    assert listener.error == "database is locked"


def test_one_record_that_cannot_be_written_holds_up_no_other(database: Database) -> None:
    listener = DatabaseListener(database, lambda line: None)
    broken = {**record(3.0, seed=3), "headline": object()}
    listener._write(lambda: database.record_result(broken))  # type: ignore[arg-type]
    listener._write(lambda: database.record_result(record(4.0, seed=4)))
    assert listener.error
    assert {r["cell"]["seed"] for r in database.read_results()} == {0, 4}


def change(statement: str) -> Callable[[Database], None]:
    def apply(database: Database) -> None:
        with database.engine.begin() as connection:
            connection.execute(text("PRAGMA foreign_keys=OFF"))
            connection.execute(text(statement))

    return apply


CHANGES = [
    "DROP TABLE metrics",
    "DROP TABLE cells",
    "ALTER TABLE results RENAME COLUMN headline TO title",
    "ALTER TABLE cells RENAME COLUMN reason TO why",
    "UPDATE cells SET overrides = '{\"coco_det.epo'",
    "UPDATE cells SET overrides = '[1, 2]'",
    "UPDATE cells SET overrides = ''",
    "UPDATE bench_version SET version_num = '0999'",
]
COMMANDS = [
    ["leaderboard"],
    ["leaderboard", "--json"],
    ["results", "export"],
    ["results", "check"],
    ["results", "rebuild"],
    ["doctor"],
]


@pytest.mark.parametrize("statement", CHANGES)
def test_a_changed_database_is_one_line_and_exit_code_2(
    home: Path, database: Database, statement: str
) -> None:
    change(statement)(database)
    lines = []
    for command in COMMANDS:
        done = CliRunner().invoke(cli, command)
        if done.exit_code == 0 or "has no folder in the store" in done.output:
            continue  # a command that does not read what was changed
        assert isinstance(done.exception, BadInput), (command, done.exception)
        assert done.exception.exit_code == 2
        lines.append(str(done.exception))
    assert lines
    for line in lines:
        assert "\n" not in line
        assert "bench results rebuild" in line or "pip install --upgrade" in line


@pytest.mark.parametrize("torn", ['{"a', "[1]", "", "\x00"])
def test_a_torn_column_of_json_is_one_line_in_the_dashboard_too(
    home: Path, database: Database, torn: str
) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE cells SET overrides = :torn"), {"torn": torn})
    from bench.results.db.models import CellRow

    reader = open_reader(f"sqlite:///{home / 'results.db'}")
    with (
        reader.engine.connect() as connection,
        pytest.raises(BadInput, match="a column of JSON holds"),
    ):
        connection.execute(CellRow.__table__.select()).all()
