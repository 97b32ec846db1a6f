"""Batch norm over the batch of all devices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from bench.nn.distributed import rank_and_size


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


class HostSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """nn.SyncBatchNorm for tensors on the CPU, which torch's refuses: (B, C, ...) -> (B, C, ...).

    y = weight (x - mean) / sqrt(var + eps) + bias, mean and var over the rows of all processes, as
    one process with the whole batch has them; so are the running statistics (unbiased variance)
    and the gradient. Processes may hold different numbers of rows. In eval mode, or on one
    process, nn.BatchNorm itself.
    """

    @classmethod
    def like(cls, norm: nn.modules.batchnorm._BatchNorm) -> HostSyncBatchNorm:
        """The same batch norm, of this class: it shares the parameters and buffers of `norm`."""
        settings = norm.num_features, norm.eps, norm.momentum, norm.affine
        synchronised = cls(*settings, norm.track_running_stats)
        synchronised.weight, synchronised.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(synchronised, name, getattr(norm, name))
        return synchronised.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm takes (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or rank_and_size()[1] == 1:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        over = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        rows = x.new_tensor([x.numel() / x.shape[1]])
        totals = _Sum.apply(torch.cat([x.sum(over), rows]))  # type: ignore[no-untyped-call]
        count = totals[-1].detach()
        mean = totals[:-1] / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over)) / count  # type: ignore[no-untyped-call]
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if (
            self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            return
        self.num_batches_tracked.add_(1)
        weight = 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(variance.to(self.running_var.dtype), weight)


def synchronise(module: nn.Module, device: str) -> nn.Module:
    """Synchronise every nn.BatchNorm in `module` over processes: torch's own on "cuda",
    `HostSyncBatchNorm` on "cpu".

    Norms are replaced inside `module`, which is returned; a module that is a norm itself is
    replaced by the returned one. Parameters and buffers are the same tensors as before under the
    same names.
    """
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-any-return]
    norms = {
        path: norm
        for path, norm in module.named_modules(remove_duplicate=False)
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    }
    # a norm that has several places in the module keeps being one
    synchronised = {norm: HostSyncBatchNorm.like(norm) for norm in norms.values()}
    for path, norm in norms.items():
        if not path:
            return synchronised[norm]
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, synchronised[norm])
    return module
