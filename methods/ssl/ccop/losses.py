"""CCOP's choice of the hardest key, and its intra-image loss."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.nn.distributed import mean_divisor
from methods.ssl.ccop.noise import iou

# boxes of an image whose IoU is less are different objects (paper 003, below equation 3)
APART = 0.05


def hardest(query: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
    """(n, D), (n, m, D), (n, m) bool -> (n, D): of each row the allowed key with the least
    cosine."""
    similarity = torch.einsum("nd,nmd->nm", query.float(), keys.float())
    best = similarity.masked_fill(~allowed, torch.inf).argmin(1)
    return keys[torch.arange(len(keys), device=keys.device), best]


def intra_loss(
    kind: str, alpha: float, query: Tensor, key: Tensor, boxes: tuple[Tensor, Tensor], real: Tensor
) -> Tensor:
    """Keep objects of one image apart: mean over ordered pairs i != j of an image with IoU < .05,
    0 if none; the devices' mean is that over the pairs of all.

    query, key: (B, M, D) unit embeddings of the unmoved boxes in both views; boxes: their (B, M,
    4) in the query and the key view; real: (B, M) bool, False on padding.

    "hinge_paper": max(q_i . q_j - alpha, 0), IoU in the query view (equation 3 of paper 003).
    "triplet_code": max(q_i . k_j - q_j . k_j + alpha, 0), k without gradient, IoU in the key view.
    A larger alpha weakens the first and strengthens the second.
    """
    key, place = key.detach(), boxes[0] if kind == "hinge_paper" else boxes[1]
    with torch.autocast(query.device.type, enabled=False):
        if kind == "hinge_paper":
            term = query.float() @ query.float().transpose(1, 2) - alpha
        else:
            cosine = query.float() @ key.float().transpose(1, 2)
            term = cosine - torch.diagonal(cosine, dim1=1, dim2=2)[:, None, :] + alpha
    pair = real[:, :, None] & real[:, None, :] & (iou(place[:, :, None], place[:, None]) < APART)
    pair = pair & ~torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
    return (term.relu() * pair).sum() / mean_divisor(pair.sum())
