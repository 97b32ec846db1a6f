"""SimSiam: predict the other view's projection, with neither negatives nor a moving average."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Viewer
from bench.core.params import param
from bench.nn.byol import output_std
from bench.nn.heads import make_head, project
from bench.nn.multicrop import order_views
from bench.views.random_crops import RandomCrops
from bench.views.sample import MOCO_V2

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet


class SimsiamParams(PretrainParams):
    """SimSiam's settings; the defaults are its own on ImageNet (section 4: 100 epochs, batch 512)."""

    epochs: int = param(100, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    lr: float = param(
        0.05, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-3, 1.0]
    )
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    predictor_lr: Literal["fixed", "decayed"] = param(
        "fixed", help="fixed: the predictor keeps the base rate; decayed: it follows the schedule"
    )
    hidden: int = param(2048, ge=1, help="hidden width of the projector")
    out: int = param(2048, ge=1, help="output width of projector and predictor")
    bottleneck: int = param(512, ge=1, help="hidden width of the predictor")
    min_scale: float = param(0.2, gt=0, le=1, help="least area of a view, fraction of its source")


class SimsiamNetwork(Network):
    """Backbone, projector (together the encoder) and predictor; every view has a forward of its
    own."""

    def __init__(self, params: SimsiamParams, heads: int = 1) -> None:
        super().__init__()
        # torchvision takes a second; plans need none
        from bench.nn.backbones import build_backbone

        online = build_backbone(params.backbone)
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


class Simsiam(Method):
    """SimSiam (Chen and He 2021).

    L = -[cos(h(z1), sg z2) + cos(h(z2), sg z1)] / 2, the mean over the batch, z the projections, h
    the predictor, sg without gradient (equation 4). Defaults: SGD, rate 0.05 x 512/256, weight
    decay 1e-4 on everything, 100 epochs, cosine per epoch without warm-up; the predictor's rate
    stays fixed. Paper 003,
    table 1: COCO box AP 38.3 after 800 epochs on COCO (Mask R-CNN R50-FPN 1x).
    """

    Params = SimsiamParams
    params: SimsiamParams
    scales = {
        "tiny": {
            "backbone": "resnet18",
            "image_size": 64,
            "epochs": 9,
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 0.002,
            "warmup_epochs": 1.0,
            "lr_step": "iter",
            "min_scale": 0.7,
            "hidden": 512,
            "out": 512,
            "bottleneck": 128,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "precision": "bf16",
        },
    }

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return RandomCrops(self.params.image_size, (self.params.min_scale, 1.0), MOCO_V2)

    def network(self, n_images: int, heads: int = 1) -> Network:
        return SimsiamNetwork(self.params, heads)
