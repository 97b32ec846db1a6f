"""SwAV: predict the cluster code of another view, codes made online by Sinkhorn-Knopp; 2 + 6
crops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from bench.views.random_crops import RandomCrops
from bench.views.sample import SWAV
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.swav.params import SwavParams

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Swav(Method):
    """Swapping assignments between views (Caron et al. 2020), with its multi-crop.

    L = mean over global views i and views v != i of -mean_n sum_k q_i,n,k ln softmax_k(c_k z_v,n /
    0.1), c the unit prototypes, z the unit projections, q_i the codes of view i: three Sinkhorn
    iterations at eps 0.05 over the batch and, for small batches, a queue. Two global views of 224
    pixels, area U(0.14, 1), and six of 96 pixels, area U(0.05, 0.14); a multi-crop strategy brings
    its own small ones. Paper 001, table 1: 51.3 mAP on OpenImages with a linear probe.

    Where this is not the published code: cosine to 0 (code: to a thousandth of the rate); LARS
    leaves vectors unscaled (LARC scales them too); torchvision's stem and the loader's
    normalisation with red's deviation .229 (code: a padded stem, .228).
    """

    version = 2  # small views are blurred as strongly as the large ones, in pixels
    Params = SwavParams
    params: SwavParams
    scales = {
        "tiny": {
            **TINY_VIEWS,
            "small_min_scale": 0.2,
            "hidden": 512,
            "n_small": 2,
            "small_size": 24,
            "eps": 0.01,  # .05 leaves small batches at ln(prototypes)
            # 3 prototypes for each of the scenes' 20 classes; batch and queue together outnumber
            # them
            "prototypes": 60,
            "queue": 64,
            "queue_from_epoch": 2,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "small_size": 56,
            "prototypes": 300,
            "queue": 512,
            "precision": "bf16",
        },
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.ssl._lightly import swav

        return swav

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        p = self.params
        return RandomCrops(
            p.image_size,
            (p.min_scale, 1.0),
            SWAV,
            p.n_small,
            p.small_size,
            (p.small_min_scale, p.min_scale),
        )

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.swav.network import SwavNetwork

        return SwavNetwork(self.params, heads)
