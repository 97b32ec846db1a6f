"""Projection and prediction heads."""

from __future__ import annotations

from torch import nn


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """BYOL's head: Linear - BN - ReLU - Linear (no bias), no last BN; (B, inputs) -> (B, outputs).

    Source: Grill et al. 2020, section 3.2. The first layer keeps its bias as OpenSelfSup's does (BN removes
    its effect). Both layers: Kaiming normal over fan-in, zero bias.
    """
    first, last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs, bias=False)
    for layer in (first, last):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    nn.init.zeros_(first.bias)
    return nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), last)
