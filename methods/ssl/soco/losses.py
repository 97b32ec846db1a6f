"""SoCo's loss over the boxes of two views."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def correspondence(
    ids1: Tensor, ids2: Tensor, levels1: Tensor, levels2: Tensor, same: bool
) -> Tensor:
    """(B, K) x (B, K) -> (B, K, K) float: 1 where both are the same proposal, if `same` on the
    same level."""
    match = ids1[:, :, None] == ids2[:, None, :]
    if same:
        match = match & (levels1[:, :, None] == levels2[:, None, :])
    return match.float()


def soco_loss(prediction: Tensor, target: Tensor, corr: Tensor) -> Tensor:
    """-2 mean_n [sum_ij corr_nij cos(p_ni, z_nj) / (sum_ij corr_nij + 1e-6)]: one direction, -2 to
    2.

    p, z: (B, K, D); corr: (B, K, K). An image without a pair adds 0. No gradient reaches z.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        p, z = (
            F.normalize(prediction.float(), dim=-1),
            F.normalize(target.detach().float(), dim=-1),
        )
        total = ((p @ z.transpose(1, 2)) * corr).sum((1, 2))
    return -2.0 * (total / (corr.sum((1, 2)) + 1e-6)).mean()


def own_level(outputs: Tensor, levels: Tensor) -> Tensor:
    """Of every box's outputs on each level (L, B, n, D) those on its own, levels (B, n) int64: (B,
    n, D)."""
    return outputs.gather(0, levels[None, :, :, None].expand(1, -1, -1, outputs.shape[-1]))[0]
