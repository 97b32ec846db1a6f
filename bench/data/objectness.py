"""How much object a region holds: object pixels of an image,
and shares of them in boxes (paper 000)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bench.contracts.images import ImageSet, Objects
from bench.core.errors import BadData
from bench.views.sample import whole_pixels

Source = Literal["boxes", "masks"]


def object_mask(images: ImageSet, index: int, source: Source = "boxes") -> np.ndarray:
    """(H, W) bool, the pixels of any object of image `index`: the union of its boxes on whole
    pixels, or of its masks. Crowds are left out, difficult objects are objects.

    masks: instance masks where the set has them, else its semantic mask (classes, not the void
    border). Only with boxes is GT-Crop's objectness the reported 100 %.
    """
    width, height = (int(v) for v in images.sizes[index])
    if source == "masks":
        return _masks(images, index, (height, width))
    mask = np.zeros((height, width), bool)
    objects = images.objects(index)
    for box in objects.boxes[~objects.crowd]:
        x1, y1, x2, y2 = (int(v) for v in whole_pixels(tuple(box), width, height))
        mask[y1:y2, x1:x2] = True
    return mask


def _masks(images: ImageSet, index: int, shape: tuple[int, int]) -> np.ndarray:
    semantic = images.semantic(index)
    if semantic is not None:
        return np.asarray((semantic > 0) & (semantic < 255))
    objects = images.objects(index)
    if objects.segmentations is None:
        raise BadData(
            f"{images.name} has no masks for image {images.ids[index]}; try: --objects boxes"
        )
    return _union(objects, shape)


def _union(objects: Objects, shape: tuple[int, int]) -> np.ndarray:
    from pycocotools import mask as coco

    union = np.zeros(shape, bool)
    for item, crowd in zip(objects.segmentations or [], objects.crowd, strict=True):
        if crowd or item is None:
            continue
        if isinstance(item, list):
            item = coco.merge(coco.frPyObjects(item, *shape))
        elif isinstance(item["counts"], list):
            item = coco.frPyObjects(item, *shape)
        union |= coco.decode(item).astype(bool)
    return union


def integral(mask: np.ndarray) -> np.ndarray:
    """(H, W) -> (H + 1, W + 1) int64 summed-area table."""
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    table[1:, 1:] = mask.cumsum(0, dtype=np.int64).cumsum(1)
    return table


def count_in(table: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n,) int64: true pixels inside whole-pixel boxes (n, 4), from `integral`."""
    x1, y1, x2, y2 = np.asarray(boxes, np.int64).reshape(-1, 4).T
    return np.asarray(table[y2, x2] - table[y1, x2] - table[y2, x1] + table[y1, x1])


def share_of(mask: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """objectness(c) = |c and objects| / |c| of boxes (n, 4) xyxy on clipped whole pixels; (n,), 0
    to 1.

    Source: paper 000, section 3 ("average ratio of object pixels within each crop").
    """
    height, width = mask.shape
    whole = np.array([whole_pixels(tuple(b), width, height) for b in boxes], np.int64).reshape(
        -1, 4
    )
    sides = whole[:, 2:] - whole[:, :2]
    return np.asarray(count_in(integral(mask), whole) / (sides[:, 0] * sides[:, 1]))
