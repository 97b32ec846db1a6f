"""Earth mover's distance between two sets of features: entropic transport and its marginals."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# weight of a feature that points away from the other view; all of them: equal weights
FLOOR = 1e-6


def cross_reference(x: Tensor, y: Tensor) -> Tensor:
    """Weights of x's features, (B, M): max(0, x_m . mean_n y_n), plus a floor, normalised to sum
    1.

    x (B, M, D), y (B, N, D): unit features. A feature weighs as much as it agrees with the other
    view as a whole, so that background shown in one view only is moved at little cost.
    """
    agree = torch.relu(torch.einsum("bmd,bd->bm", x, y.mean(1))) + FLOOR
    return agree / agree.sum(1, keepdim=True)


@torch.no_grad()
def transport_plan(cost: Tensor, a: Tensor, b: Tensor, eps: float, steps: int) -> Tensor:
    """argmin over P >= 0, P 1 = a, P^T 1 = b of <P, cost> - eps H(P), by `steps` rounds of
    Sinkhorn in the log domain (no overflow at a small eps). The last round fits the rows exactly,
    then b as far as converged.

    cost (B, M, N), a (B, M), b (B, N), both summing to 1 -> P (B, M, N). Source: Cuturi 2013.
    """
    kernel, log_a, log_b = -cost / eps, a.log(), b.log()
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(steps):
        g = log_b - torch.logsumexp(kernel + f.unsqueeze(2), 1)
        f = log_a - torch.logsumexp(kernel + g.unsqueeze(1), 2)
    return (kernel + f.unsqueeze(2) + g.unsqueeze(1)).exp()


def emd(x: Tensor, y: Tensor, eps: float, steps: int) -> Tensor:
    """(B,): sum_mn P_mn (1 - cos(x_m, y_n)), P the transport plan between cross-reference weights;
    0 to 2.

    x (B, M, D), y (B, N, D), any length, M and N may differ. The plan and the weights are
    constants in the gradient: at the optimum the distance's derivative by the costs is the plan
    itself (envelope theorem).
    """
    with torch.autocast(x.device.type, enabled=False):  # costs in bfloat16 would blur the plan
        x, y = F.normalize(x.float(), dim=-1), F.normalize(y.float(), dim=-1)
        cost = 1 - x @ y.transpose(1, 2)
        with torch.no_grad():
            plan = transport_plan(cost, cross_reference(x, y), cross_reference(y, x), eps, steps)
        return (plan * cost).sum((1, 2))
