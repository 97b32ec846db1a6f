"""Classification by fine-tuning: whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contracts.registry import load
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.nn.backbones import build_backbone, load_backbone
from bench.plan.cell import Cell
from bench.plan.planner import make_plan
from tests.data.folders import Deaf
from tests.data.listed_folders import write_cub
from tests.tasks.classification import MICRO, MULTI, SEMI, TRANSFER


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classification") / "home"


def row(home: Path, task: str, data: str = "scenes", root: Path | None = None, **more: Any) -> Any:
    """The metrics of random weights on a task in a few steps, and the stage's folder."""
    given = Runtime(
        home=home, database="sqlite://", workers=0, tracker="none", devices="cpu", threads=1
    )
    length = {"epochs": 1, "fraction": 0.5} if task in SEMI else {"steps": 2}
    settings = {**MICRO, **length, **more}
    sets = [
        (f"{task}.{k}", json.dumps(v) if not isinstance(v, str) else v)
        for k, v in settings.items()
    ]
    for drawn in sorted({"scenes", data} & {"scenes", "scenes_objects"}):
        sets += [(f"{drawn}.n_train", "12"), (f"{drawn}.n_val", "6")]
    cell = Cell("random_init", "image", task, "scenes", data, "tiny", 0, tuple(sets))
    final = make_plan([cell], given, {data: root}).cells[0].final
    assert final is not None
    folder = LocalEngine(given, Store(home), Deaf()).ensure(final)
    return json.loads((folder / "metrics.json").read_text()), folder, final


@pytest.mark.parametrize("task", [*TRANSFER, *SEMI, MULTI])
def test_a_whole_run_on_generated_pictures(task: str, shared: Path) -> None:
    cls: Any = load("task", task)
    metrics, folder, _ = row(shared, task, cls.data["tiny"])
    assert set(metrics) == set(cls.metrics)
    assert all(0 <= v <= 100 for v in metrics.values())
    names = {f.name for f in folder.iterdir()}
    assert {"classifier.pth", "per_class.json", "weights.json"} <= names
    assert len(json.loads((folder / "per_class.json").read_text())) == 20
    state = torch.load(folder / "classifier.pth", weights_only=True)
    assert state["head.weight"].shape == (20, 128)
    backbone = build_backbone("resnet10_quarter")
    assert load_backbone(folder.parents[1] / _backbone(folder), backbone) == 72
    if task == MULTI:
        assert np.load(folder / "scores.npy").shape == (6, 20)
    else:
        assert np.load(folder / "predictions.npy").shape == (6,)


def _backbone(folder: Path) -> str:
    pretrained = sorted((folder.parents[1] / "pretrain").glob("random_init-*/backbone.pth"))
    return str(pretrained[0].relative_to(folder.parents[1]))


def test_a_given_list_decides_the_subset_and_the_result_says_so(
    shared: Path, tmp_path: Path
) -> None:
    drawn, folder, before = row(shared, "imagenet_1pct")
    assert (drawn["labels"], drawn["listed"]) == (6.0, 0.0)
    assert "not the published list" in json.loads((folder / "subset.json").read_text())["which"]
    (tmp_path / "1percent.txt").write_text("000000000003.jpg\n000000000007.jpg\n")
    given, folder, after = row(shared, "imagenet_1pct", subset=str(tmp_path / "1percent.txt"))
    assert (given["labels"], given["listed"]) == (2.0, 1.0)
    assert np.load(folder / "subset.npy").tolist() == [3, 7]
    assert before.key != after.key
    (tmp_path / "elsewhere").mkdir()
    other = (tmp_path / "1percent.txt").rename(tmp_path / "elsewhere/1percent.txt")
    moved = row(shared, "imagenet_1pct", subset=str(other))[2]
    assert moved.key == after.key, "the list's place is not identity, its content is"
    with pytest.raises(BadInput, match=r"imagenet_1pct\.subset: .* does not exist"):
        row(shared, "imagenet_1pct", subset=str(tmp_path / "1percent.txt"))


def test_a_whole_run_on_the_official_layout(shared: Path, tmp_path: Path) -> None:
    known = write_cub(tmp_path / "CUB_200_2011")
    metrics, folder, _ = row(shared, "cub", "cub", known.root)
    per_class = json.loads((folder / "per_class.json").read_text())
    assert list(per_class) == known.classes
    assert metrics["mean_per_class"] == pytest.approx(
        np.mean([v["accuracy"] for v in per_class.values()])
    )
    assert metrics["top5"] == 100.0  # of three classes


@pytest.mark.real_data
def test_a_whole_run_on_real_photographs(real_data: Path, home: Path) -> None:
    metrics, folder, _ = row(
        home,
        MULTI,
        "voc2012",
        real_data / "VOCdevkit",
        steps=30,
        batch_size=16,
        image_size=64,
        resize=72,
    )
    per_class = json.loads((folder / "per_class.json").read_text())
    assert len(per_class) == 20
    assert all("AP" in v for v in per_class.values())
    assert metrics["mAP"] > 4
