"""The sweet-spot curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST = 4  # points for a curve


def parabola(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float] | None:
    """(a, b, c) of the least-squares y = a x^2 + b x + c; None for fewer than four points or
    three places."""
    if len(x) < LEAST or len(set(x)) < 3:
        return None
    middle = float(np.mean(x))  # centred: x^2 and x are nearly parallel far from 0
    centred = np.asarray(x, np.float64) - middle
    a, b, c = np.linalg.lstsq(
        np.stack([centred**2, centred, np.ones(len(x))], 1), np.asarray(y), rcond=None
    )[0]
    return float(a), float(b - 2 * a * middle), float(a * middle**2 - b * middle + c)


def sweet_spot(curve: tuple[float, float, float], x: Sequence[float]) -> float | None:
    """Where the parabola is highest, if that is within the points; None if it has no maximum
    there."""
    a, b, _ = curve
    at = -b / (2 * a) if a < 0 else None
    return at if at is not None and min(x) <= at <= max(x) else None
