"""BYOL: predict a moving-average target's projection of the other view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.byol.params import ByolParams
from methods.ssl.byol.views import TwoViews

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Byol(Method):
    """Bootstrap Your Own Latent (Grill et al. 2020), as papers 000 and 002 train it on COCO.

    L = [2 - 2 cos(q(g(f(x1))), g'(f'(x2)))] + [2 - 2 cos(q(g(f(x2))), g'(f'(x1)))], each the mean
    over the batch (equation 2, both directions summed), f, g, q the online backbone, projector and
    predictor, f', g' their moving averages without gradient. Defaults: SGD, rate 0.2 x 512/256,
    weight decay 1e-4 on everything, 800 epochs, cosine per epoch after 4 epochs of warm-up, target
    momentum 0.99 to 1. COCO box AP (Mask R-CNN R50-FPN 1x): 39.5 after 800 epochs (paper 002,
    Table 4), 38.8 after 400 (paper 000, Table 3). VOC07 linear SVM: 84.5 mAP (paper 002, Table 1).
    """

    Params = ByolParams
    params: ByolParams
    usual = True
    scales = {
        "tiny": {
            **TINY_VIEWS,
            # it learns more slowly from whole scenes than the contrastive methods do
            "lr": 0.006,
            "epochs": 100,
            "hidden": 512,
            "out": 128,
            "ema0": 0.3,  # a slower target is too slow for so few steps (docs/design/learning.md)
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "hidden": 2048,
            "out": 256,
            "precision": "bf16",
        },
        "paper": {"init": "fan_in"},
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.ssl._lightly import byol

        return byol

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return TwoViews(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.byol.network import ByolNetwork

        return ByolNetwork(self.params, heads)
