"""The SVM solver on an operator of plain rows, against LIBLINEAR and against its own shortcuts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from bench.nn import svm
from bench.nn.svm import PlainRows, Point, Problems, solve


class Plain(PlainRows):
    """Plain rows that count what they solve directly."""

    direct_problems = 0

    def direct(self, now: Problems, short: Tensor, grad: Point) -> Tensor:
        self.direct_problems += grad.coef.shape[1]
        return super().direct(now, short, grad)


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray]:
    """300 rows of 6 features and the signs of 3 classes that the rows tell apart in part."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6))
    y = np.where(x @ rng.normal(size=(6, 3)) + rng.normal(size=(300, 3)) > 0.5, 1, -1)
    return x, y.astype(np.int8)


def fit_liblinear(x: np.ndarray, y: np.ndarray, cost: float, positive_weight: float) -> np.ndarray:
    made = LinearSVC(
        loss="squared_hinge",
        dual=False,
        C=cost,
        tol=1e-10,
        max_iter=10_000,
        fit_intercept=False,
        class_weight={1: positive_weight, -1: 1.0},
    )
    return np.asarray(made.fit(x, y).coef_[0])


@pytest.mark.parametrize("positive_weight", [1.0, 2.0])
def test_every_problem_has_the_solution_of_liblinear(
    problem: tuple[np.ndarray, np.ndarray], positive_weight: float
) -> None:
    x, y = problem
    costs = np.array([0.01, 1.0, 30.0])
    w = solve(Plain(x), y, costs, positive_weight, 1e-8)
    for p, cost in enumerate(costs):
        expected = fit_liblinear(x, y[:, p], float(cost), positive_weight)
        assert np.allclose(w.coef[:, p], expected, atol=1e-5)


def test_a_row_of_sign_zero_is_not_in_the_problem(
    problem: tuple[np.ndarray, np.ndarray],
) -> None:
    x, y = problem
    part = y.copy()
    part[200:] = 0
    w = solve(Plain(x), part, np.full(3, 0.5), tol=1e-8)
    few = solve(Plain(x[:200]), y[:200], np.full(3, 0.5), tol=1e-8)
    assert torch.allclose(w.coef, few.coef, atol=1e-6)


@pytest.mark.parametrize("patience", [1, 60])
def test_direct_steps_and_conjugate_gradients_agree(
    problem: tuple[np.ndarray, np.ndarray], patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the patience of one iteration every problem is solved directly."""
    x, y = problem
    monkeypatch.setattr(
        svm, "_count_patience", lambda _, curve: torch.full((curve.shape[1],), patience)
    )
    rows = Plain(x)
    w = solve(rows, y, np.full(3, 2.0), tol=1e-8)
    assert (rows.direct_problems > 0) == (patience == 1)
    for p in range(3):
        assert np.allclose(w.coef[:, p], fit_liblinear(x, y[:, p], 2.0, 2.0), atol=1e-5)


def test_a_start_is_left_as_it_was_and_shortens_the_way(
    problem: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = problem
    near = solve(Plain(x), y, np.full(3, 1.0), tol=1e-8)
    before = near.coef.clone()
    monkeypatch.setattr(svm, "MAX_NEWTON", 2)
    w = solve(Plain(x), y, np.full(3, 1.05), tol=1e-12, start=near)
    cold = solve(Plain(x), y, np.full(3, 1.05), tol=1e-12)
    assert torch.equal(near.coef, before)
    expected = np.stack([fit_liblinear(x, y[:, p], 1.05, 2.0) for p in range(3)], 1)
    gaps = [float(np.abs(v.coef.numpy() - expected).max()) for v in (w, cold)]
    assert gaps[0] < 0.1 * gaps[1]
