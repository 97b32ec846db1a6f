"""Training rows as the SVM solver sees them: normalised, and in as few dimensions as they need.

A column that conjugate gradients do not solve is solved directly: with A the rows short of their
margin, the minimiser is w = X_A' b, (K_AA + diag(1 / (2 s_A))) b = y_A (Chapelle 2007).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from bench.nn.svm import Operator, Point, Problems, Scale, solve

AXES = 384
WELL_POSED = 2e-7  # least diagonal over the trace for which a system is factored in float32


class Kernel:
    """Products of training rows, computed once for every subset and fold that is trained on.

    Rows are normalised to x / (|x| + 1e-5) in float64, as the protocol says, and a constant 1 is
    appended.
    """

    def __init__(self, features: np.ndarray) -> None:
        self.rows = prepare(features)

    @cached_property
    def products(self) -> Tensor:
        """(N, N) float64."""
        return self.rows @ self.rows.T

    @cached_property
    def single(self) -> Tensor:
        """The products in float32."""
        return self.products.float()

    def reduce(self) -> Reduced:
        """All rows in as few dimensions as hold their products."""
        if self.rows.shape[1] <= self.rows.shape[0]:
            return Reduced(self.rows, None)
        return Reduced(_factor(self.products.clone()), self.rows)


def prepare(features: np.ndarray) -> Tensor:
    """(N, D) -> (N, D + 1) float64: rows x / (|x|_2 + 1e-5), then a 1."""
    x = torch.from_numpy(np.array(features, np.float64))
    x /= x.norm(dim=1, keepdim=True) + 1e-5
    return torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)


def _factor(products: Tensor) -> Tensor:
    """Lower triangular L with L L' = the products: rows of L have the same products as the rows of
    X. Copies among the images make the matrix singular; 1e-9 of its mean diagonal on the diagonal
    makes up for it."""
    diagonal = products.diagonal()
    diagonal += 1e-9 * diagonal.mean()
    return torch.linalg.cholesky(products)


class Reduced(Operator):
    """Problems in the weights of the rows; a product with n rows of r numbers and one back an
    iteration.

    rows: (n, r) float64 with the products of the originals, which `full` (n, D + 1) holds where
    `rows` is a rotation of them. axes: (r, q) and spread: (q, 1), the leading principal axes of
    the rows and their eigenvalues, rest: the mean of the others, a preconditioner.
    """

    axis = 1

    def __init__(self, rows: Tensor, full: Tensor | None) -> None:
        self.rows, self.full = rows, full
        self.x = rows.float()
        self.axes, self.spread, self.rest = _find_axes(self.x)
        self.work = 4 * self.x.shape[0] * self.x.shape[1]

    @cached_property
    def products(self) -> Tensor:
        """(n, n) float64."""
        return _multiply(self.rows, self.rows.T)

    @cached_property
    def single(self) -> Tensor:
        """The products in float32."""
        return self.products.float()

    def weights(self, w: Point) -> Tensor:
        """Weights of reduced rows -> (D + 1, P) weights of original ones, float64."""
        if self.full is None:
            return w.coef.double()
        solved = torch.linalg.solve_triangular(self.rows.T, w.coef.double(), upper=True)
        return _multiply(self.full.T, solved)

    def origin(self, problems: int) -> Point:
        return self.measure(torch.zeros(self.x.shape[1], problems))

    def measure(self, coef: Tensor) -> Point:
        return Point(coef, coef)

    def scores(self, w: Point) -> Tensor:
        return _multiply(self.x, w.coef)

    def adjoint(self, c: Tensor) -> Tensor:
        return _multiply(self.x.T, c)

    def norm(self, w: Point) -> Tensor:
        return w.coef.norm(dim=0, keepdim=True)

    def scale(self, curve: Tensor) -> Scale:
        """For the mean curvature; exact on the leading axes, the mean eigenvalue elsewhere."""
        mean = curve.mean(0, keepdim=True)
        base = 1 / (1 + mean * self.rest)
        return base, 1 / (1 + mean * self.spread) - base

    def precondition(self, r: Point, scale: Scale) -> Point:
        base, inside = scale
        along = inside * _multiply(self.axes.T, r.coef)
        return self.measure(base * r.coef + _multiply(self.axes, along))

    def direct(self, now: Problems, short: Tensor, grad: Point) -> Tensor:
        """Problem by problem, as corrections: what rounding leaves, the next step takes."""
        step = torch.zeros_like(grad.coef)
        for p in range(step.shape[1]):
            at = ((short[:, p] > 0) & (now.s[:, p] > 0)).nonzero().flatten()
            extra, g = 0.5 / now.s[at, p], grad.coef[:, p]
            k = self.single if is_safe(self.single, at, extra) else self.products
            x = self.x.index_select(0, at)
            step[:, p] = x.T @ solve_system(build_system(k, at, extra), x @ g) - g
        return step


def _find_axes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Leading axes by two rounds of subspace iteration: near enough for a preconditioner."""
    n, r = x.shape
    q = max(1, min(AXES, min(n, r) // 4))
    axes = torch.randn(r, q, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        axes = torch.linalg.qr(_multiply(x.T, _multiply(x, axes)))[0]
    along = _multiply(x, axes)
    spread, turn = torch.linalg.eigh(_multiply(along.T, along))
    spread = spread.clamp(min=0)
    rest = ((x * x).sum() - spread.sum()).clamp(min=0) / max(r - q, 1)
    return _multiply(axes, turn), spread[:, None], rest


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    """a @ b as a batch of one. PyTorch adds up small products of a batch in another order than
    those of two matrices, and results that exist were made so."""
    return (a[None] @ b[None])[0]


def solve_path(
    rows: Reduced,
    y: np.ndarray,
    costs: np.ndarray,
    positive_weight: float = 2.0,
    tol: float = 0.02,
) -> Iterator[tuple[int, Point]]:
    """(position of the cost, weights) for every cost, each solved from the solution of the one
    below. y: (n, P)."""
    w = None
    for at in np.argsort(costs, kind="stable"):
        w = solve(rows, y, np.full(y.shape[1], costs[at]), positive_weight, tol, w)
        yield int(at), w


def select_products(products: Tensor, at: Tensor) -> Tensor:
    """The products of the rows `at` with each other."""
    return products.index_select(0, at).index_select(1, at)


def build_system(products: Tensor, at: Tensor, extra: Tensor) -> Tensor:
    """(m, m) products of the rows `at` plus `extra` (m,) on the diagonal."""
    system = select_products(products, at)
    system.diagonal().add_(extra)
    return system


def is_safe(products: Tensor, at: Tensor, extra: Tensor) -> bool:
    """Can that system be factored in float32? Its smallest eigenvalue is at least min(extra), its
    largest at most its trace."""
    return float(extra.min()) > WELL_POSED * float(extra.sum() + products.diagonal()[at].sum())


def solve_system(system: Tensor, target: Tensor) -> Tensor:
    """(m,) system^-1 target, factored in the precision of the system."""
    factor = torch.linalg.cholesky(system)
    return torch.cholesky_solve(target.to(system.dtype)[:, None], factor)[:, 0].to(target)
