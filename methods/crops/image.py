"""Whole images: both views are random crops of the full image (Image-Crop, scene-scene)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts.crop import Crop
from bench.contracts.images import ImageSet
from bench.contracts.views import Sampler, Source


@dataclass(frozen=True)
class _WholeImages:
    count: int

    def __len__(self) -> int:
        return self.count

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        return [Source(index), Source(index)]


class Image(Crop):
    """The baseline of all four papers: Image-Crop (000), scene-scene (001), image views (002,
    003).

    One sample per image; the method's own random resized crop does the rest.
    """

    style = "image"

    def sampler(self, images: ImageSet, inputs: dict[str, Path]) -> Sampler:
        return _WholeImages(len(images))
