"""Dilate-Dilate: both views from an enlarged object proposal (paper 001, appendix E)."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Box, Source
from methods.crops._paired import PairedCrop, Size
from methods.crops.obj_obj_dilate import ObjObjDilateParams


class DilateDilate(PairedCrop):
    """Two random crops inside one proposal dilated by `delta` (paper 001, appendix E: 54.5 mAP on
    OpenImages, below obj-obj+dilate). Both views are of one kind, so there is one projection head.
    """

    Params = ObjObjDilateParams
    params: ObjObjDilateParams
    kinds_differ = False

    def pair(
        self,
        image: int,
        box: Box,
        size: Size,
        scale: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> list[Source]:
        larger = self.dilated(box, self.params.delta, size)
        return [Source(image, larger, "object", scale)] * 2
