"""Many linear SVMs on few rows: the squared-hinge primal, solved in the coefficients of the rows.

The function of `tasks._frozen.solver`, with w = sum_i a_i x_i. With fewer rows than dimensions
everything is a product with their n x n matrix K = X X': margins K a, |w|^2 = a' K a, and the
gradient is the combination g = a - 2 s y max(0, 1 - y K a) of the rows, its square g' K g. All
costs and folds of a class share K. Problems are rows (P, n), so that a product with a few of them
reads K once, in order.

Newton directions come from preconditioned conjugate gradients in the space of w, written in
coefficients: one product with K an iteration. A problem that is not done after about as much work
as a direct solution takes is
solved directly: with A the rows short of their margin, (K_AA + diag(1 / (2 s_A))) a_A = y_A, other
a_i = 0 (Chapelle 2007)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tasks._frozen.solver import Kernel, part, safe, solve_system, system

LARGE_COST = 1000.0
MAX_NEWTON, MIN_CG, MAX_CG = 80, 4, 60
AXES = 64


class Gram:
    """The rows `subset` (n,) of a kernel: `k` (n, n), their products, float32 unless costs are
    above `LARGE_COST` (there coefficients grow with the cost and cancel in w). `axes` (n, q):
    coefficients of the leading principal axes (orthonormal combinations of the rows), `shown` (n,
    q): the rows along them."""

    def __init__(self, kernel: Kernel, subset: np.ndarray, largest_cost: float) -> None:
        self.kernel, self.subset = kernel, torch.from_numpy(subset)
        source = kernel.products if largest_cost > LARGE_COST else kernel.single
        self.k = part(source, self.subset)
        self.axes, self.shown = _principal(self.k)
        self.squares = self.shown**2
        others = max(len(subset) - self.axes.shape[1], 1)
        self.rest = (self.k.diagonal() - self.squares.sum(1)).clamp(min=0) / others

    def system(self, at: Tensor, extra: Tensor) -> Tensor:
        """(m, m) products of the rows `at` (m,) plus `extra` (m,) on the diagonal."""
        if safe(self.k, at, extra):
            return system(self.k, at, extra)
        return system(self.kernel.products, self.subset[at], extra)

    def preconditioned(self, r: Tensor, kr: Tensor, scale: _Scale) -> tuple[Tensor, Tensor]:
        """(I + X' diag(curve) X)^-1 r, nearly, and its products: exact in the diagonal on the
        axes, the mean eigenvalue elsewhere. kr: r K."""
        inside = scale.inside * (kr @ self.axes)
        return scale.base * r + inside @ self.axes.T, scale.base * kr + inside @ self.shown.T

    def scale(self, curve: Tensor) -> _Scale:
        base = 1 / (1 + curve @ self.rest[:, None])
        return _Scale(base, 1 / (1 + curve @ self.squares) - base)


@dataclass
class _Scale:
    base: Tensor
    inside: Tensor


def _principal(k: Tensor) -> tuple[Tensor, Tensor]:
    """By two rounds of subspace iteration: near enough for a preconditioner."""
    n = len(k)
    basis = torch.randn(
        n, max(1, min(AXES, n // 4)), generator=torch.Generator().manual_seed(0)
    ).to(k)
    for _ in range(2):
        basis = torch.linalg.qr(k @ basis)[0]
    image = k @ basis
    spread, turn = torch.linalg.eigh(basis.T @ image)
    keep = spread > 1e-6 * spread[-1]
    turn = turn[:, keep] / spread[keep].sqrt()
    return basis @ turn, image @ turn


@dataclass
class _State:
    """y: signs, s: costs of the rows, a: coefficients, o: a K, all (P, n)."""

    y: Tensor
    s: Tensor
    a: Tensor
    o: Tensor

    def take(self, at: Tensor) -> _State:
        return _State(*(t[at] for t in vars(self).values()))


def solve(
    gram: Gram, y: np.ndarray, costs: np.ndarray, positive_weight: float = 2.0, tol: float = 0.02
) -> tuple[Tensor, Tensor]:
    """Coefficients a (P, n) of P problems, and what the rows score, a K.

    y: (P, n) int8, 1, -1, or 0 for a row that is not in the problem. costs: (P,). The rest as
    `tasks._frozen.solver.solve`: done when |grad f(w)| <= tol |w|, or a direct step is shorter
    than tol |w| / 10."""
    signs = torch.from_numpy(y).to(gram.k)
    weight = torch.where(signs > 0, positive_weight, 1.0) * (signs != 0)
    slack = weight * torch.from_numpy(costs).to(signs)[:, None]
    all_ = _State(signs, slack, torch.zeros_like(signs), torch.zeros_like(signs))
    todo, hard = torch.arange(len(signs)), torch.zeros(len(signs), dtype=torch.bool)
    for _ in range(MAX_NEWTON):
        todo = _newton(gram, all_, todo, hard, tol)
        if len(todo) == 0:
            break
    return all_.a, all_.o


def _newton(gram: Gram, problems: _State, todo: Tensor, hard: Tensor, tol: float) -> Tensor:
    """One Newton step of the problems in `todo`, in place; those which were not done yet. `hard`
    (P,): problems that are solved directly; those that turn out to be are added."""
    now = problems.take(todo)
    short = 1 - now.y * now.o
    g = now.a - 2 * now.s * now.y * short.clamp(min=0)
    kg = g @ gram.k
    size, enough = _root(g, kg), tol * _root(now.a, now.o)
    at = ((size > enough) & (size > 0)).flatten().nonzero().flatten()
    if len(at) == 0:
        return todo[:0]
    if len(at) < len(todo):
        todo, now, size, enough, short, g, kg = (
            todo[at],
            now.take(at),
            size[at],
            enough[at],
            short[at],
            g[at],
            kg[at],
        )
    d, kd = torch.zeros_like(g), torch.zeros_like(g)
    easy = (~hard[todo]).nonzero().flatten()
    if len(easy):
        curve = 2 * now.s[easy] * (short[easy] > 0)
        stop = torch.maximum(0.1 * size, 0.3 * enough)[easy]
        d[easy], kd[easy], done = _conjugate_gradient(gram, curve, -g[easy], -kg[easy], stop)
        hard[todo[easy[~done]]] = True
    left = hard[todo].nonzero().flatten()
    if len(left):
        d[left] = _direct(gram, now.take(left), short[left])
        kd[left] = d[left] @ gram.k
    length = _line_search(now, d, kd, short, (g * kd).sum(1, keepdim=True))
    problems.a[todo] = now.a + length * d
    problems.o[todo] = now.o + length * kd
    # An exact step is the error itself. Rounding keeps float32 gradients at large costs from
    # getting smaller.
    small = (_root(d, kd) <= 0.1 * enough).flatten() & hard[todo]
    return todo[~small]


def _root(c: Tensor, kc: Tensor) -> Tensor:
    """(P, 1) norms of combinations c of the rows."""
    return (c * kc).sum(1, keepdim=True).clamp(min=0).sqrt()


def _direct(gram: Gram, now: _State, short: Tensor) -> Tensor:
    """Exact Newton directions (P, n), problem by problem."""
    active = (short > 0) & (now.s > 0)
    outside = torch.where(active, 0.0, now.a)
    target = now.y - now.o + outside @ gram.k
    made = -outside
    for p in range(len(active)):
        at = active[p].nonzero().flatten()
        extra = 0.5 / now.s[p, at]
        made[p, at] = solve_system(gram.system(at, extra), target[p, at] - extra * now.a[p, at])
    return made


def _conjugate_gradient(
    gram: Gram, curve: Tensor, r: Tensor, kr: Tensor, enough: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients d with (I + X' diag(curve) X) X'd = X'r up to residuals of norm `enough` (P,
    1), their products d K, and which problems (P,) got there within their `_patience`."""
    found, image = torch.zeros_like(r), torch.zeros_like(r)
    live, patience = torch.arange(len(r)), _patience(curve)
    done = torch.ones(len(r), dtype=torch.bool)
    scale = gram.scale(curve)
    p, kp = gram.preconditioned(r, kr, scale)
    slope = (p * kr).sum(1, keepdim=True)
    c = _Rows(
        curve, found.clone(), image.clone(), r, p, kp, scale.base, scale.inside, enough, slope
    )
    for number in range(1, MAX_CG + 1):
        bent = c.curve * c.kp
        alpha = c.slope / ((c.p + bent) * c.kp).sum(1, keepdim=True).clamp(min=1e-30)
        c.d += alpha * c.p
        c.kd += alpha * c.kp
        c.r = c.r - alpha * (c.p + bent)
        kr = c.r @ gram.k
        keep = (_root(c.r, kr) > c.enough).flatten()
        tired = keep & (patience[live] <= number)
        done[live[tired]] = False
        keep &= ~tired
        if not bool(keep.all()):
            out, stay = (~keep).nonzero().flatten(), keep.nonzero().flatten()
            found[live[out]], image[live[out]] = c.d[out], c.kd[out]
            live, c, kr = live[stay], c.take(stay), kr[stay]
            if len(stay) == 0:
                break
        z, kz = gram.preconditioned(c.r, kr, _Scale(c.base, c.inside))
        new = (z * kr).sum(1, keepdim=True)
        share = new / c.slope.clamp(min=1e-30)
        c.p, c.kp, c.slope = z + share * c.p, kz + share * c.kp, new
    return found, image, done


def _patience(curve: Tensor) -> Tensor:
    """(P,) iterations that cost as much as the direct solution of a problem: n_A^3 / 3 operations
    and the gathering of n_A^2 numbers, against 2 n^2; at least `MIN_CG`, at most `MAX_CG`."""
    active = (curve > 0).sum(1).double()
    return ((active**3 / 3 + 30 * active**2) / (2 * curve.shape[1] ** 2)).clamp(MIN_CG, MAX_CG)


@dataclass
class _Rows:
    """The state of conjugate gradients for the problems that still run."""

    curve: Tensor
    d: Tensor
    kd: Tensor
    r: Tensor
    p: Tensor
    kp: Tensor
    base: Tensor
    inside: Tensor
    enough: Tensor
    slope: Tensor

    def take(self, at: Tensor) -> _Rows:
        return _Rows(*(t[at] for t in vars(self).values()))


def _line_search(now: _State, d: Tensor, kd: Tensor, short: Tensor, slope: Tensor) -> Tensor:
    """(P, 1) step lengths 1, 1/2, 1/4, ... that lower f by at least 1e-4 of what the slope
    promises."""
    moved = now.y * kd
    vv, vd, dd = ((a * b).sum(1, keepdim=True) for a, b in ((now.a, now.o), (now.a, kd), (d, kd)))
    before = 0.5 * vv + (now.s * short.clamp(min=0) ** 2).sum(1, keepdim=True)
    length = torch.ones_like(before)
    for _ in range(12):
        value = 0.5 * vv + length * vd + 0.5 * length**2 * dd
        value = value + (now.s * (short - length * moved).clamp(min=0) ** 2).sum(1, keepdim=True)
        # in float32 the last steps gain less than rounding: those are taken whole
        bad = value > before + 1e-4 * length * slope + 1e-6 * before
        if not bool(bad.any()):
            break
        length = torch.where(bad, length / 2, length)
    return length
