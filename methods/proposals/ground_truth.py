"""Annotated boxes: an upper bound, and paper 002's ablation with ground-truth RoIs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts.needs import Needs
from bench.contracts.proposals import Found, Proposals, Proposer

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet


@dataclass(frozen=True)
class _Annotated:
    images: ImageSet

    def __call__(self, index: int, seed: int) -> Found:
        objects = self.images.objects(index)
        boxes = objects.boxes[~objects.crowd]
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(boxes))
        return boxes[order], np.ones(len(boxes), np.float32)


class GroundTruth(Proposals):
    """The image's annotated boxes, crowds left out, in a seeded order (annotations carry no rank),
    all with score 1. An image without objects has none. `max_side` has no effect: no pixels are
    read.
    """

    supervised = True

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(annotations=("objects",))

    def prepare(self, ctx: StageContext, images: ImageSet) -> Proposer:
        return _Annotated(images)
