"""What a step exchanges between devices; on one device every function is the identity.

Losses are means over a process's own rows and DDP averages the gradients of all processes, so that together
they are those of the whole batch. What looks at other rows (negatives, queues, statistics) goes through here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F


def rank_and_size() -> tuple[int, int]:
    """This process's rank and the number of processes; (0, 1) where torch.distributed is not running."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [
            torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(rank_and_size()[1])
        ]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        start = rank_and_size()[0] * ctx.rows
        return total[start : start + ctx.rows]


def gather_rows(x: Tensor) -> Tensor:
    """(b, ...) of every process -> (W b, ...), in rank order; every process passes equally many rows.

    The gradient of a row is the sum of what all processes' losses ask of it.
    """
    return x if rank_and_size()[1] == 1 else _Gather.apply(x)  # type: ignore[no-any-return,no-untyped-call]


@torch.no_grad()
def row_counts(n: int, device: torch.device) -> list[int]:
    """`n` of every process, in rank order."""
    if rank_and_size()[1] == 1:
        return [n]
    return [int(c) for c in gather_rows(torch.tensor([n], device=device))]


@torch.no_grad()
def gather_uneven(rows: Tensor) -> Tensor:
    """(n, D) of every process -> the rows of all, in rank order; n may differ. No gradient."""
    if rank_and_size()[1] == 1:
        return rows
    counts = row_counts(len(rows), rows.device)
    every = gather_rows(F.pad(rows.detach(), (0, 0, 0, max(counts) - len(rows))))
    return torch.cat([part[:n] for part, n in zip(every.chunk(len(counts)), counts, strict=True)])


@torch.no_grad()
def mean_divisor(count: Tensor) -> Tensor:
    """What a process divides its sum by, so that the processes' mean is the mean over all their terms:
    the number of terms of all (at least 1) by the number of processes. `count`: this process's, a scalar."""
    total, size = count.detach().double(), rank_and_size()[1]
    if size > 1:
        dist.all_reduce(total)
    return (total.clamp(min=1) / size).float()


def draw_rows(draw: Callable[[int], Tensor], n: int, part: int = 0, parts: int = 1) -> Tensor:
    """This process's `n` rows of `draw(N)`, N the rows of all processes and of all `parts` of a step.

    Processes share torch's seed, so a row's random numbers do not depend on how a batch is divided.
    """
    rank, size = rank_and_size()
    start = (rank * parts + part) * n
    return draw(size * parts * n)[start : start + n]


def draw_uneven(draw: Callable[[int], Tensor], n: int, device: torch.device) -> Tensor:
    """`draw_rows` where processes have different numbers of rows."""
    counts = row_counts(n, device)
    start = sum(counts[: rank_and_size()[0]])
    return draw(sum(counts))[start : start + n]


class Shuffle:
    """A random order of the rows of all processes, rank 0's, from torch's generator.

    `there(x)`: (b, ...) of every process -> this process's share of the rows in that order; `home(y)`: what
    was computed of them -> this process's rows in their own order. No gradient.
    """

    @torch.no_grad()
    def __init__(self, n: int, device: torch.device) -> None:
        rank, size = rank_and_size()
        order = torch.randperm(size * n).to(device)
        if size > 1:
            dist.broadcast(order, 0)
        share = slice(rank * n, (rank + 1) * n)
        self.mine, self.back = order[share], order.argsort()[share]

    @torch.no_grad()
    def there(self, x: Tensor) -> Tensor:
        return gather_rows(x)[self.mine]

    @torch.no_grad()
    def home(self, y: Tensor) -> Tensor:
        return gather_rows(y)[self.back]
