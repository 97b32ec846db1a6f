"""SimSiam's networks and loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch, Network
from bench.nn.backbones import build_backbone
from bench.nn.byol import output_std
from bench.nn.heads import make_head, project
from bench.nn.multicrop import order_views
from methods.ssl.simsiam.params import SimsiamParams


class SimsiamNetwork(Network):
    """Backbone, projector (together the encoder) and predictor; every view has a forward of its
    own."""

    def __init__(self, params: SimsiamParams, heads: int = 1) -> None:
        super().__init__()
        online = build_backbone(params.backbone, params.init)
        self.backbone: nn.Module = online
        self.projector = make_head(
            lambda: encoder_head(online.feature_dim, params.hidden, params.out), heads
        )
        self.predictor = nn.Sequential(
            nn.Linear(params.out, params.bottleneck, bias=False),
            nn.BatchNorm1d(params.bottleneck),
            nn.ReLU(inplace=True),
            nn.Linear(params.bottleneck, params.out),
        )
        self.fixed = params.predictor_lr == "fixed"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean of -cos over both directions, -1 to 1. Multi-crop's small views, which SimSiam
        does not define, predict both global projections and the mean is over the 2 + 2k pairs.
        "std" near 0 means that the projections have collapsed, near 1/sqrt(out) that they are
        spread."""
        views = order_views(batch.views)
        z = [project(self.projector, self.backbone(v.images), v.objects) for v in views]
        return {
            "loss": negative_cosine([self.predictor(one) for one in z], z[:2]),
            "std": output_std(z[0]),
        }

    def fixed_lr(self) -> Sequence[nn.Parameter]:
        return list(self.predictor.parameters()) if self.fixed else []

    def embed(self, images: Tensor) -> Tensor:
        """Projections; call in eval mode."""
        return project(self.projector, self.backbone(images))


def encoder_head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three linear layers without bias, each followed by batch norm: ReLU after the first two, no
    scale and shift in the last (Chen and He 2021, section 4). Weights as torch initialises them.
    """
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs, bias=False),
        nn.BatchNorm1d(outputs, affine=False),
    )


def negative_cosine(predictions: list[Tensor], targets: list[Tensor]) -> Tensor:
    """The mean over targets i and predictions v != i of -mean_n cos(p_v,n, z_i,n); (B, D) each,
    targets of the first views. No gradient reaches a target. Source: Chen and He 2021, equations 1
    to 4."""
    pairs = [
        -F.cosine_similarity(p.float(), z.detach().float(), dim=-1).mean()
        for i, z in enumerate(targets)
        for v, p in enumerate(predictions)
        if v != i
    ]
    return torch.stack(pairs).mean()
