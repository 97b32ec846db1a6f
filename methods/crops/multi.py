"""Multi-crop: two large views and several small ones of the whole image (SwAV)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts.crop import Crop
from bench.contracts.images import ImageSet
from bench.contracts.views import Sampler, Source
from bench.core.params import Params, param


class MultiParams(Params):
    """Defaults: paper 002's comparison, 2 x 224 + 4 x 96 (paper 000's s3 and SwAV use 6)."""

    n_crops: int = param(4, ge=1, help="small views a sample", search=[2, 4, 6])
    small_size: int = param(96, ge=8, help="side of a small view, pixels")
    global_scale: tuple[float, float] = param((0.14, 1.0), help="area range of the large views")
    small_scale: tuple[float, float] = param((0.05, 0.14), help="area range of the small views")


@dataclass(frozen=True)
class _MultiCrop:
    count: int
    params: MultiParams

    def __len__(self) -> int:
        return self.count

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        p = self.params
        small = Source(index, scale=p.small_scale, size=p.small_size, role="small")
        return [Source(index, scale=p.global_scale)] * 2 + [small] * p.n_crops


class Multi(Crop):
    """Multi-crop (Caron et al. 2020, section 3.3): 2 views of area U(.14, 1) and `n_crops` small
    ones of area U(.05, .14). Paper 002, Table 5c, and paper 000, Table 11 (s3) compare with it.
    """

    style = "multi"
    version = 2  # small views are blurred as strongly as the large ones, in pixels
    Params = MultiParams
    params: MultiParams
    scales = {"tiny": {"small_size": 32}, "small": {"small_size": 56}}

    def sampler(self, images: ImageSet, inputs: dict[str, Path]) -> Sampler:
        return _MultiCrop(len(images), self.params)
