"""LEWEL: BYOL on images, and on features pooled by alignment maps that the projector makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.byol.views import TwoViews
from methods.ssl.lewel.params import LewelParams

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Lewel(Method):
    """Learning Where to Learn (Huang et al. 2022), the variant on BYOL (LEWEL_B).

    L = sum over both directions of (1 - w) [2 - 2 cos(q(z), z')] + w [2 - 2 cos(q_o(o), o')], w =
    0.5, z the projection of the pooled feature, o those of K / H = 64 features pooled by alignment
    maps (`AlignedNeck`); online and target make their maps each from their own view. Defaults:
    LARS, rate 3.6 at batch 1024, weight decay 1.5e-6 without norms and biases, 200 epochs, target
    momentum .98 to 1, EMAN; the rate's cosine moves every epoch and begins after the warm-up. The
    other published setting: target_bn own, batch 4096, lr 0.45 (7.2 in all), weight decay 1e-6,
    ema0 .996, 400 epochs.

    Not here: LEWEL_M, the variant on MoCo v2 that paper 000 quotes (40.0 box AP, Table 3,
    ImageNet); the authors published LEWEL_B only.
    """

    Params = LewelParams
    params: LewelParams
    scales = {
        "tiny": {
            **TINY_VIEWS,
            "hidden": 512,
            "out": 128,
            "ema0": 0.3,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "hidden": 2048,
            "lr_step": "iter",
            "precision": "bf16",
        },
        "paper": {"mlp_init": "fan_out"},
    }

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return TwoViews(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.lewel.network import LewelNetwork

        return LewelNetwork(self.params, heads)
