"""Which rows of a column are told from the best one: against SciPy, and on simulated boards."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.results.views.marks import Mark, mark_column
from bench.results.views.multiple import moderate_variances, range_quantile, tell_apart

BOARDS = 300  # of each size


def rows(values: np.ndarray) -> list[dict[int, float]]:
    """(rows, seeds) as values by seed."""
    return [dict(enumerate(map(float, each))) for each in values]


def simulate(size: int, seeds: int, spread: np.ndarray | float = 1.0, **how: float) -> list[bool]:
    """Of BOARDS boards whose rows are all equal in truth, which have a row marked as worse. A seed
    adds the same to all rows, as equal data order and initial weights do."""
    rng = np.random.default_rng([size, seeds])
    shape = (BOARDS, size, seeds)
    shared = how.get("shared", 1.0) * rng.normal(size=(BOARDS, 1, seeds))
    values = 50 + shared + rng.normal(size=shape) * np.reshape(spread, (-1, 1))
    return ["worse" in mark_column(rows(board)) for board in values]


@pytest.mark.parametrize("groups", [2, 5, 50])
@pytest.mark.parametrize("dof", [1, 3, 20, 400])
def test_the_quantile_of_the_studentised_range_is_scipys(groups: int, dof: int) -> None:
    theirs = stats.studentized_range.ppf(0.95, groups, dof)
    assert range_quantile(groups, dof) == pytest.approx(theirs, rel=1e-4)


def test_of_two_rows_the_range_is_students_t() -> None:
    for dof in (1, 2, 7):
        expected = np.sqrt(2) * stats.t.ppf(0.975, dof)
        assert range_quantile(2, dof) == pytest.approx(expected, rel=1e-4)


def test_equal_variances_are_pooled_and_unequal_ones_are_not() -> None:
    dof = np.full(6, 9.0)
    pooled, freedom = moderate_variances(np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.0]), dof)
    assert pooled == pytest.approx([1.0] * 6)
    assert freedom == pytest.approx([54.0] * 6)
    own, freedom = moderate_variances(np.array([0.01, 1.0, 0.1, 100.0, 3.0, 30.0]), dof)
    assert freedom[0] < 12
    assert own[0] < 0.1
    assert own[3] > 60


def test_moderated_variances_follow_their_prior() -> None:
    """Variances drawn from a scaled inverse chi-square distribution with 4 degrees of freedom:
    those degrees are found, and the moderated variances are nearer the true ones."""
    rng = np.random.default_rng(0)
    truth = 2.0 * 4 / rng.chisquare(4, 4000)
    sample = truth * rng.chisquare(2, 4000) / 2
    moderated, freedom = moderate_variances(sample, np.full(4000, 2.0))
    assert freedom[0] - 2 == pytest.approx(4, rel=0.15)
    assert np.abs(np.log(moderated / truth)).mean() < 0.7 * np.abs(np.log(sample / truth)).mean()


@pytest.mark.parametrize("seed", range(10))
def test_two_rows_are_told_apart_by_the_paired_t_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(50, 1, 4), rng.normal(52, 1, 4)
    mark = mark_column(rows(np.stack([a, b])))[int(a.mean() > b.mean())]
    assert mark == ("worse" if stats.ttest_rel(a, b).pvalue < 0.05 else "tied")


def test_rows_with_other_seeds_are_told_apart_by_tukeys_test_where_spreads_look_alike() -> None:
    rng, compared = np.random.default_rng(0), []
    for _ in range(10):
        values = 50 + rng.normal(size=(6, 8)) + 0.7 * np.arange(6)[:, None]
        moderated, _ = moderate_variances(values.var(1, ddof=1), np.full(6, 7.0))
        if np.ptp(moderated) == 0:  # all variances are the pooled one
            best = int(values.mean(1).argmax())
            own = [
                {8 * k + s: float(v) for s, v in enumerate(row)} for k, row in enumerate(values)
            ]
            theirs = stats.tukey_hsd(*values).pvalue[best] < 0.05
            assert tell_apart(own, best) == list(theirs)
            compared += list(theirs)
    assert {True, False} <= set(compared)


def test_of_equal_boards_at_most_one_in_twenty_calls_a_row_worse() -> None:
    """5 % over all rows of a column, from 5 rows of 3 seeds to 50 rows of 10: in every size, and
    in all sizes together, within three standard errors."""
    false = {(k, n): simulate(k, n) for k in (5, 20, 50) for n in (3, 5, 10)}
    for size, each in false.items():
        assert np.mean(each) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / BOARDS), size
    together = np.concatenate(list(false.values()))
    assert np.mean(together) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(together))


def test_unequal_spreads_do_not_make_rows_worse() -> None:
    """Standard deviations from .5 to 2, and a fifth of the rows with four times the others'."""
    for spread in (np.linspace(0.5, 2, 20), np.r_[[4.0] * 4, [1.0] * 16]):
        for seeds in (5, 10):
            assert np.mean(simulate(20, seeds, spread)) <= 0.10


@pytest.mark.parametrize(("size", "seeds", "gap"), [(5, 5, 5.0), (50, 5, 6.0), (50, 10, 3.5)])
def test_a_row_that_is_really_better_is_told_apart(size: int, seeds: int, gap: float) -> None:
    """`gap` standard deviations of one seed; and with three seeds most rows are."""
    rng = np.random.default_rng(size)
    truth = np.r_[gap, np.zeros(size - 1)][:, None]
    shares = []
    for _ in range(20):
        marks = mark_column(rows(truth + rng.normal(size=(size, seeds))))
        assert marks[0] == "best"
        shares.append(marks[1:].count("worse") / (size - 1))
    assert np.mean(shares) > 0.95


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([{0: 1.0}], ["unknown"]),
        ([{0: 1.0, 1: 2.0}], ["best"]),
        ([{0: 1.0, 1: 2.0}, {0: 9.0}], ["unknown", "unknown"]),
        ([{0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0}], ["worse", "best"]),  # neither varies
        ([{0: 2.0, 1: 2.0}, {0: 2.0, 1: 2.0}], ["best", "best"]),
        ([{0: 1.0, 1: 1.1}, {5: 1.0, 6: 1.2}], ["tied", "best"]),
        ([{0: 0.0, 1: 0.0}, {0: 5.0, 1: 5.0}, {0: 9.0, 1: 9.5}], ["worse", "worse", "best"]),
    ],
)
def test_few_and_equal_values(values: list[dict[int, float]], expected: list[Mark]) -> None:
    assert mark_column(values) == expected
