"""Small VOCdevkit folders in the official layout, written by hand-made XML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.data.scenes.boxes import COLOURS as COLOURS
from bench.data.scenes.boxes import annotation_xml, write_mask
from bench.data.scenes.boxes import object_xml as thing

PART = (
    "<part><name>head</name>"
    "<bndbox><xmin>7</xmin><ymin>7</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
)


@dataclass
class Photo:
    """An image with its annotation; `mask`: class indices. `says`: the size in the XML, else the
    true one."""

    name: str
    objects: list[str] = field(default_factory=list)
    size: tuple[int, int] = (60, 40)
    mask: np.ndarray | None = None
    says: tuple[int, int] | None = None

    def xml(self) -> str:
        return annotation_xml(self.name, self.says or self.size, self.objects)


def mask(
    size: tuple[int, int] = (60, 40), *rectangles: tuple[int, int, int, int, int]
) -> np.ndarray:
    """(H, W) uint8 zeros with rectangles (value, x1, y1, x2, y2)."""
    made = np.zeros((size[1], size[0]), np.uint8)
    for value, x1, y1, x2, y2 in rectangles:
        made[y1:y2, x1:x2] = value
    return made


def write_year(root: Path, year: str, photos: Iterable[Photo], sets: dict[str, list[str]]) -> Path:
    """Add photos and image sets to `root`/VOC<year>;
    sets by name, `train` or `Segmentation/train`."""
    folder = root / f"VOC{year}"
    for part in (
        "JPEGImages",
        "Annotations",
        "SegmentationClass",
        "ImageSets/Main",
        "ImageSets/Segmentation",
    ):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for photo in photos:
        rng = np.random.default_rng(int(photo.name.replace("_", "")))
        pixels = rng.integers(0, 256, (photo.size[1], photo.size[0], 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "JPEGImages" / f"{photo.name}.jpg"), pixels)
        (folder / "Annotations" / f"{photo.name}.xml").write_text(photo.xml())
        if photo.mask is not None:
            write_mask(folder / "SegmentationClass" / f"{photo.name}.png", photo.mask)
    for name, names in sets.items():
        path = f"{name}.txt" if "/" in name else f"Main/{name}.txt"
        (folder / "ImageSets" / path).write_text("".join(f"{n}\n" for n in names))
    return root


def photos_2012() -> list[Photo]:
    """Three for train (two with a mask, one without objects), two for val."""
    two = mask((60, 40), (15, 4, 4, 30, 20), (255, 4, 4, 30, 5))
    return [
        Photo(
            "2008_000012",
            [
                thing("person", (5, 5, 30, 20), more=PART),
                thing("dog", (1, 1, 60, 40), difficult=1),
            ],
            mask=two,
        ),
        Photo("2007_000032", [thing("tvmonitor", (11, 21, 11, 30), difficult=None)], (50, 44)),
        Photo("2011_003000", [], (64, 48), mask=mask((64, 48))),
        Photo(
            "2009_000001",
            [thing("cat", (2, 3, 20, 30)), thing("cat", (4, 3, 22, 30), difficult=1)],
        ),
        Photo(
            "2009_000002",
            [thing("aeroplane", (1, 1, 10, 10))],
            mask=mask((60, 40), (1, 0, 0, 10, 10)),
        ),
    ]


def write_2012(root: Path, *more: Photo, **sets: Any) -> Path:
    """VOC2012 with train, val and segmentation lists; `more` photos go to train too."""
    names = [p.name for p in more]
    lists: dict[str, list[str]] = {
        "train": ["2011_003000", "2008_000012", "2007_000032", *names],
        "val": ["2009_000001", "2009_000002"],
        "Segmentation/train": ["2008_000012", "2011_003000"],
        "Segmentation/val": ["2009_000002"],
    }
    write_year(root, "2012", [*photos_2012(), *more], lists | sets)
    (root / "VOC2012/ImageSets/Main/cat_train.txt").write_text("2008_000012 -1\n")
    return root


def write_2007(root: Path, test: bool = True) -> Path:
    """VOC2007 with trainval, and its test images if asked for."""
    photos = [
        Photo("000005", [thing("chair", (10, 10, 20, 20))]),
        Photo("000032", [thing("person", (3, 4, 30, 33))], (50, 44)),
    ]
    write_year(root, "2007", photos, {"trainval": ["000032", "000005"], "train": ["000005"]})
    if test:
        write_year(
            root, "2007", [Photo("000001", [thing("dog", (48, 24, 60, 37))])], {"test": ["000001"]}
        )
    return root
