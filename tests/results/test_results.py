"""The database: migrations, idempotent writes, leaderboard rows, records, rebuild, bad input."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from scipy import stats
from sqlalchemy import text

from bench.core.errors import BadInput
from bench.core.stage import Stage
from bench.core.statistics import summarise, t_quantile
from bench.plan.cell import Cell, PlannedCell
from bench.results import migrations
from bench.results.db.database import Database, open_database
from bench.results.db.models import Base
from bench.results.db.result_file import describe_cell, describe_result
from bench.results.db.schema import HEAD, VERSION_TABLE
from bench.results.views.entries import Entry, load_entries
from tests.forked import CONTEXT


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'results.db'}"


def planned(
    seed: int = 0, method: str = "byol", data_key: str = "a", **params: Any
) -> PlannedCell:
    """A cell with the stages it would have."""
    data = Stage("data", "scenes", 1, {"fingerprint": data_key}, "x:y")
    backbone = Stage(
        "pretrain", method, 1, {"seed": seed, "method": params}, "x:y", {"data": data}
    )
    final = Stage(
        "evaluate", "coco_det", 1, {"seed": seed}, "x:y", {"backbone": backbone, "data": data}
    )
    cell = Cell(method, "image", "coco_det", "scenes", "scenes", "tiny", seed)
    return PlannedCell(cell, final, "torchvision")


def record(ap: float, **cell: Any) -> dict[str, Any]:
    p = planned(**cell)
    assert p.final is not None
    return describe_result(p, p.final, {"AP50_bbox": ap + 10, "AP_bbox": ap}, {"seconds": 1.0})


def test_migrations_give_the_declared_schema(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    with database.engine.connect() as connection:
        assert (
            compare_metadata(
                MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}),
                Base.metadata,
            )
            == []
        )
    folder = Path(migrations.__file__).parent
    assert ScriptDirectory(str(folder)).get_current_head() == HEAD


def test_rows_group_seeds_and_keep_the_order_of_metrics(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    for seed, ap in enumerate((30.0, 32.0, 37.0)):
        database.record_result(record(ap, seed=seed))
    database.record_result(record(35.0, method="orl"))
    rows = database.read_rows()
    assert [(r["method"], r["seeds"]) for r in rows] == [("orl", [0]), ("byol", [0, 1, 2])]
    ap = rows[1]["metrics"]["AP_bbox"]
    assert list(rows[1]["metrics"]) == ["AP_bbox", "AP50_bbox"]
    assert ap["mean"] == pytest.approx(33.0)
    half = stats.t.interval(0.95, 2, loc=33.0, scale=stats.sem([30.0, 32.0, 37.0]))[1] - 33.0
    assert ap["ci95"] == pytest.approx(half, rel=1e-9)
    assert rows[0]["metrics"]["AP_bbox"] == {"mean": 35.0, "ci95": None, "n": 1}


@pytest.mark.parametrize("dof", [1, 2, 3, 4, 5, 9, 10, 29, 100])
@pytest.mark.parametrize("p", [0.6, 0.9, 0.975, 0.995])
def test_t_quantiles_equal_scipys(p: float, dof: int) -> None:
    assert t_quantile(p, dof) == pytest.approx(stats.t.ppf(p, dof), rel=1e-9)


def test_summary_of_one_has_no_interval() -> None:
    assert summarise([3.0]) == {"mean": 3.0, "ci95": None, "n": 1}


def test_different_data_or_settings_never_share_a_row(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    database.record_result(record(1.0, seed=0))
    database.record_result(record(2.0, seed=1, data_key="b"))
    database.record_result(record(3.0, seed=2, lr=0.5))
    assert sorted(r["seeds"] for r in database.read_rows()) == [[0], [1], [2]]


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    database.record_result(record(1.0))
    before = database.read_results(), database.read_rows(), database.read_cells()
    database.record_result(record(1.0))
    assert (database.read_results(), database.read_rows(), database.read_cells()) == before


def test_a_failed_cell_is_kept_with_its_reason_until_it_is_done(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    cell = describe_cell(planned())
    database.record_cell(cell, "failed", "because")
    assert [(c["state"], c["reason"]) for c in database.read_cells()] == [("failed", "because")]
    database.record_result(record(1.0))
    assert [(c["state"], c["reason"]) for c in database.read_cells()] == [("done", None)]


def test_imported_results_stay_apart(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    database.record_result(record(1.0))
    database.record_result(record(5.0), source="imported")
    assert {(r["source"], r["metrics"]["AP_bbox"]["mean"]) for r in database.read_rows()} == {
        ("measured", 1.0),
        ("imported", 5.0),
    }


def test_a_dead_network_is_marked_and_comes_last(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    dead = record(61.1, method="simclr")
    dead["metrics"]["dead"] = 1.0
    dead["order"].append("dead")
    for each in (dead, record(40.0), record(30.0, method="swav")):
        database.record_result(each)
    rows = database.read_rows()
    assert [(r["method"], r["dead"]) for r in rows] == [
        ("byol", False),
        ("swav", False),
        ("simclr", True),
    ]
    assert all(set(r["metrics"]) == {"AP_bbox", "AP50_bbox"} for r in rows)
    assert [r["method"] for r in database.read_best(2)[0]] == ["byol", "swav"]
    (entry,) = [e for e in entries_of(database) if e.dead]
    assert entry.method == "simclr"


def entries_of(database: Database) -> list[Entry]:
    with database.engine.connect() as connection:
        return load_entries(connection, "tiny", "scenes")


@pytest.mark.parametrize("value", [math.nan, math.inf, "3", None])
def test_only_finite_numbers_are_results(value: Any) -> None:
    p = planned()
    assert p.final is not None
    with pytest.raises(BadInput, match="finite"):
        describe_result(p, p.final, {"AP_bbox": value}, {})


def test_a_damaged_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results.db").write_bytes(b"this is no database, it only looks long enough" * 50)
    with pytest.raises(BadInput, match="bench results rebuild") as caught:
        open_database(url(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE bench_version SET version_num = '9999'"))
    with pytest.raises(BadInput, match="schema 9999, newer"):
        open_database(url(tmp_path))


@pytest.mark.parametrize("bad", ["nonsense", "nosuch://x/y", "sqlite:////proc/none/results.db"])
def test_a_bad_url_is_one_line(bad: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_database(bad)
    assert "\n" not in str(caught.value)


def _write(folder: Path, seeds: list[int]) -> None:
    database = open_database(url(folder))
    for seed in seeds:
        database.record_result(record(float(seed), seed=seed))


def test_processes_that_start_together_share_a_new_database(tmp_path: Path) -> None:
    members = [
        CONTEXT.Process(target=_write, args=(tmp_path, list(range(i, 40, 4)))) for i in range(4)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join(60)
        assert member.exitcode == 0
    (row,) = open_database(url(tmp_path)).read_rows()
    assert row["seeds"] == list(range(40))
    assert row["metrics"]["AP_bbox"]["mean"] == pytest.approx(19.5)


def _same(folder: Path, start: float) -> None:
    database = open_database(url(folder))
    time.sleep(max(0.0, start - time.time()))
    for seed in range(25):
        database.record_cell(record(1.0, seed=seed)["cell"], "running")
        database.record_result(record(float(seed), seed=seed))


def test_processes_that_write_the_same_rows_at_once_do_not_collide(tmp_path: Path) -> None:
    start = time.time() + 2
    members = [CONTEXT.Process(target=_same, args=(tmp_path, start)) for _ in range(4)]
    for member in members:
        member.start()
    for member in members:
        member.join(60)
        assert member.exitcode == 0
    (row,) = open_database(url(tmp_path)).read_rows()
    assert row["seeds"] == list(range(25))
    assert row["metrics"]["AP_bbox"]["n"] == 25


def invoke(*arguments: str) -> Any:
    from bench.cli import cli

    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


def test_export_and_import_round_trip(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(f"sqlite:///{home / 'results.db'}")
    database.record_result(record(1.5))
    out = tmp_path / "r.json"
    invoke("results", "export", "--out", str(out))
    exported = json.loads(out.read_text())
    assert exported[0]["metrics"] == {"AP_bbox": 1.5, "AP50_bbox": 11.5}
    lines = invoke("results", "export", "--format", "csv").output.splitlines()
    assert lines[0].startswith("method,crop,task")
    assert len(lines) == 3
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "other"))
    invoke("results", "import", str(out))
    rows = json.loads(invoke("leaderboard", "--json").output)
    assert [(r["source"], r["metrics"]["AP_bbox"]["mean"]) for r in rows] == [("imported", 1.5)]
    contract = "method crop task scale pretrain_data task_data engine seeds metrics source"
    assert set(contract.split()) <= set(rows[0])


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '[{"schema": 1}]', '[{"schema": 7}]'])
def test_importing_rubbish_is_one_line_and_adds_nothing(
    home: Path, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(BadInput):
        invoke("results", "import", str(file))
    assert json.loads(invoke("leaderboard", "--json").output) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--task", "coco_dett"), r"unknown task 'coco_dett' \(did you mean 'coco_det'\?\)"),
        (("--task", "coco_det,foo"), "unknown task 'foo'"),
        (("--method", "byoll"), r"unknown method 'byoll' \(did you mean 'byol'\?\)"),
        (("--scale", "tinny"), "unknown scale 'tinny'"),
        (("--data", "scene"), r"unknown data 'scene' \(did you mean 'scenes'\?\)"),
    ],
)
def test_a_leaderboard_of_unknown_names_says_the_nearest(
    home: Path, words: tuple[str, ...], message: str
) -> None:
    open_database(f"sqlite:///{home / 'results.db'}").record_result(record(1.5))
    with pytest.raises(BadInput, match=message):
        invoke("leaderboard", *words)


def test_a_leaderboard_takes_names_of_results_and_globs(home: Path) -> None:
    """Also of methods that are no components, as weights and imported results have them."""
    database = open_database(f"sqlite:///{home / 'results.db'}")
    for method in ("byol", "weights:mine"):
        database.record_result(record(1.5, method=method))

    def methods(*words: str) -> list[str]:
        rows = json.loads(invoke("leaderboard", "--json", *words).output)
        return [row["method"] for row in rows]

    assert methods("--method", "weights:mine") == ["weights:mine"]
    assert methods("--method", "weights:*,byol", "--task", "coco_*") == ["byol", "weights:mine"]
    assert methods("--method", "orl") == [], "it exists, and has no result"


def test_an_empty_leaderboard_says_what_to_run(home: Path) -> None:
    assert "bench run --method orl --task coco_det" in invoke("leaderboard").output


def imported(folder: Path, *records: dict[str, Any]) -> None:
    """What `bench results import` does with a file that holds these records."""
    file = folder / "others.json"
    file.write_text(json.dumps(records))
    invoke("results", "import", str(file))


def test_an_import_overwrites_nothing_that_was_measured(home: Path, tmp_path: Path) -> None:
    """The same cell from elsewhere has its own numbers, and maybe other words for what it is; ours
    stays as it was, and theirs is beside it."""
    database = open_database(f"sqlite:///{home / 'results.db'}")
    mine = record(1.5)
    database.record_result(mine)
    before = database.read_cells()
    theirs = record(9.0)
    theirs["cell"] = {**theirs["cell"], "command": "another command", "engine": "detectron2"}
    imported(tmp_path, theirs)
    assert database.read_cells() == before
    found = {r["source"]: r for r in database.read_results()}
    assert found["measured"]["metrics"] == mine["metrics"]
    assert found["measured"]["cell"] == {**found["imported"]["cell"]}
    assert found["imported"]["metrics"] == {"AP_bbox": 9.0, "AP50_bbox": 19.0}
    imported(tmp_path, record(8.0))
    found = {r["source"]: r["metrics"]["AP_bbox"] for r in database.read_results()}
    assert found == {"measured": 1.5, "imported": 8.0}, "a newer import replaces an import alone"


def test_an_import_leaves_a_failed_cell_failed(home: Path, tmp_path: Path) -> None:
    """Somebody else's result does not make our try of the cell a success."""
    database = open_database(f"sqlite:///{home / 'results.db'}")
    database.record_cell(describe_cell(planned()), "failed", "because")
    imported(tmp_path, record(9.0))
    assert [(c["state"], c["reason"]) for c in database.read_cells()] == [("failed", "because")]
    database.record_result(record(1.0))
    assert [(c["state"], c["reason"]) for c in database.read_cells()] == [("done", None)]
    found = {r["source"]: r["metrics"]["AP_bbox"] for r in database.read_results()}
    assert found == {"imported": 9.0, "measured": 1.0}
