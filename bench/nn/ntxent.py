"""NT-Xent, SimCLR's loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.nn.distributed import gather_with_gradient, rank_and_size


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The normalised temperature-scaled cross entropy of N pairs;
    scalar, at most ln(2N - 1) + 2 / t.

    first, second: (N, D), row n of both from one image. With z the 2N rows at unit length, s = z
    z' / t, L = mean_i [ -s_i,p(i) + ln sum_{k != i} exp(s_i,k) ], p(i) the other view of i's
    image. Computed in float32. Where torch.distributed runs, N counts the rows of all ranks:
    negatives come from everywhere, with gradient, the value is the mean over this rank's rows, and
    the ranks' mean is the whole batch's loss.
    Source: Chen et al. 2020, equation 1 and algorithm 1.
    """
    with torch.autocast(first.device.type, enabled=False):
        z = F.normalize(torch.cat([first, second]).float(), dim=1)
        everyone = gather_with_gradient(z)
        own = torch.arange(len(z), device=z.device)
        start = rank_and_size()[0] * len(z)
        scores = z @ everyone.T / temperature
        scores = scores.index_put((own, own + start), scores.new_tensor(-torch.inf))
        return F.cross_entropy(scores, own.roll(len(first)) + start)
