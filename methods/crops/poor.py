"""Poor-Crop: boxes that hold hardly any object (paper 000), the other end of the scale."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.images import ImageSet
from bench.contracts.needs import Needs
from bench.core.params import param
from bench.core.seeds import rng_for
from bench.data.objectness import object_mask, share_of
from methods.crops._pseudo import PseudoCrop, TopParams

TRIES = 100


class PoorParams(TopParams):
    """How poor; the paper gives only the mean objectness it reached, 20.1 %."""

    max_objectness: float = param(0.5, gt=0, le=1, help="largest share of object pixels in a crop")
    target: float = param(0.2, ge=0, le=1, help="mean share of object pixels, where possible")
    min_area: float = param(0.05, gt=0, le=1, help="least area of a crop, fraction of the image")
    max_area: float = param(0.3, gt=0, le=1, help="largest area of a crop, fraction of the image")


class Poor(PseudoCrop):
    """Low-objectness regions (paper 000, Table 2: Poor-Crop, mean objectness 20.1 %).

    Our reading: for each image, up to 100 boxes of area U(min_area, max_area) and log-uniform
    aspect 1/2 to 2 are drawn; each of the `n_crops` crops is the unused one whose objectness is
    nearest to a draw from U(0, 2 target), among those not above `max_objectness`. The draws depend
    on the image's id alone. An image that objects fill gives fewer crops or none.
    """

    Params = PoorParams
    params: PoorParams

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(annotations=("objects",))

    def all_boxes(self, images: ImageSet, inputs: dict[str, Path]) -> Iterable[np.ndarray]:
        p = self.params
        for index, (width, height) in enumerate(images.sizes):
            rng = rng_for(0, "poor", int(images.ids[index]))
            boxes = _candidates(rng, int(width), int(height), p.min_area, p.max_area)
            share = share_of(object_mask(images, index), boxes)
            left = share <= p.max_objectness
            chosen = []
            for wanted in rng.uniform(0, 2 * p.target, p.n_crops):
                if left.any():
                    best = int(np.where(left, np.abs(share - wanted), np.inf).argmin())
                    left[best] = False
                    chosen.append(boxes[best])
            yield np.array(chosen).reshape(-1, 4)


def _candidates(
    rng: np.random.Generator, width: int, height: int, low: float, high: float
) -> np.ndarray:
    area = rng.uniform(low, high, TRIES) * width * height
    aspect = np.exp(rng.uniform(np.log(0.5), np.log(2), TRIES))
    w = np.clip(np.round(np.sqrt(area * aspect)), 1, width)
    h = np.clip(np.round(np.sqrt(area / aspect)), 1, height)
    x, y = np.floor(rng.uniform(0, width - w + 1)), np.floor(rng.uniform(0, height - h + 1))
    return np.stack([x, y, x + w, y + h], 1)
