"""Selective search: hierarchical grouping of segments (Uijlings et al. 2013), OpenCV's."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Literal

import numpy as np

from bench.contracts.proposals import Proposals, ProposalsParams
from bench.core.params import param
from bench.data.boxes import clip, xywh_to_xyxy


class SelectiveSearchParams(ProposalsParams):
    """Papers 002 and 003 use `fast` on full-resolution images. At a short side of 200 it finds 0.7
    of the boxes that it finds at 480."""

    mode: Literal["fast", "quality", "single"] = param("fast", help="OpenCV's strategy set")
    rank: Literal["ss_order", "seeded"] = param(
        "ss_order",
        help="order of the boxes: OpenCV's (level x random number), or a seeded shuffle",
    )


class SelectiveSearch(Proposals):
    """OpenCV's selective search on the BGR image, as the code of papers 002 and 003 runs it.

    OpenCV ranks a box by level x `rand()`, ascending, with C's generator unseeded: the published
    "first 100" is a pseudo-random sample, in favour of small early segments. Here C's generator is
    seeded per image, so the order depends on the image and the seed alone. Scores fall from 1 to 0
    along that order; they are no objectness. An image too small or too flat to segment gives one
    box, the image.
    """

    Params = SelectiveSearchParams
    params: SelectiveSearchParams
    scales = {"tiny": {"mode": "fast", "max_side": 96}}

    def propose(self, image: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        import cv2

        height, width = image.shape[:2]
        _libc().srand(seed % 2**32)
        search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
        if self.params.mode == "fast":
            search.switchToSelectiveSearchFast()
        elif self.params.mode == "quality":
            search.switchToSelectiveSearchQuality()
        else:
            search.switchToSingleStrategy()
        raw = np.asarray(search.process(), np.float32).reshape(-1, 4)
        boxes = clip(xywh_to_xyxy(raw), width, height)
        _, first = np.unique(boxes, axis=0, return_index=True)
        order = np.sort(first)
        if self.params.rank == "seeded":
            order = np.random.Generator(np.random.PCG64(seed)).permutation(order)
        boxes = boxes[order]
        return boxes, np.linspace(1, 0, len(boxes), dtype=np.float32)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
