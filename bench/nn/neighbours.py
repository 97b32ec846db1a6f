"""Nearest neighbours among images, in blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nearest(
    features: Tensor, k: int, drop_self: str = "by_index", block: int = 2048
) -> tuple[Tensor, Tensor]:
    """The k most similar other rows of (N, D) by cosine: positions (N, k) int64 and similarities
    (N, k).

    drop_self: "by_index" never returns a row itself; "rank0" drops the most similar entry instead,
    as paper 002's code does: where an exact duplicate takes that rank, a row is its own neighbour.
    Memory is block x N floats.
    """
    unit = F.normalize(features.float(), dim=1)
    positions, similarities = [], []
    for start in range(0, len(unit), block):
        scores = unit[start : start + block] @ unit.T
        if drop_self == "by_index":
            rows = torch.arange(len(scores), device=scores.device)
            scores[rows, rows + start] = -torch.inf
        top = scores.topk(k + (drop_self == "rank0"), dim=1)
        skip = int(drop_self == "rank0")
        positions.append(top.indices[:, skip:])
        similarities.append(top.values[:, skip:])
    return torch.cat(positions), torch.cat(similarities)
