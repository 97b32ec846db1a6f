"""SimCLR's networks and loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.contracts.network import Batch, Network
from bench.nn.backbones import build_backbone
from bench.nn.byol import output_std
from bench.nn.heads import make_head, project
from bench.nn.multicrop import by_size, joined_kinds, order_views
from bench.nn.ntxent import nt_xent
from methods.ssl.simclr.params import SimclrParams


class SimclrNetwork(Network):
    """Backbone and projector; both views pass through them in one forward."""

    def __init__(self, params: SimclrParams, heads: int = 1) -> None:
        super().__init__()
        online = build_backbone(params.backbone, params.init)
        self.backbone: nn.Module = online
        self.projector = make_head(
            lambda: neck(online.feature_dim, params.hidden, params.out), heads
        )
        self.temperature = params.temperature

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """NT-Xent of the two views. Multi-crop's small views, which SimCLR does not define, are
        paired with both global ones and the loss is the mean over the 1 + 2k pairs. "std" near 0:
        collapsed outputs."""
        views = order_views(batch.views)
        z = project(self.projector, by_size(self.backbone, views), joined_kinds(views)).chunk(
            len(views)
        )
        pairs = [(z[0], z[1]), *[(large, small) for small in z[2:] for large in z[:2]]]
        loss = torch.stack([nt_xent(a, b, self.temperature) for a, b in pairs]).mean()
        return {"loss": loss, "std": output_std(z[0])}

    def embed(self, images: Tensor) -> Tensor:
        """Projections; call in eval mode."""
        return project(self.projector, self.backbone(images))


def neck(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear - BN - ReLU - Linear - BN, no biases; Kaiming normal over fan-in, as paper 002's code
    has it."""
    layers = (nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False))
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    return nn.Sequential(
        layers[0],
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        layers[1],
        nn.BatchNorm1d(outputs),
    )
