"""Optimizers from a method's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from bench.contracts.method import PretrainParams


class LARS(torch.optim.Optimizer):
    """SGD with layer-wise adaptive rates: g <- trust (g + wd p), trust = eta |p| / |g + wd p|.

    The trust ratio scales tensors of more than one dimension; vectors (batch norm, biases) take a
    plain step, as in the self-supervised recipes. v <- momentum v + trust g; p <- p - lr v.
    Source: You et al. 2017.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 1e-3,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return loss

    def _update(self, p: torch.Tensor, grad: torch.Tensor, group: dict[str, Any]) -> None:
        grad = grad.add(p, alpha=group["weight_decay"])
        if p.ndim > 1:
            size, slope = p.norm(), grad.norm()
            trust = torch.where(
                (size > 0) & (slope > 0), group["eta"] * size / slope, torch.ones_like(size)
            )
            grad = grad * trust
        state = self.state[p]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(p)
        state["velocity"].mul_(group["momentum"]).add_(grad)
        p.add_(state["velocity"], alpha=-group["lr"])


def param_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    weight_decay: float,
    decay_norm_and_bias: bool,
    fixed_lr: Sequence[nn.Parameter] = (),
) -> list[dict[str, Any]]:
    """Parameters with decay, and those without: 1-d ones (batch norm, biases)
    unless `decay_norm_and_bias`.

    Those in `fixed_lr` come after, in groups that say so with "fixed_lr": True; their rate is
    never changed.
    """
    fixed = {id(p) for p in fixed_lr}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {
        (keeps, decays): [] for keeps in (False, True) for decays in (True, False)
    }
    for _, p in named:
        groups[id(p) in fixed, decay_norm_and_bias or p.ndim > 1].append(p)
    return [
        {"params": group, "weight_decay": weight_decay if decays else 0.0}
        | ({"fixed_lr": True} if keeps else {})
        for (keeps, decays), group in groups.items()
        if group
    ]


def base_lr(params: PretrainParams) -> float:
    """lr x batch_size / 256, the linear rule that BYOL, SimSiam, SoCo and MAE state."""
    return params.lr * params.batch_size / 256.0


def build_optimizer(
    params: PretrainParams,
    named: Iterable[tuple[str, nn.Parameter]],
    fixed_lr: Sequence[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """SGD, LARS or AdamW over `named` with the method's settings; the rate is `base_lr`."""
    groups = param_groups(named, params.weight_decay, params.decay_norm_and_bias, fixed_lr)
    lr = base_lr(params)
    if params.optimizer == "sgd":
        # The fused kernel takes half the time of the loop on a CPU and saves launches on a GPU.
        return torch.optim.SGD(groups, lr=lr, momentum=params.momentum, fused=True)
    if params.optimizer == "lars":
        return LARS(groups, lr=lr, momentum=params.momentum)
    # MAE's second beta; the first is `momentum`, by default 0.9 as in MAE.
    return torch.optim.AdamW(groups, lr=lr, betas=(params.momentum, 0.95), fused=True)
