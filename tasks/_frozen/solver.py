"""Many linear SVMs at once: a truncated-Newton solver for the squared-hinge primal, batched over
problems.

    f_p(w) = |w|^2 / 2 + sum_i s_ip max(0, 1 - y_ip w . x_i)^2,   s_ip = C_p weight(y_ip)

is LIBLINEAR's L2-regularised, L2-loss SVM; the intercept is the weight of a constant feature and
is regularised with the rest (intercept_scaling 1). All problems share the rows x_i, so every step
is two matrix products for all of them; a row is left out of a problem by y_ip = 0. The published
protocols solve the same problems one by one.

Newton directions come from preconditioned conjugate gradients, all columns in one product. A
column that is not done after about as much work as a direct solution takes (large costs, where few
rows are short of their margin) is solved directly instead: with A those rows, the minimiser is w =
X_A' b, (K_AA + diag(1 / (2 s_A))) b = y_A (Chapelle 2007)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

MAX_NEWTON, MIN_CG, MAX_CG = 80, 4, 60
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

    def reduced(self) -> Reduced:
        """All rows in as few dimensions as hold their products."""
        if self.rows.shape[1] <= self.rows.shape[0]:
            return Reduced(self.rows[None], None)
        return Reduced(_factor(self.products[None].clone()), self.rows[None])


def prepare(features: np.ndarray) -> Tensor:
    """(N, D) -> (N, D + 1) float64: rows x / (|x|_2 + 1e-5), then a 1."""
    x = torch.from_numpy(np.array(features, np.float64))
    x /= x.norm(dim=1, keepdim=True) + 1e-5
    return torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)


def _factor(products: Tensor) -> Tensor:
    """Lower triangular L with L L' = the products: rows of L have the same products as the rows of
    X. Copies among the images make the matrix singular; 1e-9 of its mean diagonal on the diagonal
    makes up for it."""
    diagonal = products.diagonal(dim1=1, dim2=2)
    diagonal += 1e-9 * diagonal.mean(1, keepdim=True)
    return torch.linalg.cholesky(products)


class Reduced:
    """Training rows as the solver sees them: `rows` (B, n, r) float64 with the products of the
    originals, which `full` holds where `rows` is a rotation of them. `axes` (B, r, q) and `spread`
    (B, q, 1): the leading principal axes of the rows and their eigenvalues, `rest` (B, 1, 1) the
    mean of the others: a preconditioner."""

    def __init__(self, rows: Tensor, full: Tensor | None) -> None:
        self.rows, self.full = rows, full
        self.x = rows.float()
        self.axes, self.spread, self.rest = _principal(self.x)

    @cached_property
    def products(self) -> Tensor:
        """(B, n, n) float64."""
        return self.rows @ self.rows.mT

    @cached_property
    def single(self) -> Tensor:
        """The products in float32."""
        return self.products.float()

    def weights(self, w: Tensor) -> Tensor:
        """(B, r, P) weights of reduced rows -> (B, D + 1, P) weights of original ones, float64."""
        if self.full is None:
            return w.double()
        return self.full.mT @ torch.linalg.solve_triangular(self.rows.mT, w.double(), upper=True)

    def preconditioned(self, z: Tensor, scale: Tensor) -> Tensor:
        """(I + scale X'X)^-1 z, nearly: exact on the leading axes, with the mean eigenvalue
        elsewhere."""
        base = 1 / (1 + scale * self.rest)
        inside = (1 / (1 + scale * self.spread) - base) * (self.axes.mT @ z)
        return base * z + self.axes @ inside


def _principal(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Leading axes by two rounds of subspace iteration: near enough for a preconditioner."""
    count, n, r = x.shape
    q = max(1, min(AXES, min(n, r) // 4))
    axes = torch.randn(r, q, generator=torch.Generator().manual_seed(0)).expand(count, r, q)
    for _ in range(2):
        axes = torch.linalg.qr(x.mT @ (x @ axes))[0]
    shown = x @ axes
    spread, turn = torch.linalg.eigh(shown.mT @ shown)
    spread = spread.clamp(min=0)
    rest = ((x * x).sum((1, 2)) - spread.sum(1)).clamp(min=0) / max(r - q, 1)
    return axes @ turn, spread[:, :, None], rest[:, None, None]


def solve(
    rows: Reduced,
    y: np.ndarray,
    costs: np.ndarray,
    positive_weight: float = 2.0,
    tol: float = 0.02,
    start: Tensor | None = None,
) -> Tensor:
    """Weights (B, r, P) float32 of P problems over each of B sets of n rows.

    y: (B, n, P) int8, 1, -1, or 0 for a row that is not in the problem. costs: (P,). A positive
    row's loss counts `positive_weight` times. f is strongly convex with modulus 1, so |w - w*| <=
    |grad f(w)|: a problem is done when |grad f(w)| <= tol |w|, or a direct Newton step is shorter
    than tol |w| / 10.
    start: (B, r, P) where to begin, 0 by default."""
    signs = torch.from_numpy(np.ascontiguousarray(y, np.float32))
    weight = torch.where(signs > 0, positive_weight, 1.0) * (signs != 0)
    slack = weight * torch.from_numpy(np.asarray(costs, np.float32))
    shape = (len(signs), rows.x.shape[2], signs.shape[2])
    w = torch.zeros(shape) if start is None else start.clone()
    todo, hard = torch.arange(shape[2]), torch.zeros(shape[2], dtype=torch.bool)
    for _ in range(MAX_NEWTON):
        todo = _newton(rows, signs, slack, w, todo, hard, tol)
        if len(todo) == 0:
            break
    return w


def solve_path(
    rows: Reduced,
    y: np.ndarray,
    costs: np.ndarray,
    positive_weight: float = 2.0,
    tol: float = 0.02,
) -> Iterator[tuple[int, Tensor]]:
    """(position of the cost, weights (B, r, P)) for every cost, each solved from the solution of
    the one below."""
    w = None
    for at in np.argsort(costs, kind="stable"):
        w = solve(rows, y, np.full(y.shape[2], costs[at]), positive_weight, tol, w)
        yield int(at), w


def _newton(
    rows: Reduced, signs: Tensor, slack: Tensor, w: Tensor, todo: Tensor, hard: Tensor, tol: float
) -> Tensor:
    """One Newton step of the columns in `todo`, in place; those in which a problem was not done
    yet. `hard` (P,): columns that are solved directly; those that turn out to be are added."""
    x = rows.x
    y, s, v = signs[..., todo], slack[..., todo], w[..., todo]
    short = 1 - y * (x @ v)  # how far a row is from its margin; what is beyond it costs nothing
    grad = v - 2 * (x.mT @ (s * y * short.clamp(min=0)))
    size, enough = _norm(grad), tol * _norm(v)
    going = (size > enough) & (size > 0)
    at = going.any(0).any(0).nonzero().flatten()
    if len(at) == 0:
        return todo[:0]
    if len(at) < len(todo):
        todo = todo[at]
        going, size, enough, y, s, v, short, grad = (
            t[..., at] for t in (going, size, enough, y, s, v, short, grad)
        )
    step = _directions(
        rows, (y, s, v, short), grad, torch.maximum(0.1 * size, 0.3 * enough), going, todo, hard
    )
    moved = x @ step
    length = _line_search(v, step, short, y * moved, s, (grad * step).sum(1, keepdim=True))
    w[..., todo] = v + torch.where(going, length, 0.0) * step
    # An exact step is the error itself. Rounding keeps float32 gradients at large costs from
    # getting smaller.
    small = (_norm(step) <= 0.1 * enough).all(0).flatten() & hard[todo]
    return todo[~small]


def _norm(t: Tensor) -> Tensor:
    return t.norm(dim=1, keepdim=True)


def _directions(
    rows: Reduced,
    state: tuple[Tensor, ...],
    grad: Tensor,
    enough: Tensor,
    going: Tensor,
    todo: Tensor,
    hard: Tensor,
) -> Tensor:
    """Newton directions (B, r, P) of the columns `todo`, the easy ones by conjugate gradients to
    residuals of norm `enough` (well below what the gradient must reach, or a tenth of it), the
    hard ones directly."""
    step = torch.zeros_like(grad)
    easy = (~hard[todo]).nonzero().flatten()
    if len(easy):
        _, s, _, short = (t[..., easy] for t in state)
        step[..., easy], done = _conjugate_gradient(
            rows, 2 * s * (short > 0), -grad[..., easy], enough[..., easy]
        )
        hard[todo[easy[~done]]] = True
    left = hard[todo].nonzero().flatten()
    if len(left):
        step[..., left] = _direct(
            rows, tuple(t[..., left] for t in state), grad[..., left], going[..., left]
        )
    return step


def _direct(rows: Reduced, state: tuple[Tensor, ...], grad: Tensor, going: Tensor) -> Tensor:
    """Exact Newton directions (B, r, P), problem by problem, as corrections: what rounding leaves,
    the next step takes."""
    _, s, _, short = state
    made = torch.zeros_like(grad)
    for b, p in going[:, 0].nonzero().tolist():
        at = ((short[b, :, p] > 0) & (s[b, :, p] > 0)).nonzero().flatten()
        extra, g = 0.5 / s[b, at, p], grad[b, :, p]
        k = rows.single[b] if safe(rows.single[b], at, extra) else rows.products[b]
        x = rows.x[b].index_select(0, at)
        made[b, :, p] = x.T @ solve_system(system(k, at, extra), x @ g) - g
    return made


def part(products: Tensor, at: Tensor) -> Tensor:
    """The products of the rows `at` with each other."""
    return products.index_select(0, at).index_select(1, at)


def system(products: Tensor, at: Tensor, extra: Tensor) -> Tensor:
    """(m, m) `part` plus `extra` (m,) on the diagonal."""
    made = part(products, at)
    made.diagonal().add_(extra)
    return made


def safe(products: Tensor, at: Tensor, extra: Tensor) -> bool:
    """Can that system be factored in float32? Its smallest eigenvalue is at least min(extra), its
    largest at most its trace."""
    return float(extra.min()) > WELL_POSED * float(extra.sum() + products.diagonal()[at].sum())


def solve_system(system: Tensor, target: Tensor) -> Tensor:
    """(m,) system^-1 target, factored in the precision of the system."""
    found = torch.cholesky_solve(target.to(system.dtype)[:, None], torch.linalg.cholesky(system))
    return found[:, 0].to(target)


def _conjugate_gradient(
    rows: Reduced, curve: Tensor, target: Tensor, enough: Tensor
) -> tuple[Tensor, Tensor]:
    """d with (I + X' diag(curve) X) d = target up to residuals of norm `enough` (B, 1, P), and
    which columns (P,) got there within their `_patience`."""
    x, d = rows.x, torch.zeros_like(target)
    live, patience = torch.arange(target.shape[2]), _patience(curve, x.shape[2])
    done = torch.ones(len(live), dtype=torch.bool)
    scale = curve.mean(1, keepdim=True)
    z = rows.preconditioned(target, scale)
    slope = (target * z).sum(1, keepdim=True)
    c = _Columns(curve, torch.zeros_like(target), target.clone(), z, scale, enough, slope)
    for number in range(1, MAX_CG + 1):
        hp = c.p + x.mT @ (c.curve * (x @ c.p))
        alpha = c.slope / (c.p * hp).sum(1, keepdim=True).clamp(min=1e-30)
        c.d += alpha * c.p
        c.r -= alpha * hp
        keep = (_norm(c.r) > c.enough).any(0).flatten()
        tired = keep & (patience[live] <= number)
        done[live[tired]] = False
        keep &= ~tired
        if not bool(keep.all()):
            out, stay = (~keep).nonzero().flatten(), keep.nonzero().flatten()
            d[..., live[out]] = c.d[..., out]
            live, c = live[stay], c.take(stay)
            if len(stay) == 0:
                break
        z = rows.preconditioned(c.r, c.scale)
        new = (c.r * z).sum(1, keepdim=True)
        c.p = z + (new / c.slope.clamp(min=1e-30)) * c.p
        c.slope = new
    return d, done


def _patience(curve: Tensor, width: int) -> Tensor:
    """(P,) iterations that cost as much as the direct solution of a column: n_A^3 / 3 operations
    and the gathering of n_A^2 numbers, against 4 n r; at least `MIN_CG`, at most `MAX_CG`."""
    n, active = curve.shape[1], (curve > 0).sum(1).max(0).values.double()
    direct = active**3 / 3 + 30 * active**2
    return (direct / (4 * n * width)).clamp(MIN_CG, MAX_CG)


@dataclass
class _Columns:
    """The state of conjugate gradients for the columns that still run."""

    curve: Tensor
    d: Tensor
    r: Tensor
    p: Tensor
    scale: Tensor
    enough: Tensor
    slope: Tensor

    def take(self, at: Tensor) -> _Columns:
        return _Columns(*(t[..., at] for t in vars(self).values()))


def _line_search(
    v: Tensor, step: Tensor, short: Tensor, moved: Tensor, s: Tensor, slope: Tensor
) -> Tensor:
    """(B, 1, P) step lengths 1, 1/2, 1/4, ... that lower f by at least 1e-4 of what the slope
    promises."""
    vv, vd, dd = ((a * b).sum(1, keepdim=True) for a, b in ((v, v), (v, step), (step, step)))
    before = 0.5 * vv + (s * short.clamp(min=0) ** 2).sum(1, keepdim=True)
    length = torch.ones_like(before)
    for _ in range(12):
        value = 0.5 * vv + length * vd + 0.5 * length**2 * dd
        value = value + (s * (short - length * moved).clamp(min=0) ** 2).sum(1, keepdim=True)
        # in float32 the last steps gain less than rounding: those are taken whole
        bad = value > before + 1e-4 * length * slope + 1e-6 * before
        if not bool(bad.any()):
            break
        length = torch.where(bad, length / 2, length)
    return length
