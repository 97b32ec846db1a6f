"""SoCo's box rules as pure functions: filtering proposals, drawing them, jittering, mapping into a
view."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Box
from bench.data.boxes import PixelRule, area, clip, scaled_side


def inside(boxes: np.ndarray, region: Box) -> np.ndarray:
    """(n, 4) xyxy cut to `region`, empty ones dropped; float64, still in the image's frame."""
    offset = np.array([region[0], region[1]] * 2)
    cut = clip(np.asarray(boxes, np.float64).reshape(-1, 4) - offset, *_sides(region)) + offset
    return cut[area(cut) > 0]


def usable_boxes(
    boxes: np.ndarray,
    region: Box,
    min_side: float,
    max_ratio: float,
    share: tuple[float, float],
    pixels: PixelRule = "scaled",
) -> np.ndarray:
    """Boxes of `region` with both sides >= min_side (rule `pixels` of `scaled_side`), aspect
    within 1/max_ratio .. max_ratio and share[0] <= sqrt(wh / WH) <= share[1]. Where none is left:
    without the rule of size, then without that of aspect, then the region itself. boxes: (n, 4) ->
    (m, 4), m >= 1.
    """
    width, height = _sides(region)
    sides = boxes[:, 2:] - boxes[:, :2]
    large = (sides >= scaled_side(min_side, width, height, pixels)).all(1)
    slim = sides.max(1, initial=0) <= max_ratio * sides.min(1, initial=np.inf)
    scale = np.sqrt(area(boxes) / (width * height))
    fits = (scale >= share[0]) & (scale <= share[1])
    for rule in (large & slim & fits, large & slim, large):
        if rule.any():
            return boxes[rule]
    return np.array([region], np.float64)


def draw(boxes: np.ndarray, crop: Box, k: int, rng: np.random.Generator) -> np.ndarray:
    """At most `k` of the boxes that share pixels with `crop`, at random without repeats; (m, 4), m
    >= 0."""
    meet = (boxes[:, :2] < np.array(crop[2:])).all(1) & (boxes[:, 2:] > np.array(crop[:2])).all(1)
    rows = np.flatnonzero(meet)
    return boxes[rng.permutation(rows)[:k]]


def jitter(
    boxes: np.ndarray, region: Box, p: float, ratio: float, rng: np.random.Generator
) -> np.ndarray:
    """Each box with probability `p` moved by U(-ratio, ratio) of its width and height, and both
    sides scaled by 1 + U(-ratio, ratio); cut to `region`, the box itself where nothing is left."""
    moved, draws = np.array(boxes, np.float64), rng.uniform(-ratio, ratio, (len(boxes), 4))
    sides = moved[:, 2:] - moved[:, :2]
    low = moved[:, :2] + draws[:, :2] * sides
    moved = np.concatenate([low, low + sides * (1 + draws[:, 2:])], 1)
    offset = np.array([region[0], region[1]] * 2)
    moved = clip(moved - offset, *_sides(region)) + offset
    keep = (rng.random(len(boxes)) < p) & (area(moved) > 0)
    return np.where(keep[:, None], moved, boxes)


def pad(boxes: np.ndarray, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(m, 4), 1 <= m <= k -> (k, 4) and ids (k,) int64: the boxes with ids 0 .. m - 1, then
    repeats drawn at random, as the published code pads each view on its own."""
    rows = np.concatenate([np.arange(len(boxes)), rng.integers(len(boxes), size=k - len(boxes))])
    return boxes[rows], rows


def _sides(region: Box) -> tuple[float, float]:
    return region[2] - region[0], region[3] - region[1]
