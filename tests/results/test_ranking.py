"""Rank correlation and differences of means against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.core.statistics import summarise
from bench.results.views.ranking import difference, ranks, spearman


@pytest.mark.parametrize("seed", range(20))
def test_spearman_equals_scipys_also_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, (2, int(rng.integers(3, 15)))).astype(float)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert spearman(a, b) is None
    else:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert ranks(a) == list(stats.rankdata(a))


def test_spearman_needs_three_pairs_and_two_values() -> None:
    assert spearman([1, 2], [2, 1]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2, 3], [9, 5, 1]) == -1


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_of_a_difference_is_welchs_with_whole_degrees_of_freedom(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(0, rng.uniform(0.1, 3), int(rng.integers(2, 8))) for _ in range(2))
    found = difference(summarise(a.tolist()), summarise(b.tolist()))
    theirs = stats.ttest_ind(a, b, equal_var=False)
    error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    whole = stats.t.ppf(0.975, math.floor(theirs.df + 1e-9)) * error
    assert found["mean"] == pytest.approx(a.mean() - b.mean())
    assert found["ci95"] == pytest.approx(whole, rel=1e-6)
    interval = theirs.confidence_interval(0.95)
    # never more certain than Welch
    assert found["ci95"] >= (interval.high - interval.low) / 2 - 1e-9


def test_one_seed_gives_a_difference_without_interval_and_equal_seeds_none() -> None:
    assert difference(summarise([3.0]), summarise([1.0, 2.0])) == {"mean": 1.5, "ci95": None}
    assert difference(summarise([3.0, 3.0]), summarise([1.0, 1.0])) == {"mean": 2.0, "ci95": 0.0}
