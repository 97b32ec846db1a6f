"""GT-Crop: every annotated box is an image of its own (paper 000), an upper bound."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.images import ImageSet
from bench.contracts.needs import Needs
from methods.crops._pseudo import PseudoCrop


class Gt(PseudoCrop):
    """Every ground-truth box (paper 000, Table 1: GT-Crop), whatever its size from 2 pixels on.

    Crowds (COCO) and difficult objects (VOC) are left out: the first are no single object, the
    second not meant to be found. The paper names no rule. An image without boxes gives no sample.
    """

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(annotations=("objects",))

    def all_boxes(self, images: ImageSet, inputs: dict[str, Path]) -> Iterable[np.ndarray]:
        for index in range(len(images)):
            objects = images.objects(index)
            yield objects.boxes[~objects.crowd & ~objects.difficult]
