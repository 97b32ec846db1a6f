"""What a split holds: images and their objects, in compact arrays keyed by image id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Objects:
    """The annotated objects of one image, n of them.

    boxes: (n, 4) float32, xyxy, absolute pixels, clipped to the image, no empty ones.
    labels: (n,) int64 in 0..K-1 (contiguous, in the order of `ImageSet.classes`).
    crowd: (n,) bool, COCO `iscrowd`. difficult: (n,) bool, VOC. area: (n,) float64, mask area
    where masks exist, else box area. ids: (n,) int64, annotation ids.
    segmentations: n items (COCO polygons or RLE dicts) or None where the set has no masks.
    keypoints: (n, k, 3) float32 x, y, visibility, or None.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    area: np.ndarray
    ids: np.ndarray
    segmentations: list[Any] | None = None
    keypoints: np.ndarray | None = None


class ImageSet:
    """One split: `len()` images, each with an id, a file, a (width, height) and maybe objects.

    Subclasses keep numpy arrays (memory-mapped where large) so that loader workers share them.
    """

    name: str
    split: str
    classes: list[str]
    ids: np.ndarray  # (N,) int64, unique; every cached table is keyed by these
    sizes: np.ndarray  # (N, 2) int32, width and height in the frame `read_rgb` returns
    # of `Objects.keypoints`; "left" and "right" in them are mirror images
    keypoint_names: tuple[str, ...] = ()
    # whether 0 of `semantic` is a class that is scored; else no mask holds it
    background: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def file(self, index: int) -> Path:
        """The image file of position `index`."""
        raise NotImplementedError

    def objects(self, index: int) -> Objects:
        """The objects of position `index`; sets without annotations raise BadData."""
        raise NotImplementedError

    def semantic(self, index: int) -> np.ndarray | None:
        """(H, W) uint8: 0 background, 1..K the classes in their order, 255 void (not scored); None
        where the image has no such mask. Raises BadData where the mask file does not decode."""
        return None

    def has_semantic(self) -> np.ndarray:
        """(N,) bool: the images `semantic` has a mask of, without reading one."""
        return np.zeros(len(self), bool)

    def count_unmasked(self) -> np.ndarray:
        """(N,) int64: how many objects of each image have no mask, in a set in which others do."""
        return np.zeros(len(self), np.int64)

    def image_class(self) -> np.ndarray | None:
        """(N,) int64, the one class of each image, in classification sets; None in scenes."""
        return None

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, EXIF-upright."""
        from bench.core.image import read_rgb

        return read_rgb(self.file(index))

    def counts(self) -> dict[str, int]:
        """How much the split holds: images, and what else is known without reading an image."""
        return {"images": len(self)}


class Subset(ImageSet):
    """Some images of a split, at `positions` (n,), under the name of another split."""

    def __init__(self, images: ImageSet, positions: np.ndarray, split: str) -> None:
        self.images, self.positions = images, positions
        self.name, self.split, self.classes = images.name, split, images.classes
        self.keypoint_names, self.background = images.keypoint_names, images.background
        self.ids, self.sizes = images.ids[positions], images.sizes[positions]

    def file(self, index: int) -> Path:
        return self.images.file(int(self.positions[index]))

    def objects(self, index: int) -> Objects:
        return self.images.objects(int(self.positions[index]))

    def semantic(self, index: int) -> np.ndarray | None:
        return self.images.semantic(int(self.positions[index]))

    def image(self, index: int) -> np.ndarray:
        return self.images.image(int(self.positions[index]))

    def has_semantic(self) -> np.ndarray:
        return np.asarray(self.images.has_semantic()[self.positions])

    def count_unmasked(self) -> np.ndarray:
        return np.asarray(self.images.count_unmasked()[self.positions])

    def image_class(self) -> np.ndarray | None:
        classes = self.images.image_class()
        return None if classes is None else np.asarray(classes[self.positions])


def positions(images: ImageSet, ids: Sequence[int]) -> list[int]:
    """The positions of images in their set, by id."""
    place = {int(image): i for i, image in enumerate(images.ids)}
    return [place[int(i)] for i in ids]
