"""MAE's one view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contracts.views import Augment, Sample, Source, ViewSpec


@dataclass(frozen=True)
class OneView:
    """A bicubic random resized crop of the first source and a flip, nothing else. A source's own
    scale wins."""

    size: int
    scale: tuple[float, float]

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        s = sources[0]
        view = ViewSpec(
            "view1",
            s.image,
            s.box,
            self.size,
            Augment(),
            s.scale or self.scale,
            interpolation="bicubic",
            kind=s.kind,
        )
        return Sample([view])
