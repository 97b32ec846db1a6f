"""`bench results import`: what others send is checked before anything is written, all or
nothing."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import cli
from bench.core.errors import BenchError
from bench.results.db.database import Database, open_database
from tests.results.test_results import record


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def database(home: Path) -> Database:
    return open_database(f"sqlite:///{home / 'results.db'}")


@pytest.fixture
def send(tmp_path: Path) -> Callable[..., Result]:
    """Imports a file with these records."""

    def write(*records: Any) -> Result:
        file = tmp_path / "others.json"
        file.write_text(json.dumps(records))
        return invoke("results", "import", str(file))

    return write


def line_of(done: Result) -> str:
    """The one line of a refused import."""
    assert isinstance(done.exception, BenchError), done.exception
    assert done.exception.exit_code == 2
    assert "\n" not in str(done.exception)
    return str(done.exception)


def with_cell(result: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**result, "cell": {**result["cell"], **changes}}


@pytest.mark.parametrize("value", [1234.0, 100.5, -0.1, 1e308])
def test_a_percentage_out_of_its_range_is_refused(
    database: Database, send: Callable[..., Result], value: float
) -> None:
    good, bad = record(40.0), record(30.0, seed=1)
    bad["metrics"]["AP_bbox"] = value
    line = line_of(send(good, bad))
    assert f"result 2: AP_bbox is {value:g}" in line
    assert "coco_det declares it in percent, 0 to 100" in line
    assert database.read_results() == [], "all or nothing"


def test_0_and_100_percent_are_in_the_range(
    database: Database, send: Callable[..., Result]
) -> None:
    ends = record(0.0)
    ends["metrics"]["AP50_bbox"] = 100.0
    assert send(ends).exit_code == 0
    assert database.read_results()[0]["metrics"] == {"AP_bbox": 0.0, "AP50_bbox": 100.0}


def test_a_known_task_is_ranked_by_its_own_headline(
    database: Database, send: Callable[..., Result]
) -> None:
    other = {**record(40.0), "headline": "AP50_bbox"}
    assert "ranked by AP_bbox, not by AP50_bbox" in line_of(send(other))
    assert database.read_results() == []


def test_a_task_that_is_not_installed_here_declares_no_range(
    database: Database, send: Callable[..., Result]
) -> None:
    assert send(with_cell(record(40.0), task="depth_elsewhere")).exit_code == 0
    assert len(database.read_results()) == 1


def test_two_results_of_one_row_and_seed_are_refused(
    database: Database, send: Callable[..., Result]
) -> None:
    one, other = record(40.0, seed=1), record(90.0, seed=1)
    other = with_cell(other, label="f" * 64)
    line = line_of(send(one, other))
    assert "there is another of the same row and seed" in line
    assert database.read_results() == []
    assert send(one).exit_code == 0
    assert "ffffffffffff" in line_of(send(other)), "beside one that is in the database too"
    (row,) = database.read_rows()
    assert row["metrics"]["AP_bbox"] == {"mean": 40.0, "ci95": None, "n": 1}
    assert "same row and seed" in line_of(send(one, one))


def test_a_known_cell_with_another_seed_or_row_is_refused(
    database: Database, send: Callable[..., Result]
) -> None:
    database.record_result(record(30.0, seed=0))
    before = database.read_results()
    edited = with_cell(record(31.0, seed=0), seed=5)
    assert "with seed 5 in row" in line_of(send(edited))
    edited = with_cell(record(31.0, seed=0), group="e" * 64)
    assert "in row eeeeeeeeeeee, but here it has" in line_of(send(edited))
    assert database.read_results() == before


def test_ones_own_export_adds_nothing(
    home: Path, database: Database, tmp_path: Path, send: Callable[..., Result]
) -> None:
    for seed in range(3):
        database.record_result(record(30.0 + seed / 3, seed=seed))
    theirs = record(77.0, seed=1)
    assert send(theirs).exit_code == 0
    before = database.read_results()
    assert [r["source"] for r in before].count("imported") == 1
    out = tmp_path / "own.json"
    assert invoke("results", "export", "--out", str(out)).exit_code == 0
    done = invoke("results", "import", str(out))
    assert done.exit_code == 0
    assert done.output == "1 results imported; 3 more were measured already\n"
    assert database.read_results() == before


def test_of_a_cell_that_the_exporter_measured_and_imported_the_measured_one_is_taken(
    database: Database, send: Callable[..., Result]
) -> None:
    mine = {**record(30.0), "source": "measured"}
    another = {**record(31.0), "source": "imported"}
    for records in ([mine, another], [another, mine]):
        assert send(*records).exit_code == 0
        (only,) = database.read_results()
        assert only["metrics"]["AP_bbox"] == 30.0


def test_control_characters_reach_neither_database_nor_terminal(
    database: Database, send: Callable[..., Result]
) -> None:
    nasty = with_cell(
        record(40.0),
        method="by\x1b]0;owned\x07ol\x1b[2J",
        crop="\u202egami\u202c",
        engine="a\x00b",
        command="bench run\nrm -rf x",
    )
    assert send(nasty).exit_code == 0
    (only,) = database.read_results()
    assert only["cell"]["method"] == "by]0;ownedol[2J"
    assert only["cell"]["crop"] == "gami"
    assert only["cell"]["engine"] == "ab"
    shown = invoke("leaderboard").output + invoke("results", "export", "--format", "csv").output
    assert all(c == "\n" or c.isprintable() for c in shown)
    line = line_of(send(with_cell(record(1.0), seed="\x1b[31m")))
    assert line.isprintable()


DECLARED = ("AP_bbox", "AP50_bbox")
VALUES: list[Any] = [
    *(None, True, -1, 0, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), 1234.5),
    *("", "x" * 500, "\x1b[31m", "\ud800", "\x00", "'; DROP TABLE cells; --", "a\nb"),
    *([], {}, [[]], {"a": 1}, [None], {"": ""}),
    *(0, 7, 12.5, 99.0, "tiny", "another name", "0" * 64, "e" * 64),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in nested lists and mappings."""
    if not isinstance(value, dict | list):
        return [path]
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(p for key, child in inside for p in places(child, (*path, key)))]


