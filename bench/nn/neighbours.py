"""Nearest neighbours among images, in blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_SHIFT = 126  # powers of two beyond it are no normal float32


def unit_rows(rows: Tensor) -> Tensor:
    """(N, D) -> (N, D) float32, x / |x| of each row; rows of zeros stay zeros.

    Squares of numbers beyond 1e19 are infinite in float32, and those of numbers below 1e-19 are
    zero. So each row is multiplied by the power of two that brings it near 1, which is exact: rows
    of usual length are what `F.normalize` makes of them, to the bit.
    """
    rows = rows.float()
    largest = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True))
    shift = torch.frexp(largest).exponent.clamp(-MOST_SHIFT, MOST_SHIFT)
    scaled = rows * torch.exp2(-shift.float())
    return F.normalize(scaled, dim=1, out=scaled)


def nearest(
    features: Tensor, k: int, drop_self: str = "by_index", block: int = 2048
) -> tuple[Tensor, Tensor]:
    """The k most similar other rows of (N, D) by cosine: positions (N, k) int64 and similarities
    (N, k).

    drop_self: "by_index" never returns a row itself; "rank0" drops the most similar entry instead,
    as paper 002's code does: where an exact duplicate takes that rank, a row is its own neighbour.
    Memory is block x N floats.
    """
    unit = unit_rows(features)
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
