"""Generated scenes written in the official layouts of classification sets,
to try a reader or a task."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.ragged import offsets
from bench.data.scenes.classes import CLASSES

if TYPE_CHECKING:
    from bench.data.scenes.draw import Scene

FIRST = {"train": 1, "val": 500_001}
SIZE = (96, 72)
COLUMNS = (
    "ImageID",
    "Source",
    "LabelName",
    "Confidence",
    "XMin",
    "XMax",
    "YMin",
    "YMax",
    "IsOccluded",
    "IsTruncated",
    "IsGroupOf",
    "IsDepiction",
    "IsInside",
)


@dataclass(frozen=True)
class Drawn:
    """A scene, its number, and the class it is listed under:
    that of the object with most pixels."""

    number: int
    scene: Scene
    label: int

    def jpeg(self, size: tuple[int, int] | None = None, foot: int = 0) -> bytes:
        """The image encoded, at its own or another (width, height),
        with `foot` white rows below."""
        import cv2

        image = self.scene.image
        if size is not None:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = np.pad(image, ((0, foot), (0, 0), (0, 0)), constant_values=255)
        _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        return bytes(encoded.tobytes())


def draw_scenes(
    split: str, count: int, seed: int = 0, size: tuple[int, int] = SIZE
) -> Iterator[Drawn]:
    """The first `count` scenes of a split, of mean (width, height) `size`."""
    from bench.data.scenes.draw import draw_scene

    for number in range(FIRST[split], FIRST[split] + count):
        scene = draw_scene(seed, number, size)
        yield Drawn(number, scene, int(scene.labels[scene.masks.sum((1, 2)).argmax()]))


def write_layout(
    name: str, root: Path, n_train: int, n_val: int, seed: int = 0
) -> dict[str, list[int]]:
    """Write scenes as data set `name` (a key of `LAYOUTS`) under `root`; the classes by split, in
    the order of the reader's ids."""
    root.mkdir(parents=True, exist_ok=True)
    sides = {
        "train": list(draw_scenes("train", n_train, seed)),
        "val": list(draw_scenes("val", n_val, seed)),
    }
    return LAYOUTS[name](root, sides)


def put(file: Path, content: bytes) -> None:
    """Write a file, its folder made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _folders(root: Path, sides: dict[str, list[Drawn]]) -> dict[str, list[int]]:
    """Every class has a folder in train, as in ImageNet, also where no scene is of it."""
    labels = {}
    for split, scenes in sides.items():
        for label in range(len(CLASSES)):
            (root / split / f"n{label:08d}").mkdir(parents=True, exist_ok=True)
        for d in scenes:
            put(root / split / f"n{d.label:08d}" / f"{d.number:08d}.JPEG", d.jpeg())
        labels[split] = sorted(d.label for d in scenes)
    return labels


def _places(root: Path, sides: dict[str, list[Drawn]]) -> dict[str, list[int]]:
    """Classes are numbered in the order of their first scene, so that none is skipped."""
    numbers: dict[int, int] = {}
    places = {}
    for split, scenes in sides.items():
        lines = []
        for d in scenes:
            label = numbers.setdefault(d.label, len(numbers))
            name = (
                f"{CLASSES[d.label][0]}/{CLASSES[d.label].replace(' ', '_')}/gsun_{d.number}.jpg"
            )
            put(root / "images256" / name, d.jpeg())
            lines.append(f"{name} {label}\n")
        put(root / "trainvalsplit_places205" / f"{split}_places205.csv", "".join(lines).encode())
        places[split] = [numbers[d.label] for d in scenes]
    return places


def _inat(root: Path, sides: dict[str, list[Drawn]]) -> dict[str, list[int]]:
    categories = [
        {"id": i, "name": n, "supercategory": n.split()[1]} for i, n in enumerate(CLASSES)
    ]
    for split, scenes in sides.items():
        images, annotations = [], []
        for d in scenes:
            name = f"train_val2018/{CLASSES[d.label].split()[1]}/{d.label}/{d.number}.jpg"
            put(root / name, d.jpeg())
            height, width = d.scene.image.shape[:2]
            images.append({"id": d.number, "file_name": name, "width": width, "height": height})
            annotations.append({"id": d.number, "image_id": d.number, "category_id": d.label})
        table = {"images": images, "annotations": annotations, "categories": categories}
        put(root / f"{split}2018.json", json.dumps(table).encode())
    return {split: [d.label for d in scenes] for split, scenes in sides.items()}


def _openimages(root: Path, sides: dict[str, list[Drawn]]) -> dict[str, list[int]]:
    """Boxes of every object; the classes of a split are those of each image's largest object."""
    with open(root / "class-descriptions-boxable.csv", "w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([f"/m/{i:04d}", name] for i, name in enumerate(CLASSES))
    names = {
        "train": ("oidv6-train-annotations-bbox.csv", "train"),
        "val": ("validation-annotations-bbox.csv", "validation"),
    }
    for split, scenes in sides.items():
        file, folder = names[split]
        with open(root / file, "w", newline="", encoding="utf-8") as lines:
            out = csv.writer(lines)
            out.writerow(COLUMNS)
            for d in scenes:
                put(root / folder / f"{d.number:016x}.jpg", d.jpeg())
                out.writerows(_box_rows(d))
    return {split: [d.label for d in scenes] for split, scenes in sides.items()}


def _box_rows(d: Drawn) -> Iterator[list[object]]:
    height, width = d.scene.image.shape[:2]
    for label, mask in zip(d.scene.labels.tolist(), d.scene.masks, strict=True):
        ys, xs = np.nonzero(mask)
        edges = [
            xs.min() / width,
            (xs.max() + 1) / width,
            ys.min() / height,
            (ys.max() + 1) / height,
        ]
        yield [
            f"{d.number:016x}",
            "xclick",
            f"/m/{label:04d}",
            1,
            *(f"{e:.6f}" for e in edges),
            0,
            0,
            0,
            0,
            0,
        ]


def _cifar(root: Path, sides: dict[str, list[Drawn]]) -> dict[str, list[int]]:
    arrays: dict[str, np.ndarray] = {"classes": np.array(CLASSES)}
    for split, name in (("train", "train"), ("val", "test")):
        parts = [d.jpeg((32, 32)) for d in sides[split]]
        arrays[f"{name}_jpeg"] = np.frombuffer(b"".join(parts), np.uint8)
        arrays[f"{name}_offsets"] = offsets(map(len, parts))
        arrays[f"{name}_labels"] = np.array([d.label for d in sides[split]])
    np.savez(root / "cifar10_jpeg.npz", **arrays)  # type: ignore[arg-type]
    return {split: [d.label for d in scenes] for split, scenes in sides.items()}


LAYOUTS: dict[str, Callable[[Path, dict[str, list[Drawn]]], dict[str, list[int]]]] = {
    "imagenet": _folders,
    "places205": _places,
    "inat18": _inat,
    "openimages": _openimages,
    "cifar10": _cifar,
}
write_imagenet = partial(write_layout, "imagenet")
write_places205 = partial(write_layout, "places205")
write_inat18 = partial(write_layout, "inat18")
write_openimages = partial(write_layout, "openimages")
write_cifar10 = partial(write_layout, "cifar10")
