"""Masks, boxes and keypoints of the annotations, as training targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """COCO polygons, uncompressed or compressed RLE -> (height, width) uint8."""
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = {"size": segmentation["size"], "counts": segmentation["counts"].encode()}
    mask: np.ndarray = coco_mask.decode(rle)
    return mask


def box_visible_parts(masks: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(n, 4) xyxy of the parts of the masks (n, H, W) between the corners (x, y) `low` and `high`;
    zeros where nothing is left."""
    boxes = np.zeros((len(masks), 4))
    first, last = np.floor(low).astype(int), np.ceil(high).astype(int)
    for box, mask in zip(boxes, masks, strict=True):
        part = mask[first[1] : last[1], first[0] : last[0]]
        xs, ys = np.flatnonzero(part.any(0)), np.flatnonzero(part.any(1))
        if len(xs):
            edges = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]) + np.tile(first, 2)
            box[:] = np.clip(edges, np.tile(low, 2), np.tile(high, 2))
    return boxes


def flip_keypoints(points: np.ndarray, width: int, names: Sequence[str]) -> np.ndarray:
    """(n, k, 3) mirrored in an image of this width: x becomes width - x, left and right change
    places by their names; keypoints that are not labelled (visibility 0) stay zero."""
    other = {"left": "right", "right": "left"}
    swapped = ["_".join(other.get(part, part) for part in name.split("_")) for name in names]
    flipped = points[:, [list(names).index(name) for name in swapped]].copy()
    flipped[:, :, 0] = np.where(flipped[:, :, 2] > 0, width - flipped[:, :, 0], 0)
    return flipped
