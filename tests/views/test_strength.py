"""The factor on colour jitter: it scales the shifts that are drawn and changes nothing else."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.contracts import registry
from bench.contracts.views import Augment, Sample, Source, Viewer, ViewSpec
from bench.views.sample import BYOL_1, FIELDS, SIMCLR, choose_crop, photometric
from bench.views.strength import ScaledJitter

COLOURS = ("brightness", "contrast", "saturation", "hue")
NEUTRAL = np.array([1.0, 1.0, 1.0, 0.0])  # what leaves an image as it is


class Fixed:
    """One view of each recipe."""

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        specs = [
            ViewSpec(f"view{i + 1}", sources[0].image, None, 32, recipe, (0.3, 1.0))
            for i, recipe in enumerate((SIMCLR, replace(BYOL_1, p_solarize=0.5), Augment()))
        ]
        return Sample(specs, {"kept": rng.integers(100, size=2)})


def drawn(viewer: Viewer, seed: int) -> tuple[np.ndarray, list[Any], np.ndarray]:
    """What the loader draws of a sample: parameters (views, len(FIELDS)),
    crops, the method's array."""
    rng = np.random.default_rng(seed)
    sample = viewer([Source(0), Source(0)], rng)
    crops, params = [], []
    for spec in sample.views:
        crops.append(choose_crop(spec, 100, 80, rng))
        params.append(photometric(spec, rng))
    return np.array(params), crops, sample.extra["kept"]


@pytest.mark.parametrize("factor", [0.0, 0.25, 0.5, 1.25])
def test_shifts_are_scaled_and_all_else_is_drawn_alike(factor: float) -> None:
    at = [FIELDS.index(name) for name in COLOURS]
    others = [i for i in range(len(FIELDS)) if i not in at]
    for seed in range(40):
        (plain, crops, kept), (scaled, same_crops, same_kept) = (
            drawn(viewer, seed) for viewer in (Fixed(), ScaledJitter(Fixed(), factor))
        )
        expected = NEUTRAL + factor * (plain[:, at] - NEUTRAL)
        np.testing.assert_allclose(scaled[:, at], expected, atol=1e-6)
        np.testing.assert_array_equal(scaled[:, others], plain[:, others])
        assert crops == same_crops
        np.testing.assert_array_equal(kept, same_kept)


def test_shifts_are_as_wide_as_the_recipe_times_the_factor() -> None:
    shifts = np.array([drawn(ScaledJitter(Fixed(), 0.25), seed)[0][0] for seed in range(400)])
    for name, strength, centre in zip(COLOURS, SIMCLR.jitter, NEUTRAL, strict=True):
        found = np.abs(shifts[:, FIELDS.index(name)] - centre).max()
        assert 0.23 * strength < found <= 0.25 * strength + 1e-6


def test_it_reaches_loader_workers() -> None:
    viewer = pickle.loads(pickle.dumps(ScaledJitter(Fixed(), 0.5)))
    np.testing.assert_array_equal(drawn(viewer, 3)[0], drawn(ScaledJitter(Fixed(), 0.5), 3)[0])


@pytest.mark.parametrize(
    "name", [m for m in registry.names("method") if registry.load("method", m).trains]
)  # type: ignore[attr-defined]
def test_the_default_is_in_no_key_and_another_value_is(name: str) -> None:
    method = registry.load("method", name)
    published: Any = method.resolve("paper")
    assert published.params.colour_jitter == 1
    assert "colour_jitter" not in published.identity()["params"]
    weaker = method.resolve("paper", {"colour_jitter": 0.25})
    assert weaker.identity()["params"] == {**published.identity()["params"], "colour_jitter": 0.25}
