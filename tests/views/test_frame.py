"""Blur in pixels of the method's image size, whatever the size of a view."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.contracts.views import Augment, Sample, Source, ViewSpec
from bench.stages.pretrain.setup import build_viewer
from bench.views.frame import FramedBlur
from bench.views.sample import BYOL_1, FIELDS, photometric

SIGMA = FIELDS.index("sigma")


@dataclass(frozen=True)
class Two:
    """A global view and a patch, both always blurred."""

    size: int
    patch: int

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        return Sample(
            [
                ViewSpec("view1", 0, None, self.size, BYOL_1),
                ViewSpec("p", 0, None, self.patch, BYOL_1),
            ],
            {"kept": rng.integers(100, size=2)},
        )


def rows(viewer: Any, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([photometric(v, rng) for v in viewer([Source(0)], rng).views])


@pytest.mark.parametrize(
    ("size", "patch", "most"), [(224, 96, 2.0), (224, 112, 2.0), (64, 32, 2.0 * 64 / 224)]
)
def test_sigma_is_that_of_the_methods_size_in_every_view(
    size: int, patch: int, most: float
) -> None:
    """The authors' U(.1, 2) at 224, on a patch as on the whole view."""
    method: Any = SimpleNamespace(
        params=SimpleNamespace(image_size=size, colour_jitter=1.0),
        viewer=lambda images, inputs: Two(size, patch),
    )
    viewer: Any = build_viewer(method, None, {})  # type: ignore[arg-type]
    drawn = np.array([rows(viewer, seed)[:, SIGMA] for seed in range(1500)])
    for view in (0, 1):
        np.testing.assert_allclose(drawn[:, view].min() * 20, most, rtol=0.15)
        np.testing.assert_allclose(drawn[:, view].max(), most, rtol=0.01)


def test_views_of_the_methods_own_size_and_all_other_draws_stay() -> None:
    for seed in range(30):
        plain, framed = rows(Two(64, 32), seed), rows(FramedBlur(Two(64, 32), 64), seed)
        np.testing.assert_array_equal(plain[0], framed[0])
        others = [i for i in range(len(FIELDS)) if i != SIGMA]
        np.testing.assert_array_equal(plain[:, others], framed[:, others])
        assert framed[1, SIGMA] == pytest.approx(2 * plain[1, SIGMA], rel=1e-6)


def test_a_view_without_blur_has_none_and_workers_get_it() -> None:
    spec = ViewSpec("view1", 0, None, 96, replace(Augment(), p_blur=0.0), blur_size=224)
    assert photometric(spec, np.random.default_rng(0))[SIGMA] == 0
    viewer = pickle.loads(pickle.dumps(FramedBlur(Two(64, 32), 64)))
    np.testing.assert_array_equal(rows(viewer, 1), rows(FramedBlur(Two(64, 32), 64), 1))
