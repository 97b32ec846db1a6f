"""The Crop contract: where views may come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.component import Component
from bench.views.plan import Sampler

if TYPE_CHECKING:
    from bench.cell import Planner
    from bench.data.base import ImageSet
    from bench.stage import Stage


class Crop(Component):
    """A cropping strategy (`methods/crops/`).

    `style`: "image" (whole images), "pseudo" (every box is a sample of its own, both views inside it),
    "paired" (the views come from different boxes), "multi" (extra small views).
    """

    kind: ClassVar[str] = "crop"
    style: ClassVar[Literal["image", "pseudo", "paired", "multi"]] = "image"

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        """The input stages a pretraining with this crop needs besides its data, by role ("regions")."""
        return {}

    def heads(self) -> int:
        """Projection heads its views ask for: 2 where a sample's views differ in kind (paper 001), else 1."""
        return 1

    def sampler(self, images: ImageSet, inputs: dict[str, Path]) -> Sampler:
        """The strategy at work on `images`; `inputs` are the folders of `stages`."""
        raise NotImplementedError
