"""SoCo: BYOL between the features of one proposal in three views, through a feature pyramid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl._tiny import TINY
from methods.ssl.soco.params import SocoParams
from methods.ssl.soco.views import SocoViews

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

ROLE = "roi_proposals"  # not "proposals", which a crop may use for boxes of its own


class Soco(Method):
    """Selective Object Contrastive learning (Wei et al. 2021), the FPN variant; no loss on whole
    images.

    L = L(1, 2) + L(1, 3), L(a, b) = D(p_a, z_b) + D(p_b, z_a), D = -2 mean_n [sum corr cos / (sum
    corr + 1e-6)] over the boxes of an image: K = 4 proposals that meet both views, features by
    RoIAlign on the pyramid level that the box's size asks for, corr = 1 for the same proposal, on
    whatever levels (`levels`). View 1 is the whole image, views 2 and 3 are crops of at least half
    of it, at full and at half size. Boxes of view 1 are jittered; views 2 and 3 have grey squares
    inside their boxes. The proposals are OpenCV's selective search, not AlpacaDB's as the
    authors'. Paper 000's reproduction on COCO: 39.1 box AP (Table 3; epochs not stated).

    As in the published code, every box is aligned on all four levels and head, projector and
    predictor see one level at a time; the loss takes a box's own level. Where this differs from
    the code: the boxes of view 1 for both pairs go through the head together, and levels are
    chosen after the flip. Only the backbone is transferred here; the authors also hand pyramid and
    head to the detector.
    """

    version = 4  # pairs on any levels, cut-out of both crops, heads as PyTorch initialises them
    Params = SocoParams
    params: SocoParams
    scales = {
        "tiny": {
            **TINY,
            "pixels": "scaled",
            # AdamW is slow to leave the first collapse
            "optimizer": "lars",
            "lr": 4.0,
            "warmup_ratio": 1e-4,
            "boxes": 2,
            "fpn": 32,
            "fc": 128,
            "hidden": 256,
            "out": 128,
            "ema0": 0.9,
        },
        "small": {
            "backbone": "resnet18",
            "pixels": "scaled",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "fpn": 128,
            "fc": 512,
            "hidden": 2048,
            "warmup_ratio": 1e-4,
            "precision": "bf16",
        },
        "paper": {"init": "zero_residual"},
    }

    def supports(self, crop: type[Crop]) -> str | None:
        if crop.style == "multi":
            return "SoCo makes its own third, smaller view, so it takes no extra small crops"
        return None

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        return {ROLE: plan.proposals(self.params.proposals, data)}

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        from bench.stages.proposals import load_proposals

        table = load_proposals(inputs[ROLE])
        return SocoViews(self.params, table, np.asarray(images.ids), np.asarray(images.sizes))

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.soco.network import SocoNetwork

        return SocoNetwork(self.params, heads)
