"""Batch norm over groups of a batch:
what several devices without synchronised statistics compute."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import BadInput
from bench.nn.distributed import gather_rows, rank_and_size


def group_count(groups: int, batch: int, devices: int = 1) -> int:
    """Groups of one device's `batch` images: its share of `groups`,
    but groups of at least 2 images.

    min(groups // devices, batch // 2), at least 1. With `devices` a divisor of `groups`, and
    groups a divisor of the whole batch, the groups of all devices together are those of one device
    with the whole batch.
    """
    return max(1, min(groups // devices, batch // 2))


def group_sizes(n: int, batch: int) -> list[int]:
    """Sizes of `n` groups of `batch` images that differ by at most 1, larger ones first.

    (`tensor_split` gives the same groups,
    but its backward pass fills a whole batch for each of them.)
    """
    return [batch // n + (g < batch % n) for g in range(n)]


class SplitBatchNorm(nn.Module):
    """Batch norm whose statistics in train mode are those of each of `groups`
    runs of consecutive images.

    (B, C, H, W) -> (B, C, H, W), y = weight (x - mean_g) / sqrt(var_g + eps) + bias, g the image's
    group. The groups' sizes differ by at most 1. `groups` counts those of all devices
    (`group_count`). The running statistics move by the mean over the groups of all devices; in
    eval mode they are used, as nn.BatchNorm2d does. It has that class's state-dict keys but is not
    of that class: conversion to synchronised batch norm passes it over.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm2d, groups: int) -> None:
        super().__init__()
        if norm.momentum is None or norm.running_mean is None:
            raise ValueError("a split batch norm needs running statistics with a momentum")
        self.weight, self.bias, self.eps, self.momentum = (
            norm.weight,
            norm.bias,
            norm.eps,
            norm.momentum,
        )
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                False,
                0.0,
                self.eps,
            )
        n = group_count(self.groups, len(x), self._devices())
        means, variances = self.running_mean.repeat(n, 1), self.running_var.repeat(n, 1)
        parts = [
            F.batch_norm(
                part, means[g], variances[g], self.weight, self.bias, True, self.momentum, self.eps
            )
            for g, part in enumerate(x.split(group_sizes(n, len(x))))
        ]
        with torch.no_grad():
            # every device holds equally many groups, so the mean over all is the mean of theirs
            moved = gather_rows(torch.stack([means.mean(0), variances.mean(0)])[None]).mean(0)
            self.running_mean.copy_(moved[0])
            self.running_var.copy_(moved[1])
            self.num_batches_tracked.add_(1)
        return torch.cat(parts) if n > 1 else parts[0]

    def _devices(self) -> int:
        devices = rank_and_size()[1]
        if self.groups % devices:
            raise BadInput(
                f"{self.groups} batch-norm groups do not divide over {devices} devices, "
                "on which the result would then depend; try: "
                f"--set method.bn_groups={-(-self.groups // devices) * devices}"
            )
        return devices

    def extra_repr(self) -> str:
        return (
            f"{len(self.weight)}, groups={self.groups}, eps={self.eps}, momentum={self.momentum}"
        )


def split_batch_norm(module: nn.Module, groups: int) -> nn.Module:
    """`module` with every nn.BatchNorm2d in it made a `SplitBatchNorm`, in place;
    same state dict. One group is the whole batch: the module stays as it is,
    and several devices synchronise their statistics."""
    if groups == 1:
        return module
    if isinstance(module, nn.BatchNorm2d):
        return SplitBatchNorm(module, groups)
    for name, child in module.named_children():
        setattr(module, name, split_batch_norm(child, groups))
    return module
