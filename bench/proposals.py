"""The Proposals contract: image -> boxes and scores, one cached file keyed by image id."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.component import Component

if TYPE_CHECKING:
    from bench.cell import Planner
    from bench.stage import Stage


class Proposals(Component):
    """A proposal generator (`methods/proposals/`)."""

    kind: ClassVar[str] = "proposals"

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        """Input stages besides data, by role."""
        return {}

    def propose(self, image: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 RGB -> boxes (n, 4) float32 xyxy absolute pixels clipped to the image, best
        first, and scores (n,) float32. Equal image and seed give equal output in any process."""
        raise NotImplementedError
