"""Many means at once: how far apart two of them must be so that, of boards whose rows are all
equal in truth, at most one in twenty calls any row worse than another.

The mark says "worse than the best row", where the best is picked by the data, so what must be
controlled is the largest of all pairwise differences: Tukey's studentised range. (Hsu's multiple
comparisons with the best control a weaker claim, "not the single best", which is true of all equal
rows.) The range assumes that rows spread equally over seeds, so each row has a variance of its
own, drawn towards the common one as far as the rows look alike (Smyth 2004): equal spreads give
Tukey's test, unequal ones almost that of Games and Howell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05  # family-wise: of all comparisons in one column
FLOOR = 1e-5  # of the middle variance: the least that its logarithm is taken of
Floats = NDArray[np.float64]


@lru_cache(maxsize=4096)
def range_quantile(groups: int, dof: int, p: float = 1 - LEVEL) -> float:
    """The p-quantile of the studentised range of `groups` >= 2 means with `dof` degrees of
    freedom.

    P(Q <= q) = int f(s) R(q s) ds, f the density of sqrt(chi2(dof) / dof) and R the distribution
    function of the range of `groups` standard normal values. 1e-4 from SciPy's, which takes half a
    second for each.
    """
    from scipy.special import gammaincinv, gammaln

    half = dof / 2
    ends = np.sqrt(gammaincinv(half, np.array([1e-10, 1 - 1e-10])) / half)
    nodes, weights = np.polynomial.legendre.leggauss(160)
    s = ends[0] + (ends[1] - ends[0]) * (nodes + 1) / 2
    log_density = (
        math.log(2) + half * math.log(half) - gammaln(half) + (dof - 1) * np.log(s) - half * s * s
    )
    shares = weights * (ends[1] - ends[0]) / 2 * np.exp(log_density)
    widths, chances = _range_distribution(groups)
    low, high = 0.0, 1.0
    while float(shares @ np.interp(high * s, widths, chances)) < p:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        under = float(shares @ np.interp(middle * s, widths, chances)) < p
        low, high = (middle, high) if under else (low, middle)
    return (low + high) / 2


@cache
def _range_distribution(groups: int) -> tuple[Floats, Floats]:
    """(w, P(range of `groups` standard normal values <= w)):
    R(w) = k int phi(z) (Phi(z) - Phi(z - w))^(k - 1) dz."""
    from scipy.special import ndtr

    z = np.linspace(-8.5, 8.5, 341)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    widths = np.linspace(0, 17, 681)
    inside = ndtr(z) - ndtr(z - widths[:, None])
    return widths, np.minimum(1.0, groups * (inside ** (groups - 1)) @ density)


def tell_apart(rows: Sequence[Mapping[int, float]], best: int) -> list[bool]:
    """Whether each row is below row `best`, at the family-wise level LEVEL over all pairs of rows.

    rows: values by seed, two or more each. Seeds that all rows share are taken out as blocks.
    """
    means = np.array([math.fsum(r.values()) / len(r) for r in rows])
    counts = np.array([len(r) for r in rows], np.float64)
    variances, dof = _estimate_variances(rows, means)
    variances, dof = moderate_variances(variances, dof)
    errors = np.sqrt(variances / counts + variances[best] / counts[best])
    pairs = np.floor(np.minimum(dof, dof[best]) + 1e-9).astype(int)
    needed = [range_quantile(len(rows), max(1, int(d))) / math.sqrt(2) for d in pairs]
    apart = means[best] - means > np.array(needed) * errors
    return [bool(a) and i != best for i, a in enumerate(apart)]


def _estimate_variances(
    rows: Sequence[Mapping[int, float]], means: Floats
) -> tuple[Floats, Floats]:
    """Each row's variance over seeds and its degrees of freedom. Where all rows have the same
    seeds, what a seed adds to all of them is taken out: (n - 1)(k - 1) / k degrees of freedom."""
    seeds = list(rows[0])
    if all(r.keys() == rows[0].keys() for r in rows):
        rest = np.array([[r[s] for s in seeds] for r in rows]) - means[:, None]
        rest = rest - rest.mean(0)
        dof = np.full(len(rows), (len(seeds) - 1) * (len(rows) - 1) / len(rows))
        return (rest**2).sum(1) / dof, dof
    squares = [
        math.fsum((v - m) ** 2 for v in r.values()) for r, m in zip(rows, means, strict=True)
    ]
    dof = np.array([len(r) - 1.0 for r in rows])
    return np.array(squares) / dof, dof


def moderate_variances(variances: Floats, dof: Floats) -> tuple[Floats, Floats]:
    """(posterior variances, their degrees of freedom): (d0 s0^2 + d s^2) / (d0 + d) and d0 + d, at
    most the sum of d. d0 and s0^2 are those of the scaled inverse chi-square distribution that
    log s^2 fits by its first two moments (Smyth 2004, section 6.2); d0 is infinite where the
    variances differ no more than chance explains."""
    from scipy.special import digamma, polygamma

    total = float(dof.sum())
    positive = variances[variances > 0]
    if len(positive) == 0:
        return variances, np.full(len(dof), total)
    logs = np.log(np.maximum(variances, FLOOR * np.median(positive)))
    centred = logs - digamma(dof / 2) + np.log(dof / 2)
    middle = float(centred.mean())
    excess = float(centred.var(ddof=1)) - float(polygamma(1, dof / 2).mean())
    if excess <= 0:
        pooled = float(dof @ variances) / total
        return np.full(len(dof), pooled), np.full(len(dof), total)
    half = _invert_trigamma(excess)
    prior, common = 2 * half, math.exp(middle + float(digamma(half)) - math.log(half))
    return (prior * common + dof * variances) / (prior + dof), np.minimum(prior + dof, total)


def _invert_trigamma(value: float) -> float:
    """x with trigamma(x) = value, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    x: Any = 0.5 + 1 / value
    for _ in range(50):
        there = polygamma(1, x)
        x = x + there * (1 - there / value) / polygamma(2, x)
    return float(x)
