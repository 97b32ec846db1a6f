"""The view of a sample that no training sees."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Sample, Source, ViewSpec
from bench.views.sample import BYOL_1


class OneView:
    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        source = sources[0]
        return Sample([ViewSpec("view1", source.image, source.box, self.size, BYOL_1)])
