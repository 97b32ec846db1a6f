"""Exponential moving average of parameters."""

from __future__ import annotations

import math

import torch
from torch import nn


def cosine_momentum(step: int, total_steps: int, start: float) -> float:
    """m_k = 1 - (1 - m_0) (cos(pi k / K) + 1) / 2, from m_0 at k = 0 to 1 at k = K.

    Source: Grill et al. 2020, section 3.3.
    """
    return 1.0 - (1.0 - start) * (math.cos(math.pi * step / total_steps) + 1.0) / 2.0


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- m target + (1 - m) online, for parameters only.

    Buffers (batch norm's running statistics) are not averaged: the target keeps its own.
    """
    moved: list[torch.Tensor] = list(target.parameters())
    towards = [p.detach() for p in online.parameters()]
    if len(moved) != len(towards):
        raise ValueError(f"{len(moved)} target parameters, {len(towards)} online parameters")
    torch._foreach_lerp_(moved, towards, 1.0 - momentum)
