"""A store somebody or a disk has changed: no number comes from what is not as it was written, and
one damaged folder ends nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import cli
from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.store import Store
from bench.launch.local import LocalEngine, Silent
from bench.plan.cell import PlannedCell
from bench.results.db.database import open_database
from bench.results.db.rebuild import find_problems, rebuild
from bench.results.db.result_file import describe_result, write_result
from bench.sweep.work import read_score
from tests.results.test_results import planned


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


METRICS = {"AP_bbox": 31.5, "AP50_bbox": 52.0}


class Notes(Progress):
    """Keeps the lines for the user."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def commit(home: Path, seed: int = 0) -> tuple[PlannedCell, Path]:
    """A finished cell: its last stage committed with metrics and a result."""
    cell, store = planned(seed=seed), Store(home)
    assert cell.final is not None
    work = store.work(cell.final)
    write_json(work / "metrics.json", METRICS)
    write_result(work, describe_result(cell, cell.final, METRICS, {"seconds": 1.0}))
    return cell, store.commit(cell.final, {"seconds": 1.0})


def edit_a_digit(file: Path) -> None:
    text = file.read_text()
    assert "31.5" in text
    file.write_text(text.replace("31.5", "91.5"))  # the size is as before


def reseal(folder: Path, name: str) -> None:
    """Make `done` fit the file as it is now."""
    from bench.core.files import hash_file

    done = json.loads((folder / "done").read_text())
    done["files"][name] = {
        "size": (folder / name).stat().st_size,
        "sha256": hash_file(folder / name),
    }
    (folder / "done").write_text(json.dumps(done))


def forge_result(folder: Path) -> None:
    edit_a_digit(folder / "result.json")


def forge_metrics(folder: Path) -> None:
    edit_a_digit(folder / "metrics.json")


def forge_provenance(folder: Path) -> None:
    file = folder / "provenance.json"
    file.write_text(file.read_text().replace("1.0", "2.0"))


def forge_result_and_done(folder: Path) -> None:
    edit_a_digit(folder / "result.json")
    reseal(folder, "result.json")


def take_the_result_of_another(folder: Path) -> None:
    _, other = commit(folder.parents[2], seed=7)
    (folder / "result.json").write_bytes((other / "result.json").read_bytes())
    reseal(folder, "result.json")


FORGERIES = [
    forge_result,
    forge_metrics,
    forge_provenance,
    forge_result_and_done,
    take_the_result_of_another,
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_a_changed_number_is_no_hit_and_is_said_in_one_line(
    home: Path, forge: Callable[[Path], None]
) -> None:
    cell, folder = commit(home)
    assert cell.final is not None
    notes = Notes()
    engine = LocalEngine(
        Runtime(home=home, database="sqlite://", tracker="none"), Store(home), Silent(), notes
    )
    assert engine.store.has(cell.final)
    forge(folder)
    assert not engine.store.has(cell.final)
    assert not folder.exists()
    (line,) = notes.lines
    assert cell.final.short in line
    assert "to be made again" in line
    assert "\n" not in line


@pytest.mark.parametrize("forge", FORGERIES)
def test_rebuild_records_no_changed_number(home: Path, forge: Callable[[Path], None]) -> None:
    commit(home, seed=1)
    _, folder = commit(home)
    forge(folder)
    lines: list[str] = []
    database = open_database("sqlite://")
    rebuild(home / "store", database, lines.append)
    assert str(folder) in lines[0]
    assert len(lines) == 1
    recorded = database.read_results()
    assert all(r["metrics"] == METRICS for r in recorded)
    assert 0 not in {r["cell"]["seed"] for r in recorded}
    assert any(str(folder) in p for p in find_problems(home / "store", database))


def test_a_result_that_was_added_later_is_not_a_result(home: Path) -> None:
    cell, store = planned(), Store(home)
    assert cell.final is not None
    write_json(store.work(cell.final) / "metrics.json", METRICS)
    folder = store.commit(cell.final, {})
    write_result(folder, describe_result(cell, cell.final, METRICS, {"seconds": 1.0}))
    lines: list[str] = []
    assert rebuild(home / "store", open_database("sqlite://"), lines.append) == (0, 0)
    assert "was added after the stage was finished" in lines[0]


def test_a_sweep_reads_no_changed_score(home: Path) -> None:
    cell, folder = commit(home)
    assert read_score(Store(home), cell, "AP_bbox") == 31.5
    edit_a_digit(folder / "metrics.json")
    with pytest.raises(BenchError, match="was changed after the stage"):
        read_score(Store(home), cell, "AP_bbox")


def test_a_sweep_scores_no_dead_network(home: Path) -> None:
    cell, store = planned(), Store(home)
    assert cell.final is not None
    write_json(store.work(cell.final) / "metrics.json", {**METRICS, "dead": 1.0})
    store.commit(cell.final, {})
    with pytest.raises(BenchError, match="dead: the network's features are the same"):
        read_score(store, cell, "AP_bbox")


DAMAGES: list[tuple[str, str]] = [
    ("provenance.json", '{"commit": "12'),
    ("provenance.json", "[]"),
    ("provenance.json", '{"seconds": "long"}'),
    ("provenance.json", "[" * 100_000),
    ("stage.json", ""),
    ("stage.json", "[1, 2]"),
    ("stage.json", '{"key": 5}'),
    ("stage.json", '{"key": "ab", "kind": "evaluate"}'),
    ("stage.json", "\x00" * 400),
    ("done", '{"key": "ab", "files": {}}'),
    ("done", '{"files": []}'),
    ("done", '{"key": 1, "files": {"stage.json": 3}}'),
    ("done", "{"),
    ("result.json", "{}"),
    ("result.json", '{"schema": 1, "cell": 3}'),
]


@pytest.mark.parametrize(("name", "text"), DAMAGES)
def test_one_damaged_folder_ends_nothing(home: Path, name: str, text: str) -> None:
    whole = [commit(home, seed)[0] for seed in (1, 2)]
    cell, folder = commit(home)
    (folder / name).write_text(text)
    lines: list[str] = []
    database = open_database(f"sqlite:///{home / 'results.db'}")
    assert rebuild(home / "store", database, lines.append) == (2, 2)
    assert [str(folder) in line for line in lines] == [True]
    problems = find_problems(home / "store", database)
    assert [p for p in problems if str(folder) in p]
    assert all(str(folder) in p for p in problems)
    assert whole[0].final is not None
    assert cell.final is not None
    for command in (["show", whole[0].final.short], ["gc", "--stages"], ["doctor"]):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
        assert done.exception is None
        assert "Traceback" not in done.output
    checked = invoke("results", "check")
    assert checked.exit_code == 1
    assert folder.name in "".join(checked.output.split())
    again = invoke("results", "rebuild")
    assert again.exit_code == 0
    assert "2 stages and 2 results recorded" in again.output
    assert folder.name in again.output
    assert not Store(home).has(cell.final)


def test_a_done_record_without_files_fails_the_check(home: Path) -> None:
    cell, folder = commit(home)
    assert cell.final is not None
    (folder / "done").write_text(json.dumps({"key": cell.final.key, "files": {}}))
    (problem,) = find_problems(home / "store", open_database("sqlite://"))
    assert "does not list stage.json and provenance.json" in problem


def test_a_folder_that_a_line_names_is_named_once(home: Path) -> None:
    _, folder = commit(home)
    (folder / "stage.json").write_text("[]")
    lines: list[str] = []
    store = Store(home)
    store.note = lines.append
    assert [*store.committed(), *store.committed()] == []
    assert len(lines) == 1
