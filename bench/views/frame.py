"""The size of view that a method's blur is meant for, without the method knowing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.contracts.views import Sample, Source, Viewer


@dataclass(frozen=True)
class FramedBlur:
    """`viewer`'s samples with blur in pixels of a view of `size`, the method's image size, for
    views of every size (`ViewSpec.blur_size`); nothing else changes.

    At 224 pixels sigma is U(.1, 2) in pixels of the view itself, whatever its size, as the papers'
    code blurs ORL's patches of 96 pixels, SwAV's small crops and SoCo's third view.
    """

    viewer: Viewer
    size: int

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        sample = self.viewer(sources, rng)
        return replace(sample, views=[replace(v, blur_size=self.size) for v in sample.views])
