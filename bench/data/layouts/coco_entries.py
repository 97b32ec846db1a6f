"""What the entries of a COCO file are, once they are read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

LARGEST = (1 << 63) - 1  # of whole numbers


class CocoImage(NamedTuple):
    """file: as written, relative to the image folder. size: (width, height)."""

    id: int
    file: str
    size: tuple[int, int]


class CocoCategory(NamedTuple):
    """keypoints: the names of its keypoints, in their order; none where the file has none."""

    id: int
    name: str
    keypoints: tuple[str, ...]


class CocoObject(NamedTuple):
    """box: (x, y, width, height) as written. area: None where it is missing. segmentation: as
    written, not yet looked at (msgspec.Raw: its JSON text; `bench.data.layouts.coco_masks.plain`
    decodes it). keypoints: flat x, y, visibility, or None; `labelled`: how many of
    them count."""

    id: int
    image: int
    category: int
    box: tuple[float, float, float, float]
    crowd: bool
    area: float | None
    segmentation: Any
    keypoints: list[float] | None
    labelled: int = 0


@dataclass
class CocoFile:
    """What a file holds, every entry of the right types, ids unique and known. texts: numbers that
    were written as text."""

    name: str
    images: list[CocoImage]
    objects: list[CocoObject]
    categories: list[CocoCategory]
    texts: int = 0
