"""A tiny recipe learns: its loss falls clearly below that of outputs which tell nothing apart."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean

import numpy as np

from bench.contracts import registry
from bench.contracts.images import ImageSet
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.scenes.draw import draw_scene
from bench.stages.checkpoint import read_history
from bench.stages.pretrain import run
from tests.stages.pretraining import BlobContext, Watch

N, BATCH, EPOCHS = 96, 32, 40


class Drawn(ImageSet):
    """`n` scenes in memory."""

    def __init__(self, n: int) -> None:
        self.pictures = [draw_scene(0, i + 1).image for i in range(n)]
        self.name, self.split, self.classes = "drawn", "train", []
        self.ids = np.arange(n, dtype=np.int64)
        self.sizes = np.array([p.shape[1::-1] for p in self.pictures], dtype=np.int32)

    def image(self, index: int) -> np.ndarray:
        return self.pictures[index]


def test_a_tiny_contrastive_training_beats_chance(tmp_path: Path) -> None:
    """Where all 2B views look alike the loss is ln(2B - 1). The recipe is the tiny one; larger
    views and weaker colours make it quick."""
    quick = {
        "min_scale": 0.7,
        "colour_jitter": 0.5,
        "epochs": EPOCHS,
        "batch_size": BATCH,
    }
    method = registry.load("method", "simclr").resolve("tiny", quick)
    crop = registry.load("crop", "image").resolve("tiny")
    params = {"method": method.identity(), "crop": crop.identity(), "split": "train", "seed": 0}
    data = Stage("data", "drawn", 1, {}, "none:none")
    stage = Stage("pretrain", "simclr", 1, params, "bench.stages.pretrain:run", {"data": data})
    runtime = Runtime(home=tmp_path, database="", workers=0, threads=1, devices="cpu")
    run(BlobContext(stage, tmp_path, {"data": tmp_path}, runtime, Watch(), blobs=Drawn(N)))
    rows = read_history(tmp_path / "history.jsonl")
    assert len(rows) == EPOCHS * (N // BATCH) == 120
    chance = math.log(2 * BATCH - 1)
    assert rows[0]["loss"] > 0.9 * chance
    assert mean(row["loss"] for row in rows[-5:]) < 0.75 * chance
    assert min(row["std"] for row in rows) > 0.5 / math.sqrt(method.params.out)  # type: ignore[attr-defined]
