"""A small COCO set, and edits of its files, for tests of what people have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from tests.data.folders import component, make, runtime

NAMES = ("red", "green", "blue")
SIZE = (96, 72)
Content = dict[str, Any]
Edit = Callable[[str, Content], None]


def polygon(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def content(seed: int, count: int = 6) -> Content:
    """One object an image, of the three classes in turn."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for i in range(count):
        side = int(rng.integers(20, 30))
        x, y = (int(rng.integers(2, s - side - 2)) for s in SIZE)
        images.append(
            {"id": i + 1, "file_name": f"{i + 1:012d}.png", "width": SIZE[0], "height": SIZE[1]}
        )
        annotations.append(
            {
                "id": i + 1,
                "image_id": i + 1,
                "category_id": i % 3 + 1,
                "bbox": [x, y, side, side],
                "area": side * side,
                "iscrowd": 0,
                "segmentation": polygon(x, y, side, side),
            }
        )
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(root: Path, edit: Edit | None = None) -> Path:
    """train2017/, val2017/ and their instances; `edit` changes what is written of each."""
    (root / "annotations").mkdir(parents=True)
    for seed, split in enumerate(("train", "val")):
        (root / f"{split}2017").mkdir()
        made = content(seed)
        for i, image in enumerate(made["images"]):
            shade = np.full((SIZE[1], SIZE[0], 3), 20 + 10 * i + 100 * seed, np.uint8)
            Image.fromarray(shade).save(root / f"{split}2017" / image["file_name"])
        if edit is not None:
            edit(split, made)
        put(root, "instances", split, made)
    return root


def put(root: Path, kind: str, split: str, made: Content) -> None:
    (root / "annotations" / f"{kind}_{split}2017.json").write_text(json.dumps(made))


def index(root: Path, home: Path) -> tuple[dict[str, ImageSet], dict[str, Any]]:
    """Both splits as a task receives them, and the report."""
    data, given = component("coco"), runtime(home)
    stage, folder = make(data, root, given)
    splits = {s: data.load(folder, given.roots[stage.key], s) for s in ("train", "val")}
    return splits, json.loads((folder / "report.json").read_text())


def refused(root: Path, home: Path) -> list[str]:
    """The findings of a set that is refused; nothing is left of it."""
    with pytest.raises(BadData) as error:
        index(root, home)
    assert error.value.exit_code == 2
    store = home / "store"
    assert not list(store.rglob("boxes.npy")) if store.exists() else True
    lines = list(error.value.findings) or [str(error.value)]
    assert all("\n" not in line for line in lines)
    return lines


def keypoints_of(box: list[float], count: int = 17) -> list[float]:
    """All at the box's centre."""
    x, y, w, h = box
    return [x + w / 2, y + h / 2, 2] * count


def write_persons(
    root: Path, change: Callable[[int, Content], Content], edit: Edit | None = None
) -> Path:
    """Keypoints of the objects of class `red`; `change` edits the n-th annotation."""
    write(root, edit)
    for split in ("train", "val"):
        made = json.loads((root / f"annotations/instances_{split}2017.json").read_text())
        persons = [a for a in made["annotations"] if a["category_id"] == 1]
        points = [
            change(n, {**a, "keypoints": keypoints_of(a["bbox"]), "num_keypoints": 17})
            for n, a in enumerate(persons, 1)
        ]
        put(root, "person_keypoints", split, {**made, "annotations": points})
    return root


def set_field(part: str, field: str, value: Any, at: int | None = None) -> Edit:
    def edit(split: str, made: Content) -> None:
        for entry in made[part] if at is None else [made[part][at]]:
            entry[field] = value(entry[field]) if callable(value) else value

    return edit
