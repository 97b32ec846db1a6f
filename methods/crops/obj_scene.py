"""Obj-Scene: one view from an object proposal, the other from the whole image (paper 001)."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Box, Source
from bench.core.params import param
from methods.crops._paired import PairedCrop, PairedParams, Size


class ObjSceneParams(PairedParams):
    """Whether the random crops of the object view are bounded."""

    s_min_rule: bool = param(
        True,
        later=True,
        help="the s_min rule holds inside the box too (our reading: the paper states it for "
        "dilate and shift alone); false: the method's own range there",
    )


class ObjScene(PairedCrop):
    """View 1: a random crop inside a proposal; view 2: the method's random crop of the image
    (paper 001, section 3 (d)). released_code: view 1 is the proposal itself, only resized.
    """

    Params = ObjSceneParams
    params: ObjSceneParams

    def pair(
        self,
        image: int,
        box: Box,
        size: Size,
        scale: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> list[Source]:
        inside = scale if self.params.s_min_rule else None
        if self.params.mode == "released_code":
            inside = (1.0, 1.0)
        return [Source(image, self.grown(box, size), "object", inside), Source(image)]
