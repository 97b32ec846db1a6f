"""Unsupervised object discovery: regions that recur in neighbour images and stand out (after Vo et
al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.contracts.proposals import Found, Proposals, Proposer
from bench.core.errors import BadInput
from bench.core.params import Params, param
from bench.core.stage import Stage
from bench.core.store import write_json
from bench.stages.neighbours import neighbours_stage

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner


class ObjectDiscoveryParams(Params):
    """Neighbours, area ratio and objects per image as Vo et al. 2019; the rest is this
    replacement's own."""

    phi: str = param("byol", help="method whose pretraining on whole images gives all features")
    neighbours: int = param(
        10, ge=1, help="tau, neighbour images of an image", search=[5, 10, 20, 50]
    )
    proposals: str = param("selective_search", help="source of the candidate regions")
    candidates: int = param(
        100, ge=1, help="most candidate regions of an image", search=[50, 100, 200]
    )
    min_side: float = param(
        32, ge=0, help="least side of a candidate at a short side of 480; scales with the image"
    )
    max_ratio: float = param(4.0, ge=1, help="largest aspect ratio of a candidate")
    overlap: float = param(0.7, ge=0, le=1, help="largest IoU between an image's candidates")
    image_size: int = param(
        448, ge=32, help="side to which images are resized for region features, pixels"
    )
    grid: int = param(2, ge=1, help="RoIAlign cells along each side of a region")
    dim: int = param(256, ge=1, help="width of a region's feature after a random projection")
    cells: int = param(
        32, ge=2, help="Hough bins along x and y, over twice the image", search=[16, 32, 64]
    )
    stand_out: Literal["pair", "region"] = param(
        "pair",
        help="pair: of matches (Vo et al. 2019); region: of a region's saliency (Cho et al. 2015)",
    )
    area_ratio: float = param(
        0.5,
        gt=0,
        le=1,
        help="a region is part of those that contain it and are 1/area_ratio times as large",
    )
    nms: float = param(0.5, ge=0, le=1, help="largest IoU between boxes of an image")
    nu: int = param(
        5, ge=1, help="objects of an image: so many boxes at least, overlapping if need be"
    )


class ObjectDiscovery(Proposals):
    """A scalable stand-in for the unsupervised proposals of paper 001, which are those of Vo et
    al. 2019.

    Candidate regions of an image are matched with those of its nearest images by probabilistic
    Hough matching (appearance x agreement on how the one image maps onto the other); a match
    stands out by what it has over the best match of the regions around it; boxes are ranked by the
    sum, over neighbours, of their best match. Features are an SSL network's: nothing is labelled
    at any point.

    Unlike Vo et al.: neighbours are chosen beforehand by image features (their code matches all
    pairs within one class; O(n^2 r^2) becomes O(n K r^2)); regions are selective search's, not
    randomized Prim's; features are pooled SSL maps, not whitened HOG; matching is not iterated
    with the choice of regions and neighbours (no ensemble of 500 runs). Paper 001 does not say how
    it scaled. Label results accordingly.
    Reference values of paper 001 with its boxes: 58.0 mAP (Table 3), 53.9 VOC AP (Table 6).
    """

    Params = ObjectDiscoveryParams
    params: ObjectDiscoveryParams  # type: ignore[assignment]
    scales = {
        "tiny": {"image_size": 192, "candidates": 60},
        "small": {"image_size": 320},
    }

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        p = self.params
        if p.proposals == self.name:
            raise BadInput(
                f"{self.name} cannot choose among its own boxes; "
                f"try: --set {self.name}.proposals=selective_search"
            )
        network = plan.pretrain(p.phi, "image", data)
        near = neighbours_stage(data, network, p.neighbours)
        regions = Stage(
            "regions",
            "roi_features",
            1,
            {
                "split": "train",
                "size": p.image_size,
                "grid": p.grid,
                "dim": p.dim,
                "seed": 0,
                "min_side": p.min_side,
                "max_ratio": p.max_ratio,
                "nms": p.overlap,
                "top": p.candidates,
            },
            "methods.proposals.object_discovery.stages:make_regions",
            {"data": data, "proposals": plan.proposals(p.proposals, data), "network": network},
        )
        return {"neighbours": near, "regions": regions}

    def prepare(self, ctx: StageContext, images: ImageSet) -> Proposer:
        from methods.proposals.object_discovery.tables import load_regions

        regions = load_regions(ctx.inputs["regions"], ctx.inputs["neighbours"])
        if not np.array_equal(regions.ids, images.ids):
            raise BadInput(
                f"{self.name} discovers objects of the train split alone, not of "
                f"{images.name}/{images.split}"
            )
        about = {
            "unsupervised": self.params.phi,
            "neighbours": int(regions.neighbours.shape[1]),
            "regions": len(regions.all_boxes),
            "feature_dim": int(regions.all_features.shape[1]),
        }
        write_json(ctx.work / "model.json", about)
        return Discoverer(self.params, ctx.inputs["regions"], ctx.inputs["neighbours"])


@dataclass(frozen=True)
class Discoverer:
    """Boxes of image number i, from tables that a process maps into memory when it first needs
    them."""

    params: ObjectDiscoveryParams
    regions: Path
    neighbours: Path

    def __call__(self, index: int, seed: int) -> Found:
        from methods.proposals.object_discovery.discovery import best_first, containers, stand_out
        from methods.proposals.object_discovery.tables import load_regions, match

        p, regions = self.params, load_regions(self.regions, self.neighbours)
        boxes = regions.boxes(index)
        score, confidence = match(regions, index, p.cells, p.area_ratio, p.stand_out == "pair")
        if p.stand_out == "region":
            score = stand_out(score, containers(boxes, p.area_ratio))
        order, shares = best_first(boxes, score, confidence, p.nms, p.nu)
        return boxes[order], shares
