"""The Proposals contract: image -> boxes and scores, one cached file keyed by image id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.component import Component
from bench.core.params import Params, param

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

Found = tuple[np.ndarray, np.ndarray]  # boxes (n, 4) float32 xyxy, scores (n,) float32
Proposer = Callable[[int, int], Found]  # (position in the set, seed) -> Found; picklable


class ProposalsParams(Params):
    """What every generator has."""

    max_side: int | None = param(
        None, ge=16, help="shrink images to this longer side first, pixels; boxes are scaled back"
    )


class Proposals(Component):
    """A proposal generator (`methods/proposals/`).

    A generator that needs pixels alone defines `propose`. One that needs annotations, a network or
    a model made of the whole set defines `prepare` instead.
    """

    kind = "proposals"
    Params: type[Params] = ProposalsParams
    params: ProposalsParams
    supervised: bool = False  # uses annotations (boxes are enough to count)
    on_device: bool = False  # True: uses the GPU where there is one, so it runs in one process

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        """Input stages besides data, by role."""
        return {}

    def prepare(self, ctx: StageContext, images: ImageSet) -> Proposer:
        """What proposes for image number i of `images`, in any process. `ctx.inputs` are the
        folders of `stages`; what it learns about itself it may leave in `ctx.work / "model.json"`.
        """
        return _FromPixels(self, images)

    def propose(self, image: np.ndarray, seed: int) -> Found:
        """(H, W, 3) uint8 RGB -> boxes (n, 4) float32 xyxy absolute pixels clipped to the image,
        best first, and scores (n,) float32. Equal image and seed give equal output in any process.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class _FromPixels:
    """`propose` on the image, shrunk to `max_side`."""

    maker: Proposals
    images: ImageSet

    def __call__(self, index: int, seed: int) -> Found:
        image = self.images.image(index)
        small, factor = shrink(image, self.maker.params.max_side)
        boxes, scores = self.maker.propose(small, seed)
        return scale_back(boxes, factor, image.shape[:2]), scores


def shrink(image: np.ndarray, max_side: int | None) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) at `max_side` as its longer side, area-averaged, never enlarged; and the factors
    (4,) that take xyxy boxes of the small image back."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image, np.ones(4)
    import cv2

    factor = max_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, np.array([width / size[0], height / size[1]] * 2)


def scale_back(boxes: np.ndarray, factor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Boxes of a shrunk image in the frame of the image of `shape` (height, width), clipped;
    float32."""
    limit = np.array([shape[1], shape[0]] * 2)
    whole = np.asarray(boxes, np.float64).reshape(-1, 4) * factor
    return np.asarray(np.clip(whole, 0, limit), np.float32)
