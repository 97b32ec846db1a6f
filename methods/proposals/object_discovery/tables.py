"""The regions and neighbours of a set as tables in mapped memory, which worker processes share,
and the matching of an image's regions with its neighbours'. Without PyTorch workers start quickly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from bench.core.errors import BadInput
from bench.core.ragged import span
from methods.proposals.object_discovery.discovery import (
    containers,
    hough_confidence,
    pair_stand_out,
)


@dataclass(frozen=True)
class Regions:
    """Candidate regions and neighbours by position in the image set."""

    ids: np.ndarray
    sizes: np.ndarray
    first: np.ndarray
    all_boxes: np.ndarray
    all_features: np.ndarray
    neighbours: np.ndarray  # (N, K) positions, most similar first

    def boxes(self, i: int) -> np.ndarray:
        """(n, 4) float32 xyxy, n >= 1."""
        return self.all_boxes[span(self.first, i)]

    def features(self, i: int) -> np.ndarray:
        """(n, D) float64 unit rows."""
        return self.all_features[span(self.first, i)].astype(np.float64)

    def size(self, i: int) -> tuple[float, float]:
        """Width and height."""
        return float(self.sizes[i, 0]), float(self.sizes[i, 1])


@lru_cache(maxsize=2)
def load_regions(regions: Path, neighbours: Path) -> Regions:
    """The tables of two committed stages, mapped into memory once a process."""
    names = ("ids", "sizes", "first", "boxes", "features")
    ids, sizes, first, boxes, features = (
        np.load(regions / f"{name}.npy", mmap_mode="r") for name in names
    )
    with np.load(neighbours / "neighbours.npz") as file:
        rows, near = _positions(file["ids"], ids), _positions(ids, file["neighbour_ids"])
    return Regions(ids, sizes, first, boxes, features, near[rows])


def _positions(table: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where the ids `wanted` lie in `table`; BadInput if one does not."""
    order = np.argsort(table, kind="stable")
    at = np.minimum(np.searchsorted(table, wanted, sorter=order), len(table) - 1)
    if not np.array_equal(table[order[at]], wanted):
        raise BadInput("region features and neighbours were made from other images; use --force")
    return order[at]


def match(
    regions: Regions, i: int, cells: int, area_ratio: float, pairs: bool
) -> tuple[np.ndarray, np.ndarray]:
    """How well the regions of image i match its neighbours': saliency and confidence, (n,) float64
    each.

    A region's confidence is sum_j max_l C_kl over the neighbours j and their regions l, its
    saliency the same of the stand-out scores S_kl (`pairs`) or the confidence itself. C is the sum
    of both directions, per number of matches, as in the code of Vo et al. 2019.
    """
    mine, boxes, size = regions.features(i), regions.boxes(i), regions.size(i)
    inside = containers(boxes, area_ratio)
    saliency, total = np.zeros(len(boxes)), np.zeros(len(boxes))
    for j in regions.neighbours[i]:
        similar = mine @ regions.features(j).T
        theirs, other = regions.boxes(j), regions.size(j)
        confidence = hough_confidence(similar, boxes, theirs, size, other, cells)
        confidence += hough_confidence(similar.T, theirs, boxes, other, size, cells).T
        confidence /= confidence.size
        total += confidence.max(1)
        if pairs:
            confidence = pair_stand_out(confidence, inside, containers(theirs, area_ratio))
        saliency += confidence.max(1)
    return saliency, total
