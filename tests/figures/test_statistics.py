"""The parabola and label places against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from bench.figures._look import spread_apart
from bench.figures._statistics import fit_parabola, measured_ranges, sweet_spot
from bench.figures.objectness import series
from bench.results.papers.reported import load_values
from bench.results.views.objectness import reported_points


@pytest.mark.parametrize("seed", range(4))
def test_the_parabola_and_its_interval_are_numpys(seed: int) -> None:
    """NumPy's covariance is scaled by the residuals; SciPy's t gives the interval."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(20, 100, 7)
    y = 60 - 0.01 * (x - 55) ** 2 + rng.normal(size=7)
    found = fit_parabola(x, y)
    assert found is not None
    theirs, covariance = np.polyfit(x, y, 2, cov=True)
    assert found.coefficients == pytest.approx(theirs, rel=1e-8)
    t = stats.t.ppf(0.975, 4)
    assert found.a_half == pytest.approx(t * np.sqrt(covariance[0, 0]), rel=1e-6)
    a, b, _ = theirs
    slope = np.array([b / (2 * a * a), -1 / (2 * a)])
    half = t * np.sqrt(slope @ covariance[:2, :2] @ slope)
    assert found.turn_half == pytest.approx(half, rel=1e-5)


def test_the_interval_of_the_bend_holds_a_true_line_in_nineteen_of_twenty() -> None:
    rng, x = np.random.default_rng(0), np.array([20.0, 35, 40, 50, 60, 100])
    bends = [
        curve.bends
        for _ in range(1000)
        if (curve := fit_parabola(x, 0.1 * x + rng.normal(size=6))) is not None
    ]
    assert np.mean(bends) == pytest.approx(0.05, abs=0.02)


def test_the_sweet_spot_is_the_vertex_where_it_is_a_maximum_among_the_points() -> None:
    x, noise = [20.0, 40.0, 60.0, 80.0, 90.0], [0.1, -0.1, 0.05, -0.1, 0.05]
    hill = fit_parabola(x, [70 - 0.02 * (v - 52) ** 2 + e for v, e in zip(x, noise, strict=True)])
    assert hill is not None
    assert sweet_spot(hill, x) == pytest.approx(52, abs=0.5)
    assert sweet_spot(hill, [60.0, 80.0]) is None  # beyond the points
    valley = fit_parabola(x, [70 + 0.02 * (v - 52) ** 2 for v in x])
    assert valley is not None
    assert sweet_spot(valley, x) is None
    assert fit_parabola(x[:3], [1.0, 2.0, 1.0]) is None  # three points fit any parabola
    assert fit_parabola([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 3.0, 4.0]) is None


def test_nothing_is_best_in_a_gap_that_nobody_measured() -> None:
    """Six points that bend for sure; the top is between 50 and 100, where there is none."""
    x = [20.0, 30, 36, 40, 50, 100]
    curve = fit_parabola(x, [70 - 0.01 * (v - 70) ** 2 + 0.01 * (v % 3) for v in x])
    assert curve is not None
    assert curve.bends
    assert sweet_spot(curve, x) is None
    assert sweet_spot(curve, [*x, 60.0, 80.0]) == pytest.approx(70, abs=1)
    assert measured_ranges(x) == [(20.0, 50), (100, 100)]


def test_table_2_of_paper_000_has_no_sweet_spot() -> None:
    """Between 52.6 and 100 % the paper has no crop; its parabola's top is there."""
    one = series("reported", "AP50", reported_points(load_values())[2])
    (group,) = one["groups"]
    assert group["n"] == 6
    assert group["peak"] is None
    bend, half = group["bend"]
    theirs, covariance = np.polyfit(
        [p["x"] for p in group["points"]], [p["y"] for p in group["points"]], 2, cov=True
    )
    assert bend == pytest.approx(theirs[0])
    assert half == pytest.approx(stats.t.ppf(0.975, 3) * np.sqrt(covariance[0, 0]))
    assert (group["curve"] is None) == (abs(bend) <= half)
    assert 60 < -theirs[1] / (2 * theirs[0]) < 90


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_moved_apart_as_little_as_can_be(seed: int) -> None:
    places = np.sort(np.random.default_rng(seed).uniform(0, 1, 12))
    found, gap = np.array(spread_apart(list(places), 0.05)), 0.05
    assert (np.diff(found) >= gap - 1e-9).all()
    shift = gap * np.arange(12)
    best = IsotonicRegression().fit_transform(np.arange(12), places - shift) + shift
    assert found == pytest.approx(best)
