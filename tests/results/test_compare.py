"""When two configurations count as different, and how sure resampled images make a difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.contracts.task import Scored
from bench.core.stage import Stage
from bench.measure.resampling import Finished, differences
from bench.results.views.differences import paired_difference, verdict
from tasks._shared.counted import share


@pytest.mark.parametrize("half", [1e-6, 0.5, 30.0])
@pytest.mark.parametrize(
    ("share_of_half", "words"),
    [
        (0.0, "not distinguishable"),
        (0.02, "not distinguishable"),
        (0.6, "not distinguishable"),
        (0.999, "not distinguishable"),
        (1.0, "not distinguishable"),  # the interval is closed: it holds 0
        (1.001, ""),
        (3.0, ""),
    ],
)
def test_a_difference_counts_where_its_interval_leaves_out_zero(
    half: float, share_of_half: float, words: str
) -> None:
    mean = share_of_half * half
    assert verdict({"mean": mean, "ci95": half}) == (words or "better")
    assert verdict({"mean": -mean, "ci95": half}) == (words or "worse")


def test_seeds_that_agree_exactly_need_no_interval() -> None:
    assert verdict({"mean": 0.0, "ci95": 0.0}) == "not distinguishable"
    assert verdict({"mean": 1e-9, "ci95": 0.0}) == "better"
    assert verdict({"mean": -1e-9, "ci95": 0.0}) == "worse"


@pytest.mark.parametrize("seed", range(8))
def test_the_verdict_is_that_of_a_paired_t_test_at_five_percent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.normal(50, 1, 4)
    other = one + rng.normal(0.3 * seed - 1, 0.8, 4)
    found = verdict(paired_difference(dict(enumerate(one)), dict(enumerate(other))))
    p, gain = stats.ttest_rel(other, one).pvalue, float((other - one).mean())
    assert found == ("not distinguishable" if p >= 0.05 else "better" if gain > 0 else "worse")


def test_the_resampled_interval_leaves_out_one_in_twenty() -> None:
    """For two results that hit different images, the gain of a draw is a mean of 400 differences;
    its 2.5 and 97.5 percentiles lie 1.96 standard errors from the mean, not 1.64 (90 %) or 2.58
    (99 %)."""
    rng, n = np.random.default_rng(5), 400
    hits = [rng.random(n) < p for p in (0.5, 0.5)]
    members = [
        Finished(
            Stage("evaluate", "knn", 1, {"n": i}, ""),
            "top1",
            Scored(np.arange(n), {"top1": share(right)}),
        )
        for i, right in enumerate(hits)
    ]
    (row,) = differences(members, ["top1"], 6000, 0)
    gain = 100.0 * (hits[1].astype(float) - hits[0])
    error = gain.std() / math.sqrt(n)
    assert row["low"] == pytest.approx(gain.mean() - 1.96 * error, abs=0.12 * error)
    assert row["high"] == pytest.approx(gain.mean() + 1.96 * error, abs=0.12 * error)
