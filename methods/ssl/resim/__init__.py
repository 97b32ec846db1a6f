"""ReSim: MoCo v2 on images and on windows that slide over what both views show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl.moco_v2.params import MOCO_TINY, SMALL
from methods.ssl.moco_v2.views import MocoViews
from methods.ssl.resim.params import ResimParams
from methods.ssl.resim.views import ResimViews

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Resim(Method):
    """Region Similarity representation learning (Xiao et al. 2021): ReSim-FPN as its code trains
    it.

    L = L_image + L_C4 + L_C3. L_image is MoCo v2's. On C4 and C3 of a feature pyramid a window
    slides over the query view (48 pixels every 32; 32 every 24). Where the key view shows the same
    pixels whole, the window is pooled from both maps (precise RoI pooling, 1 x 1) and L is InfoNCE
    of the two unit vectors; its negatives are the 3 x 3-averaged cells of the batch's key maps,
    the image's own included. Both views have one flip and are blurred before jitter and grey. C4's
    negatives come from all devices, C3's from the query's own: here, its batch-norm group. Paper
    000, Table 3, quotes ReSim-C4 pretrained on ImageNet: COCO box AP 39.3, mask AP 35.7 (Mask
    R-CNN R50-FPN 1x), beside MoCo v2's 38.2 on COCO; the pyramid variant has no row in the four
    papers.
    """

    version = 2  # blur before jitter and grey
    Params = ResimParams
    params: ResimParams
    scales = {
        "tiny": {**MOCO_TINY, "region_dim": 64},
        "small": {**SMALL, "lr": 0.3, "region_dim": 128},
    }

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return ResimViews(MocoViews(self.params.image_size, (self.params.min_scale, 1.0)))

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.resim.network import ResimNetwork

        return ResimNetwork(self.params, n_images, heads)
