"""Scores of anchors on an activation map (SCDA), as paper 000 ranks them, without making the full
map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Border = Literal["clip", "drop"]


def activation_map(features: np.ndarray) -> np.ndarray:
    """(D, h, w) features -> (h, w) float64 in [0, 1]: A_ij = sum_d x_dij, then min-max (paper 000,
    eq. 2, 3).

    A constant map, which ranks nothing, becomes zeros.
    """
    total = np.asarray(features, np.float64).sum(0)
    low, high = total.min(), total.max()
    return (total - low) / (high - low) if high > low else np.zeros_like(total)


@dataclass(frozen=True)
class Anchors:
    """All anchors of one image size, grouped by shape: boxes (n, 4) xyxy, shape (n,) into sizes x
    ratios, and per shape the row and column means that turn a low-resolution map into mean scores.
    """

    boxes: np.ndarray
    shape: np.ndarray
    size: np.ndarray  # (n,) index into sizes
    kept: np.ndarray  # (all,) bool: not dropped at the border
    rows: tuple[np.ndarray, ...]  # per shape (h, h)
    columns: tuple[np.ndarray, ...]  # per shape (w, w)

    def scores(self, low: np.ndarray) -> np.ndarray:
        """(n,) mean of the map (h, w), bilinearly enlarged to the image, inside each box.

        Enlarging is linear and separable, U = R A C^T, so the mean over a box is (mean of R's rows
        in it) A (mean of C's rows in it)^T: two small products for all boxes of one shape.
        """
        means = [(r @ low @ c.T).ravel() for r, c in zip(self.rows, self.columns, strict=True)]
        return np.asarray(np.concatenate(means)[self.kept])


@lru_cache(maxsize=64)
def make_anchors(
    width: int,
    height: int,
    cells: tuple[int, int],
    sizes: tuple[float, ...],
    ratios: tuple[float, ...],
    border: Border = "clip",
) -> Anchors:
    """Anchors of every size and ratio (width / height) centred in each cell of a (h, w) = `cells`
    map over an image of width x height pixels: w = size sqrt(ratio), h = size / sqrt(ratio), on
    whole pixels.

    border: "clip" cuts them to the image, "drop" leaves out those that cross it.
    """
    h, w = cells
    up_y, up_x = _enlargement(h, height), _enlargement(w, width)
    boxes, shape, size_at, inside, rows, columns = [], [], [], [], [], []
    for s, side in enumerate(sizes):
        for ratio in ratios:
            x1, x2, in_x = _intervals(w, width, side * ratio**0.5)
            y1, y2, in_y = _intervals(h, height, side / ratio**0.5)
            columns.append(_means(up_x, x1, x2))
            rows.append(_means(up_y, y1, y2))
            grid = np.stack(
                [np.tile(x1, h), np.repeat(y1, w), np.tile(x2, h), np.repeat(y2, w)], 1
            )
            boxes.append(grid)
            shape.append(np.full(h * w, len(rows) - 1))
            size_at.append(np.full(h * w, s))
            inside.append((in_y[:, None] & in_x[None, :]).ravel())
    kept = np.concatenate(inside) if border == "drop" else np.ones(len(shape) * h * w, bool)
    every = [np.concatenate(part)[kept] for part in (boxes, shape, size_at)]
    return Anchors(
        every[0].astype(np.float64), every[1], every[2], kept, tuple(rows), tuple(columns)
    )


def _intervals(cells: int, length: int, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole-pixel intervals of `side` around the cells' centres, cut to 0..length; which were
    inside."""
    centre = (np.arange(cells) + 0.5) * length / cells
    low, high = np.round(centre - side / 2), np.round(centre + side / 2)
    inside = (low >= 0) & (high <= length)
    low, high = np.clip(low, 0, length - 1), np.clip(high, 1, length)
    return low.astype(np.int64), np.maximum(high, low + 1).astype(np.int64), inside


def _enlargement(cells: int, length: int) -> np.ndarray:
    """(length, cells): bilinear enlargement, centres aligned (`align_corners=False`), edges
    repeated."""
    at = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    low = np.minimum(np.floor(at).astype(np.int64), max(cells - 2, 0))
    part = at - low
    matrix = np.zeros((length, cells))
    matrix[np.arange(length), low] = 1 - part
    matrix[np.arange(length), np.minimum(low + 1, cells - 1)] += part
    return matrix


def _means(matrix: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(intervals, cells): the mean of the rows low..high of (length, cells)."""
    table = np.concatenate([np.zeros((1, matrix.shape[1])), matrix.cumsum(0)])
    return np.asarray((table[high] - table[low]) / (high - low)[:, None])


def pick_separate(
    boxes: np.ndarray,
    scores: np.ndarray,
    max_iou: float,
    top: int,
    groups: np.ndarray | None = None,
    quota: int | None = None,
) -> np.ndarray:
    """Positions of the `top` best boxes, greedily, none overlapping a better one by more than
    `max_iou` IoU; at most `quota` of each group. Equal scores: the earlier box. Looks at each kept
    box once: O(top x n)."""
    left = np.asarray(scores, np.float64).copy()
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    used: dict[int, int] = {}
    kept: list[int] = []
    while len(kept) < top and len(left):
        best = int(left.argmax())
        if left[best] == -np.inf:
            break
        kept.append(best)
        x1, y1, x2, y2 = boxes[best]
        across = np.minimum(boxes[:, 2], x2) - np.maximum(boxes[:, 0], x1)
        down = np.minimum(boxes[:, 3], y2) - np.maximum(boxes[:, 1], y1)
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        left[shared > max_iou * (areas + areas[best] - shared)] = -np.inf
        left[best] = -np.inf
        if groups is not None and quota is not None:
            group = int(groups[best])
            used[group] = used.get(group, 0) + 1
            if used[group] == quota:
                left[groups == group] = -np.inf
    return np.array(kept, np.int64)


def naive_scores(
    low: np.ndarray, boxes: np.ndarray | Sequence[Sequence[float]], width: int, height: int
) -> np.ndarray:
    """The plain way, for tests and for `bench perf crops`: enlarge the map, average every box's
    slice."""
    import torch
    from torch.nn import functional as F

    full = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(low))[None, None], (height, width), mode="bilinear"
    )[0, 0].numpy()
    return np.array(
        [full[int(y1) : int(y2), int(x1) : int(x2)].mean() for x1, y1, x2, y2 in boxes]
    )
