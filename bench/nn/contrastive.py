"""Contrastive losses over a queue, and the correspondence of dense features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.nn.distributed import mean_divisor


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or as it is in float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def info_nce(
    queries: Tensor, keys: Tensor, negatives: Tensor, tau: float, uneven: bool = False
) -> Tensor:
    """mean_n -log [exp(q_n k_n / tau) / (exp(q_n k_n / tau) + sum_j exp(q_n m_j / tau))], 0 for N
    = 0.

    queries, keys: (N, D), negatives: (K, D), unit vectors; no gradient reaches keys or negatives.
    This is the cross entropy of 1 + K logits with label 0,
    computed as softplus(logsumexp_j - positive), in float32 under autocast too. All vectors equal:
    log(K + 1). uneven: N may differ between devices, whose mean is then that over the rows of all.
    Source: He et al. 2020, equation 1.
    """
    with torch.autocast(queries.device.type, enabled=False):
        q = at_least_float32(queries) / tau
        positive = (q * keys.detach().to(q.dtype)).sum(1)
        rest = (q @ negatives.detach().to(q.dtype).T).logsumexp(1)
        count = mean_divisor(torch.tensor(len(q), device=q.device)) if uneven else max(len(q), 1)
        return F.softplus(rest - positive).sum() / count


@torch.no_grad()
def correspondence(queries: Tensor, keys: Tensor) -> Tensor:
    """match(i) = argmax_j cos(f_q,i, f_k,j): (B, C, S), (B, C, T) -> (B, S) int64, positions in T.

    Source: Wang et al. 2021 (DenseCL), section 3.3.
    """
    with torch.autocast(queries.device.type, enabled=False):
        unit_q, unit_k = (F.normalize(at_least_float32(x), dim=1) for x in (queries, keys))
        return (unit_q.transpose(1, 2) @ unit_k).argmax(2)


def dense_info_nce(
    queries: Tensor, keys: Tensor, match: Tensor, negatives: Tensor, tau: float
) -> Tensor:
    """InfoNCE of every cell: queries (B, D, S), keys (B, D, T),
    match (B, S) in T, negatives (K, D).

    Cell i of an image has the positive key `match[i]` of the same image;
    the mean is over all B x S cells. Source: Wang et al. 2021 (DenseCL), equation 2.
    """
    at = match.unsqueeze(1).expand(-1, keys.shape[1], -1)
    rows, positives = (x.transpose(1, 2).flatten(0, 1) for x in (queries, keys.gather(2, at)))
    return info_nce(rows, positives, negatives, tau)
