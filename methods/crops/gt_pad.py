"""GTpad-Crop: annotated boxes with context around them (paper 000)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.images import ImageSet
from bench.contracts.needs import Needs
from bench.core.params import param
from bench.data.boxes import clip
from methods.crops._pseudo import PseudoCrop, PseudoParams


class GtPadParams(PseudoParams):
    """How much context."""

    pad: float = param(
        0.8,
        ge=0,
        help="padding on each side, in sides of the box; the paper's is 'a best ratio', "
        "and .8 gives its objectness of 48.2 %",
        search=["float", 0.0, 1.6],
    )


class GtPad(PseudoCrop):
    """Every ground-truth box padded by `pad` of its width and height on each side, clipped to the
    image (paper 000, Tables 2 and 11: GTpad-Crop). Crowds, difficult objects, images without
    boxes: as in `gt`.
    """

    Params = GtPadParams
    params: GtPadParams

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(annotations=("objects",))

    def all_boxes(self, images: ImageSet, inputs: dict[str, Path]) -> Iterable[np.ndarray]:
        for index, (width, height) in enumerate(images.sizes):
            objects = images.objects(index)
            boxes = objects.boxes[~objects.crowd & ~objects.difficult].astype(np.float64)
            sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2) * self.params.pad
            yield clip(boxes + sides * np.array([-1, -1, 1, 1]), width, height)
