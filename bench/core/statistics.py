"""Means over seeds, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, TypedDict


@cache
def t_quantile(p: float, dof: int) -> float:
    """The p-quantile (0.5 < p < 1) of Student's t with `dof` >= 1 degrees of freedom,
    by bisection on its closed-form distribution function for whole dof
    (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    low, high = 0.0, 1.0
    while _inner(high, dof) < 2 * p - 1:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _inner(middle, dof) < 2 * p - 1 else (low, middle)
    return (low + high) / 2


def _inner(t: float, dof: int) -> float:
    """P(|T| <= t) for Student's t with whole `dof`."""
    theta = math.atan2(t, math.sqrt(dof))
    cos2 = math.cos(theta) ** 2
    if dof % 2:
        term = total = math.cos(theta) if dof > 1 else 0.0
        for k in range(3, dof - 1, 2):
            term *= cos2 * (k - 1) / k
            total += term
        return 2 / math.pi * (theta + math.sin(theta) * total)
    term = total = 1.0
    for k in range(2, dof - 1, 2):
        term *= cos2 * (k - 1) / k
        total += term
    return math.sin(theta) * total


class Summary(TypedDict):
    """A mean over `n` values. `ci95` is the half-width of its 95 % Student-t interval, None where
    n is 1."""

    mean: float
    ci95: float | None
    n: int


class Difference(TypedDict):
    """A difference of means, and the half-width of its 95 % interval (None where one of them comes
    from a single value)."""

    mean: float
    ci95: float | None


LARGEST = 1e100  # of a number that means and variances are taken of: its square is one too


def is_number(value: Any) -> bool:
    """Whether means and variances can be taken of it. A damaged database may hold anything."""
    return isinstance(value, int | float) and abs(value) < LARGEST


def summarise(values: Sequence[float]) -> Summary:
    """The mean of at least one value, and how sure it is."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return {"mean": mean, "ci95": None, "n": n}
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    return {"mean": mean, "ci95": t_quantile(0.975, n - 1) * spread / math.sqrt(n), "n": n}
