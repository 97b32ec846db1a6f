"""Obj-Obj: both views from the same object proposal (paper 001, delta = 0)."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Box, Source
from methods.crops._paired import PairedCrop, Size


class ObjObj(PairedCrop):
    """Two random crops inside one proposal: `obj_obj_dilate` at delta 0 (paper 001, Tables 9 and
    13). Both views are of one kind, so there is one projection head.
    """

    kinds_differ = False

    def pair(
        self,
        image: int,
        box: Box,
        size: Size,
        scale: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> list[Source]:
        return [Source(image, self.grown(box, size), "object", scale)] * 2
