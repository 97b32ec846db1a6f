"""Small folders of the sets with published lists, in their official layouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from bench.data.scenes.listed import cars_table as annotations
from bench.data.scenes.listed import write_lines as lines

SIZE = (40, 60)  # height, width


@dataclass
class Written:
    """What a reader must find. labels: id -> class, by split.
    blue: id -> blue level of the whole image."""

    root: Path
    classes: list[str]
    train: dict[int, int]
    val: dict[int, int]
    blue: dict[int, int]


class Pen:
    """Writes images, each of one grey-blue that nobody else has."""

    def __init__(self) -> None:
        self.blue: dict[int, int] = {}

    def image(self, file: Path, number: int) -> None:
        self.blue[number] = 10 + 11 * len(self.blue)
        pixels = np.full((*SIZE, 3), 90, np.uint8)
        pixels[..., 0] = self.blue[number]  # BGR
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])


def write_cub(root: Path) -> Written:
    """Images 1 to 6, classes 1 1 2 2 3 3, 1 3 5 for training."""
    pen, names = Pen(), ["001.Auk", "002.Gull", "003.Wren"]
    images = {n: f"{names[(n - 1) // 2]}/bird_{n:04d}.jpg" for n in range(1, 7)}
    for n, name in images.items():
        pen.image(root / "images" / name, n)
    lines(root / "images.txt", *(f"{n} {name}" for n, name in images.items()))
    lines(root / "classes.txt", *(f"{k} {name}" for k, name in enumerate(names, 1)))
    lines(root / "image_class_labels.txt", *(f"{n} {(n + 1) // 2}" for n in images))
    lines(root / "train_test_split.txt", *(f"{n} {n % 2}" for n in images))
    return Written(root, names, {1: 0, 3: 1, 5: 2}, {2: 0, 4: 1, 6: 2}, pen.blue)


def write_flowers(root: Path) -> Written:
    """Images 1 to 6 of the classes 102 1 2 102 1 2; trnid 1 2, valid 3, tstid 4 5 6."""
    pen = Pen()
    for n in range(1, 7):
        pen.image(root / f"jpg/image_{n:05d}.jpg", n)
    savemat(root / "imagelabels.mat", {"labels": np.array([[102, 1, 2, 102, 1, 2]], np.uint8)})
    sets = {"trnid": np.array([[2, 1]]), "valid": np.array([[3]]), "tstid": np.array([[6, 5, 4]])}
    savemat(root / "setid.mat", sets)
    classes = [f"flower {k:03d}" for k in range(1, 103)]
    return Written(root, classes, {1: 101, 2: 0, 3: 1}, {4: 101, 5: 0, 6: 1}, pen.blue)


def write_cars(root: Path) -> Written:
    pen, names = Pen(), ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]
    (root / "devkit").mkdir(parents=True)
    cells = np.empty((1, len(names)), object)
    cells[0] = names
    savemat(root / "devkit/cars_meta.mat", {"class_names": cells})
    for folder, first, count in (("cars_train", 0, 3), ("cars_test", 1_000_000, 2)):
        for n in range(1, count + 1):
            pen.image(root / folder / f"{n:05d}.jpg", first + n)
    savemat(
        root / "devkit/cars_train_annos.mat",
        annotations([("00001.jpg", 2), ("00002.jpg", 1), ("00003.jpg", 2)]),
    )
    savemat(
        root / "devkit/cars_test_annos.mat",
        annotations([("00001.jpg", None), ("00002.jpg", None)]),
    )
    savemat(
        root / "cars_test_annos_withlabels.mat", annotations([("00001.jpg", 1), ("00002.jpg", 2)])
    )
    return Written(root, names, {1: 1, 2: 0, 3: 1}, {1_000_001: 0, 1_000_002: 1}, pen.blue)


def write_aircraft(root: Path) -> Written:
    pen, names = Pen(), ["707-320", "Cessna 208", "F/A-18"]
    for n in (1025794, 34309, 100, 200, 300):
        pen.image(root / f"data/images/{n:07d}.jpg", n)
    lines(root / "data/variants.txt", *names)
    lists = {
        "train": ["1025794 707-320"],
        "val": ["0034309 Cessna 208"],
        "trainval": ["1025794 707-320", "0034309 Cessna 208"],
        "test": ["0000300 F/A-18", "0000100 707-320", "0000200 Cessna 208"],
    }
    for part, rows in lists.items():
        lines(root / f"data/images_variant_{part}.txt", *rows)
    return Written(root, names, {1025794: 0, 34309: 1}, {100: 0, 200: 1, 300: 2}, pen.blue)


def write_indoor67(root: Path) -> Written:
    """File names with spaces and capitals; an image that no list names."""
    from bench.data.sets.indoor67 import path_id

    pen = Pen()
    train = ["bar/bar_1.jpg", "artstudio/Art Studio 12.jpg", "bar/bar_2.JPG"]
    test = ["bar/b3.jpg", "artstudio/x.jpg"]
    for name in (*train, *test, "bar/unlisted.jpg"):
        pen.image(root / "Images" / name, path_id(name))
    lines(root / "TrainImages.txt", *train)
    lines(root / "TestImages.txt", *test)
    labels = [{path_id(n): int(n.startswith("bar")) for n in part} for part in (train, test)]
    return Written(root, ["artstudio", "bar"], labels[0], labels[1], pen.blue)


def write_pets(root: Path) -> Written:
    """Breeds in the order of their numbers, not of the alphabet; names with underscores."""
    pen, names = Pen(), ["Abyssinian", "american_bulldog", "Bengal"]
    parts = {"trainval": [(2, 7), (1, 100), (3, 5)], "test": [(1, 101), (2, 8), (3, 6)]}
    for part, rows in parts.items():
        for breed, n in rows:
            pen.image(root / f"images/{names[breed - 1]}_{n}.jpg", breed * 10_000 + n)
        table = [f"{names[breed - 1]}_{n} {breed} {1 + breed % 2} 1" for breed, n in rows]
        lines(root / f"annotations/{part}.txt", "#Image CLASS-ID SPECIES BREED ID", *table)
    train, val = ({b * 10_000 + n: b - 1 for b, n in rows} for rows in parts.values())
    return Written(root, names, train, val, pen.blue)


def write_dtd(root: Path) -> Written:
    pen, names = Pen(), ["banded", "zigzagged"]
    parts = {"train1": 2, "val1": 3, "test1": 4, "train2": 4, "val2": 2, "test2": 3}
    for k, name in enumerate(names):
        for n in (2, 3, 4):
            pen.image(root / f"images/{name}/{name}_{n:04d}.jpg", k * 10_000 + n)
    for part, n in parts.items():
        lines(root / f"labels/{part}.txt", *(f"{name}/{name}_{n:04d}.jpg" for name in names))
    return Written(root, names, {2: 0, 3: 0, 10_002: 1, 10_003: 1}, {4: 0, 10_004: 1}, pen.blue)


LAYOUTS: dict[str, Callable[[Path], Written]] = {
    "cub": write_cub,
    "flowers": write_flowers,
    "cars": write_cars,
    "aircraft": write_aircraft,
    "indoor67": write_indoor67,
    "pets": write_pets,
    "dtd": write_dtd,
}
FOLDERS = {
    "cub": "CUB_200_2011",
    "flowers": "flowers-102",
    "cars": "stanford_cars",
    "dtd": "dtd",
    "aircraft": "fgvc-aircraft-2013b",
    "indoor67": "indoor67",
    "pets": "oxford-iiit-pet",
}
