"""The Crop contract: where views may come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.contracts.component import Component
from bench.contracts.views import Sampler

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage


class Crop(Component):
    """A cropping strategy (`methods/crops/`).

    `style`: "image" (whole images), "pseudo" (every box is a sample of its own, both views inside
    it), "paired" (the views come from different boxes), "multi" (extra small views).
    """

    kind = "crop"
    style: Literal["image", "pseudo", "paired", "multi"] = "image"

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        """The input stages a pretraining with this crop needs besides its data, by role
        ("regions")."""
        return {}

    def heads(self) -> int:
        """Projection heads its views ask for: 2 where a sample's views differ in kind (paper 001),
        else 1."""
        return 1

    def inspect(
        self,
        images: ImageSet,
        index: int,
        stages: dict[str, Stage],
        folder: Callable[[Stage], Path],
    ) -> dict[str, np.ndarray]:
        """Pictures worth seeing of image `index`, name -> (H, W, 3) uint8 (coarse: its score map).
        `stages` are those of `stages`, `folder` says where each is."""
        return {}

    def with_every_region(self) -> Crop:
        """This strategy with every region of an image as a sample, which statistics and pictures
        of it are of, also where a pretraining draws one region an image and epoch."""
        return self

    def sampler(self, images: ImageSet, inputs: dict[str, Path]) -> Sampler:
        """The strategy at work on `images`; `inputs` are the folders of `stages`."""
        raise NotImplementedError
