"""How two lists of scores agree, and how far apart two means are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import TypedDict

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


class RankCorrelation(TypedDict):
    """Spearman's rank correlation of `n` pairs. `low` and `high` are the ends of its 95 %
    interval, None for fewer than 4 pairs. `p`: the share of orders of one list in which it is as
    far from 0 or further."""

    rho: float
    n: int
    low: float | None
    high: float | None
    p: float


EXACT = 7  # pairs up to which all orders are tried: 5,040
Z = 1.959964  # of the normal distribution, 97.5 %


def correlate_ranks(a: Sequence[float], b: Sequence[float]) -> RankCorrelation | None:
    """`spearman`, and how sure it is; None where there is none.

    The interval is Fisher's with the variance (1 + rho^2 / 2) / (n - 3) of Bonett and Wright
    (2000, Psychometrika 65), where a rho of 1 counts as that of two neighbours that changed
    places: a perfect order of few rows proves no perfect order of all. p counts all orders up to
    EXACT pairs, and is Student's t with n - 2 degrees of freedom beyond.
    """
    rho, n = spearman(a, b), len(a)
    if rho is None:
        return None
    ends = None if n < 4 else _fisher_interval(rho, n)
    return {
        "rho": rho,
        "n": n,
        "low": ends and ends[0],
        "high": ends and ends[1],
        "p": _count_orders(a, b) if n <= EXACT else _approximate_p(rho, n),
    }


def _fisher_interval(rho: float, n: int) -> tuple[float, float]:
    most = 1 - 12 / (n * (n * n - 1))
    z = math.atanh(min(most, max(-most, rho)))
    half = Z * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return min(rho, math.tanh(z - half)), max(rho, math.tanh(z + half))


def _count_orders(a: Sequence[float], b: Sequence[float]) -> float:
    """The share of orders of `b` whose rank correlation with `a` is at least as far from 0."""
    x, y = ranks(a), ranks(b)
    middle = (len(x) + 1) / 2
    x, y = [v - middle for v in x], [v - middle for v in y]
    bound = abs(sum(p * q for p, q in zip(x, y, strict=True))) - 1e-9
    orders = [abs(sum(p * q for p, q in zip(x, o, strict=True))) for o in permutations(y)]
    return sum(value >= bound for value in orders) / len(orders)


def _approximate_p(rho: float, n: int) -> float:
    if abs(rho) >= 1:
        return 0.0
    from scipy.special import stdtr

    t = abs(rho) * math.sqrt((n - 2) / (1 - rho * rho))
    return float(2 * stdtr(n - 2, -t))


def format_correlation(correlation: RankCorrelation) -> str:
    """`+0.80 (n = 4, 95 % interval -0.82 to +1.00, p = 0.33)`."""
    low, high, p = correlation["low"], correlation["high"], correlation["p"]
    ends = "" if low is None or high is None else f", 95 % interval {low:+.2f} to {high:+.2f}"
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return f"{correlation['rho']:+.2f} (n = {correlation['n']}{ends}, {chance})"


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
