"""Edge boxes: boxes that wholly contain contours (Zitnick and Dollar 2014), OpenCV's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
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
from bench.core.files import write_json
from bench.core.params import param
from bench.data.boxes import area, clip, scaled_side, xywh_to_xyxy
from bench.stages.files import file_stage

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage


LEAST_EDGE = 1.0  # gradient of a quarter of a grey level; less is rounding, not an edge


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
    params: EdgeBoxesParams  # type: ignore[assignment]

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
            _check(files[0])
        edges = "structured forest" if files else "image gradients"
        write_json(ctx.work / "model.json", {"edges": edges, "supervised": bool(files)})
        return _Proposer(self, images, files[0] if files else None)

    def propose(self, image: np.ndarray, seed: int) -> Found:
        return self._boxes(image, *gradient_edges(image))

    def _boxes(self, image: np.ndarray, edges: np.ndarray, orientation: np.ndarray) -> Found:
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
        found, scores = maker.getBoundingBoxes(edges, orientation)
        boxes = xywh_to_xyxy(np.asarray(found, np.float32).reshape(-1, 4)) - np.float32(
            [1, 1, 0, 0]
        )
        boxes = clip(boxes, width, height)
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
            boxes, scores = self.maker._boxes(small, *_forest_edges(small, self.model))
        return scale_back(boxes, factor, image.shape[:2]), scores


def _check(model: Path) -> None:
    """OpenCV reads any YAML as a model and divides by its stride: 0 where there is none ends the
    process."""
    try:
        file = cv2.FileStorage(str(model), cv2.FILE_STORAGE_READ)
        good = file.isOpened() and file.getNode("options").getNode("stride").real() >= 1
        good = good and file.getNode("thresholds").size() > 0
        file.release()
    except (cv2.error, SystemError):  # the binding's own, on text that is no YAML
        good = False
    if not good:
        raise BadInput(
            f"edge_boxes.model {model.name} is no structured-forest edge model of OpenCV's; "
            "try: --set edge_boxes.model=model.yml.gz"
        )


_DETECTORS: dict[Path, Any] = {}


def _forest_edges(image: np.ndarray, model: Path) -> tuple[np.ndarray, np.ndarray]:
    if model not in _DETECTORS:
        _DETECTORS[model] = cv2.ximgproc.createStructuredEdgeDetection(str(model))
    detector = _DETECTORS[model]
    edges = detector.detectEdges(np.ascontiguousarray(image.astype(np.float32) / 255))
    orientation = detector.computeOrientation(edges)
    return detector.edgesNms(edges, orientation), orientation


def gradient_edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 -> edges (H, W) float32 0 to 1 and orientations (H, W) float32 in [0, pi).

    At each pixel the channel of largest gradient counts (Sobel after a Gaussian of sigma 1); a
    pixel that is not the largest along its gradient is 0. Orientation is the gradient's, as
    OpenCV's `computeOrientation` gives it for an edge map.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    size = gx**2 + gy**2
    channel = size.argmax(2)[..., None]
    gx, gy = (np.take_along_axis(g, channel, 2)[..., 0] for g in (gx, gy))
    edges = np.sqrt(np.take_along_axis(size, channel, 2)[..., 0])
    orientation = np.mod(np.arctan2(gy, gx), np.pi).astype(np.float32)
    thin = _thinned(edges, orientation)
    high = float(np.percentile(edges, 99.5))
    return np.clip(thin / max(high, LEAST_EDGE), 0, 1).astype(np.float32), orientation


def _thinned(edges: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """`edges` where no neighbour one pixel along the gradient (bilinear) is larger, else 0."""
    height, width = edges.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    dx, dy = np.cos(orientation), np.sin(orientation)
    before, after = (
        cv2.remap(edges, x + s * dx, y + s * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for s in (-1.0, 1.0)
    )
    return np.where((edges >= before) & (edges >= after), edges, 0)
