"""The parabola and label places against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from bench.figures._look import spread_apart
from bench.figures._statistics import parabola, sweet_spot


@pytest.mark.parametrize("seed", range(4))
def test_the_parabola_is_numpys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(20, 100, 7)
    y = 60 - 0.01 * (x - 55) ** 2 + rng.normal(size=7)
    assert parabola(x, y) == pytest.approx(np.polyfit(x, y, 2), rel=1e-8)


def test_the_sweet_spot_is_the_vertex_where_it_is_a_maximum_among_the_points() -> None:
    x = [20.0, 40.0, 60.0, 80.0]
    hill = parabola(x, [70 - 0.02 * (v - 52) ** 2 for v in x])
    assert hill is not None
    assert sweet_spot(hill, x) == pytest.approx(52)
    assert sweet_spot(hill, [60.0, 80.0]) is None  # beyond the points
    valley = parabola(x, [70 + 0.02 * (v - 52) ** 2 for v in x])
    assert valley is not None
    assert sweet_spot(valley, x) is None
    assert parabola(x[:3], [1.0, 2.0, 1.0]) is None  # three points fit any parabola
    assert parabola([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 3.0, 4.0]) is None


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_moved_apart_as_little_as_can_be(seed: int) -> None:
    places = np.sort(np.random.default_rng(seed).uniform(0, 1, 12))
    found, gap = np.array(spread_apart(list(places), 0.05)), 0.05
    assert (np.diff(found) >= gap - 1e-9).all()
    shift = gap * np.arange(12)
    best = IsotonicRegression().fit_transform(np.arange(12), places - shift) + shift
    assert found == pytest.approx(best)
