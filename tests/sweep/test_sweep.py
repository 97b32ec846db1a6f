"""Whole sweeps: every trial an ordinary cell, the choice by validation alone, nothing lost by
kills."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path

import optuna
import pytest

from bench.cli import main
from bench.core.store import Store
from bench.results.db.database import open_database
from bench.results.views import studies
from bench.sweep import work as work_module
from bench.sweep.study import SETUP
from tests.patience import HANG
from tests.sweep.small import CHEAP, TRAINED, evaluated, finish, opened, start, work


def run_bench(command: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command)[1:])
    return int(left.value.code or 0)


def test_a_sweep(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep, runtime = opened("--param", "knn.k=1,3", "--seeds", "0,1", *CHEAP)
    work(sweep, runtime)
    assert evaluated(home) == 4  # two values, two seeds, validation images
    assert open_database(runtime.database).read_rows() == []  # nothing has seen the test images
    first = studies.read_trials(runtime.database, sweep.name)
    assert [t["state"] for t in first] == ["complete"] * 2
    for trial in first:
        assert trial["value"] == pytest.approx(sum(trial["scores"]) / 2)
        assert len(trial["scores"]) == 2

    said = finish(sweep, runtime)
    best = max(first, key=lambda t: t["value"])
    assert evaluated(home) == 6  # the winner's two seeds alone
    (row,) = open_database(runtime.database).read_rows()
    assert row["overrides"]["knn.k"] == str(best["params"]["knn.k"])
    assert row["seeds"] == [0, 1]
    (described,) = studies.read_studies(runtime.database)
    assert described["winner"]["values"] == best["params"]
    assert described["winner"]["test"]["mean"] == pytest.approx(row["metrics"]["top1"]["mean"])
    assert described["best"]["number"] == best["number"]
    assert described["states"] == {"complete": 2}
    assert f"highest mean: k={best['params']['knn.k']}, validation top1" in said
    decided = f"supported: k={best['params']['knn.k']} is told apart"
    undecided = f"undecided between k={best['params']['knn.k']} and k="
    assert (decided in said) != (undecided in said)
    assert "knn.k against top1" in said
    assert "±" in said

    # every trial can be shown and made again, and the same values are cache hits in another study
    capsys.readouterr()
    assert run_bench(f"bench show {best['cells'][0][:12]} --json") == 0
    assert json.loads(capsys.readouterr().out)["command"] == best["commands"][0]
    assert run_bench(best["commands"][0]) == 0
    assert "0 stage(s) made" in capsys.readouterr().out
    other, _ = opened("--param", "knn.k=1,3", "--seeds", "0,1", *CHEAP, "--study", "again")
    work(other, runtime)
    assert [t["made"] for t in studies.read_trials(runtime.database, "again")] == [0, 0]
    assert [t["value"] for t in studies.read_trials(runtime.database, "again")] == [
        t["value"] for t in first
    ]

    # going on with one more value makes that one
    wider, _ = opened("--param", "knn.k=1,3,5", "--seeds", "0,1", *CHEAP)
    work(wider, runtime)
    found = studies.read_trials(runtime.database, sweep.name)
    assert [t["params"]["knn.k"] for t in found] == [1, 3, 5]
    assert studies.read_importances(runtime.database, sweep.name) in ({"knn.k": 1.0}, {})


def test_a_failed_cell_fails_its_trial_only(home: Path) -> None:
    sweep, runtime = opened("--param", "knn.k=3,100", *CHEAP)
    work(sweep, runtime)
    good, bad = studies.read_trials(runtime.database, sweep.name)
    assert (good["state"], bad["state"]) == ("complete", "fail")
    assert "k is at most the number of labelled training images" in bad["reason"]


def test_searches_stop_at_their_number_of_trials() -> None:
    sweep, runtime = opened(
        "--param", "knn.temperature", *CHEAP, "--set", "knn.k=3", "--trials", "3"
    )
    assert (sweep.setup.sampler, sweep.setup.trials) == ("tpe", 3)
    work(sweep, runtime)
    work(sweep, runtime)
    found = studies.read_trials(runtime.database, sweep.name)
    assert [t["state"] for t in found] == ["complete"] * 3
    for trial in found:
        (value,) = trial["params"].values()
        assert 0.01 <= value <= 1
        assert float(f"{value:.3e}") == value  # four digits
        assert f"--set knn.temperature={value}" in trial["commands"][0]


def test_pruning_keeps_the_checkpoint(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial pruned after its first epoch; its cell's command goes on from there."""
    monkeypatch.setattr(
        work_module, "make_pruner", lambda name: optuna.pruners.ThresholdPruner(lower=101.0)
    )
    sweep, runtime = opened("--param", "byol.epochs=2", *TRAINED, "--pruner", "median")
    work(sweep, runtime)
    (trial,) = studies.read_trials(runtime.database, sweep.name)
    assert trial["state"] == "pruned"
    assert list(trial["online"]) == [1]
    (cell,) = open_database(runtime.database).read_cells()
    assert cell["state"] == "interrupted"
    assert f"pruned by sweep {sweep.name}" in cell["reason"]
    assert list((home / "work").glob("*/_scratch/checkpoint.pt"))
    assert run_bench(trial["commands"][0] + " --devices cpu --workers 0") == 0
    summary = next((home / "store" / "pretrain").glob("*/summary.json"))
    assert json.loads(summary.read_text())["resumed_at"] == 3  # of 6 steps


def wait_for(condition: object, seconds: float = HANG) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.5)


def test_kills_lose_nothing(home: Path) -> None:
    """Two workers share a study; one and the driver are killed in the middle of a training; the
    other leaves with a checkpoint; the same command finishes. (That a living driver replaces a
    worker: test_drive.)"""
    arguments = (
        "--param",
        "byol.epochs=60,61",
        *TRAINED,
        "--parallel",
        "2",
        "--workers",
        "0",
        "--devices",
        "cpu",
        "--study",
        "s",
    )
    driver = start(*arguments)
    database = f"sqlite:///{home / 'results.db'}"

    def running() -> list[str]:
        found = studies.read_trials(database, "s")
        return [t["worker"] for t in found if t["state"] == "running" and t["worker"]]

    def training() -> bool:
        return len(list((home / "work").glob("*/history.jsonl"))) >= 2

    wait_for(lambda: len(running()) == 2 and training())
    first, second = running()
    os.kill(int(first.split(":")[1]), signal.SIGKILL)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_for(lambda: second not in running())
    again = start(*arguments)
    said = again.communicate(timeout=HANG)[0]
    assert again.returncode == 0, said
    found = studies.read_trials(database, "s")
    assert sorted(t["params"]["byol.epochs"] for t in found) == [60, 61]
    assert {t["state"] for t in found} == {"complete"}
    assert evaluated(home) == 3  # two trials, one winner
    resumed = [
        json.loads(f.read_text())["resumed_at"]
        for f in (home / "store").glob("pretrain/*/summary.json")
    ]
    assert any(resumed)
    assert list((home / "work").iterdir()) == []
    (study,) = studies.read_studies(database)
    assert study["winner"]["values"] == study["best"]["params"]
    assert second.split(":")[1] != str(again.pid)
    assert Store(home).root.exists()
    assert SETUP == studies.SETUP
