"""Studies in the results database: coexistence, one worker at a time, nothing lost, nothing done
twice."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from sqlalchemy import create_engine, inspect, text

from bench.core.errors import BadInput
from bench.core.identity import process_name
from bench.results.db.database import open_database
from bench.results.db.schema import HEAD
from bench.results.views import studies
from bench.sweep import study as study_module
from bench.sweep.study import (
    REASON,
    RETRY,
    WORKER,
    Sweep,
    make_pruner,
    make_sampler,
    open_storage,
)
from tests.sweep.small import CHEAP, opened


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'results.db'}"


def versions(where: str) -> tuple[str, str]:
    with create_engine(where).connect() as connection:
        ours = connection.execute(text("SELECT version_num FROM bench_version")).scalar()
        theirs = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(ours), str(theirs)


@pytest.mark.parametrize("first", ["ours", "optuna's", "ours, of before"])
def test_both_schemas_in_one_database(tmp_path: Path, first: str) -> None:
    """In any order; a database from before kept our version in the table that Optuna uses."""
    if first == "ours":
        open_database(url(tmp_path))
    elif first == "optuna's":
        optuna.storages.RDBStorage(url(tmp_path))
    else:
        open_database(url(tmp_path))
        with create_engine(url(tmp_path)).begin() as connection:
            connection.execute(text("DROP TABLE bench_version"))
            connection.execute(
                text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
            )
            connection.execute(text(f"INSERT INTO alembic_version VALUES ('{HEAD}')"))
    storage = open_storage(url(tmp_path))
    optuna.create_study(storage=storage, study_name="theirs")
    assert optuna.storages.RDBStorage(url(tmp_path)).get_all_studies()[0].study_name == "theirs"
    assert open_database(url(tmp_path)).read_rows() == []
    ours, theirs = versions(url(tmp_path))
    assert ours == HEAD
    assert theirs.startswith("v")


def test_reading_makes_nothing(tmp_path: Path) -> None:
    assert studies.read_studies(url(tmp_path)) == []
    assert not (tmp_path / "results.db").exists()
    open_database(url(tmp_path))
    assert studies.read_studies(url(tmp_path)) == []
    assert studies.read_trials(url(tmp_path), "none") == []
    assert studies.read_importances(url(tmp_path), "none") == {}
    assert "studies" not in inspect(create_engine(url(tmp_path))).get_table_names()


def states(sweep: Sweep) -> list[str]:
    return [t.state.name for t in sweep.trials()]


def test_the_same_command_finds_the_same_study_and_adds_what_is_new() -> None:
    sweep, runtime = opened("--param", "knn.k=3,5", *CHEAP)
    assert [t.user_attrs["values"] for t in sweep.trials()] == [{"knn.k": 3}, {"knn.k": 5}]
    again, _ = opened("--param", "k=5,3", *CHEAP)
    assert again.name == sweep.name
    assert len(again.trials()) == 2
    wider, _ = opened("--param", "knn.k=3,5,7", *CHEAP)
    assert wider.name == sweep.name
    assert [t.user_attrs["values"]["knn.k"] for t in wider.trials()] == [3, 5, 7]
    loaded = Sweep.load(runtime.database, sweep.name)
    assert loaded.setup == wider.setup
    more, _ = opened("--study", sweep.name, "--param", "k=9")
    assert [t.user_attrs["values"]["knn.k"] for t in more.trials()] == [3, 5, 7, 9]
    assert opened("--study", sweep.name)[0].setup == more.setup
    with pytest.raises(BadInput, match=r"sweeps knn.k, not knn.temperature"):
        opened("--study", sweep.name, "--param", "temperature=0.1")
    with pytest.raises(BadInput, match="is a grid search and cannot become a tpe search"):
        opened("--study", sweep.name, "--param", "k=1:200")
    other, _ = opened("--param", "knn.k=3,5", *CHEAP, "--seeds", "1")
    assert other.name != sweep.name
    with pytest.raises(BadInput, match="other cells or settings"):
        opened("--param", "knn.k=3,5", *CHEAP, "--seeds", "1", "--study", sweep.name)
    with pytest.raises(BadInput, match=f"did you mean '{sweep.name}'"):
        Sweep.load(runtime.database, sweep.name + "x")


def test_fewer_trials_than_points_are_a_fixed_part_of_them() -> None:
    sweep, _ = opened("--param", "knn.k=1,2,3,4,5,6,7,8", *CHEAP, "--trials", "3")
    chosen = [t.user_attrs["values"]["knn.k"] for t in sweep.trials()]
    assert len(chosen) == 3
    again, _ = opened("--param", "knn.k=1,2,3,4,5,6,7,8", *CHEAP, "--trials", "3")
    assert [t.user_attrs["values"]["knn.k"] for t in again.trials()] == chosen


def dead_worker() -> str:
    """What a process of this machine that is no more left behind."""
    code = "from bench.core.identity import process_name; print(process_name())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_lost_trials_are_given_back_once() -> None:
    """A killed worker's at once, an interrupted one's too; a failed one's and a live worker's
    never."""
    sweep, _ = opened("--param", "knn.k=1,2,3,4", *CHEAP)
    killed, interrupted, failed, alive = (sweep.study.ask() for _ in range(4))
    killed.set_user_attr(WORKER, dead_worker())
    alive.set_user_attr(WORKER, process_name())
    failed.set_user_attr(REASON, "the loss is not finite")
    for trial in (interrupted, failed):
        sweep.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert not sweep.more()
    for _ in range(2):
        with sweep.gate():
            sweep.give_back()
        assert states(sweep) == ["FAIL", "FAIL", "FAIL", "RUNNING", "WAITING", "WAITING"]
    assert [t.user_attrs.get(RETRY) for t in sweep.trials()[4:]] == [0, 1]
    assert [t.user_attrs["values"]["knn.k"] for t in sweep.trials()[4:]] == [1, 2]
    assert sweep.more()


def test_a_silent_machines_trial_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "HEARTBEAT", 1)
    monkeypatch.setattr(study_module, "GRACE", 1)
    sweep, _ = opened("--param", "knn.k=1,2", *CHEAP)
    trial = sweep.study.ask()
    trial.set_user_attr(WORKER, "elsewhere:123:456")
    sweep.storage.record_heartbeat(trial._trial_id)
    with sweep.gate():
        sweep.give_back()
    assert states(sweep) == ["RUNNING", "WAITING"]
    with sweep.engine.begin() as connection:  # as if its last sign of life were an hour old
        connection.execute(
            text("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00.000000'")
        )
    with sweep.gate():
        sweep.give_back()
    assert states(sweep) == ["FAIL", "WAITING", "WAITING"]


def test_failed_points_are_tried_again_by_the_next_command() -> None:
    sweep, _ = opened("--param", "knn.k=1", *CHEAP)
    trial = sweep.study.ask()
    trial.set_user_attr(REASON, "out of memory")
    sweep.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    again, _ = opened("--param", "knn.k=1", *CHEAP)
    assert states(again) == ["FAIL", "WAITING"]


def test_many_writers_wait_for_each_other(tmp_path: Path) -> None:
    """Reads that turn into writes, from separate connections: SQLite alone answers "locked"."""
    open_storage(url(tmp_path))
    optuna.create_study(storage=open_storage(url(tmp_path)), study_name="s")

    def write(worker: int) -> None:
        study = optuna.load_study(study_name="s", storage=open_storage(url(tmp_path)))
        for _ in range(5):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            study.tell(trial, float(worker))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = optuna.load_study(study_name="s", storage=open_storage(url(tmp_path))).trials
    assert sorted(t.number for t in found) == list(range(20))


@pytest.mark.parametrize("name", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_samplers_draw_the_same_again(name: str) -> None:
    """A continued search draws what an uninterrupted one would: the seed is the trial's number."""
    if name == "cmaes":
        pytest.importorskip("cmaes")

    def drawn(count: int) -> list[float]:
        study = optuna.create_study(direction="maximize")
        for number in range(count):
            study.sampler = make_sampler(name, number)
            trial = study.ask()
            x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 1e-3, 1, log=True)
            study.tell(trial, x - y)
        return [v for t in study.trials for v in t.params.values()]

    assert drawn(14)[:24] == drawn(12)
    assert len(set(drawn(6))) == 12


@pytest.mark.parametrize("name", ["none", "median", "halving", "hyperband"])
def test_pruners(name: str) -> None:
    assert isinstance(make_pruner(name), optuna.pruners.BasePruner)
