"""What a step exchanges between devices; on one device every function is the identity.

Losses are means over a process's own rows and DDP averages the gradients of all processes, so that
together they are those of the whole batch. What looks at other rows (negatives, queues,
statistics) goes through here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def rank_and_size() -> tuple[int, int]:
    """This process's rank and the number of processes;
    (0, 1) where torch.distributed is not running."""
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


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return gather_rows(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        start = rank_and_size()[0] * ctx.rows
        return total[start : start + ctx.rows]


def gather_with_gradient(x: Tensor) -> Tensor:
    """`gather_rows` through which gradients flow: that of a row is the sum of what all processes'
    losses ask of it. With losses that are means over own rows, averaging parameter gradients over
    processes, as DDP does, then gives the gradient of the whole batch.
    """
    return x if rank_and_size()[1] == 1 else _Gather.apply(x)  # type: ignore[no-any-return,no-untyped-call]


@torch.no_grad()
def gather_uneven(x: Tensor) -> Tensor:
    """(n, ...) of every process, stacked in rank order,
    where n may differ between them. No gradient."""
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
    """(n,) int64, a random order of n rows,
    the same on every process (rank 0's, from torch's generator)."""
    order = torch.randperm(n).to(device)
    if rank_and_size()[1] > 1:
        dist.broadcast(order, 0)
    return order


@torch.no_grad()
def mean_divisor(count: Tensor) -> Tensor:
    """What a process divides its sum by, so that the processes' mean is the mean over all their
    terms: the number of terms of all (at least 1) by the number of processes. `count`: this
    process's, a scalar."""
    total, size = count.detach().double(), rank_and_size()[1]
    if size > 1:
        dist.all_reduce(total)
    return (total.clamp(min=1) / size).float()


def draw_rows(draw: Callable[[int], Tensor], n: int, part: int = 0, parts: int = 1) -> Tensor:
    """This process's `n` rows of `draw(N)`,
    N the rows of all processes and of all `parts` of a step.

    Processes share torch's seed, so a row's random numbers do not depend
    on how a batch is divided.
    """
    rank, size = rank_and_size()
    start = (rank * parts + part) * n
    return draw(size * parts * n)[start : start + n]


def draw_uneven(draw: Callable[[int], Tensor], n: int, device: torch.device) -> Tensor:
    """`draw_rows` where processes have different numbers of rows."""
    counts = gather_rows(torch.tensor([n], device=device)).tolist()
    start = sum(counts[: rank_and_size()[0]])
    return draw(sum(counts))[start : start + n]


class Shuffle:
    """A random order of the rows of all processes, rank 0's, from torch's generator.

    `there(x)`: (b, ...) of every process -> this process's share of the rows in that order;
    `home(y)`: what was computed of them -> this process's rows in their own order. No gradient.
    """

    @torch.no_grad()
    def __init__(self, n: int, device: torch.device) -> None:
        rank, size = rank_and_size()
        order = shared_permutation(size * n, device)
        share = slice(rank * n, (rank + 1) * n)
        self.mine, self.back = order[share], order.argsort()[share]

    @torch.no_grad()
    def there(self, x: Tensor) -> Tensor:
        return gather_rows(x)[self.mine]

    @torch.no_grad()
    def home(self, y: Tensor) -> Tensor:
        return gather_rows(y)[self.back]
