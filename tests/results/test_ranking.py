"""Rank correlation and differences of means against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.core.statistics import summarise
from bench.results.views.ranking import correlate_ranks, difference, ranks, spearman


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


@pytest.mark.parametrize("n", [3, 4, 5])
def test_the_p_of_few_pairs_is_scipys_permutation_test(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(3):
        a, b = rng.integers(0, 9, (2, n)).astype(float)
        found = correlate_ranks(a, b)
        if found is not None:
            test = stats.permutation_test(
                (a,),
                lambda x, b=b: stats.spearmanr(x, b).statistic,
                permutation_type="pairings",
                n_resamples=np.inf,
            )
            theirs = (np.abs(test.null_distribution) >= abs(found["rho"]) - 1e-9).mean()
            assert found["p"] == pytest.approx(theirs)


def test_the_p_of_many_pairs_is_scipys() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    found = correlate_ranks(a, a + b)
    assert found
    assert found["p"] == pytest.approx(stats.spearmanr(a, a + b).pvalue, rel=1e-9)


@pytest.mark.parametrize(("n", "truth"), [(6, 0.0), (12, 0.5), (40, 0.8)])
def test_the_interval_of_a_rank_correlation_holds_the_true_one(n: int, truth: float) -> None:
    """Of normal pairs, whose true rank correlation is 6 / pi asin(rho / 2)."""
    rng = np.random.default_rng(n)
    true_rank = 6 / math.pi * math.asin(truth / 2)
    covered = []
    for _ in range(400):
        a, e = rng.normal(size=(2, n))
        found = correlate_ranks(a, truth * a + math.sqrt(1 - truth**2) * e)
        assert found is not None
        assert found["low"] is not None
        assert found["high"] is not None
        assert -1 <= found["low"] <= found["rho"] <= found["high"] <= 1
        covered.append(found["low"] <= true_rank <= found["high"])
    assert 0.92 <= np.mean(covered) <= 0.985


def test_a_perfect_order_of_few_rows_is_not_certain() -> None:
    three, four = (correlate_ranks(range(n), range(n)) for n in (3, 4))
    assert three
    assert (three["low"], three["n"], three["p"]) == (None, 3, pytest.approx(2 / 6))
    assert four
    assert four["high"] == 1.0
    assert four["low"] is not None
    assert four["low"] < 0


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
