"""Semantic segmentation: training, what it learns, whole runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from bench.contracts.registry import load
from bench.core.errors import BadData, StageFailed
from bench.core.params import Runtime
from bench.core.store import Store
from bench.data.scenes.pixels import write_camvid, write_cityscapes
from bench.data.semantic import pixel_targets
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import make_plan
from tasks._segmentation import pipeline
from tasks._segmentation.metrics import segmentation_metrics
from tasks._segmentation.model import Segmenter
from tests.data.folders import Deaf
from tests.small_set import draw_few
from tests.tasks.segmentation import MICRO, TASKS, Pixels, context, micro

CPU = torch.device("cpu")
OVERFIT = {
    "batch_size": 2,
    "lr": 0.1,
    "min_lr": 1e-3,
    "weight_decay": 0.0,
    "aux_weight": 0.0,
    "dropout": 0.0,
    "short": 64,
    "longest": 400,
    "crop": (96, 96),
    "scale": (1.0, 1.0),
    "max_share": 1.0,
    "photometric": False,
}


# Training


def fit(
    folder: Path, images: Pixels, p: Any, seconds: float = 1e9, name: str = "resnet18_half"
) -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(name, 21, p).to(memory_format=torch.channels_last)
    pipeline.train(
        context(folder, seconds), model, images, p, Fabric(accelerator="cpu", devices=1)
    )
    return model


@pytest.mark.parametrize("task", ["cityscapes_seg", "voc12_seg"])
def test_a_stopped_training_goes_on_bit_equal(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, p = Pixels(tmp_path, 5), micro(task)
    whole = fit(tmp_path / "whole", images, p).state_dict()
    real, calls = Segmenter.losses, []

    def dies(*arguments: Any) -> Any:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(Segmenter, "losses", dies)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", images, p, 0.0)
    monkeypatch.setattr(Segmenter, "losses", real)
    resumed = fit(tmp_path / "cut", images, p, 0.0).state_dict()
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    untrained = Segmenter("resnet18_half", 21, p).state_dict()
    assert not torch.equal(whole["head.classify.weight"], untrained["head.classify.weight"])


def smallest_object(number: int) -> float:
    """The share of the image that the smallest object of a scene covers."""
    return float(draw_few(number).masks.mean((1, 2)).min())


@pytest.mark.parametrize("task", ["cityscapes_fcn", "camvid_seg"])
@pytest.mark.parametrize("scale", ["tiny", "small", "paper"])
def test_tasks_that_do_not_learn_four_scenes_differ_in_schedule_and_sizes_alone(
    task: str, scale: str
) -> None:
    """From voc12_seg, so that what it learns of four scenes speaks for their head too."""
    one, other = (load("task", n).resolve(scale).params for n in (task, "voc12_seg"))
    fields = type(other).model_fields
    assert fields.keys() == type(one).model_fields.keys()
    differing = {f for f in fields if getattr(one, f) != getattr(other, f)}
    schedule = {"iterations", "batch_size", "lr"}
    assert differing <= schedule | {"crop", "short", "longest", "window", "stride"}


@pytest.mark.parametrize("task", ["cityscapes_seg", "voc12_seg"])
def test_it_learns_four_scenes(task: str, tmp_path: Path) -> None:
    """From random weights to the masks of four scenes, those of eighty whose smallest object is
    largest."""
    images = Pixels(tmp_path, 4, order=sorted(range(80), key=smallest_object)[-4:])
    cls: Any = load("task", task)
    p = cls.resolve("tiny", {**OVERFIT, "iterations": 300}).params
    model = fit(tmp_path / "m", images, p, name="resnet18_quarter")
    matrices, _ = pipeline.score(context(tmp_path / "m"), model, images, p, CPU)
    matrix = matrices.sum(0)
    found = segmentation_metrics(matrix)
    assert matrix.sum() == sum(np.prod(size) for size in images.sizes)
    assert found["mIoU"] > 45, found
    assert found["aAcc"] > 90, found


def test_a_loss_that_is_not_finite_stops_the_stage(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"the loss is nan at step .*try: --set voc12_seg\.lr="):
        fit(tmp_path / "c", Pixels(tmp_path, 3), micro(lr=1e8, iterations=21))


def test_images_without_masks(tmp_path: Path) -> None:
    ctx, notes = context(tmp_path / "c"), []
    ctx.progress.note = notes.append  # type: ignore[method-assign]
    some = Pixels(tmp_path, 4, without=(0, 2))
    assert pipeline.find_labelled(ctx, some).tolist() == [1, 3]
    assert notes == ["small/train: 2 of 4 images have no semantic mask and are left out"]
    model = fit(tmp_path / "m", some, micro(iterations=2))
    matrices, shown = pipeline.score(ctx, model, some, micro(), CPU)
    assert matrices.sum((1, 2)).tolist() == [(pixel_targets(some, i) != 255).sum() for i in (1, 3)]
    assert [len(row) for row in shown] == [3, 3]
    with pytest.raises(
        BadData, match="small/train has no semantic masks; try: --task-data voc2012_seg=PATH"
    ):
        pipeline.find_labelled(ctx, Pixels(tmp_path, 2, without=(0, 1)))


# Whole runs


def row(
    home: Path, task: str, data: str, root: Path | None, **more: Any
) -> tuple[dict[str, float], Path]:
    """The metrics of random weights on a task at micro settings, and the stage's folder."""
    given = Runtime(
        home=home, database="sqlite://", workers=0, tracker="none", devices="cpu", threads=1
    )
    settings = {**MICRO, **more} | ({"mask": (11, 15)} if task == "cityscapes_seg" else {})
    sets = [
        (f"{task}.{k}", json.dumps(v) if not isinstance(v, str) else v)
        for k, v in settings.items()
    ]
    sets += [("scenes.n_train", "6"), ("scenes.n_val", "3")]
    cell = Cell("random_init", "image", task, "scenes", data, "tiny", 0, tuple(sets))
    plan = make_plan([cell], given, {data: root})
    final = plan.cells[0].final
    assert final is not None
    folder = LocalEngine(given, Store(home), Deaf()).ensure(final)
    return json.loads((folder / "metrics.json").read_text()), folder


