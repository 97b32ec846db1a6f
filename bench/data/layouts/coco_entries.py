"""What the entries of a COCO file are, once they are read and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

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
class CocoObjects:
    """N objects as columns, in the order of the file; iterating gives each as a `CocoObject`.

    ids, images, categories, labelled: (N,) int64. boxes: (N, 4) float64. crowd: (N,) bool. area:
    (N,) float64, NaN where it is missing. segmentations: as in `CocoObject`. keypoints: (3 x K,)
    float64 each, or None."""

    ids: np.ndarray
    images: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    segmentations: list[Any]
    keypoints: list[np.ndarray | None]
    labelled: np.ndarray

    @classmethod
    def of(cls, objects: Sequence[CocoObject]) -> CocoObjects:
        """The columns of these objects."""
        points = (o.keypoints for o in objects)
        return cls(
            np.array([o.id for o in objects], np.int64),
            np.array([o.image for o in objects], np.int64),
            np.array([o.category for o in objects], np.int64),
            np.array([o.box for o in objects], np.float64).reshape(-1, 4),
            np.array([o.crowd for o in objects], bool),
            np.array([np.nan if o.area is None else o.area for o in objects], np.float64),
            [o.segmentation for o in objects],
            [None if p is None else np.array(p, np.float64) for p in points],
            np.array([o.labelled for o in objects], np.int64),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, at: int) -> CocoObject:
        area, points = float(self.area[at]), self.keypoints[at]
        return CocoObject(
            int(self.ids[at]),
            int(self.images[at]),
            int(self.categories[at]),
            tuple(self.boxes[at].tolist()),
            bool(self.crowd[at]),
            None if np.isnan(area) else area,
            self.segmentations[at],
            None if points is None else points.tolist(),
            int(self.labelled[at]),
        )

    def __iter__(self) -> Iterator[CocoObject]:
        return (self[at] for at in range(len(self)))


@dataclass
class CocoFile:
    """What a file holds, every entry of the right types, ids unique and known. texts: numbers that
    were written as text."""

    name: str
    images: list[CocoImage]
    objects: CocoObjects
    categories: list[CocoCategory]
    texts: int = 0

    @cached_property
    def places(self) -> np.ndarray:
        """(N,) int64: the position in `images` of every object's image; -1 where none has its
        id."""
        ids = np.array([i.id for i in self.images], np.int64)
        if not len(ids):
            return np.full(len(self.objects), -1, np.int64)
        order = np.argsort(ids)
        place = np.minimum(np.searchsorted(ids[order], self.objects.images), len(ids) - 1)
        return np.where(ids[order][place] == self.objects.images, order[place], -1)

    def image_sizes(self) -> np.ndarray:
        """(images, 2) int64: width and height."""
        return np.array([i.size for i in self.images], np.int64).reshape(-1, 2)
