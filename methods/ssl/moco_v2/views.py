"""MoCo v2's views: random resized crops by one recipe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contracts.views import Sample, Source, ViewSpec
from bench.views.sample import MOCO_V2


@dataclass(frozen=True)
class MocoViews:
    """A random resized crop of each of the two sources ("view1", "view2") and of multi-crop's
    small sources ("small1", ...), all with MoCo v2's recipe. A source's own scale and size win."""

    size: int
    scale: tuple[float, float]

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        first, second = [s for s in sources if s.role == "view"][:2]
        named = {"view1": first, "view2": second}
        named |= {
            f"small{i + 1}": s for i, s in enumerate(s for s in sources if s.role == "small")
        }
        return Sample(
            [
                ViewSpec(
                    r,
                    s.image,
                    s.box,
                    s.size or self.size,
                    MOCO_V2,
                    s.scale or self.scale,
                    kind=s.kind,
                )
                for r, s in named.items()
            ]
        )
