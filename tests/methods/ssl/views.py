"""Random batches for tests of losses."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts.network import Batch, Views


def batch(
    images: dict[str, Tensor], step: int = 0, total_steps: int = 1, objects: Tensor | None = None
) -> Batch:
    """A batch of `images` by role, (B, 3, S, S) each; `objects` (B,) bool of the first view, by
    default none."""
    n = len(next(iter(images.values())))
    none = torch.zeros(n, dtype=torch.bool)
    kinds = [none if objects is None else objects, *[none] * (len(images) - 1)]
    views = {
        role: Views(x, torch.zeros(n, 4), none, torch.arange(n), kind)
        for (role, x), kind in zip(images.items(), kinds, strict=True)
    }
    return Batch(views, {}, step, total_steps)


def two_views(n: int = 6, small: int = 0, size: int = 32, seed: int = 0) -> dict[str, Tensor]:
    """ "view1" and "view2" of `size` pixels, then `small` views of half of it."""
    draw = torch.Generator().manual_seed(seed)
    roles = {"view1": size, "view2": size} | {f"small{i + 1}": size // 2 for i in range(small)}
    return {role: torch.randn(n, 3, s, s, generator=draw) for role, s in roles.items()}


def reordered(images: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    """The same batch with its samples in another order."""
    return {role: x[order] for role, x in images.items()}
