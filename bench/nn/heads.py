"""Projection and prediction heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn


def mlp(
    inputs: int, hidden: int, outputs: int, mode: Literal["fan_in", "fan_out"] = "fan_in"
) -> nn.Sequential:
    """BYOL's head: Linear - BN - ReLU - Linear (no bias), no last BN; (B, inputs) -> (B, outputs).

    Source: Grill et al. 2020, section 3.2. The first layer keeps its bias as OpenSelfSup's does
    (BN removes its effect). Both layers: Kaiming normal over fan-in, zero bias. `mode` fan_out is
    LEWEL's code: Kaiming normal over fan-out, no bias at all.
    """
    first = nn.Linear(inputs, hidden, bias=mode == "fan_in")
    last = nn.Linear(hidden, outputs, bias=False)
    for layer in (first, last):
        nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
    if mode == "fan_in":
        nn.init.zeros_(first.bias)
    return nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), last)


class KindHeads(nn.Module):
    """Two projection heads of one form: `object` for object views,
    `other` for the others (paper 001).

    `forward(x, objects)`: (B, D), (B,) bool -> (B, K). Both heads see the whole batch
    and each row keeps its own head's output, so batch-norm statistics are the batch's,
    and any mixture of kinds works, one row of a kind and none included, on every rank alike.
    A head learns from its own rows only (but for those statistics). The heads start different:
    `other` is drawn after `object`.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.object, self.other = make(), make()

    def forward(self, x: Tensor, objects: Tensor | None) -> Tensor:
        """`objects` None: no row is an object's."""
        if objects is None:
            return self.other(x)  # type: ignore[no-any-return]
        own, rest = self.object(x), self.other(x)
        return torch.where(objects.view(-1, *[1] * (own.ndim - 1)), own, rest)


def make_head(make: Callable[[], nn.Module], heads: int = 1) -> nn.Module:
    """`make()`, or for two heads `KindHeads(make)`; call either with `project`."""
    return KindHeads(make) if heads == 2 else make()


def project(head: nn.Module, x: Tensor, objects: Tensor | None = None) -> Tensor:
    """`head(x)`; where the crop asked for two heads,
    each row through the head of its kind (`objects`)."""
    return head(x, objects) if isinstance(head, KindHeads) else head(x)  # type: ignore[no-any-return]
