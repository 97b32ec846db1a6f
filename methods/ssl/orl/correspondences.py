"""What ORL's second stage leaves: RoIs, neighbours and corresponding RoIs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.images import ImageSet
from bench.core.errors import BadInput
from bench.core.ragged import Ragged


@dataclass(frozen=True)
class Correspondences:
    """What stage 2 leaves, by position in the image set: boxes of image i, and for its k-th
    neighbour the corresponding boxes of both.

    neighbours: (N, K) positions. box_table: the boxes (n, 4) xyxy of image i in row i. pair_table:
    the pairs (p, 2) of image i and its k-th neighbour in row i K + k.
    """

    neighbours: np.ndarray
    box_table: Ragged
    pair_table: Ragged

    def boxes(self, i: int) -> np.ndarray:
        """(n, 4) xyxy, n >= 1."""
        return self.box_table[i]

    def pairs(self, i: int, k: int) -> np.ndarray:
        """(p, 2): box of image i, box of its k-th neighbour; best first, p >= 1."""
        return self.pair_table[i * self.neighbours.shape[1] + k]


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
        Ragged(arrays["boxes"], arrays["box_first"]),
        Ragged(arrays["pairs"], arrays["pair_first"]),
    )
