"""Random boxes with the coarse crop's sizes and ratios: the floor of every proposer."""

from __future__ import annotations

import numpy as np

from bench.contracts.proposals import Found, Proposals, ProposalsParams
from bench.core.params import param
from bench.data.boxes import scaled_side

RATIOS = (0.5, 1.0, 2.0)
SIZES = (32, 64, 128, 256)


class RandomBoxesParams(ProposalsParams):
    """How many."""

    top: int = param(100, ge=1, help="boxes of an image")


class RandomBoxes(Proposals):
    """Boxes of log-uniform side 32 to 256 pixels (at a short side of 480; scales with the image)
    and ratio 1/2 to 2, the range of paper 000's anchors, uniformly placed inside the image. Scores
    fall from 1 to 0 along the order and mean nothing. Paper 000, Table 11, s4: "random boxes",
    without details.
    """

    Params = RandomBoxesParams
    params: RandomBoxesParams

    def propose(self, image: np.ndarray, seed: int) -> Found:
        height, width = image.shape[:2]
        rng, n = np.random.Generator(np.random.PCG64(seed)), self.params.top
        side = np.exp(rng.uniform(np.log(SIZES[0]), np.log(SIZES[-1]), n)) * scaled_side(
            1, width, height
        )
        # square root of w / h
        root = np.exp(rng.uniform(np.log(RATIOS[0]), np.log(RATIOS[-1]), n) / 2)
        w, h = np.clip(side * root, 1, width), np.clip(side / root, 1, height)
        x, y = rng.uniform(size=n) * (width - w), rng.uniform(size=n) * (height - h)
        boxes = np.stack([x, y, x + w, y + h], 1).astype(np.float32)
        return np.clip(boxes, 0, [width, height, width, height]).astype(
            np.float32
        ), falling_scores(n)


def falling_scores(n: int) -> np.ndarray:
    """(n,) float32 from 1 down to 0: scores that only say the order."""
    return np.linspace(1, 0, n, dtype=np.float32)
