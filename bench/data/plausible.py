"""Remarks on boxes that are legal and rarely meant, whatever file they come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.data.index import Row

MIXER = 0x1E3779B97F4A7C15  # an odd number of 61 bits; products wrap around


def describe_boxes(
    boxes: np.ndarray, sizes: np.ndarray, images: np.ndarray, classes: np.ndarray
) -> list[str]:
    """Remarks on N objects. boxes: (N, 4) float64 x, y, width, height. sizes: (N, 2) width and
    height of their images. images, classes: (N,) int64."""
    if not len(boxes):
        return ["no object at all"]
    remarks = []
    thin = int((boxes[:, 2:].min(1) < 2).sum())
    if thin * 2 > len(boxes):
        remarks.append(f"{thin:,} of {len(boxes):,} boxes are narrower or lower than 2 pixels")
    whole = int((np.abs(boxes - np.pad(sizes, ((0, 0), (2, 0)))) <= 1).all(1).sum())
    if whole * 2 > len(boxes):
        remarks.append(f"{whole:,} of {len(boxes):,} boxes are their whole image")
    return remarks + _describe_twins(np.column_stack([images, classes, boxes.view(np.int64)]))


def describe_rows(rows: Sequence[Row]) -> list[str]:
    """The same of the objects of an index's rows, whose boxes are cut to their images."""
    counts = [len(row.annotations) for row in rows]
    objects = [a for row in rows for a in row.annotations]
    corners = np.array([a["box"] for a in objects], np.float64).reshape(-1, 4)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    sizes = np.repeat(np.array([row.size for row in rows], np.int64).reshape(-1, 2), counts, 0)
    labels = np.array([a["label"] for a in objects], np.int64)
    return describe_boxes(boxes, sizes, np.repeat(np.arange(len(rows)), counts), labels)


def describe_clipped(clipped: int, objects: int, rule: str) -> list[str]:
    """A remark where half of the objects had to be cut to their image by more than half a
    pixel. rule: what the numbers of a box are."""
    if clipped * 2 <= objects:
        return []
    return [f"{clipped:,} of {objects:,} boxes reach beyond their image; {rule}"]


def _describe_twins(columns: np.ndarray) -> list[str]:
    """A remark where a tenth of the rows (N, D) int64 are equal to another one: objects of one
    image, class and box."""
    mixed = np.zeros(len(columns), np.int64)
    for column in columns.T:
        mixed = (mixed ^ column) * MIXER
        mixed ^= mixed >> 29
    mixed.sort()
    if (mixed[1:] == mixed[:-1]).sum() * 10 <= len(columns):  # equal rows are equal here too
        return []
    order = np.lexsort(columns.T)
    twins = int((columns[order][1:] == columns[order][:-1]).all(1).sum())
    if twins * 10 <= len(columns):
        return []
    return [f"{twins:,} of {len(columns):,} objects have image, class and box of an earlier one"]
