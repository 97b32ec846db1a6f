"""Edge boxes: boxes that wholly contain contours (Zitnick and Dollar 2014), OpenCV's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.proposals import (
    Found,
    Proposals,
    ProposalsParams,
    Proposer,
    scale_back,
    shrink,
)
from bench.core.errors import BadInput
from bench.core.params import param
from bench.core.store import write_json
from bench.data.boxes import area, clip, scaled_side, xywh_to_xyxy
from bench.stages.files import file_stage

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage


class EdgeBoxesParams(ProposalsParams):
    """OpenCV's defaults, which are the paper's."""

    model: str | None = param(
        None,
        place=True,
        help="structured-forest edge model (.yml.gz); without one, image gradients are the edges",
    )
    alpha: float = param(0.65, gt=0, le=1, help="step size of the sliding windows (IoU)")
    beta: float = param(0.75, gt=0, le=1, help="IoU of non-maximum suppression")
    min_score: float = param(0.01, ge=0, help="least score of a box")
    min_area: float = param(
        1000, ge=1, help="least area, pixels at a short side of 480; scales with the image"
    )
    max_aspect: float = param(3.0, ge=1, help="largest aspect ratio")
    top: int = param(1000, ge=1, le=10_000, help="most boxes of an image")


class EdgeBoxes(Proposals):
    """OpenCV's Edge Boxes on RGB, best score first. OpenCV scores the pixels x .. x + w and
    returns x + 1 and w, so the left and top sides are moved back by a pixel; then boxes are
    clipped. Boxes of a few pixels, whose score may be 0 or no finite number, are left out.

    The published method needs a structured-forest edge detector, trained on BSDS500. Without
    `model`, the edge map is the gradient magnitude of the smoothed image, thinned along the
    gradient and divided by its 99.5th percentile; the stage's `model.json` says which edges were
    used. An image without any box, a flat one or one of a pixel's width, gives itself.
    """

    version = 2  # 1 kept OpenCV's offset of a pixel and boxes without a score
    Params = EdgeBoxesParams
    params: EdgeBoxesParams

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        if self.params.model is None:
            return {}
        return {"model": file_stage("edges", self.params.model, plan.runtime, "edge_boxes.model")}

    def prepare(self, ctx: StageContext, images: ImageSet) -> Proposer:
        folder = ctx.inputs.get("model")
        files = sorted(f for f in folder.iterdir() if ".yml" in f.name) if folder else []
        if folder and not files:
            raise BadInput(
                "edge_boxes.model is no structured-forest model (.yml or .yml.gz); "
                "try: --set edge_boxes.model=model.yml.gz"
            )
        if files:
            from methods.proposals.edge_boxes.edges import check_model

            check_model(files[0])
        edges = "structured forest" if files else "image gradients"
        write_json(ctx.work / "model.json", {"edges": edges, "supervised": bool(files)})
        return _Proposer(self, images, files[0] if files else None)

    def propose(self, image: np.ndarray, seed: int) -> Found:
        from methods.proposals.edge_boxes.edges import gradient_edges

        return self.find_boxes(image, *gradient_edges(image))

    def find_boxes(self, image: np.ndarray, edges: np.ndarray, orientation: np.ndarray) -> Found:
        """Boxes and scores, best first, of an image (H, W, 3) with the edge map (H, W) float32 in
        [0, 1] and orientations (H, W) float32 in [0, pi)."""
        import cv2

        height, width = image.shape[:2]
        p = self.params
        maker = cv2.ximgproc.createEdgeBoxes(
            alpha=p.alpha,
            beta=p.beta,
            minScore=p.min_score,
            maxBoxes=p.top,
            maxAspectRatio=p.max_aspect,
            minBoxArea=max(1.0, p.min_area * scaled_side(1, width, height) ** 2),
        )
        xywh, scores = maker.getBoundingBoxes(edges, orientation)
        boxes = xywh_to_xyxy(np.asarray(xywh, np.float32).reshape(-1, 4))
        boxes = clip(boxes - np.array([1, 1, 0, 0], np.float32), width, height)
        scores = np.asarray(scores, np.float32).reshape(-1)
        kept = (area(boxes) > 0) & np.isfinite(scores) & (scores > 0)
        if not kept.any():
            return np.array([[0, 0, width, height]], np.float32), np.zeros(1, np.float32)
        order = np.argsort(-scores[kept], kind="stable")
        return boxes[kept][order], scores[kept][order]


@dataclass(frozen=True)
class _Proposer:
    """The edge detector is loaded once in each process: it cannot be pickled."""

    maker: EdgeBoxes
    images: ImageSet
    model: Path | None

    def __call__(self, index: int, seed: int) -> Found:
        image = self.images.image(index)
        small, factor = shrink(image, self.maker.params.max_side)
        if self.model is None:
            boxes, scores = self.maker.propose(small, seed)
        else:
            from methods.proposals.edge_boxes.edges import forest_edges

            boxes, scores = self.maker.find_boxes(small, *forest_edges(small, self.model))
        return scale_back(boxes, factor, image.shape[:2]), scores
