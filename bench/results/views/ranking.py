"""How two lists of scores agree, and how far apart two means are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.core.statistics import Difference, Summary, t_quantile


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the smallest; equal values share the mean of their places."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    places = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for i in order[start:end]:
            places[i] = (start + 1 + end) / 2
        start = end
    return places


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation: Pearson's, of the ranks. None for fewer than 3 pairs or where
    one list is constant."""
    if len(a) < 3:
        return None
    x, y = ranks(a), ranks(b)
    middle = (len(x) + 1) / 2
    xy, xx, yy = (
        math.fsum((p - middle) * (q - middle) for p, q in zip(u, v, strict=True))
        for u, v in ((x, y), (x, x), (y, y))
    )
    return xy / math.sqrt(xx * yy) if xx > 0 and yy > 0 else None


def difference(a: Summary, b: Summary) -> Difference:
    """a - b, with Welch's 95 % interval: |half-width| = t(.975, nu) sqrt(s1^2/n1 + s2^2/n2), nu by
    Welch and Satterthwaite, rounded down."""
    mean = a["mean"] - b["mean"]
    if a["ci95"] is None or b["ci95"] is None:
        return {"mean": mean, "ci95": None}
    variance = _squared_error(a) + _squared_error(b)
    if variance == 0:
        return {"mean": mean, "ci95": 0.0}
    return {"mean": mean, "ci95": t_quantile(0.975, welch_dof(a, b)) * math.sqrt(variance)}


def welch_dof(a: Summary, b: Summary) -> int:
    """The degrees of freedom of `difference`; 1 where nothing varies. Both have two values or
    more."""
    terms = [(_squared_error(s), s["n"] - 1) for s in (a, b)]
    squares = sum(v**2 / n for v, n in terms)
    if squares == 0:
        return 1
    return max(1, math.floor(sum(v for v, _ in terms) ** 2 / squares + 1e-9))


def _squared_error(summary: Summary) -> float:
    """The squared standard error of a mean of two values or more, s^2/n."""
    return ((summary["ci95"] or 0.0) / t_quantile(0.975, summary["n"] - 1)) ** 2
