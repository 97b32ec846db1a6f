"""CAST: momentum contrast on crops that hold something salient, and a Grad-CAM that should look at
it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.method import Method
from bench.contracts.views import Source, Viewer
from bench.core.picture import contact_sheet
from bench.core.stage import Stage
from methods.ssl.cast.params import CastParams
from methods.ssl.cast.saliency import load_masks
from methods.ssl.cast.views import AUGMENT, CastViews
from methods.ssl.moco_v2.params import MOCO_TINY, SMALL

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network
    from bench.contracts.planner import Planner


class Cast(Method):
    """Contrastive Attention-Supervised Tuning (Selvaraju et al. 2021) on momentum contrast.

    Both crops hold at least a share phi = min(.2, least crop area / salient area) of the image's
    salient pixels. L = (L_contrast + 3 L_attention) / 4, L_attention = 1 - cos(G, M): M is the
    query view's saliency, G the Grad-CAM on its last feature map of q . k_m, the similarity to the
    key view with all that is not salient removed. The gradient of L flows through G, so the step
    differentiates twice. Paper 001, Table 4, quotes it on COCO: box AP 39.4, mask AP 35.8 (Mask
    R-CNN R50-FPN 2x).

    The saliency is not the authors' DeepUSPS, a network, but a map of ours (the stage `saliency`),
    so numbers are not theirs. `boundary`, the contrast of colours with the image's border, agrees
    with object masks at a mean average precision of pixels of .95 on 60 scenes and .57 on 98
    photographs of VOC 2012 (its masks: precision .95 and .57, recall .68 and .51). OpenCV's
    spectral residual has .71 and .43, its fine-grained map .68 and .39, chance .22 and .22. Robust
    background detection on superpixels has .81 and .61, at four times the cost; a centre prior
    helps on photographs (.63) but would pull the crops themselves inwards.

    Not followed of the code: it moves the key encoder twice a step, takes greyscale before jitter,
    and draws another image where nothing is salient; here such an image has a plain crop and no
    attention loss.
    """

    version = 2  # attention=batch_code reads the saliency off at points
    Params = CastParams
    params: CastParams
    scales = {
        "tiny": {**MOCO_TINY, "hidden": 0},
        "small": {**SMALL, "hidden": 0},
    }

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        settings = {
            "split": "train",
            "map": self.params.saliency,
            "max_side": self.params.saliency_side,
        }
        saliency = Stage(
            "saliency",
            self.params.saliency,
            1,
            settings,
            "methods.ssl.cast.saliency:find_masks",
            {"data": data},
        )
        return {"saliency": saliency}

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        p, masks = self.params, load_masks(inputs["saliency"], images)
        return CastViews(
            masks, np.asarray(images.sizes), p.image_size, (p.min_scale, 1.0), AUGMENT, p.cover
        )

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.cast.network import CastNetwork

        return CastNetwork(self.params, n_images, heads)

    def inspect(self, images: ImageSet, inputs: dict[str, Path]) -> dict[str, object]:
        """Eight images, a row each: the image, then both views, darker where they are not
        salient."""
        from methods.ssl.cast.pictures import draw_views

        viewer = self.viewer(images, inputs)
        rows = []
        for i in map(int, np.linspace(0, len(images) - 1, min(8, len(images)))):
            sample = viewer([Source(i), Source(i)], np.random.default_rng(i))
            rows.append([images.image(i), *draw_views(images.image(i), sample)])
        return {"saliency": contact_sheet(rows)}
