"""A lab's own pictures, exported by three tools, are judged by a command and give one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.params import Runtime
from bench.plan.product import plan_product
from tests.cli.conftest import Bench
from tests.data import test_own_coco, test_own_voc, test_own_yolo

SETS = {
    "boxes": ("coco_json", test_own_coco.cvat),
    "warehouse": ("yolo", test_own_yolo.cvat),
    "shop": ("voc_layout", test_own_voc.no_year),
}


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, Path]:
    """Folders by the names that they will have."""
    for name, (_, write) in SETS.items():
        write(tmp_path / name)
    return {name: tmp_path / name for name in SETS}


def test_three_exports_of_one_set_have_one_result(
    sets: dict[str, Path],
    bench: Bench,
    home: Path,
) -> None:
    for name, folder in sets.items():
        assert bench("data", "add", name, SETS[name][0], str(folder))[0] == 0
        command = ("run", "-m", "random_init", "-b", "resnet18_quarter", "-t", "object_knn")
        code, _, err = bench(*command, "--data", name, "--task-data", name, "--workers", "0")
        assert code == 0, err
    files = (home / "store" / "evaluate").glob("*/metrics.json")
    found = [json.loads(file.read_text()) for file in files]
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    # two of each class among six objects: one of the five others
    assert found[0]["chance"] == pytest.approx(20)
    text = bench("leaderboard")[1]
    for name, (data, _) in SETS.items():
        assert f"{data}:{name}" in text


@pytest.mark.parametrize("name", SETS)
def test_tasks_that_make_sense_plan_with_own_data(
    name: str, sets: dict[str, Path], home: Path
) -> None:
    """Retrieval, detection and multi-label classification; what a set lacks is said."""
    options: dict[str, Any] = {
        "method": "byol",
        "crop": "gt",
        "task": "object_knn,coco_retinanet,voc0712_det,voc07_svm,voc07_finetune",
        "scale": "tiny",
        "seeds": "0",
        "data": f"{SETS[name][0]}={sets[name]}",
        "task_data": f"{SETS[name][0]}={sets[name]}",
        "sets": (),
    }
    runtime = Runtime(home=home, database="sqlite://", tracker="none")
    for cell in plan_product(runtime, **options).cells:
        assert cell.final is not None, (cell.cell.task, cell.unsupported)
    lacking = {"boxes": set(), "warehouse": {"coco_keypoints"}}
    lacks = lacking.get(name, {"coco_keypoints", "coco_det"})
    for cell in plan_product(runtime, **{**options, "task": "coco_det,coco_keypoints"}).cells:
        assert (cell.final is None) == (cell.cell.task in lacks)
