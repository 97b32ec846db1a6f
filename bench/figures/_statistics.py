"""The sweet-spot curve, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.statistics import t_quantile

LEAST = 4  # points for a curve
GAP = 2.0  # times the mean distance of neighbours: wider, and nobody has measured there


@dataclass(frozen=True)
class Parabola:
    """The least-squares y = a x^2 + b x + c, and the half-widths of 95 % intervals (Student's t,
    n - 3 degrees of freedom) of `a` and, by the delta method, of where its derivative is 0."""

    a: float
    b: float
    c: float
    a_half: float
    turn_half: float

    @property
    def bends(self) -> bool:
        """Whether the interval of `a` leaves out 0; else a line fits as well."""
        return abs(self.a) > self.a_half

    @property
    def coefficients(self) -> tuple[float, float, float]:
        return self.a, self.b, self.c


def fit_parabola(x: Sequence[float], y: Sequence[float]) -> Parabola | None:
    """None for fewer than four points or three places."""
    if len(x) < LEAST or len(set(x)) < 3:
        return None
    middle = float(np.mean(x))  # centred: x^2 and x are nearly parallel far from 0
    centred = np.asarray(x, np.float64) - middle
    design = np.stack([centred**2, centred, np.ones(len(x))], 1)
    coefficients = np.linalg.lstsq(design, np.asarray(y, np.float64), rcond=None)[0]
    rest = np.asarray(y, np.float64) - design @ coefficients
    dof = len(x) - 3
    covariance = float(rest @ rest) / dof * np.linalg.inv(design.T @ design)
    a, b, c = map(float, coefficients)
    t = t_quantile(0.975, dof)
    slope = np.array([b / (2 * a * a), -1 / (2 * a)]) if a else np.full(2, np.inf)
    spread = float(slope @ covariance[:2, :2] @ slope) if a else math.inf
    return Parabola(
        a,
        b - 2 * a * middle,
        a * middle**2 - b * middle + c,
        t * math.sqrt(covariance[0, 0]),
        t * math.sqrt(max(0.0, spread)),
    )


def sweet_spot(curve: Parabola, x: Sequence[float]) -> float | None:
    """Where the parabola is highest, if it bends downwards for sure and points were measured
    there: among the points, and in no gap wider than GAP times the mean distance of neighbours."""
    if not curve.bends or curve.a > 0:
        return None
    at = -curve.b / (2 * curve.a)
    return at if any(low <= at <= high for low, high in measured_ranges(x)) else None


def measured_ranges(x: Sequence[float]) -> list[tuple[float, float]]:
    """Where points were measured: from the first to the last of every run of neighbours that are
    at most GAP times the mean distance apart."""
    places = sorted(set(x))
    mean = (places[-1] - places[0]) / max(1, len(places) - 1)
    runs = [[places[0], places[0]]]
    for place in places[1:]:
        if place - runs[-1][1] > GAP * mean:
            runs.append([place, place])
        runs[-1][1] = place
    return [(low, high) for low, high in runs]