def mutate(records: Any, dice: random.Random) -> bytes:
    """A file like an export, changed in one to three places, or its bytes torn."""
    records = copy.deepcopy(records)
    for _ in range(dice.randint(1, 3)):
        *parents, last = dice.choice(places(records)[1:])
        holder = records
        for key in parents:
            holder = holder[key]
        kind = dice.randrange(5)
        if kind == 0:
            del holder[last]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(last, copy.deepcopy(dice.choice(holder)))
        elif kind == 2 and isinstance(holder, dict):
            holder[dice.choice(["", "seed", "x\x07", "metrics"])] = holder.pop(last)
        else:
            holder[last] = copy.deepcopy(dice.choice(VALUES))
        if not records:
            break
    content = json.dumps(records).encode()
    if dice.random() < 0.15:
        content = content[: dice.randrange(len(content) + 1)]
    if dice.random() < 0.15:
        at = dice.randrange(len(content) + 1)
        content = content[:at] + bytes([dice.randrange(256)]) + content[at + 1 :]
    return content


def test_500_changed_files_end_in_one_line_or_in_a_sound_database(
    home: Path, database: Database, tmp_path: Path
) -> None:
    whole = [record(30.0 + seed, seed=seed) for seed in range(3)]
    database.record_result(record(50.0, method="orl"))
    mine = database.read_results()
    file = tmp_path / "changed.json"
    refused = accepted = 0
    for seed in range(500):
        file.write_bytes(mutate(whole, random.Random(seed)))
        done = invoke("results", "import", str(file))
        after = database.read_results()
        if done.exit_code == 0:
            accepted += 1
            shown = invoke("leaderboard", "--all")
            assert shown.exit_code == 0, (seed, shown.exception)
            assert all(c == "\n" or c.isprintable() for c in shown.output), seed
            for result in after:
                if result["cell"]["task"] == "coco_det":
                    assert all(0 <= result["metrics"].get(n, 0) <= 100 for n in DECLARED), seed
            for row in database.read_rows():
                assert len(row["cells"]) == len(row["seeds"]), seed
            with database.engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM results WHERE source = 'imported'")
        else:
            refused += 1
            assert line_of(done), seed
            assert after == mine, (seed, "nothing was written")
    assert refused > 300
    assert accepted > 10


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b"[1e999]", b""])
def test_what_is_no_export_at_all_is_one_line(home: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    line_of(invoke("results", "import", str(file)))
