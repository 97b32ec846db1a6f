"""The files of PASCAL VOC: image sets, annotations and masks, one image at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from bench.core.errors import BadData, nearest
from bench.core.image import check_image
from bench.data.index import Row
from bench.data.semantic import check_classes

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
NAME = re.compile(r"\d{6}|[12]\d{3}_\d{6}")  # VOC2007, and the years after it
ENCODING = re.compile(rb"""<\?xml[^>]*?encoding=["']([\w.:-]+)["']""")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
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


@dataclass(frozen=True)
class Described:
    """What an annotation file says.
    objects: (class, difficult, (xmin, ymin, xmax, ymax) as written)."""

    size: tuple[int, int]
    objects: list[tuple[str, bool, tuple[float, ...]]]


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


def read_annotation(file: Path) -> Described:
    """The annotation of an image. Only objects and their own boxes: parts (head, hand, foot) are
    not read. BadData for what is no VOC annotation, a class that is none of the 20, a box without
    four numbers."""
    root = read_xml(file)
    _check_nesting(file, root)
    try:
        width, height = (int(root.findtext(f"size/{side}") or "") for side in ("width", "height"))
    except ValueError:
        raise BadData(
            f"{file} is not a VOC annotation: it has no size; unpack the VOC archive again"
        ) from None
    objects = [_object(file, i, node) for i, node in enumerate(root.findall("object"), 1)]
    return Described((width, height), objects)


def read_xml(file: Path) -> ElementTree.Element:
    """The root element, whatever encoding the file declares that Python knows: expat itself knows
    no multi-byte ones but Unicode's. BadData where it is no XML."""
    try:
        data = file.read_bytes()
        try:
            return ElementTree.fromstring(data)
        except (ValueError, LookupError):
            declared = ENCODING.match(data)
            if declared is None:
                raise
            return ElementTree.fromstring(data.decode(declared[1].decode()))
    except (OSError, ValueError, LookupError, ElementTree.ParseError, RecursionError) as error:
        raise BadData(
            f"annotation {file} cannot be read ({error}); restore it, or save it as UTF-8"
        ) from None


def _check_nesting(file: Path, root: ElementTree.Element) -> None:
    """Objects in other places or of other spelling would be taken for none at all."""
    direct = len(root.findall("object"))
    likely = sum(str(node.tag).lower() in ("object", "objects") for node in root.iter())
    if likely != direct:
        raise BadData(
            f"annotation {file} has {likely} elements named like an object, but {direct} are "
            "<object> directly below <annotation>, the only ones that are read; write all so"
        )


def _object(
    file: Path, number: int, node: ElementTree.Element
) -> tuple[str, bool, tuple[float, ...]]:
    where, again = f"annotation {file}: object {number}", "unpack the VOC archive again"
    name = (node.findtext("name") or "").strip()
    if name not in CLASSES:
        guess = nearest(name, CLASSES)
        hint = f" (did you mean {guess!r}?)" if guess else ""
        raise BadData(f"{where} is a {name!r}, none of the 20 classes{hint}; {again}")
    box = tuple(_number(node.findtext(f"bndbox/{corner}")) for corner in CORNERS)
    if not np.isfinite(box).all():
        raise BadData(f"{where} has no box of four numbers; {again}")
    for low, high in ((0, 2), (1, 3)):
        if box[low] - 1 > box[high]:  # equal: no width, as corners are inside the box
            raise BadData(
                f"{where}: {CORNERS[low]} {box[low]:g} is larger than {CORNERS[high]} "
                f"{box[high]:g}; are they exchanged?"
            )
    difficult = (node.findtext("difficult") or "0").strip()  # some annotations leave it out
    if difficult not in ("0", "1"):
        raise BadData(f"{where}: difficult must be 0 or 1, got {difficult!r}; {again}")
    return name, difficult == "1", box


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return float("nan")


def read_row(root: Path, member: Member) -> tuple[Row, dict[str, int]] | str:
    """The index row of an image and its counts, everything about it checked;
    or what is wrong, one line."""
    try:
        described = read_annotation(root / member.annotation)
        checked = check_image(root / member.image)
        width, height = checked.size
        if described.size != checked.size:
            raise BadData(
                f"image {root / member.image} is {width}x{height} but {root / member.annotation} "
                f"says {described.size[0]}x{described.size[1]}; unpack the VOC archive again"
            )
        if member.masked:
            check_classes(root / member.mask, (width, height), len(CLASSES))
    except BadData as error:
        return str(error)
    return _row(member, described, checked.mark)


def _row(member: Member, described: Described, mark: str) -> tuple[Row, dict[str, int]]:
    semantic = member.mask if member.masked else None
    row = Row(member.id, member.image, described.size, semantic=semantic, mark=mark)
    counts = {
        "images": 1,
        "objects": 0,
        "difficult": 0,
        "clipped": 0,
        "dropped": 0,
        "masks": member.masked,
    }
    limit = np.array([*described.size, *described.size], np.float64)
    for number, (name, difficult, corners) in enumerate(described.objects, 1):
        box = from_corners(corners)
        inside = np.clip(box, 0, limit)
        if not (inside[2:] - inside[:2] >= 0.01).all():
            counts["dropped"] += 1
            continue
        counts["clipped"] += bool(np.abs(inside - box).max() > 0.5)
        counts["objects"] += 1
        counts["difficult"] += difficult
        row.annotations.append(_annotation(inside, name, difficult, member.id * OBJECTS + number))
    return row, counts


def from_corners(corners: tuple[float, ...]) -> np.ndarray:
    """(4,) float64 xyxy from VOC's corners: (xmin - 1, ymin - 1, xmax, ymax).

    VOC counts pixels from 1 and its corners are inside the box; here a pixel k covers [k, k + 1).
    """
    return np.array(corners, np.float64) - (1, 1, 0, 0)


def _annotation(box: np.ndarray, name: str, difficult: bool, number: int) -> dict[str, Any]:
    return {
        "box": box.tolist(),
        "label": CLASSES.index(name),
        "crowd": False,
        "difficult": difficult,
        "area": float((box[2] - box[0]) * (box[3] - box[1])),
        "id": number,
        "segmentation": None,
        "keypoints": None,
    }
