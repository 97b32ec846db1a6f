"""The files of PASCAL VOC: image sets, annotations and masks, one image at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BadData
from bench.core.image import CheckedImage, check_image
from bench.data.index import Row
from bench.data.layouts.voc_xml import CLASSES, OFFICIAL, Described, Rules, read_annotation
from bench.data.semantic import check_classes

NAME = re.compile(r"\d{6}|[12]\d{3}_\d{6}")  # VOC2007, and the years after it
COUNTS = {  # images of the published image sets
    "2007": {
        "train": 2501,
        "val": 2510,
        "trainval": 5011,
        "test": 4952,
        "Segmentation/train": 209,
        "Segmentation/val": 213,
        "Segmentation/trainval": 422,
        "Segmentation/test": 210,
    },
    "2012": {
        "train": 5717,
        "val": 5823,
        "trainval": 11540,
        "Segmentation/train": 1464,
        "Segmentation/val": 1449,
        "Segmentation/trainval": 2913,
        "Segmentation/train_aug": 10582,
    },
}
OBJECTS = 10_000  # ids of objects: image id * OBJECTS + position in the file


@dataclass(frozen=True)
class Member:
    """An image of a split: the folder of its year, its name, whether it has a semantic mask."""

    folder: str
    name: str
    masked: bool = False

    @property
    def id(self) -> int:
        """The digits of the name: 000005 is 5, 2007_000032 is 2007000032. Names of six digits stay
        below a million and names with a year above a billion, so ids are unique across the years.
        """
        return int(self.name.replace("_", ""))

    @property
    def image(self) -> str:
        return f"{self.folder}/JPEGImages/{self.name}.jpg"

    @property
    def annotation(self) -> str:
        return f"{self.folder}/Annotations/{self.name}.xml"

    @property
    def mask(self) -> str:
        return f"{self.folder}/SegmentationClass/{self.name}.png"

    @property
    def files(self) -> list[str]:
        """What must be there."""
        return [self.image, self.annotation] + [self.mask] * self.masked


def image_sets(folder: Path) -> dict[str, Path]:
    """Image sets of a year by name: `train` (`ImageSets/Main/train.txt`),
    `Segmentation/train`, ...

    The lists of one class (`cat_train` beside `train`) are left out: they repeat the objects."""
    main = {f.stem: f for f in sorted((folder / "ImageSets" / "Main").glob("*.txt"))}
    per_class = {f"{name}_{other}" for name in CLASSES for other in main}
    pixels = sorted((folder / "ImageSets" / "Segmentation").glob("*.txt"))
    sets = {name: file for name, file in main.items() if name not in per_class}
    return sets | {f"Segmentation/{f.stem}": f for f in pixels}


def read_names(file: Path) -> list[str]:
    """The image names of an image set;
    BadData for lines that are no name, and for a name twice."""
    try:
        lines = file.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise BadData(
            f"image set {file} cannot be read ({error}); unpack the VOC archive again"
        ) from None
    names = [line.strip() for line in lines if line.strip()]
    for name in names:
        if not NAME.fullmatch(name):
            raise BadData(
                f"image set {file} holds {name[:40]!r}, which is not a name "
                "like 000005 or 2007_000032; use a list of such names, one a line"
            )
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise BadData(f"image set {file} lists {twice} twice; unpack the VOC archive again")
    return names


def read_row(root: Path, member: Member) -> tuple[Row, dict[str, int]] | str:
    """The index row of an image and its counts, everything about it checked;
    or what is wrong, one line."""
    try:
        described, checked = read_pair(root / member.annotation, root / member.image)
        if member.masked:
            check_classes(root / member.mask, checked.size, len(CLASSES))
    except BadData as error:
        return str(error)
    semantic = member.mask if member.masked else None
    row = Row(member.id, member.image, described.size, semantic=semantic, mark=checked.mark)
    return row, {**add_objects(row, described, CLASSES), "masks": int(member.masked)}


def read_pair(
    annotation: Path, image: Path, rules: Rules = OFFICIAL
) -> tuple[Described, CheckedImage]:
    """An annotation and its image, which decodes to the size that the annotation says; BadData
    where one of them is damaged or they differ."""
    described = read_annotation(annotation, rules)
    checked = check_image(image)
    if described.size != checked.size:
        width, height = checked.size
        raise BadData(
            f"image {image} is {width}x{height} but {annotation} "
            f"says {described.size[0]}x{described.size[1]}; {rules.advice}"
        )
    return described, checked


def add_objects(
    row: Row, described: Described, classes: Sequence[str], rules: Rules = OFFICIAL
) -> dict[str, int]:
    """Give a row its objects, cut to the image; counts of what it holds and of what was done."""
    counts = {"images": 1, "objects": 0, "difficult": 0, "clipped": 0, "dropped": 0}
    limit = np.array([*described.size, *described.size], np.float64)
    for number, (name, difficult, corners) in enumerate(described.objects, 1):
        box = from_corners(corners, rules.origin)
        inside = np.clip(box, 0, limit)
        if not (inside[2:] - inside[:2] >= 0.01).all():
            counts["dropped"] += 1
            continue
        counts["clipped"] += bool(np.abs(inside - box).max() > 0.5)
        counts["objects"] += 1
        counts["difficult"] += difficult
        label = classes.index(name)
        row.annotations.append(_annotation(inside, label, difficult, row.id * OBJECTS + number))
    return counts


def from_corners(corners: tuple[float, ...], origin: int = 1) -> np.ndarray:
    """(4,) float64 xyxy from VOC's corners: (xmin - 1, ymin - 1, xmax, ymax).

    VOC counts pixels from 1 and its corners are inside the box; here a pixel k covers [k, k + 1).
    Corners that count from 0 (`origin`) are edges, and stay as they are.
    """
    return np.array(corners, np.float64) - (origin, origin, 0, 0)


def _annotation(box: np.ndarray, label: int, difficult: bool, number: int) -> dict[str, Any]:
    return {
        "box": box.tolist(),
        "label": label,
        "crowd": False,
        "difficult": difficult,
        "area": float((box[2] - box[0]) * (box[3] - box[1])),
        "id": number,
        "segmentation": None,
        "keypoints": None,
    }
