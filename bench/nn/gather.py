"""Rows of all devices in one tensor, with gradient; without torch.distributed everything is one device's."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """(rank, number of ranks); (0, 1) where torch.distributed is not initialised."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(world()[1])]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        start = world()[0] * ctx.rows
        return total[start : start + ctx.rows]


def gather_rows(x: Tensor) -> Tensor:
    """(b, ...) of every rank -> (W b, ...), rank after rank; every rank passes equally many rows.

    The gradient of a row is the sum of what all ranks' losses ask of it. With losses that are means over own
    rows, averaging parameter gradients over ranks, as DDP does, then gives the gradient of the whole batch.
    """
    return x if world()[1] == 1 else _Gather.apply(x.contiguous())  # type: ignore[no-any-return,no-untyped-call]
