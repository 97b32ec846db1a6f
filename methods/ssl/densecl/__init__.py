"""DenseCL: MoCo v2 on pooled features and on every cell of the feature map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl.densecl.params import DenseclParams
from methods.ssl.moco_v2.params import MOCO_TINY, SMALL
from methods.ssl.moco_v2.views import MocoViews

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Densecl(Method):
    """Dense Contrastive Learning (Wang et al. 2021), as papers 000 and 001 train it on COCO.

    L = (1 - l) L_global + l L_dense, l = .5. L_global is MoCo v2's. L_dense is the same loss for
    each cell of the query's feature map: its positive key is the cell of the other view whose C5
    feature is most similar (cosine), its negatives are the other queue, which holds one key per
    image: the mean of its dense projections, then normalised. Optimisation and views as MoCo v2.
    Paper 000, table 3: COCO box AP 39.3 against MoCo v2's 38.2 (Mask R-CNN R50-FPN 1x, 400 epochs
    on COCO).
    """

    Params = DenseclParams
    params: DenseclParams
    scales = {"tiny": MOCO_TINY, "small": SMALL, "paper": {"init": "fan_in"}}

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return MocoViews(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.densecl.network import DenseclNetwork

        return DenseclNetwork(self.params, n_images, heads)
