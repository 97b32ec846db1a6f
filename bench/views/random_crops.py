"""The views of a method whose views all follow one recipe: random resized crops, and small ones
for multi-crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contracts.views import Augment, Sample, Source, ViewSpec


@dataclass(frozen=True)
class RandomCrops:
    """A random resized crop of each of the two sources, "view1" and "view2", then "small1",
    "small2", ...

    Multi-crop's small sources become the small views. Without any, the viewer makes `n_small`
    itself, from the two sources in turn, `small_size` pixels, area U(small_scale) of the source. A
    source's own size and scale win, but for the small views made here, whose size and scale are
    what makes them small.
    """

    size: int
    scale: tuple[float, float]
    augment: Augment
    n_small: int = 0
    small_size: int | None = None
    small_scale: tuple[float, float] | None = None

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        views = [s for s in sources if s.role == "view"][:2]
        crops = [
            self._view(f"view{i + 1}", s, s.size or self.size, s.scale or self.scale)
            for i, s in enumerate(views)
        ]
        size, scale = self.small_size or self.size, self.small_scale or self.scale
        given_small = [s for s in sources if s.role == "small"]
        if given_small:
            small = [(s, s.size or size, s.scale or scale) for s in given_small]
        else:
            small = [(views[i % 2], size, scale) for i in range(self.n_small)]
        crops += [self._view(f"small{i + 1}", *one) for i, one in enumerate(small)]
        return Sample(crops)

    def _view(self, role: str, source: Source, size: int, scale: tuple[float, float]) -> ViewSpec:
        return ViewSpec(
            role, source.image, source.box, size, self.augment, scale, kind=source.kind
        )
