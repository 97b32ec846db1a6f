"""What a data set lacks is said by the plan, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts import registry
from bench.contracts.needs import ANNOTATIONS
from bench.core.errors import BenchError
from bench.data.runner import write_sample
from tests.data.folders import split
from tests.plan.test_cell import planned


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images without annotations."""
    place = tmp_path / "images"
    place.mkdir()
    for n in range(3):
        Image.new("RGB", (40, 40), (n, n, n)).save(place / f"{n}.png")
    return place


def reason(home: Path, **options: Any) -> str:
    (cell,) = planned(home, method=options.pop("method", "byol"), **options).cells
    assert cell.final is None
    assert cell.unsupported
    assert "\n" not in cell.unsupported
    return cell.unsupported


def test_a_plan_refuses_what_the_data_lack(home: Path, folder: Path) -> None:
    images = f"images={folder}"
    assert reason(home, task="knn", task_data=images).startswith(
        "task knn: the split val is needed, and data 'images' has the split train only; try "
    )
    assert "the split val" in reason(home, task="coco_det", task_data=images)
    for crop in ("gt", "gt_pad", "poor"):
        assert reason(home, crop=crop, task="knn", data=images).startswith(
            f"crop {crop}: annotated objects or classes are needed, and data 'images' has none; "
        )
    learns = reason(home, method="supervised", task="knn", data=images)
    assert learns.startswith("method supervised: annotated objects")
    sets = ("obj_obj.proposals=bing",)
    boxes = reason(home, crop="obj_obj", task="knn", data=images, sets=sets)
    assert boxes.startswith("proposals bing: annotated objects")
    assert "task coco_keypoints: keypoints are needed" in reason(
        home, task="coco_keypoints", task_data="scenes"
    )
    held_out = {"task": "knn", "sets": ("knn.holdout=0.5",), "task_data": images}
    assert "task knn: annotated objects" in reason(home, **held_out)
    assert "the split test is needed" in reason(
        home, task="object_knn", sets=("object_knn.split=test",)
    )


def test_a_plan_takes_what_the_data_have(home: Path, folder: Path) -> None:
    cases: list[dict[str, Any]] = [
        {"data": f"images={folder}", "task": "knn"},
        {"data": f"images={folder}", "task": "knn", "crop": "grid"},
        {"task": "knn", "sets": ("knn.holdout=0.25",)},
        {"task": "coco_keypoints"},
        {"task": "voc12_seg,cityscapes_seg,camvid_seg"},
        {"crop": "gt", "task": "object_knn", "sets": ("object_knn.split=train",)},
    ]
    for options in cases:
        for cell in planned(home, method="byol", **options).cells:
            assert cell.final is not None, (options, cell.unsupported)


@pytest.mark.parametrize("kind", ["crop", "method", "proposals", "task"])
def test_needs_are_splits_and_known_annotations(kind: str) -> None:
    for name in registry.names(kind):
        component = registry.load(kind, name)
        needs = component.data_needs(component.resolve("paper").params)
        assert set(needs.annotations) <= set(ANNOTATIONS)
        assert (kind == "task") == bool(needs.splits), name


@pytest.mark.parametrize("name", registry.names("data"))
def test_a_set_says_what_its_images_have(name: str, home: Path, tmp_path: Path) -> None:
    """Nothing that is there is called missing: no cell that works is refused."""
    cls: Any = registry.load("data", name)
    settings = dict(s.split("=") for s in cls.sample_settings)
    place: Any = tmp_path / "set" if cls.needs_path else None
    if cls.needs_path:
        write_sample(cls, place, 6, 4)
    else:
        settings |= {"n_train": "6", "n_val": "4"}
    images = split(cls.resolve("tiny", settings), place, home, "train")
    there = {"semantic"} if np.any(images.has_semantic()) else set()
    try:
        objects = images.objects(0)
    except BenchError:
        pass
    else:
        there |= {"objects"}
        there |= {"masks"} if objects.segmentations is not None else set()
        there |= (
            {"keypoints"} if images.keypoint_names and objects.keypoints is not None else set()
        )
    says = cls.annotations()
    assert there <= says <= set(ANNOTATIONS)
    assert ("objects" in says) == ("objects" in there)
