"""Self-EMD: BYOL on feature maps, compared by the earth mover's distance of local features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.byol.views import TwoViews
from methods.ssl.self_emd.params import SelfEmdParams

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class SelfEmd(Method):
    """Self-EMD (Liu, Li and Sun 2020) as we read it; no code was published.

    L = 2 EMD(q(g(f(x1))), g'(f'(x2))) + 2 EMD(q(g(f(x2))), g'(f'(x1))), with EMD(u, v) = min_P
    sum_mn P_mn (1 - cos(u_m, v_n)), u_m and v_n the local features of the last feature map; with
    one location per view this is BYOL's loss. From the papers that cite it: BYOL's framework,
    feature maps kept, the earth mover's distance. Our reading of the rest: heads are 1 x 1
    convolutions of BYOL's widths, the marginals are cross-reference weights (a feature's agreement
    with the other view's mean feature), the minimum is an entropic one by Sinkhorn, plan and
    marginals are constants in the gradient, views and schedule are BYOL's. Reported after
    pretraining on COCO: 39.3 box AP (paper 000, Table 3; 002, Table 4; 003, Table 1), 39.8 (paper
    001, Table 4).
    """

    Params = SelfEmdParams
    params: SelfEmdParams
    scales = {
        "tiny": {
            **TINY_VIEWS,
            "image_size": 32,  # maps of one place; with four, it collapses in these steps
            "lr": 0.006,
            "hidden": 512,
            "out": 128,
            "ema0": 0.9,
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
    }

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return TwoViews(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.self_emd.network import SelfEmdNetwork

        return SelfEmdNetwork(self.params, heads)
