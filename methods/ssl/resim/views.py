"""ReSim's views: MoCo v2's, flipped together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.contracts.views import Sample, Source
from methods.ssl.moco_v2.views import MocoViews


@dataclass(frozen=True)
class ResimViews:
    """MoCo v2's views, but one flip for both of them, and blurred before jitter and grey, as in
    the published code."""

    plain: MocoViews

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        flip = bool(rng.random() < 0.5)
        views = [
            replace(v, augment=replace(v.augment, blur_first=True))
            for v in self.plain(sources, rng).views
        ]
        return Sample([replace(v, flip=flip) if v.role.startswith("view") else v for v in views])
