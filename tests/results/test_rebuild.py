"""A database that is lost is restored from the files of its home: results, imports, failures,
sweeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from click.testing import CliRunner, Result

from bench.cli import cli
from bench.plan.cell import PlannedCell
from bench.results.db.database import Database, open_database
from bench.results.db.listener import DatabaseListener
from bench.results.views.studies import read_trials
from bench.sweep.kept import keep_study
from bench.sweep.study import open_storage
from tests.results.test_damaged_store import commit
from tests.results.test_results import planned, record


def invoke(*arguments: str) -> Result:
    done = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def where(home: Path) -> str:
    return f"sqlite:///{home / 'results.db'}"


def lose(home: Path) -> None:
    for file in home.glob("results.db*"):
        file.unlink()


def read_everything(database: Database) -> Any:
    results = [{k: r[k] for k in ("source", "cell", "metrics")} for r in database.read_results()]
    return results, database.read_cells()


def unsupported(seed: int) -> PlannedCell:
    cell = planned(seed=seed)
    return PlannedCell(cell.cell, None, unsupported="mae has no RoI features")


def test_a_lost_database_is_restored(home: Path, tmp_path: Path) -> None:
    database = open_database(where(home))
    listener = DatabaseListener(database, home=home)
    done, folder = commit(home)
    listener.cell_done(done, folder)
    listener.cell_state(planned(seed=5), "failed", "the loss is not finite at step 3")
    listener.cell_state(planned(seed=6), "interrupted", "stopped by the user")
    listener.cell_state(unsupported(7), "unsupported", "mae has no RoI features")
    listener.cell_state(planned(seed=8), "failed", "no space left")  # and done by another try
    again, folder = commit(home, seed=8)
    listener.cell_state(again, "running")
    listener.cell_done(again, folder)
    for number, value in enumerate((41.0, 42.0)):  # the newer import counts
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps([record(value, seed=2)]))
        invoke("results", "import", str(file))
    before = read_everything(database)
    assert [c["state"] for c in before[1]].count("failed") == 1
    assert {r["metrics"]["AP_bbox"] for r in before[0] if r["source"] == "imported"} == {42.0}
    database.engine.dispose()
    lose(home)
    output = invoke("results", "rebuild").output
    assert "2 stages and 2 results recorded" in output
    assert "3 cells without a result" in output
    assert read_everything(open_database(where(home))) == before
    invoke("results", "rebuild")
    assert read_everything(open_database(where(home))) == before, "a second time changes nothing"


def test_a_sweep_is_restored_with_its_trials(home: Path) -> None:
    home.mkdir()
    study = optuna.create_study(
        storage=open_storage(where(home)), study_name="lr of byol", direction="maximize"
    )
    study.set_user_attr("bench.setup", {"key": "k", "headline": "top1"})

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("byol.lr", 1e-4, 1.0, log=True)
        depth = trial.suggest_categorical("byol.layers", [1, 2, 3])
        trial.set_user_attr("values", {"byol.lr": lr, "byol.layers": depth})
        trial.report(lr / 2, 1)
        if trial.number == 2:
            raise optuna.TrialPruned
        if trial.number == 3:
            raise ZeroDivisionError
        return lr * depth

    study.sampler = optuna.samplers.RandomSampler(seed=0)
    study.optimize(objective, n_trials=6, catch=(ZeroDivisionError,))
    study.ask()  # runs when the database is lost: to be drawn again
    keep_study(home, study)
    before = read_trials(where(home), "lr of byol")
    lose(home)
    assert "1 sweeps restored" in invoke("results", "rebuild").output
    restored = optuna.load_study(study_name="lr of byol", storage=open_storage(where(home)))
    assert restored.user_attrs == study.user_attrs
    assert restored.best_value == study.best_value
    for old, new in zip(study.trials[:6], restored.trials, strict=True):
        for name in ("number", "state", "params", "distributions", "user_attrs"):
            assert getattr(old, name) == getattr(new, name), name
        assert old.value == new.value
        assert old.intermediate_values == new.intermediate_values
    assert [t["number"] for t in before][:2] == [0, 1]
    assert "sweeps restored" not in invoke("results", "rebuild").output


TORN = [b"", b"{", b"[]", b'{"cell": {}}', b'{"state": "failed"}', b"\x00" * 50, b"[[1]]"]


@pytest.mark.parametrize("content", TORN)
@pytest.mark.parametrize("kind", ["cells", "imports", "studies"])
def test_a_torn_record_is_named_and_ends_nothing(home: Path, kind: str, content: bytes) -> None:
    commit(home)
    listener = DatabaseListener(open_database(where(home)), home=home)
    listener.cell_state(planned(seed=5), "failed", "because")
    file = home / "records" / kind / "00-torn.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    output = invoke("results", "rebuild").output
    assert "1 stages and 1 results recorded" in output
    if not (kind == "imports" and content == b"[]"):  # an empty import is whole
        assert str(file) in output
    assert [c["state"] for c in open_database(where(home)).read_cells()].count("failed") == 1
