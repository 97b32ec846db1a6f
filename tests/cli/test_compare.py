"""bench compare: every kind of task scores again what it recorded; what is refused, and how."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.contracts.registry import load
from bench.core.errors import BadData, BadInput
from tests.e2e.micro import wide_lines
from tests.figures.store import bench, sets

DETECTOR = (
    "iterations=2",
    "steps=[1]",
    "warmup=1",
    "batch_size=2",
    "precise_bn=1",
    "sizes=[64]",
    "test_size=64",
)
FROZEN = ("image_size=32", "resize=36")
SEGMENTER = ("iterations=2", "batch_size=2", "crop=[64,64]", "output_stride=16")
TASKS: dict[str, tuple[str, ...]] = {
    "knn": ("k=3", *FROZEN),
    "imagenet_linear": ("epochs=1", "batch_size=8", *FROZEN),
    "cub": ("steps=2", "batch_size=4", *FROZEN),
    "imagenet_1pct": ("epochs=1", "batch_size=4", *FROZEN),
    "voc07_finetune": ("steps=2", "batch_size=4", *FROZEN),
    "voc07_svm": FROZEN,
    "voc07_linear": ("epochs=1", *FROZEN),
    "openimages_linear": ("epochs=1", *FROZEN),
    "object_knn": (),
    "voc12_seg": SEGMENTER,
    "coco_det": DETECTOR,
    "coco_keypoints": DETECTOR,
    "voc0712_det": DETECTOR,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare") / "home"


def cells(home: Path, task: str, seeds: str = "0,1", *more: str) -> list[str]:
    """The keys of untrained backbones' evaluations."""
    drawn = load("task", task).data["tiny"]  # type: ignore[attr-defined]
    sizes = () if drawn == "scenes" else (f"{drawn}.n_train=16", f"{drawn}.n_val=6")
    settings = sets(*sizes, *(f"{task}.{s}" for s in TASKS[task]), *more)
    where = ["--method", "random_init", "--task", task, "--devices", "cpu", "--workers", "0"]
    said = bench(home, "run", *where, "--seeds", seeds, *settings)
    return [line.rpartition("-")[2] for line in said.splitlines() if line.startswith("files: ")]


def figures(home: Path, *arguments: str) -> dict[str, Any]:
    said = bench(home, "compare", *arguments, "--json")
    found: dict[str, Any] = json.loads(said[said.index("{") :])  # after the progress
    return found


@pytest.mark.parametrize("task", list(TASKS))
def test_every_kind_of_task_can_be_compared(task: str, store: Path) -> None:
    """Opening a result checks that its images, counted once each, give what was recorded."""
    keys = cells(store, task)
    found = figures(store, *keys, "--metric", "all", "--resamples", "100")
    cls: Any = load("task", task)
    assert found["images"] == 6
    assert cls.headline in {row["metric"] for row in found["rows"]} <= set(cls.metrics)
    folders = {f.name.rpartition("-")[2]: f for f in (store / "store/evaluate").iterdir()}
    first, other = (json.loads((folders[k] / "metrics.json").read_text()) for k in keys)
    for row in found["rows"]:
        assert row["first"] == pytest.approx(first[row["metric"]], abs=1e-6)
        assert row["other"] == pytest.approx(other[row["metric"]], abs=1e-6)
        assert row["difference"] == pytest.approx(row["other"] - row["first"])
        assert row["low"] <= row["high"]
        assert row["key"].startswith(keys[1])


