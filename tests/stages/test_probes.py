"""Probes of a backbone in training: they look, and change nothing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.api.request import make_runtime
from bench.contracts.images import Objects
from bench.core.errors import BadData, BadInput
from bench.core.params import PROBES
from bench.nn.backbones import build_backbone
from bench.results.views.stage_files import read_learning_curve
from bench.stages.checkpoint import read_history
from bench.stages.pretrain import probing, run
from bench.stages.probes import Probe, keep_generators, pick_labelled, pick_objects
from tests.stages.pretraining import Blobs, Watch, context

FIGURES = {f"probe/{name}" for name in (*PROBES, "rankme", "feature_std")}


class Labelled(Blobs):
    """Blobs of three classes, with an object of 20 x 10 pixels, a crowd and a difficult one."""

    classes = ["a", "b", "c"]

    def image_class(self) -> np.ndarray:
        return self.ids % 3

    def objects(self, index: int) -> Objects:
        boxes = np.array([[4, 6, 24, 16], [0, 0, 40, 40], [1, 1, 9, 9]], np.float32)
        labels = np.array([(index + 1) % 3, 0, 0])
        flags = np.eye(3, dtype=bool)
        return Objects(boxes, labels, flags[1], flags[2], np.ones(3), np.arange(3))


class Bare(Blobs):
    """Blobs without annotations."""

    def objects(self, index: int) -> Objects:
        raise BadData("blobs have no annotations")


def train(folder: Path, probes: tuple[str, ...], stop_at: int = 0, **fields: Any) -> Path:
    """A training of three epochs on labelled blobs."""
    ctx = context(folder, "work", settings={"epochs": 3})
    ctx.blobs = Labelled(folder / "blobs", len(ctx.blobs))
    ctx.runtime = ctx.runtime.model_copy(update={"probe": probes, **fields})
    if stop_at:

        def kill() -> None:
            raise RuntimeError("killed")

        ctx.progress = Watch({stop_at: kill})
        with pytest.raises(RuntimeError, match="killed"):
            run(ctx)
    else:
        run(ctx)
    return ctx.work


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training without probes."""
    return train(tmp_path_factory.mktemp("plain"), ())


def test_with_and_without_probes_every_file_of_a_training_has_the_same_bytes(
    plain: Path, tmp_path: Path
) -> None:
    probed = train(tmp_path, PROBES)
    for name in ("backbone.pth", "network.pth"):
        assert (plain / name).read_bytes() == (probed / name).read_bytes()
    rows = read_history(probed / "probe.jsonl")
    assert len(rows) == 3
    assert all(set(row) == {"step", *FIGURES} for row in rows)
    assert all(0 <= row[f"probe/{name}"] <= 100 for row in rows for name in PROBES)
    assert all(row["probe/rankme"] >= 1 for row in rows)
    assert not (plain / "probe.jsonl").exists()
    losses = [[r["loss"] for r in read_history(f / "history.jsonl")] for f in (plain, probed)]
    assert losses[0] == losses[1]
    curve = read_learning_curve(probed)
    assert {name for row in curve for name in row} > FIGURES


def test_checkpoints_are_equal_too_and_a_resumed_curve_has_no_row_twice(
    plain: Path, tmp_path: Path
) -> None:
    steps = len(read_history(plain / "history.jsonl"))
    homes = [tmp_path / name for name in ("bare", "probed")]
    for home, probes in zip(homes, ((), PROBES), strict=True):
        home.mkdir()
        train(home, probes, stop_at=steps - 1, checkpoint_seconds=0.0)
    files = [next(home.rglob("checkpoint.pt")) for home in homes]
    assert files[0].read_bytes() == files[1].read_bytes()
    work = train(homes[1], PROBES)
    assert (work / "network.pth").read_bytes() == (plain / "network.pth").read_bytes()
    looked = [row["step"] for row in read_history(work / "probe.jsonl")]
    assert looked == [steps // 3 - 1, 2 * steps // 3 - 1, steps - 1]


def test_looking_leaves_backbone_and_generators_alone(tmp_path: Path) -> None:
    images = Labelled(tmp_path / "blobs", 12)
    parts = {split: pick_labelled(images, 12, 32) for split in ("train", "val")}
    probe = Probe(["knn"], "resnet18_quarter", {"images": parts})
    backbone = build_backbone("resnet18_quarter").train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    first = probe.measure(backbone)
    assert probe.measure(backbone) == first, "batch norm is in evaluation mode"
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert backbone.training
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_generators_are_put_back_after_an_error_too() -> None:
    states = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())

    def draw_and_fail() -> None:
        with keep_generators(torch.device("cpu")):
            torch.rand(1), random.random(), np.random.rand()
            raise KeyError

    with pytest.raises(KeyError):
        draw_and_fail()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


def test_objects_are_cut_out_by_their_boxes_without_crowds_and_difficult_ones(
    tmp_path: Path,
) -> None:
    images = Labelled(tmp_path / "blobs", 6)
    crops, labels = pick_objects(images, 4, 10)
    assert labels.tolist() == [(i + 1) % 3 for i in (0, 2, 3, 5)]
    exact, _ = pick_objects(images, 1, 20)
    assert exact.shape == (1, 3, 20, 20)
    # every second row of a box twice as wide as high, enlarged to a square, is close to its own
    region = torch.from_numpy(images.image(0)[6:16, 4:24].copy()).permute(2, 0, 1).float()
    assert (exact[0, :, ::2].float() - region).abs().mean() < 12
    assert crops.dtype == torch.uint8


def test_data_without_labels_have_rank_and_spread(tmp_path: Path) -> None:
    ctx = context(tmp_path, "work", settings={"epochs": 1})
    ctx.blobs = Bare(tmp_path / "blobs", len(ctx.blobs))
    ctx.runtime = ctx.runtime.model_copy(update={"probe": ("knn",)})
    run(ctx)
    (row,) = read_history(ctx.work / "probe.jsonl")
    assert set(row) == {"step", "probe/rankme", "probe/feature_std"}
    assert any(n.startswith("no probe knn: ") for n in ctx.progress.notes)  # type: ignore[attr-defined]


@pytest.mark.parametrize("when", ["of", "measure"])
def test_a_probe_that_fails_is_noted_and_the_training_goes_on(
    when: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(probing.Probe, when, fail)
    probed = train(tmp_path, ("knn",))
    assert read_history(probed / "probe.jsonl") == []
    assert (probed / "network.pth").read_bytes() == (plain / "network.pth").read_bytes()


def test_an_unknown_probe_is_one_line() -> None:
    with pytest.raises(BadInput, match=r"did you mean 'object_knn'"):
        make_runtime({"probe": ("objectknn",)})
