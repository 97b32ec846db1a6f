"""CMC: tell an image's lightness by its colours among other images', and its colours by its
lightness."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.cmc.params import CmcParams
from methods.ssl.cmc.views import OneView

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Cmc(Method):
    """Contrastive Multiview Coding on L and ab (Tian et al. 2020), the CMC row of paper 001's
    Table 1.

    Each image is split into lightness and colours; two half-width ResNets embed them, and each
    embedding must find its image in the other's memory bank: L = L_nce(L, bank of ab) + L_nce(ab,
    bank of L). Bank rows move by momentum .5 and are normalised. K = 16384 negatives (at most half
    of the set), tau .07. The NCE constant Z is fixed by the first batch as in the code;
    `partition` has the alternatives. SGD .03 for 128 images, weight decay 1e-4; ours: cosine
    instead of steps. The evaluated backbone is both encoders, their features concatenated. Paper
    001: 48.7 mAP on OpenImages, linear probe, after 200 epochs.
    """

    Params = CmcParams
    params: CmcParams
    scales = {
        "tiny": {
            **TINY_VIEWS,
            # lightness and colours of one view: they need not differ in what they show
            "min_scale": 0.7,
            "lr": 0.004,
            "tau": 0.2,
            "backbone": "lab_resnet10",
            "partition": "softmax",
        },
        "small": {
            "backbone": "lab_resnet18",
            "image_size": 128,
            "batch_size": 256,
            "precision": "bf16",
            "partition": "softmax",
        },
    }

    def supports(self, crop: type[Crop]) -> str | None:
        if crop.style == "image":
            return None
        if crop.style == "pseudo":
            return (
                "CMC's memory bank has a row per image, which several crops of an image would "
                "overwrite"
            )
        return (
            "CMC's two views are the lightness and the colours of one crop; further crops would "
            "be ignored"
        )

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return OneView(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.cmc.network import CmcNetwork

        return CmcNetwork(self.params, n_images)
