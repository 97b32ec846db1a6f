"""Weaker or stronger colours for any method's views, without the method knowing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.contracts.views import Sample, Source, Viewer, ViewSpec


@dataclass(frozen=True)
class ScaledJitter:
    """`viewer`'s samples with all four strengths of every view's colour jitter times `factor`;
    nothing else changes, neither probabilities nor what is drawn:
    the shifts of a view are those it would have had,
    times `factor` (hue's as well as brightness's, contrast's and saturation's distance from 1)."""

    viewer: Viewer
    factor: float

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        sample = self.viewer(sources, rng)
        return replace(sample, views=[self._scaled(spec) for spec in sample.views])

    def _scaled(self, spec: ViewSpec) -> ViewSpec:
        brightness, contrast, saturation, hue = (s * self.factor for s in spec.augment.jitter)
        return replace(
            spec, augment=replace(spec.augment, jitter=(brightness, contrast, saturation, hue))
        )
