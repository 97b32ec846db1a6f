"""Small COCO folders in the official layout, and the stages over them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from bench.contracts import registry
from bench.contracts.data import Data
from bench.contracts.images import ImageSet
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine

CATEGORIES = [
    {"id": 18, "name": "dog"},
    {"id": 1, "name": "person"},
    {"id": 90, "name": "toothbrush"},
]
Change = Callable[[dict[str, Any]], None]


class Deaf:
    """A listener that does nothing."""

    def stage_done(self, *given: Any) -> None: ...
    def cell_state(self, *given: Any) -> None: ...
    def cell_done(self, *given: Any) -> None: ...


def runtime(home: Path, workers: int = 0) -> Runtime:
    return Runtime(home=home, database="sqlite://", tracker="none", workers=workers)


def component(name: str, **params: Any) -> Data:
    return registry.load("data", name).resolve("paper", params)  # type: ignore[return-value]


def make(data: Data, root: Path | None, given: Runtime) -> tuple[Stage, Path]:
    """The data stage of `root`, made by the engine, and its folder."""
    stage = data.stage(root, given)
    return stage, LocalEngine(given, Store(given.home), Deaf()).ensure(stage)


def split(data: Data, root: Path, home: Path, name: str = "train", workers: int = 0) -> ImageSet:
    given = runtime(home, workers)
    stage, folder = make(data, root, given)
    return data.load(folder, given.roots[stage.key], name)


def polygon(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def annotation(
    number: int, image: int, category: int, bbox: list[float], **more: Any
) -> dict[str, Any]:
    made = {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": bbox,
        "iscrowd": 0,
        "area": bbox[2] * bbox[3] * 0.5,
        "segmentation": polygon(*bbox),
    }
    return made | more


def content(first: int) -> dict[str, Any]:
    """Three images, not in order of id, the last without objects;
    four objects, one of them a crowd."""
    images = [
        {
            "id": first + k,
            "file_name": f"{first + k:012d}.jpg",
            "width": 60 + 4 * k,
            "height": 40 + 2 * k,
        }
        for k in (2, 0, 1)
    ]
    crowd = np.zeros((40, 60), np.uint8, order="F")
    crowd[5:15, 10:40] = 1
    counts = coco_mask.encode(crowd)
    runs = {"size": [40, 60], "counts": counts["counts"].decode()}
    annotations = [
        annotation(70, first, 1, [3.5, 4.25, 20.0, 10.5]),
        annotation(12, first + 1, 90, [0.0, 0.0, 64.0, 42.0]),
        annotation(11, first, 18, [30.0, 8.0, 12.0, 12.0]),
        annotation(
            900, first, 1, [10.0, 5.0, 30.0, 10.0], iscrowd=1, segmentation=runs, area=300.0
        ),
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write(
    root: Path, change: Change | None = None, splits: tuple[str, ...] = ("train", "val")
) -> Path:
    """Write a COCO folder; `change` edits the content of train before it is written."""
    (root / "annotations").mkdir(parents=True)
    for number, name in enumerate(splits):
        made = content(100 * (number + 1))
        (root / f"{name}2017").mkdir()
        rng = np.random.default_rng(number)
        for image in made["images"]:
            pixels = rng.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
            cv2.imwrite(str(root / f"{name}2017" / image["file_name"]), pixels)
        if change is not None and name == "train":
            change(made)
        (root / "annotations" / f"instances_{name}2017.json").write_text(json.dumps(made))
    return root
