"""SimSiam: predict the other view's projection, with neither negatives nor a moving average."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from bench.views.random_crops import RandomCrops
from bench.views.sample import MOCO_V2
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.simsiam.params import SimsiamParams

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Simsiam(Method):
    """SimSiam (Chen and He 2021).

    L = -[cos(h(z1), sg z2) + cos(h(z2), sg z1)] / 2, the mean over the batch, z the projections, h
    the predictor, sg without gradient (equation 4). Defaults: SGD, rate 0.05 x 512/256, weight
    decay 1e-4 on everything, 100 epochs, cosine per epoch without warm-up; the predictor's rate
    stays fixed. Paper 003, table 1: COCO box AP 38.3 after 800 epochs on COCO (Mask R-CNN R50-FPN
    1x).
    """

    Params = SimsiamParams
    params: SimsiamParams
    scales = {
        "tiny": {
            **TINY_VIEWS,
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
        "paper": {"init": "zero_residual"},
    }

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return RandomCrops(self.params.image_size, (self.params.min_scale, 1.0), MOCO_V2)

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.simsiam.network import SimsiamNetwork

        return SimsiamNetwork(self.params, heads)
