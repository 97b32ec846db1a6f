"""BYOL's views: a random resized crop of each source, by two recipes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contracts.views import Augment, Sample, Source, ViewSpec
from bench.views.sample import BYOL_1, BYOL_2


@dataclass(frozen=True)
class TwoViews:
    """A random resized crop of each of the two sources: "view1" with BYOL's first recipe (always
    blurred), "view2" with its second (rarely blurred, sometimes solarised). Multi-crop's small
    sources become "small1", "small2", ... with the two recipes in turn. A source's own scale and
    size win."""

    size: int
    scale: tuple[float, float]

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        first, second = [s for s in sources if s.role == "view"][:2]
        views = [self._view("view1", first, BYOL_1), self._view("view2", second, BYOL_2)]
        small = [s for s in sources if s.role == "small"]
        views += [
            self._view(f"small{i + 1}", s, (BYOL_1, BYOL_2)[i % 2]) for i, s in enumerate(small)
        ]
        return Sample(views)

    def _view(self, role: str, source: Source, augment: Augment) -> ViewSpec:
        return ViewSpec(
            role=role,
            image=source.image,
            box=source.box,
            size=source.size or self.size,
            augment=augment,
            scale=source.scale or self.scale,
            kind=source.kind,
        )
