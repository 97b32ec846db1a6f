"""SimCLR: find the other view of an image among all views of the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from bench.views.random_crops import RandomCrops
from bench.views.sample import SIMCLR
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.simclr.params import SimclrParams

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Simclr(Method):
    """SimCLR (Chen et al. 2020), as paper 002 trains it on COCO.

    L = mean over the 2B views i of -ln [ exp(s_i,p(i)) / sum_{k != i} exp(s_i,k) ], s = z z' /
    0.1, z the normalised projections, p(i) the other view of i's image (equation 1); under several
    devices the batch is that of all of them. Defaults: LARS, rate 0.3 x 512/256, weight decay 1e-6
    without batch norm and biases, 800 epochs, cosine per epoch after 10 epochs of warm-up. Paper
    002, table 1: VOC07 linear SVM 78.1 mAP; table 4: COCO box AP 37.0.
    """

    Params = SimclrParams
    params: SimclrParams
    scales = {
        "tiny": {
            **TINY_VIEWS,
            "temperature": 0.2,
            "hidden": 512,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "precision": "bf16",
        },
        "paper": {"init": "fan_in"},
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.ssl._lightly import simclr

        return simclr

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return RandomCrops(self.params.image_size, (self.params.min_scale, 1.0), SIMCLR)

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.simclr.network import SimclrNetwork

        return SimclrNetwork(self.params, heads)
