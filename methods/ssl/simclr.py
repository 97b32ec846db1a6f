"""SimCLR: find the other view of an image among all views of the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Viewer
from bench.core.params import param
from bench.nn.byol import output_std
from bench.nn.heads import make_head, project
from bench.nn.multicrop import by_size, joined_kinds, order_views
from bench.nn.ntxent import nt_xent
from bench.views.sample import SIMCLR
from methods.crops._random_crops import RandomCrops

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet


class SimclrParams(PretrainParams):
    """SimCLR's settings; the defaults are paper 002's on COCO (appendix A and its code's
    configuration)."""

    optimizer: Literal["sgd", "lars", "adamw"] = param("lars")
    lr: float = param(
        0.3, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-2, 3.0]
    )
    weight_decay: float = param(1e-6, ge=0)
    decay_norm_and_bias: bool = param(False, help="weight decay on batch norm and biases too")
    warmup_epochs: float = param(10.0, ge=0, help="epochs of linear warm-up")
    temperature: float = param(0.1, gt=0, help="t of the softmax", search=["log", 0.05, 1.0])
    hidden: int = param(2048, ge=1, help="hidden width of the projector")
    out: int = param(128, ge=1, help="output width of the projector")
    min_scale: float = param(0.08, gt=0, le=1, help="least area of a view, fraction of its source")


class SimclrNetwork(Network):
    """Backbone and projector; both views pass through them in one forward."""

    def __init__(self, params: SimclrParams, heads: int = 1) -> None:
        super().__init__()
        # torchvision takes a second; plans need none
        from bench.nn.backbones import build_backbone

        online = build_backbone(params.backbone)
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


class Simclr(Method):
    """SimCLR (Chen et al. 2020), as paper 002 trains it on COCO.

    L = mean over the 2B views i of -ln [ exp(s_i,p(i)) / sum_{k != i} exp(s_i,k) ], s = z z' /
    0.1, z the normalised projections, p(i) the other view of i's image (equation 1); under several
    devices the batch is that of all of them. Defaults: LARS, rate 0.3 x 512/256, weight decay 1e-6
    without batch norm and biases, 800 epochs, cosine per epoch after 10 epochs of warm-up. Paper
    002, table 1: VOC07 linear SVM 78.1 mAP;
    table 4: COCO box AP 37.0.
    """

    Params = SimclrParams
    params: SimclrParams
    scales = {
        "tiny": {
            "backbone": "resnet18",
            "image_size": 64,
            "epochs": 9,
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 0.008,
            "warmup_epochs": 1.0,
            "lr_step": "iter",
            "temperature": 0.2,
            "min_scale": 0.7,
            "hidden": 512,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "precision": "bf16",
        },
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.ssl._lightly import simclr

        return simclr

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return RandomCrops(self.params.image_size, (self.params.min_scale, 1.0), SIMCLR)

    def network(self, n_images: int, heads: int = 1) -> Network:
        return SimclrNetwork(self.params, heads)
