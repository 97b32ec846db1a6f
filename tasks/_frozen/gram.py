"""SVMs on few rows, solved in the coefficients of the rows: w = sum_i a_i x_i.

With fewer rows than dimensions everything is a product with their n x n matrix K = X X': margins
K a, |w|^2 = a' K a, and the gradient is the combination g = a - 2 s y max(0, 1 - y K a) of the
rows, its square g' K g. All costs and folds of a class share K. Problems are rows (P, n), so that
a product with a few of them reads K once, in order; an iteration of conjugate gradients has one.

A problem that they do not solve is solved directly: with A the rows short of their margin,
(K_AA + diag(1 / (2 s_A))) a_A = y_A, other a_i = 0 (Chapelle 2007).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.nn.svm import Operator, Point, Problems, Scale
from tasks._frozen.rows import Kernel, build_system, is_safe, select_products, solve_system

LARGE_COST = 1000.0
AXES = 64


class Gram(Operator):
    """The rows `subset` (n,) of a kernel: `k` (n, n), their products, float32 unless costs are
    above `LARGE_COST` (there coefficients grow with the cost and cancel in w). `axes` (n, q):
    coefficients of the leading principal axes (orthonormal combinations of the rows), `along` (n,
    q): the rows along them."""

    axis = 0

    def __init__(self, kernel: Kernel, subset: np.ndarray, largest_cost: float) -> None:
        self.kernel, self.subset = kernel, torch.from_numpy(subset)
        source = kernel.products if largest_cost > LARGE_COST else kernel.single
        self.k = select_products(source, self.subset)
        self.axes, self.along = _find_axes(self.k)
        self.squares = self.along**2
        others = max(len(subset) - self.axes.shape[1], 1)
        self.rest = (self.k.diagonal() - self.squares.sum(1)).clamp(min=0) / others
        self.work = 2 * len(subset) ** 2

    def origin(self, problems: int) -> Point:
        return Point(*(self.k.new_zeros(problems, len(self.k)) for _ in range(2)))

    def measure(self, coef: Tensor) -> Point:
        return Point(coef, coef @ self.k)

    def scores(self, w: Point) -> Tensor:
        return w.image

    def adjoint(self, c: Tensor) -> Tensor:
        return c

    def scale(self, curve: Tensor) -> Scale:
        """Exact in the diagonal on the axes, with the mean eigenvalue elsewhere."""
        base = 1 / (1 + curve @ self.rest[:, None])
        return base, 1 / (1 + curve @ self.squares) - base

    def precondition(self, r: Point, scale: Scale) -> Point:
        base, inside = scale
        inside = inside * (r.image @ self.axes)
        return Point(base * r.coef + inside @ self.axes.T, base * r.image + inside @ self.along.T)

    def direct(self, now: Problems, short: Tensor, grad: Point) -> Tensor:
        """Problem by problem, the whole way to the minimiser for these active rows."""
        active = (short > 0) & (now.s > 0)
        outside = torch.where(active, 0.0, now.w.coef)
        target = now.y - now.w.image + outside @ self.k
        step = -outside
        for p in range(len(active)):
            at = active[p].nonzero().flatten()
            extra = 0.5 / now.s[p, at]
            aim = target[p, at] - extra * now.w.coef[p, at]
            step[p, at] = solve_system(self._build_system(at, extra), aim)
        return step

    def _build_system(self, at: Tensor, extra: Tensor) -> Tensor:
        if is_safe(self.k, at, extra):
            return build_system(self.k, at, extra)
        return build_system(self.kernel.products, self.subset[at], extra)


def _find_axes(k: Tensor) -> tuple[Tensor, Tensor]:
    """By two rounds of subspace iteration: near enough for a preconditioner."""
    n = len(k)
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(n, max(1, min(AXES, n // 4)), generator=generator).to(k)
    for _ in range(2):
        basis = torch.linalg.qr(k @ basis)[0]
    image = k @ basis
    spread, turn = torch.linalg.eigh(basis.T @ image)
    keep = spread > 1e-6 * spread[-1]
    turn = turn[:, keep] / spread[keep].sqrt()
    return basis @ turn, image @ turn
