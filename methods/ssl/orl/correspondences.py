"""What ORL's second stage leaves: RoIs, neighbours and corresponding RoIs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.images import ImageSet
from bench.core.errors import BadInput


@dataclass(frozen=True)
class Correspondences:
    """What stage 2 leaves, by position in the image set: boxes of image i, and for its k-th
    neighbour the corresponding boxes of both.

    neighbours: (N, K) positions. Image i's boxes are the rows box_first[i] to box_first[i + 1] of
    `all_boxes`; its pairs with its k-th neighbour are likewise rows of `all_pairs`, numbered
    i K + k in `pair_first`.
    """

    neighbours: np.ndarray
    box_first: np.ndarray
    all_boxes: np.ndarray
    pair_first: np.ndarray
    all_pairs: np.ndarray

    def boxes(self, i: int) -> np.ndarray:
        """(n, 4) xyxy, n >= 1."""
        return self.all_boxes[self.box_first[i] : self.box_first[i + 1]]

    def pairs(self, i: int, k: int) -> np.ndarray:
        """(p, 2): box of image i, box of its k-th neighbour; best first, p >= 1."""
        at = i * self.neighbours.shape[1] + k
        return self.all_pairs[self.pair_first[at] : self.pair_first[at + 1]]


def load_correspondences(folder: Path, images: ImageSet) -> Correspondences:
    """The table for `images`, which must be the very split that it was made from."""
    with np.load(folder / "pairs.npz") as file:
        arrays: dict[str, Any] = dict(file)
    if not np.array_equal(arrays["ids"], images.ids):
        raise BadInput(
            f"{folder} was made from other images than {images.name}/{images.split}; use --force"
        )
    return Correspondences(
        arrays["neighbours"],
        arrays["box_first"],
        arrays["boxes"],
        arrays["pair_first"],
        arrays["pairs"],
    )
