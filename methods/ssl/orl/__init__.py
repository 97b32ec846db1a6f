"""ORL: BYOL on images, on jittered RoIs and on corresponding RoIs of neighbour images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from bench.core.picture import contact_sheet, draw_boxes
from bench.core.stage import Stage
from bench.stages.neighbours import neighbours_stage
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.orl.correspondences import load_correspondences
from methods.ssl.orl.params import OrlParams
from methods.ssl.orl.views import OrlViews

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network
    from bench.contracts.planner import Planner


class Orl(Method):
    """Object-level Representation Learning (Xie et al. 2021, paper 002), three stages.

    Stage 1 is BYOL on images: the very stage that `byol` x `image` trains. Stage 2 finds K nearest
    images in its projection space, RoIs by selective search, and the most similar RoI pairs by
    pooled features. Stage 3 trains from scratch: L = L_global + L_intra + L_inter, each the
    symmetric BYOL loss. Table 4: COCO box AP 40.3 against BYOL's 39.5 (Mask R-CNN R50-FPN 1x, 800
    epochs each).

    The paper's global views are of whole images. Other crops choose where they come from; RoIs,
    neighbours and stage 1 are of whole images whatever the crop.
    """

    version = 2  # patches are blurred as strongly as the global views, in pixels
    Params = OrlParams
    params: OrlParams
    scales = {
        "tiny": {
            **TINY_VIEWS,
            "pixels": "scaled",
            "ema0": 0.3,
            "hidden": 512,
            "out": 128,
            "patch": 32,
            "roi_size": 32,
            "top": 24,
        },
        "small": {
            "backbone": "resnet18",
            "pixels": "scaled",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "hidden": 2048,
            "precision": "bf16",
            "patch": 64,
            "roi_size": 128,
        },
        "paper": {"init": "fan_in"},
    }

    @classmethod
    def figures(cls) -> dict[str, str]:
        return {"pairs": "methods.ssl.orl.figure:run"}

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        p = self.params
        proposals = plan.proposals(p.proposals, data)
        first = plan.pretrain(p.stage1, "image", data)
        near = neighbours_stage(data, first, p.neighbours, p.drop_self)
        settings = {
            "split": "train",
            "size": p.roi_size,
            "pairs": p.pairs,
            "pair_share": p.pair_share,
            "min_side": p.min_side,
            "pixels": p.pixels,
            "max_ratio": p.max_ratio,
            "nms": p.nms,
            "top": p.top,
        }
        pairs = Stage(
            "pairs",
            "orl",
            1,
            settings,
            "methods.ssl.orl.stages:find_pairs",
            {"data": data, "proposals": proposals, "network": first, "neighbours": near},
        )
        return {"pairs": pairs}

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return OrlViews(
            self.params, load_correspondences(inputs["pairs"], images), np.asarray(images.sizes)
        )

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.orl.network import OrlNetwork

        return OrlNetwork(self.params, heads)

    def inspect(self, images: ImageSet, inputs: dict[str, Path]) -> dict[str, object]:
        """The best correspondence of eight images with their nearest neighbour (paper 002, Fig.
        3)."""
        correspondences = load_correspondences(inputs["pairs"], images)
        rows = []
        for i in map(int, np.linspace(0, len(images) - 1, min(8, len(images)))):
            other = int(correspondences.neighbours[i, 0])
            best = correspondences.pairs(i, 0)[0]
            rows.append(
                [
                    draw_boxes(images.image(image), correspondences.boxes(image)[[box]])
                    for image, box in zip((i, other), best, strict=True)
                ]
            )
        return {"correspondences": contact_sheet(rows)}
