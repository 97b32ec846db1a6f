"""Many linear SVMs at once: one truncated-Newton solver of the squared-hinge primal.

    f_p(w) = |w|^2 / 2 + sum_i s_ip max(0, 1 - y_ip w . x_i)^2,   s_ip = C_p weight(y_ip)

is LIBLINEAR's L2-regularised, L2-loss SVM; the intercept is the weight of a constant feature and
is regularised with the rest (intercept_scaling 1). All problems share the rows x_i; a row is left
out of a problem by y_ip = 0.

The solver knows the rows only through an `Operator`, which multiplies with them and decides how
weights are written: as they are, or as coefficients of the rows. Newton directions come from
preconditioned conjugate gradients, all problems in one product. A problem that is not done after
about as much work as a direct solution takes (large costs, where few rows are short of their
margin) is solved directly instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_NEWTON, MIN_CG, MAX_CG = 80, 4, 60
HALVINGS = 12  # of a Newton step at most, until it lowers the function enough

Index = tuple[Any, ...]
Scale = tuple[Tensor, ...]


@dataclass
class Point:
    """Weights of several problems, as an operator writes them.

    coef: the numbers that are solved for. image: the numbers that make inner products of them,
    <u, v> = sum of u.coef * v.image; the same tensor as `coef` where weights are written as they
    are.
    """

    coef: Tensor
    image: Tensor

    def __getitem__(self, at: Index) -> Point:
        return self._map(lambda t: t[at])

    def __neg__(self) -> Point:
        return self._map(torch.neg)

    def zeros(self) -> Point:
        """The origin, as often as there are problems here."""
        return self._map(torch.zeros_like)

    def clone(self) -> Point:
        """A copy, for `put` to change."""
        return self._map(torch.clone)

    def plus(self, other: Point, times: Tensor) -> Point:
        """self + times * other."""
        coef = self.coef + times * other.coef
        if self.image is self.coef:
            return Point(coef, coef)
        return Point(coef, self.image + times * other.image)

    def put(self, at: Index, other: Point) -> None:
        """Replace the problems `at` by those of another point."""
        self.coef[at] = other.coef
        if self.image is not self.coef:
            self.image[at] = other.image

    def _map(self, change: Callable[[Tensor], Tensor]) -> Point:
        coef = change(self.coef)
        return Point(coef, coef if self.image is self.coef else change(self.image))


@dataclass
class Problems:
    """y: signs 1, -1 or 0 of the rows. s: their costs. w: the weights so far."""

    y: Tensor
    s: Tensor
    w: Point

    def __getitem__(self, at: Index) -> Problems:
        return Problems(self.y[at], self.s[at], self.w[at])


class Operator:
    """Products with n rows x_i, for problems along `axis` of every tensor (0 or 1).

    With axis 1 signs are (n, P) and weights (r, P), with axis 0 they are (P, n) and (P, r).
    """

    axis: int
    work: float  # operations of one problem in one iteration of conjugate gradients

    def origin(self, problems: int) -> Point:
        """Zero weights of so many problems; their dtype is the one that is computed in."""
        raise NotImplementedError

    def measure(self, coef: Tensor) -> Point:
        """The point of these numbers."""
        raise NotImplementedError

    def scores(self, w: Point) -> Tensor:
        """w . x_i of all rows."""
        raise NotImplementedError

    def adjoint(self, c: Tensor) -> Tensor:
        """The `coef` of sum_i c_i x_i."""
        raise NotImplementedError

    def norm(self, w: Point) -> Tensor:
        """|w|, one number a problem."""
        return self.dot(w, w).clamp(min=0).sqrt()

    def scale(self, curve: Tensor) -> Scale:
        """What `precondition` needs to know of the curvature 2 s_i of the rows inside their
        margin, 0 of the others."""
        raise NotImplementedError

    def precondition(self, r: Point, scale: Scale) -> Point:
        """(I + X' diag(curve) X)^-1 r, nearly."""
        raise NotImplementedError

    def direct(self, now: Problems, short: Tensor, grad: Point) -> Tensor:
        """The `coef` of exact Newton directions. short: 1 - y w . x_i of the rows."""
        raise NotImplementedError

    def dot(self, u: Point, v: Point) -> Tensor:
        """<u, v>, one number a problem."""
        return self.total(u.coef * v.image)

    def total(self, t: Tensor) -> Tensor:
        """The sum of each problem's numbers."""
        return t.sum(1 - self.axis, keepdim=True)

    def index(self, at: Tensor) -> Index:
        """What selects the problems `at` from a tensor or a point."""
        return (at,) if self.axis == 0 else (slice(None), at)


class PlainRows(Operator):
    """Rows (n, r) float64 as they are: for few dimensions, and exact to rounding.

    The curvature of a problem is r x r numbers, so a direct step costs n r^2 operations.
    """

    axis = 1

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = torch.from_numpy(np.asarray(rows, np.float64))
        self.work = 4 * self.rows.shape[0] * self.rows.shape[1]

    def origin(self, problems: int) -> Point:
        return self.measure(self.rows.new_zeros(self.rows.shape[1], problems))

    def measure(self, coef: Tensor) -> Point:
        return Point(coef, coef)

    def scores(self, w: Point) -> Tensor:
        return self.rows @ w.coef

    def adjoint(self, c: Tensor) -> Tensor:
        return self.rows.T @ c

    def scale(self, curve: Tensor) -> Scale:
        return ()

    def precondition(self, r: Point, scale: Scale) -> Point:
        return r

    def direct(self, now: Problems, short: Tensor, grad: Point) -> Tensor:
        step = torch.zeros_like(grad.coef)
        for p in range(step.shape[1]):
            at = short[:, p] > 0
            x, s = self.rows[at], now.s[at, p]
            curvature = torch.eye(x.shape[1], dtype=x.dtype) + 2 * x.T @ (s[:, None] * x)
            step[:, p] = -torch.linalg.solve(curvature, grad.coef[:, p])
        return step


def solve(
    rows: Operator,
    y: np.ndarray,
    costs: np.ndarray,
    positive_weight: float = 2.0,
    tol: float = 0.02,
    start: Point | None = None,
) -> Point:
    """The weights of P problems.

    y: (n, P) or (P, n), as the operator's `axis` says: 1, -1, or 0 for a row that is not in the
    problem. costs: (P,). A positive row's loss counts `positive_weight` times. f is strongly
    convex with modulus 1, so |w - w*| <= |grad f(w)|: a problem is done when
    |grad f(w)| <= tol |w|, or a direct Newton step is shorter than tol |w| / 10.
    start: where to begin, 0 by default.
    """
    w = rows.origin(len(costs)) if start is None else start.clone()
    signs = torch.from_numpy(np.ascontiguousarray(y)).to(w.coef.dtype)
    weight = torch.where(signs > 0, positive_weight, 1.0) * (signs != 0)
    cost = torch.from_numpy(np.asarray(costs)).to(w.coef.dtype)
    problems = Problems(signs, weight * (cost[:, None] if rows.axis == 0 else cost), w)
    todo, hard = torch.arange(len(costs)), torch.zeros(len(costs), dtype=torch.bool)
    for _ in range(MAX_NEWTON):
        todo = _step(rows, problems, todo, hard, tol)
        if len(todo) == 0:
            break
    return w


def _step(rows: Operator, problems: Problems, todo: Tensor, hard: Tensor, tol: float) -> Tensor:
    """One Newton step of the problems in `todo`, in place; those of them that were not done.

    hard: (P,) bool, problems that are solved directly; those that turn out to be are added.
    """
    now = problems[rows.index(todo)]
    short = 1 - now.y * rows.scores(now.w)  # what is beyond its margin costs nothing
    pull = now.s * now.y * short.clamp(min=0)
    grad = rows.measure(now.w.coef - 2 * rows.adjoint(pull))
    size, enough = rows.norm(grad), tol * rows.norm(now.w)
    going = ((size > enough) & (size > 0)).flatten().nonzero().flatten()
    if len(going) == 0:
        return todo[:0]
    if len(going) < len(todo):
        at = rows.index(going)
        todo, now, short, grad = todo[going], now[at], short[at], grad[at]
        size, enough = size[at], enough[at]
    mine = hard[todo]
    stop = torch.maximum(0.1 * size, 0.3 * enough)
    step = _find_directions(rows, now, short, grad, stop, mine)
    hard[todo] = mine
    length = _search_line(rows, now, step, short, rows.dot(grad, step))
    problems.w.put(rows.index(todo), now.w.plus(step, length))
    # An exact step is the error itself. Rounding keeps float32 gradients at large costs from
    # getting smaller.
    small = (rows.norm(step) <= 0.1 * enough).flatten() & mine
    return todo[~small]


def _find_directions(
    rows: Operator, now: Problems, short: Tensor, grad: Point, stop: Tensor, hard: Tensor
) -> Point:
    """Newton directions: the easy problems' by conjugate gradients to residuals of norm `stop`
    (well below what the gradient must reach, or a tenth of it), the hard ones' directly. Problems
    that turn out to be hard are added to `hard` (P,) bool."""
    step = grad.zeros()
    easy = (~hard).nonzero().flatten()
    if len(easy):
        at = rows.index(easy)
        curve = 2 * now.s[at] * (short[at] > 0)
        solution, done = _conjugate_gradients(rows, curve, -grad[at], stop[at])
        step.put(at, solution)
        hard[easy[~done]] = True
    left = hard.nonzero().flatten()
    if len(left):
        at = rows.index(left)
        step.put(at, rows.measure(rows.direct(now[at], short[at], grad[at])))
    return step


@dataclass
class _Run:
    """The state of conjugate gradients for the problems that still run: the curvature, the
    solution d, its residual r, the direction p, and <r, preconditioned r>."""

    curve: Tensor
    d: Point
    r: Point
    p: Point
    scale: Scale
    stop: Tensor
    slope: Tensor

    def __getitem__(self, at: Index) -> _Run:
        scale = tuple(t[at] for t in self.scale)
        kept = (self.d[at], self.r[at], self.p[at])
        return _Run(self.curve[at], *kept, scale, self.stop[at], self.slope[at])


def _conjugate_gradients(
    rows: Operator, curve: Tensor, target: Point, stop: Tensor
) -> tuple[Point, Tensor]:
    """d with (I + X' diag(curve) X) d = target up to residuals of norm `stop`, and which problems
    (P,) got there within their patience."""
    solution = target.zeros()
    live, patience = torch.arange(curve.shape[rows.axis]), _count_patience(rows, curve)
    done = torch.ones(len(live), dtype=torch.bool)
    scale = rows.scale(curve)
    p = rows.precondition(target, scale)
    c = _Run(curve, target.zeros(), target, p, scale, stop, rows.dot(p, target))
    for number in range(1, MAX_CG + 1):
        bent = c.p.coef + rows.adjoint(c.curve * rows.scores(c.p))
        alpha = c.slope / rows.total(bent * c.p.image).clamp(min=1e-30)
        c.d, c.r = c.d.plus(c.p, alpha), rows.measure(c.r.coef - alpha * bent)
        going = (rows.norm(c.r) > c.stop).flatten()
        tired = going & (patience[live] <= number)
        done[live[tired]] = False
        going &= ~tired
        if not bool(going.all()):
            over, stay = (~going).nonzero().flatten(), going.nonzero().flatten()
            solution.put(rows.index(live[over]), c.d[rows.index(over)])
            live, c = live[stay], c[rows.index(stay)]
            if len(stay) == 0:
                break
        z = rows.precondition(c.r, c.scale)
        slope = rows.dot(z, c.r)
        c.p, c.slope = z.plus(c.p, slope / c.slope.clamp(min=1e-30)), slope
    return solution, done


def _count_patience(rows: Operator, curve: Tensor) -> Tensor:
    """(P,) iterations that cost as much as the direct solution of a problem: n_A^3 / 3 operations
    and the gathering of n_A^2 numbers, for n_A rows short of their margin; at least `MIN_CG`, at
    most `MAX_CG`."""
    active = (curve > 0).sum(1 - rows.axis).double()
    return ((active**3 / 3 + 30 * active**2) / rows.work).clamp(MIN_CG, MAX_CG)


def _search_line(
    rows: Operator, now: Problems, step: Point, short: Tensor, slope: Tensor
) -> Tensor:
    """Step lengths 1, 1/2, 1/4, ... that lower f by at least 1e-4 of what the slope promises."""
    moved = now.y * rows.scores(step)
    vv, vd, dd = rows.dot(now.w, now.w), rows.dot(now.w, step), rows.dot(step, step)
    before = 0.5 * vv + rows.total(now.s * short.clamp(min=0) ** 2)
    length = torch.ones_like(before)
    for _ in range(HALVINGS):
        value = 0.5 * vv + length * vd + 0.5 * length**2 * dd
        value = value + rows.total(now.s * (short - length * moved).clamp(min=0) ** 2)
        # in float32 the last steps gain less than rounding: those are taken whole
        bad = value > before + 1e-4 * length * slope + 1e-6 * before
        if not bool(bad.any()):
            break
        length = torch.where(bad, length / 2, length)
    return length
