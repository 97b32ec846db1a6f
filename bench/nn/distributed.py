"""What a step exchanges between devices; on one device every function is the identity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def rank_and_size() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) where torch.distributed is not running."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@torch.no_grad()
def gather_rows(x: Tensor) -> Tensor:
    """(b, ...) of every process, stacked in rank order: (world size x b, ...). No gradient.

    Every process must hold equally many rows.
    """
    _, size = rank_and_size()
    if size == 1:
        return x.detach()
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(size)]
    dist.all_gather(parts, x.detach().contiguous())
    return torch.cat(parts)


@torch.no_grad()
def gather_uneven(x: Tensor) -> Tensor:
    """(n, ...) of every process, stacked in rank order, where n may differ between them. No gradient."""
    _, size = rank_and_size()
    if size == 1:
        return x.detach()
    counts = gather_rows(torch.tensor([len(x)], device=x.device)).tolist()
    padded = x.detach().new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x.detach()
    parts = gather_rows(padded).split(max(counts)) if max(counts) else [padded] * size
    return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])


@torch.no_grad()
def shared_permutation(n: int, device: torch.device) -> Tensor:
    """(n,) int64, a random order of n rows, the same on every process (rank 0's, from torch's generator)."""
    order = torch.randperm(n).to(device)
    if rank_and_size()[1] > 1:
        dist.broadcast(order, 0)
    return order
