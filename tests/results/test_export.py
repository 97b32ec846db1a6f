"""An export is a stream: the same records however many there are, of one moment, in little
memory."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import event

from bench.cli import cli
from bench.core.errors import BadInput
from bench.results.db import export
from bench.results.db.database import Database, open_database
from tests.results.test_results import record


@pytest.fixture
def database(home: Path) -> Database:
    """Seven results, of which two cells have one from elsewhere too."""
    home.mkdir()
    opened = open_database(f"sqlite:///{home / 'results.db'}")
    for seed in range(7):
        opened.record_result(record(float(seed), seed=seed))
    for seed in (2, 5):
        opened.record_result(record(50.0 + seed, seed=seed), source="imported")
    return opened


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["results", "export", *words], catch_exceptions=False)


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_the_records_do_not_depend_on_how_many_are_read_at_once(
    at_once: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "AT_ONCE", at_once)
    results = list(database.iterate_results())
    places = [(r["cell"]["label"], r["source"]) for r in results]
    assert places == sorted(places)
    assert len(set(places)) == 9
    values = {(r["cell"]["seed"], r["source"]): r["metrics"]["AP_bbox"] for r in results}
    measured = {(seed, "measured"): float(seed) for seed in range(7)}
    assert values == {**measured, (2, "imported"): 52.0, (5, "imported"): 55.0}
    for result in results:
        wanted: Any = record(0.0, seed=result["cell"]["seed"])
        assert result["cell"] == wanted["cell"]
        assert list(result["metrics"]) == result["order"] == wanted["order"]
        assert result["headline"] == "AP_bbox"


def test_only_what_is_asked_for_is_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "AT_ONCE", 2)
    asked: list[str] = []

    def note(*call: Any) -> None:
        asked.append(call[2])

    event.listen(database.engine, "before_cursor_execute", note)
    stream = database.iterate_results()
    next(stream)
    selects = [text for text in asked if text.startswith("SELECT")]
    assert len(selects) == 2, "two results and their metrics"
    assert "LIMIT" in selects[0]
    stream.close()


def test_it_is_of_one_moment(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "AT_ONCE", 2)
    stream = database.iterate_results()
    first = next(stream)
    other = open_database(str(database.engine.url))
    for seed in range(20):
        other.record_result(record(99.0, seed=seed))
    rest = [first, *stream]
    assert len(rest) == 9
    assert 99.0 not in [r["metrics"]["AP_bbox"] for r in rest]
    assert len(database.read_results()) == 22


def test_files_and_what_is_printed(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    assert "9 results written" in invoke("--out", str(file)).stderr
    wanted = [dict(r) for r in database.read_results()]
    assert json.loads(file.read_text()) == json.loads(invoke().stdout) == wanted
    assert len(file.read_text().splitlines()) == 9 + 2, "a line for each result"
    rows = list(csv.DictReader(io.StringIO(invoke("--format", "csv").stdout)))
    assert len(rows) == 2 * 9
    assert {(r["seed"], r["source"]) for r in rows if r["metric"] == "AP_bbox"} == {
        *((str(seed), "measured") for seed in range(7)),
        *(("2", "imported"), ("5", "imported")),
    }


def test_no_result_is_an_empty_list(home: Path) -> None:
    assert json.loads(invoke().stdout) == []
    assert len(invoke("--format", "csv").stdout.splitlines()) == 1


def test_a_file_is_whole_or_as_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "r.json"
    file.write_text("before")

    def fail(*call: Any) -> None:
        raise RuntimeError("half-way")

    monkeypatch.setattr(export, "AT_ONCE", 2)
    monkeypatch.setattr(export, "_join_metrics", fail)
    with pytest.raises(RuntimeError, match="half-way"):
        invoke("--out", str(file))
    assert file.read_text() == "before"
    for place in ("/dev/null/x", str(tmp_path / ("a" * 300)), str(tmp_path / "no" / "r.json")):
        with pytest.raises(BadInput, match="cannot be written"):
            invoke("--out", place)


def test_it_writes_into_a_pipe(database: Database, tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    invoke("--out", str(pipe))
    reader.join(10)
    assert len(json.loads(heard[0])) == 9
    assert pipe.is_fifo()
