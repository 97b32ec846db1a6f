"""SwAV's codes: equally filled soft assignments of samples to prototypes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from bench.nn.contrastive import at_least_float32
from bench.nn.distributed import rank_and_size


@torch.no_grad()
def sinkhorn(scores: Tensor, eps: float, iterations: int) -> Tensor:
    """Codes Q (N, K), float32 at least, of scores (N, K): rows sum to 1, columns tend to N / K as
    `iterations` grow.

    Q = Diag(u) exp(scores / eps) Diag(v): each iteration scales the columns (prototypes) to equal
    sums, then the rows (samples) to 1, so that rows are exact and columns approximate. Done in
    logarithms, where no small `eps` overflows or empties a prototype. Where torch.distributed
    runs, N counts the rows of all ranks (any number each) and a rank gets its own rows' codes.
    Source: Caron et al. 2020, equations 3 to 5 and appendix A.
    """
    q = at_least_float32(scores) / eps
    for _ in range(iterations):
        q = q - _log_sum_of_samples(q)
        q = q - q.logsumexp(dim=1, keepdim=True)
    return q.exp()


def _log_sum_of_samples(q: Tensor) -> Tensor:
    """(K,) ln sum_n exp(q_n,k) over the rows of all ranks."""
    if rank_and_size()[1] == 1:
        return q.logsumexp(dim=0)
    top = q.amax(dim=0)
    dist.all_reduce(top, dist.ReduceOp.MAX)
    total = (q - top).exp().sum(dim=0)
    dist.all_reduce(total)
    return top + total.log()


def swapped_loss(scores: list[Tensor], codes: list[Tensor], temperature: float) -> Tensor:
    """Each view predicts the codes of the other views' images: the mean over i < len(codes) and v
    != i of -mean_n sum_k q_i,n,k ln softmax_k(s_v,n / t); scalar.

    scores: (N, K) of each view, global views first. codes: (N, K) of the global views. Source:
    Caron et al. 2020, equations 2 and 6, averaged over pairs.
    """
    logs = [torch.log_softmax(at_least_float32(s) / temperature, dim=1) for s in scores]
    pairs = [
        -(q * log).sum(dim=1).mean()
        for i, q in enumerate(codes)
        for v, log in enumerate(logs)
        if v != i
    ]
    return torch.stack(pairs).mean()
