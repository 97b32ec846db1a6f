"""A lab's own data, a handful of small pictures, in the layouts that tools export."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput
from tests.data.folders import component, make, runtime

NAMES = ("pallet", "fork lift", "person")
Box = tuple[str, float, float, float, float]  # class, x1, y1, x2, y2


@dataclass(frozen=True)
class Picture:
    """name: without suffix. boxes: what is on it."""

    name: str
    size: tuple[int, int]
    boxes: tuple[Box, ...]


def pictures(split: str, count: int = 4) -> list[Picture]:
    """Pictures of 64 x 48 or 48 x 40 pixels with one to three boxes; the last has none."""
    rng = np.random.default_rng(len(split))
    made = []
    for i in range(count):
        width, height = ((64, 48), (48, 40))[i % 2]
        boxes = []
        for k in range(1 + i % 3 if i < count - 1 else 0):
            x, y = int(rng.integers(0, width - 24)), int(rng.integers(0, height - 20))
            w, h = int(rng.integers(8, 24)), int(rng.integers(8, 20))
            boxes.append((NAMES[(i + k) % 3], x, y, x + w, y + h))
        made.append(Picture(f"{split} {i}", (width, height), tuple(boxes)))
    return made


def save(file: Path, picture: Picture) -> None:
    """The picture's file: every box has the colour of its class, and no two files are alike."""
    file.parent.mkdir(parents=True, exist_ok=True)
    width, height = picture.size
    pixels = np.full((height, width, 3), 40, np.uint8)
    for name, x1, y1, x2, y2 in picture.boxes:
        pixels[int(y1) : int(y2), int(x1) : int(x2), NAMES.index(name)] = 220
    pixels[0, 0] = np.frombuffer(picture.name.encode().ljust(3)[-3:], np.uint8)
    Image.fromarray(pixels).save(file)


def coco(
    files: Mapping[str, Picture], names: Sequence[str] = NAMES, first: int = 1
) -> dict[str, Any]:
    """A COCO dict of pictures by `file_name`; categories and images count from `first`."""
    images, annotations = [], []
    for number, (file, picture) in enumerate(files.items(), first):
        width, height = picture.size
        images.append({"id": number, "file_name": file, "width": width, "height": height})
        for name, x1, y1, x2, y2 in picture.boxes:
            annotations.append(
                {
                    "id": len(annotations) + first,
                    "image_id": number,
                    "category_id": names.index(name) + first,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(names, first)]
    return {"images": images, "annotations": annotations, "categories": categories}


def put_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def put_text(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def open_set(name: str, root: Path, home: Path, split: str = "train", **params: Any) -> ImageSet:
    data, given = component(name, **params), runtime(home)
    stage, folder = make(data, root, given)
    return data.load(folder, given.roots[stage.key], split)


def report(name: str, root: Path, home: Path, **params: Any) -> dict[str, Any]:
    """What the stage counted."""
    _, folder = make(component(name, **params), root, runtime(home))
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return content


def check_truth(images: ImageSet, wanted: Sequence[Picture], tolerance: float = 0.0) -> None:
    """Every picture is there once, with its size, boxes and classes, and its own pixels."""
    by_stem = {images.file(i).stem: i for i in range(len(images))}
    assert sorted(by_stem) == sorted(p.name.split("/")[-1] for p in wanted)
    for picture in wanted:
        at = by_stem[picture.name.split("/")[-1]]
        assert tuple(images.sizes[at]) == picture.size
        objects = images.objects(at)
        boxes = [
            (images.classes[k], *box) for k, box in zip(objects.labels, objects.boxes, strict=True)
        ]
        assert [b[0] for b in boxes] == [b[0] for b in picture.boxes]
        if boxes:
            found = np.array([b[1:] for b in boxes], float)
            assert np.abs(found - np.array([b[1:] for b in picture.boxes])).max() <= tolerance
        assert images.image(at).shape == (*picture.size[::-1], 3)


def refusal(name: str, root: Path, home: Path, **params: Any) -> list[str]:
    """All findings of a set that is refused, each of one line; nothing was made of it."""
    with pytest.raises((BadData, BadInput)) as caught:
        make(component(name, **params), root, runtime(home))
    lines = list(getattr(caught.value, "findings", ()) or (str(caught.value),))
    assert all("\n" not in line for line in lines)
    assert not [done for done in (home / "store").rglob("done")]
    return lines


Change = Callable[[Path], None]
