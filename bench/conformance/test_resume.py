"""Every method that trains: interrupted at a random step and resumed it ends with the same bits,
and it logs the spread of its outputs."""

from __future__ import annotations

import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.conformance.support import (
    Watch,
    chosen_names,
    make_engine,
    make_planner,
    make_runtime,
    overrides,
)
from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.stages.checkpoint import read_history
from bench.stages.pretrain import run

TRAINED = [n for n in chosen_names("method") if registry.load("method", n).trains]  # type: ignore[attr-defined]
STEPS = 6  # 12 scenes, batch 4, 2 epochs
LIVE = {"queue_from_epoch": 1, "freeze_epochs": 0.5, "dropout": 0.1, "cutout_p": 1.0}


class Killed(Exception):
    """Stands for a kill: nothing is saved on the way out."""


def kill() -> None:
    raise Killed


@dataclass
class Trainings:
    """Makes what a method's training needs once, and trains it in any folder."""

    home: Path

    def run(self, method: str, work: Path, watch: Watch) -> None:
        runtime = make_runtime(self.home, threads=1, checkpoint_seconds=0.0)
        known = registry.load("method", method).Params.model_fields
        sets = dict(overrides()) | {f"{method}.{k}": str(v) for k, v in LIVE.items() if k in known}
        sets[f"{method}.epochs"] = "2"
        planner = make_planner(runtime, method, "image", sets.items())
        stage = planner.pretrain(method, "image", planner.data("scenes"), main=True)
        engine = make_engine(runtime)
        inputs = {role: engine.ensure(child) for role, child in stage.inputs.items()}
        work.mkdir(exist_ok=True)
        run(StageContext(stage, work, inputs, runtime, watch))


@pytest.fixture
def trainings(common_folder: Path) -> Trainings:
    return Trainings(common_folder / "home")


@pytest.mark.parametrize("method", TRAINED)
def test_interrupted_anywhere_it_ends_with_the_same_bits(
    method: str, trainings: Trainings, tmp_path: Path
) -> None:
    step = int(np.random.default_rng(zlib.crc32(method.encode())).integers(2, STEPS))
    trainings.run(method, tmp_path / "whole", Watch())
    with pytest.raises(Killed):
        trainings.run(method, tmp_path / "resumed", Watch({step: kill}))
    watch = Watch()
    trainings.run(method, tmp_path / "resumed", watch)
    assert watch.started_at == step - 1, (
        "the last step that was finished before the kill was saved"
    )
    whole, resumed = (tmp_path / name / "backbone.pth" for name in ("whole", "resumed"))
    assert whole.read_bytes() == resumed.read_bytes()
    every, again = (
        torch.load(p.with_name("network.pth"), weights_only=True) for p in (whole, resumed)
    )
    assert every.keys() == again.keys()
    assert all(torch.equal(v, again[k]) for k, v in every.items()), (
        "queues, banks and averages too"
    )
    rows = read_history(whole.with_name("history.jsonl"))
    assert len(rows) == STEPS
    assert all(0 < row["std"] < 1 for row in rows), "the collapse monitor"
    shutil.rmtree(tmp_path)
