"""Box arithmetic on numpy arrays: xyxy, absolute pixels, x2 and y2 exclusive edges."""

from __future__ import annotations

from typing import Literal

import numpy as np

PixelRule = Literal["absolute", "scaled"]

# short side of a COCO image, for which the papers' pixel thresholds are meant
REFERENCE_SIDE = 480


def scaled_side(pixels: float, width: float, height: float, rule: PixelRule = "scaled") -> float:
    """A threshold of the papers on an image of this size: `pixels` x short side / 480, or
    `pixels` themselves where `rule` is "absolute".

    The one place that knows how a pixel threshold follows the image. ORL's 96, SoCo's 32, CCOP's
    20 and paper 001's 224 are absolute in their authors' code, so at `paper` scale; they are
    scaled at `tiny` and `small`. Sizes of anchors, of random boxes and of BING's windows always
    scale.
    """
    if rule == "absolute":
        return pixels
    return pixels * min(width, height) / REFERENCE_SIDE


def area(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) -> (n,): width x height, 0 for empty boxes."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 4), (m, 4) -> (n, m) intersection over union; 0 where the union is empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    inter = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter, dtype=np.float64), where=union > 0)


def clip(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """Boxes cut to the image; a box outside becomes empty."""
    return np.clip(boxes, 0, np.array([width, height, width, height], dtype=boxes.dtype))


def xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """(x, y, width, height) -> (x1, y1, x2, y2)."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def filter_boxes(
    boxes: np.ndarray,
    least: float,
    max_ratio: float,
    max_iou: float,
    top: int,
    size: tuple[int, int],
) -> np.ndarray:
    """Paper 002's filter, in the order of its code: (1) both sides >= `least`, (2) aspect within
    1/max_ratio .. max_ratio, (3) greedy in the given order, dropped if IoU with a kept box >
    max_iou, (4) the first `top`. Where nothing is left: the first raw box; without any: the image
    (`size` = width, height). boxes: (n, 4) xyxy -> (m, 4) float32, m >= 1.
    """
    raw = boxes[area(boxes) > 0]
    if len(raw) == 0:
        return np.array([[0, 0, size[0], size[1]]], np.float32)
    sides = raw[:, 2:] - raw[:, :2]
    large = (sides >= least).all(1)
    ratio = sides.max(1) / sides.min(1)
    kept = raw[large & (ratio <= max_ratio)]
    if len(kept) == 0:
        return raw[:1].astype(np.float32)
    return kept[nms_in_order(kept, max_iou, top)].astype(np.float32)


def nms_in_order(boxes: np.ndarray, threshold: float, limit: int | None = None) -> np.ndarray:
    """Positions kept by greedy suppression in the order given: a box is dropped if its IoU with
    any kept box exceeds `threshold`; at most `limit` are kept."""
    overlap = iou(boxes, boxes)
    alive = np.ones(len(boxes), dtype=bool)
    kept: list[int] = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        if limit is not None and len(kept) == limit:
            break
        alive &= overlap[i] <= threshold
        alive[i] = False
    return np.array(kept, dtype=np.int64)
