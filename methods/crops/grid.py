"""Grid-Crop: five fixed cells, three in one row and two in the other (paper 000)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from bench.contracts.images import ImageSet
from bench.core.params import param
from bench.core.seeds import rng_for
from methods.crops._pseudo import PseudoCrop, PseudoParams


class GridParams(PseudoParams):
    """Which row has three cells."""

    grid_three_row: Literal["bottom", "top", "random"] = param(
        "bottom",
        help="row with three cells; the paper does not say. random: drawn once for each image",
    )


class Grid(PseudoCrop):
    """Two rows of equal height, three equal cells in one and two in the other (paper 000,
    Grid-Crop).

    Cells tile the image on whole pixels: edges at round(i W / n) and round(H / 2).
    """

    Params = GridParams
    params: GridParams

    def all_boxes(self, images: ImageSet, inputs: dict[str, Path]) -> Iterable[np.ndarray]:
        for image, (width, height) in zip(images.ids, images.sizes, strict=True):
            row = self.params.grid_three_row
            top = (
                rng_for(0, "grid", int(image)).random() < 0.5 if row == "random" else row == "top"
            )
            yield grid_boxes(int(width), int(height), 3 if top else 2, 2 if top else 3)


def grid_boxes(width: int, height: int, upper: int, lower: int) -> np.ndarray:
    """(upper + lower, 4) xyxy: a row of `upper` cells over a row of `lower` cells."""
    middle = round(height / 2)
    boxes = []
    for cells, y1, y2 in ((upper, 0, middle), (lower, middle, height)):
        edges = [round(i * width / cells) for i in range(cells + 1)]
        boxes += [(x1, y1, x2, y2) for x1, x2 in pairwise(edges)]
    return np.array(boxes, np.float32)