def test_what_it_prints(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    keys = cells(store, "knn")
    said = bench(store, "compare", *keys)
    assert not wide_lines(said)
    said = " ".join(said.split())
    assert f"knn, beside random_init × image {keys[0]}" in said
    assert "of 1000 draws of the 6 test images; it does not cover other seeds." in said
    assert "fewer than two common seeds" in said  # they are two seeds of one row
    assert "With fewer than 100 test images the interval is too narrow: of 60 images" in said
    assert figures(store, *keys)["too_few_images"] is True
    assert "not scored with the same settings" not in said
    (other,) = cells(store, "knn", "0", "knn.temperature=0.2")
    said = " ".join(bench(store, "compare", keys[0], other).split())
    assert f"{other} was not scored with the same settings: temperature 0.1 and 0.2" in said


def test_the_difference_over_seeds_stands_beside_that_over_images(store: Path) -> None:
    """Of the rows of the two results, over their common seeds: those of the leaderboard."""
    one, other = cells(store, "knn", "0-2"), cells(store, "knn", "0-2", "knn.temperature=0.2")
    (row,) = figures(store, one[0], other[0])["rows"]
    folders = {f.name.rpartition("-")[2]: f for f in (store / "store/evaluate").iterdir()}
    scores = [
        [json.loads((folders[k] / "metrics.json").read_text())[row["metric"]] for k in keys]
        for keys in (one, other)
    ]
    gains = np.subtract(scores[1], scores[0])
    assert row["over_seeds"]["mean"] == pytest.approx(gains.mean())
    assert row["over_seeds"]["ci95"] == pytest.approx(
        stats.t.ppf(0.975, 2) * gains.std(ddof=1) / 3**0.5, abs=1e-9
    )
    assert row["over_seeds"]["seeds"] == [0, 1, 2]
    said = " ".join(bench(store, "compare", one[0], other[0]).split())
    assert "(seeds 0-2)" in said
    assert "interval over images" in said


def test_nothing_is_said_of_the_number_of_images_where_there_are_enough(store: Path) -> None:
    sizes = ("scenes_objects.n_train=4", "scenes_objects.n_val=100")
    settings = sets(*sizes, *(f"knn.{s}" for s in TASKS["knn"]))
    where = ["--method", "random_init", "--task", "knn", "--devices", "cpu", "--workers", "0"]
    said = bench(store, "run", *where, "--seeds", "0,1", *settings)
    keys = [line.rpartition("-")[2] for line in said.splitlines() if line.startswith("files: ")]
    said = " ".join(bench(store, "compare", *keys, "--resamples", "100").split())
    assert "draws of the 100 test images" in said
    assert "too narrow" not in said
    assert figures(store, *keys, "--resamples", "100")["too_few_images"] is False


def test_what_coco_is_scored_against_is_made_again(tmp_path: Path) -> None:
    """Its annotations, as they are written, may have been deleted meanwhile."""
    home, root = tmp_path / "home", tmp_path / "coco"
    bench(home, "data", "make", "coco", "--out", str(root), "--train", "6", "--val", "4")
    settings = sets(*(f"coco_det.{s}" for s in DETECTOR))
    where = ["--method", "random_init", "--task", "coco_det", "--task-data", f"coco={root}"]
    where += ["--devices", "cpu", "--workers", "0", "--seeds", "0,1"]
    said = bench(home, "run", *where, *settings)
    keys = [line.rpartition("-")[2] for line in said.splitlines() if line.startswith("files: ")]
    data = ("--data", f"coco={root}", "--resamples", "100")
    before = figures(home, *keys, *data)["rows"]
    (annotations,) = (home / "store/annotations").iterdir()
    shutil.rmtree(annotations)
    assert figures(home, *keys, *data)["rows"] == before
    assert annotations.is_dir()


def test_a_result_on_a_part_of_the_training_images(store: Path) -> None:
    keys = cells(store, "knn", "0,1", "knn.holdout=0.25")
    assert figures(store, *keys)["images"] == 4
    with pytest.raises(BadInput, match="their data differ"):
        bench(store, "compare", keys[0], cells(store, "knn")[0])


def test_what_cannot_be_compared_is_one_line(store: Path) -> None:
    knn, cub = cells(store, "knn"), cells(store, "cub")
    for arguments, message in (
        (knn[:1], "compare takes two or more KEYs, got 1"),
        ([knn[0], knn[0]], "is named twice"),
        ([knn[0], cub[0]], "their tasks differ"),
        ([*knn, "--metric", "top2"], r"no metric 'top2' to compare by; did you mean 'top1'\?"),
        ([knn[0], "0123456789"], "no stage has key"),
        (["--data", "scenes", *knn], "was scored on other data"),
    ):
        with pytest.raises(BadInput, match=message):
            bench(store, "compare", *arguments)


def test_a_task_that_keeps_nothing_and_a_stage_that_is_no_result(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("tasks.object_knn.ObjectKnn.rescore")
    where = [
        "--method",
        "random_init",
        "--task",
        "object_knn",
        "--devices",
        "cpu",
        "--workers",
        "0",
    ]
    said = bench(store, "run", *where, "--seeds", "0,1", *sets())
    keys = [line.rpartition("-")[2] for line in said.splitlines() if line.startswith("files: ")]
    with pytest.raises(BadInput, match=r"object_knn keeps nothing for each image.*--seeds 0-4"):
        bench(store, "compare", *keys)
    backbone = next((store / "store/pretrain").iterdir()).name.rpartition("-")[2]
    with pytest.raises(BadInput, match="is no evaluate stage"):
        bench(store, "compare", backbone, keys[0])


def test_a_result_that_is_not_what_was_recorded(store: Path) -> None:
    """Its images, counted once each, must give the recorded metric: here none was right."""
    keys = cells(store, "knn")
    (folder,) = (store / "store/evaluate").glob(f"*-{keys[0]}")
    predicted = np.load(folder / "predicted.npy")
    assert json.loads((folder / "metrics.json").read_text())["top1"] == 0
    refused = []
    try:
        for label in range(20):
            np.save(folder / "predicted.npy", np.full_like(predicted, label))
            try:
                bench(store, "compare", *keys, "--resamples", "100")
            except BadData as error:
                refused.append(str(error))
    finally:
        np.save(folder / "predicted.npy", predicted)
    assert 1 <= len(refused) <= 6  # as many as the six images have classes
    assert all(re.search(r"top1 is [\d.]+ now, but 0 was recorded", text) for text in refused)
