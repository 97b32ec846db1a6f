"""Forwarding views of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from bench.contracts.network import Views


def by_size(backbone: nn.Module, views: Sequence[Views]) -> Tensor:
    """(V B, D) features, view after view; neighbouring views of one size share a forward, and so
    batch-norm statistics, as in SimCLR (both views) and SwAV (global views, then small ones)."""
    groups = groupby((v.images for v in views), key=lambda x: x.shape[-2:])
    return torch.cat([backbone(torch.cat(list(images))) for _, images in groups])


def joined_kinds(views: Sequence[Views]) -> Tensor:
    """(V B,) bool, `objects` of the rows of `by_size`."""
    return torch.cat([v.objects for v in views])


def order_views(views: dict[str, Views]) -> list[Views]:
    """ "view1", "view2", then the small views in the order of the plan."""
    small = [v for role, v in views.items() if role.startswith("small")]
    return [views["view1"], views["view2"], *small]
