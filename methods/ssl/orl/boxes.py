"""ORL's box rules as pure functions: jittering a box, ranking RoI pairs. Its filter of proposals,
which others use too, is `bench.data.boxes.filter_boxes`."""

from __future__ import annotations

import math

import numpy as np

from bench.contracts.views import Box
from bench.data.boxes import iou


def jitter_box(
    box: Box,
    size: tuple[int, int],
    rng: np.random.Generator,
    iou_min: float | None = 0.5,
    aspect: str = "absolute",
    tries: int = 200,
) -> Box:
    """An intra-RoI partner (paper 002, section 3.1): area x U(.5, 2), aspect exp U(ln .5, ln 2),
    centre shifted by U(-.5, .5) of width and height; inside the image.

    aspect: "absolute" replaces the box's (the code), "relative" multiplies it. iou_min: also IoU >
    iou_min with the box (the code's rule, not in the paper). After `tries` attempts the box
    itself.
    """
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    original = np.array([box])
    draws = rng.uniform(size=(tries, 4))
    for u in draws:
        new_area = width * height * (0.5 + 1.5 * u[0])
        ratio = math.exp(math.log(0.5) + u[1] * math.log(4)) * (
            width / height if aspect == "relative" else 1
        )
        w, h = math.sqrt(new_area * ratio), math.sqrt(new_area / ratio)
        cx = (x1 + x2) / 2 + (u[2] - 0.5) * width
        cy = (y1 + y2) / 2 + (u[3] - 0.5) * height
        new = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        inside = new[0] >= 0 and new[1] >= 0 and new[2] <= size[0] and new[3] <= size[1]
        if inside and (iou_min is None or iou(original, np.array([new]))[0, 0] > iou_min):
            return new
    return box


def top_pairs(query: np.ndarray, other: np.ndarray, share: float, rule: str) -> np.ndarray:
    """The most similar RoI pairs of two images: (p, 2) int64 (row of query, row of other), best
    first.

    query (a, D), other (b, D): unit features. rule "rows10pct": max(1, int(share x a)) entries of
    the flattened a x b matrix, so a query box may recur (the code: with share .1 at most 10 of 100
    x 100); "matrix10pct": max(1, int(share x a x b)) (the paper's words).
    """
    scores = (query.astype(np.float32) @ other.astype(np.float32).T).ravel()
    a, b = len(query), len(other)
    count = max(1, int(share * a)) if rule == "rows10pct" else max(1, int(share * a * b))
    best = np.argsort(-scores, kind="stable")[: min(count, len(scores))]
    return np.stack([best // b, best % b], 1)
