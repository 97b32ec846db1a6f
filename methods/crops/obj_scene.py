"""Obj-Scene: one view from an object proposal, the other from the whole image (paper 001)."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Box, Source
from methods.crops._paired import PairedCrop, Size


class ObjScene(PairedCrop):
    """View 1: a random crop inside a proposal; view 2: the method's random crop of the image
    (paper 001, section 3 (d)). released_code: view 1 is the proposal itself, only resized.
    """

    def pair(
        self,
        image: int,
        box: Box,
        size: Size,
        scale: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> list[Source]:
        inside = (1.0, 1.0) if self.params.mode == "released_code" else scale
        return [Source(image, self.grown(box, size), "object", inside), Source(image)]