@pytest.mark.parametrize("task", TASKS)
def test_a_whole_run_on_scenes(task: str, home: Path) -> None:
    metrics, folder = row(home, task, "scenes", None)
    cls: Any = load("task", task)
    assert set(metrics) == set(cls.metrics)
    assert all(0 <= v <= 100 for v in metrics.values())
    assert {"segmenter.pth", "confusion.npy", "per_class.json", "weights.json"} <= {
        f.name for f in folder.iterdir()
    }
    assert segmentation_metrics(np.load(folder / "confusion.npy")) == metrics
    assert json.loads((folder / "weights.json").read_text())["tensors_matched"] == 72
    assert len(json.loads((folder / "per_class.json").read_text())) == 21


@pytest.mark.parametrize(
    ("task", "data", "classes"),
    [
        ("cityscapes_seg", "cityscapes", 19),
        ("camvid_seg", "camvid", 11),
    ],
)
def test_a_whole_run_on_the_layouts_that_scenes_write(
    task: str, data: str, classes: int, tmp_path: Path, home: Path
) -> None:
    write = {"cityscapes": write_cityscapes, "camvid": write_camvid}[data]
    root = write(tmp_path / data, 4, 3, size=(96, 72))
    metrics, folder = row(home, task, data, root, inference="slide")
    assert math.isfinite(metrics["mIoU"])
    assert np.load(folder / "confusion.npy").shape == (classes, classes)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("task", "data", "folder", "classes", "images"),
    [
        ("voc12_seg", "voc2012_seg", "VOCdevkit", 21, 300),
        ("camvid_seg", "camvid", "CamVid", 11, 34),
    ],
)
def test_a_whole_run_on_real_images(
    task: str, data: str, folder: str, classes: int, images: int, real_data: Path, home: Path
) -> None:
    metrics, made = row(home, task, data, real_data / folder, iterations=12, lr=0.05)
    matrix = np.load(made / "confusion.npy")
    assert matrix.shape == (classes, classes)
    assert (matrix.sum(1) > 0).all(), "every class is in the split that is scored"
    assert set(metrics) == {"mIoU", "mAcc", "aAcc"}
    assert metrics["aAcc"] > 100 / classes
