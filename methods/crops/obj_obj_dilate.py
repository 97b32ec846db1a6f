"""Obj-Obj+Dilate: one view from an object proposal, the other from the same box enlarged (paper
001)."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Box, Source
from bench.core.params import param
from methods.crops._paired import PairedCrop, PairedParams, Size


class ObjObjDilateParams(PairedParams):
    """How much larger."""

    delta: float = param(
        0.1,
        ge=0,
        le=1,
        help="each side moves out by delta x the image's size; .1 on COCO, .2 on OpenImages "
        "(and by default in the released code)",
        search=["float", 0.0, 0.3],
    )


class ObjObjDilate(PairedCrop):
    """View 1: a random crop inside a proposal; view 2: one inside the same box dilated by `delta`
    of the image's width and height on each side, clipped (paper 001, section 3 (a)), its best
    strategy.

    released_code moves each side by `delta` x its own coordinate, outwards from the image's
    origin.
    """

    sweeps = ("delta",)
    Params = ObjObjDilateParams
    params: ObjObjDilateParams

    def pair(
        self,
        image: int,
        box: Box,
        size: Size,
        scale: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> list[Source]:
        inner, larger = self.grown(box, size), self.dilated(box, self.params.delta, size)
        return [Source(image, inner, "object", scale), Source(image, larger, "scene", scale)]
