"""How two lists of scores agree, and how far apart two means are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.core.statistics import t_quantile


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the smallest; equal values share the mean of their places."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    found = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for i in order[start:end]:
            found[i] = (start + 1 + end) / 2
        start = end
    return found


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


def difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float | None]:
    """{mean, ci95} of a - b for two `summary`s. ci95 is the half-width of Welch's 95 % interval,
    its degrees of freedom rounded down; None where one of them has a single seed."""
    mean = a["mean"] - b["mean"]
    if a["ci95"] is None or b["ci95"] is None:
        return {"mean": mean, "ci95": None}
    terms = [((s["ci95"] / t_quantile(0.975, s["n"] - 1)) ** 2, s["n"] - 1) for s in (a, b)]
    variance = terms[0][0] + terms[1][0]
    if variance == 0:
        return {"mean": mean, "ci95": 0.0}
    dof = variance**2 / sum(v**2 / n for v, n in terms)
    return {
        "mean": mean,
        "ci95": t_quantile(0.975, max(1, math.floor(dof + 1e-9))) * math.sqrt(variance),
    }
